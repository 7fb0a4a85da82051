"""Checks that result files are consistent: digests, and every number that follows from items.

No model is run and no data are read, so that results from anywhere can be checked in seconds. An
edit of a number, of a record, or of both is detected: numbers follow from records, records have a
digest in the result, and the result has one of its own. A folder that was forged as a whole is not
detected; for that there is `tgp reproduce`.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tgp_multimodal.evaluation import aggregates, contamination, results
from tgp_multimodal.evaluation.results import Result

_NAME = "*__*"  # of a result's files, in which this parts domain and task


class Report(NamedTuple):
    """What was found in a folder.

    Attributes:
        files: result files that were looked at.
        by_digest: those of them whose number does not follow from items, so that only digests
            could be checked.
        complaints: one sentence for each file that is not as it should be.
    """

    files: list[Path]
    by_digest: list[Path]
    complaints: list[str]


def verify(folder: Path) -> Report:
    """Checks every result file of a folder, or of the model folders in it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no result.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder must hold result files. Got {folder} instead.")
    files, items = (
        # What begins with a dot is of runs that are under way, or were killed in a write; other
        # files may lie there, too.
        sorted(_two_levels(folder, ending))
        for ending in (".json", ".jsonl")
    )
    if not files and not items:
        below = next((f.parents[1] for f in sorted(folder.glob(f"*/*/{_NAME}.json"))), None)
        meant = f" Did you mean {below}?" if below else ""
        raise ValueError(
            f"folder must hold <model>/<domain>__<task>.json. Got {folder} instead.{meant}"
        )
    complaints = [c for file in files if (c := check(file)) is not None]
    for item in items:
        result = item.with_suffix(".json")
        if not result.is_file():
            complaints.append(f"{result} must lie beside its items. Got no such file instead.")
    by_digest = [file for file in files if _is_by_digest(file)]
    return Report(files, by_digest, complaints)


def _two_levels(folder: Path, ending: str) -> Iterator[Path]:
    yield from folder.glob(f"[!.]{_NAME}{ending}")
    yield from folder.glob(f"[!.]*/[!.]{_NAME}{ending}")


def check(file: Path) -> str | None:
    """The first thing that is wrong with a result, in one sentence; None if all is well."""
    try:
        result = results.read(file)
        raw = (file.parent / Path(result.items_file).name).read_bytes()
        records = [json.loads(line) for line in raw.splitlines()]
        return next(_complaints(file, result, raw, records), None)
    except FileNotFoundError as error:
        return f"{file} must have its items beside it. Got no {error.filename} instead."
    except (ValueError, OSError, ArithmeticError, RecursionError) as error:
        return str(error) if str(error).startswith(str(file)) else f"{file}: {error}"


def _complaints(
    file: Path, result: Result, raw: bytes, records: list[dict[str, Any]]
) -> Iterator[str]:
    if not result.digest:
        yield f"{file} must have a digest. Got none instead: it was written before there was one."
        return
    found = hashlib.sha256(raw).hexdigest()
    items = file.with_name(Path(result.items_file).name)
    if found != result.items_digest:
        yield (
            f"{items} must have the SHA-256 {result.items_digest[:12]}, the records that were"
            f" measured. Got {found[:12]} instead: records were edited."
        )
    strange = [r for r in records if not (isinstance(r, dict) and isinstance(r.get("id"), str))]
    if strange:
        got = reprlib.repr(strange[0])
        yield f"{items} must have a mapping with an id in each line. Got {got} instead."
        return
    if len(records) != result.n:
        yield f"{file}: n must be {len(records)}, as its records give. Got {result.n} instead."
    yield from _numbers(file, result, records)
    yield from _clean(file, result, records)
    if results.digest(result) != result.digest:
        yield (
            f"{file} must have the SHA-256 {result.digest[:12]} that it was written with."
            f" Got {results.digest(result)[:12]} instead: the file was edited."
        )


def _numbers(file: Path, result: Result, records: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the number, its interval, and the details that are means of columns."""
    if not result.aggregate:
        return
    try:
        number = aggregates.recompute(result.aggregate, records)
    except aggregates.UNCOUNTABLE as error:
        yield f"{file}: records must give a {result.aggregate}. Got {error!r} instead."
        return
    columns = aggregates.means(records)
    if result.metric == "macro_f1" and "correct" in columns:
        columns["accuracy"] = columns["correct"]
    said = {f"details.{k}": (v, columns[k]) for k, v in result.details.items() if k in columns}
    # A whole number among the details is a sum or a count.
    means = {name: pair for name, pair in said.items() if isinstance(pair[0], float)}
    own = {name: (getattr(result, name), value) for name, value in number._asdict().items()}
    for name, (there, value) in (own | means).items():
        if not _equal(there, value):
            yield f"{file}: {name} must be {value:.6g}, as its records give. Got {there} instead."


def _clean(file: Path, result: Result, records: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the numbers without the items that stand in training text."""
    for size in map(str, contamination.LEVELS):
        found = result.contamination.get(size)
        if not found:
            continue
        try:
            again = contamination.clean(result, records, found["overlap"]) or {}
            said = dict(found["clean"] or {})
        except aggregates.UNCOUNTABLE:
            wanted = "hold the overlap of items and a clean number"
            got = reprlib.repr(found)
            yield f"{file}: contamination.{size} must {wanted}. Got {got} instead."
            continue
        for name in {*said, *again}:
            if name not in said or not _equal(said[name], again.get(name, math.nan)):
                place = f"contamination.{size}.clean.{name}"
                yield (
                    f"{file}: {place} must be {again.get(name)}, as its records give."
                    f" Got {said.get(name)} instead."
                )


def _equal(said: Any, value: float) -> bool:
    return isinstance(said, int | float) and aggregates.is_equal(said, value)


def _is_by_digest(file: Path) -> bool:
    try:
        return not results.read(file).aggregate
    except (ValueError, OSError):
        return False  # it has a complaint of its own

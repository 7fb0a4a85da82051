"""Result files: one JSON for each model and card, a JSONL of its items beside it, always whole."""

import hashlib
import json
import math
import os
import re
import reprlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

FORMAT = 1
LARGEST = 1e50  # sums of squares of quotients of such numbers are finite, too
_NUMBERS = ("value", "low", "high", "chance", "seconds")
_TEXTS = (
    *("model", "card", "card_digest", "data_digest", "domain", "protocol", "metric"),
    *("items_file", "aggregate", "items_digest", "digest"),
)
_MAPPINGS = ("details", "model_facts", "environment", "recipe", "contamination")


@dataclass(frozen=True)
class Result:
    """One number with all that is needed to judge and to repeat it.

    Attributes:
        model: name of the model.
        card, card_version, card_digest, domain, protocol, metric: from the card.
        value: of the metric.
        n: test items.
        low, high: 95 % interval.
        chance: what guessing scores.
        higher_is_better: False for costs.
        details: further metrics and choices.
        limit: how many test items were asked for; None for all of them.
        data_digest: SHA-256 of the test items.
        seconds: answering and scoring, without reading the data; of a run that was killed with what
            it had answered before.
        model_facts: what the adapter says of the model; its `digest` above all.
        environment: versions, platform, threads, commit, date.
        items_file: name of the JSONL.
        aggregate: the rule of `evaluation.aggregates` that gives the number from the items; empty
            where none does.
        items_digest: SHA-256 of the JSONL; empty in files older than this field.
        recipe: what reproduces the number: `model`, as it was named to `tgp evaluate`, and `card`,
            the whole of it.
        contamination: which test items occur in training text, see `evaluation.contamination`;
            empty where that was not asked for.
        digest: SHA-256 of all the rest, see `digest`.
    """

    model: str
    card: str
    card_version: int
    card_digest: str
    domain: str
    protocol: str
    metric: str
    value: float
    n: int
    low: float
    high: float
    chance: float
    higher_is_better: bool
    details: dict[str, Any]
    limit: int | None
    data_digest: str
    seconds: float
    model_facts: dict[str, Any]
    environment: dict[str, Any]
    items_file: str
    aggregate: str = ""
    items_digest: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    contamination: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    format: int = FORMAT


_FIELDS = {f.name for f in fields(Result)}
_REQUIRED = {
    f.name for f in fields(Result) if f.default is MISSING and f.default_factory is MISSING
}


def folder(root: Path, model: str) -> Path:
    """Folder of a model's results: its name, in letters of any script."""
    name = re.sub(r"[^\w.+=-]+", "-", model).strip("-.")
    return root / (name or hashlib.sha256(model.encode()).hexdigest()[:12])


def path(root: Path, model: str, card: str) -> Path:
    """File of one result."""
    return folder(root, model) / f"{card.replace('/', '__')}.json"


def write(root: Path, result: Result, records: Iterable[dict[str, Any]]) -> Path:
    """Stores the items, then the result with the digests of both, each whole or not at all.

    Raises:
        ValueError: a number is none that JSON has.
    """
    target = path(root, result.model, result.card)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        lines = "".join(json.dumps(r, default=_plain, allow_nan=False) + "\n" for r in records)
        sealed = changed(result, items_digest=hashlib.sha256(lines.encode()).hexdigest())
        sealed = changed(sealed, digest=digest(sealed))
        text = json.dumps(asdict(sealed), indent=2, default=_plain, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(
            f"numbers of {result.model} on {result.card} must be finite. Got {error} instead."
        ) from None
    replace(target.with_suffix(".jsonl"), lines)
    replace(target, text)
    return target


def is_intact(file: Path, result: Result) -> bool:
    """Whether a result and its items still have the digests that they were written with."""
    items = hashlib.sha256(file.with_suffix(".jsonl").read_bytes()).hexdigest()
    return digest(result) == result.digest and items == result.items_digest


def is_edited(file: Path, result: Result) -> bool:
    """Whether a result that has a digest, or its items, are no longer what was measured."""
    has_items = file.with_suffix(".jsonl").is_file()
    return bool(result.digest) and (not has_items or not is_intact(file, result))


def digest(result: Result) -> str:
    """SHA-256 of the content of a result, whatever its `digest` says."""
    return _sha256(asdict(result) | {"digest": ""})


def essence(result: Result) -> dict[str, Any]:
    """What two measurements of one number share: all but when, where and how fast.

    Left out are also the digest over those, the report on training text, which no answer depends
    on, and the names of the model and of the file of items, which a copy of a folder changes: which
    model it is, `model_facts` say by digests.
    """
    circumstances = ("seconds", "environment", "recipe", "contamination", "digest")
    names = ("model", "items_file")
    stored = _as_stored(asdict(result))
    return {k: v for k, v in stored.items() if k not in (*circumstances, *names)}


def read(file: Path) -> Result:
    """Reads one result, which may come from anywhere.

    Raises:
        ValueError: the file is none, or of another format, or a field has a value of another kind.
    """
    infinite: list[str] = []

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            infinite.append(text)
        return value

    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=number, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} must be a result file. Got {error} instead.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} must be a result file. Got {reprlib.repr(found)} instead.")
    if found.get("format") != FORMAT:
        got = found.get("format", "none")
        raise ValueError(f"{file} must have format {FORMAT}. Got {got} instead.")
    if differing := sorted(found.keys() - _FIELDS | _REQUIRED - found.keys()):
        which = ", ".join(f"{'' if name in found else 'no '}{name}" for name in differing)
        raise ValueError(f"{file} must have the fields of a result. Got {which} instead.")
    result = Result(**found)
    for name, kind, is_one in _kinds():
        value = getattr(result, name)
        if not is_one(value):
            raise ValueError(f"{file}: {name} must be {kind}. Got {reprlib.repr(value)} instead.")
    if infinite:
        raise ValueError(f"{file}: numbers must be finite. Got {infinite[0][:30]} instead.")
    return result


def _kinds() -> Iterator[tuple[str, str, Callable[[Any], bool]]]:
    """Fields, what each must be, and whether a value is that."""
    yield from ((name, "a number", is_number) for name in _NUMBERS)
    yield from ((name, f"from {-LARGEST:g} to {LARGEST:g}", is_bounded) for name in _NUMBERS)
    yield "n", "at least 1", lambda n: type(n) is int and n >= 1
    yield "card_version", "a whole number", lambda version: type(version) is int
    yield "limit", "at least 1 or null", lambda n: n is None or (type(n) is int and n >= 1)
    yield "higher_is_better", "true or false", lambda is_so: isinstance(is_so, bool)
    yield from ((name, "a text", lambda text: isinstance(text, str)) for name in _TEXTS)
    yield from ((name, "a mapping", lambda found: isinstance(found, dict)) for name in _MAPPINGS)


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number that float64 can hold, and no truth value."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_bounded(value: Any) -> bool:
    """Whether a value of a file is a number that can be computed with: none beyond `LARGEST`."""
    return is_number(value) and abs(value) <= LARGEST


def read_records(file: Path) -> list[dict[str, Any]]:
    """The records of a result's items.

    Raises:
        ValueError: a line is no JSON.
        FileNotFoundError: there are none.
    """
    text = file.with_suffix(".jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def overlap_note(result: Result, words: int = 13) -> str:
    """What a reader has to know of items in training text, `3 of 300 items ..., 0.612 without`.

    Nothing where nobody asked, or where the file is not as we write it.
    """
    found = result.contamination.get(str(words))
    try:
        if not found:
            return ""
        if not found["checked"]:
            return f"no item has a text of {words} words"
        said = f"{found['flagged']:,} of {result.n:,} items in training text ({words}-grams)"
        without = found["clean"] if found["flagged"] else None
        return f"{said}, {without['value']:.3f} without" if without else said
    except (KeyError, TypeError, ValueError):
        return ""


def is_contaminated(result: Result) -> bool:
    """Whether an item was found in training text."""
    found = (result.contamination.get(words) for words in ("13", "8"))
    counts = [one.get("flagged") for one in found if isinstance(one, dict)]
    return any(isinstance(count, int) and count > 0 for count in counts)


def replace(target: Path, text: str) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it into place."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_as_stored(content), sort_keys=True).encode()).hexdigest()


def _as_stored(content: dict[str, Any]) -> dict[str, Any]:
    """What a reader of the file gets: JSON has no tuples and no numbers as names."""
    return json.loads(json.dumps(content, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)

"""Result files: one JSON for each model and card, a JSONL of its items beside it, always whole."""

import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1


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
        seconds: answering and scoring, without reading the data.
        model_facts: what the adapter says of the model; its `digest` above all.
        environment: versions, platform, threads, commit, date.
        items_file: name of the JSONL.
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
    format: int = FORMAT


def folder(root: Path, model: str) -> Path:
    """Folder of a model's results."""
    return root / re.sub(r"[^A-Za-z0-9._+=-]+", "-", model).strip("-.")


def path(root: Path, model: str, card: str) -> Path:
    """File of one result."""
    return folder(root, model) / f"{card.replace('/', '__')}.json"


def write(root: Path, result: Result, records: Iterable[dict[str, Any]]) -> Path:
    """Stores the items, then the result, each whole or not at all."""
    target = path(root, result.model, result.card)
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(r, default=_plain, allow_nan=False) + "\n" for r in records)
    replace(target.with_suffix(".jsonl"), lines)
    replace(target, json.dumps(asdict(result), indent=2, default=_plain, allow_nan=False) + "\n")
    return target


def read(file: Path) -> Result:
    """Reads one result.

    Raises:
        ValueError: the file is none, or of another format.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found.get("format") == FORMAT:
            return Result(**found)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} must be a result file. Got {error} instead.") from None
    raise ValueError(f"{file} must have format {FORMAT}. Got {found.get('format')} instead.")


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


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)

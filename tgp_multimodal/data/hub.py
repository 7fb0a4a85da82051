"""Documents and captioned pictures of a data set on the Hugging Face Hub, streamed.

A data set is named `[stream=]hub:owner/name[:config[:split]]`; the split is "train" if none is
given. Apart from `sources.py` because `datasets` takes a second to import: whoever names no hub
data set never pays that.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from datasets.utils.file_utils import xopen  # opens what a streamed data set calls a path

from tgp_multimodal.data import conversations as chat
from tgp_multimodal.data import rows
from tgp_multimodal.data.picture_rows import Columns, table_pictures
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import PREFIX, Source, parse, stream_of, table_documents

_NOWHERE = Path("/nonexistent")  # pictures of a hub data set come as bytes, never as local paths


def text(spec: str, column: str = "text") -> Source:
    """Documents of one column of a hub data set."""
    given, place = parse(spec)
    stream = given or stream_of(_parts(place)[0])
    read = partial(_rows, place)
    return Source(place, stream, lambda: table_documents(read, place, column, stream))


def pictures(spec: str, columns: Columns | None = None) -> Source:
    """Captioned pictures of a hub data set; a column of classes is one of captions, too."""
    given, place = parse(spec)
    stream = given or stream_of(_parts(place)[0])
    read, chosen = partial(_rows, place), columns or Columns()
    return Source(place, stream, lambda: table_pictures(read, place, _NOWHERE, chosen, stream))


def conversations(spec: str, columns: chat.Columns | None = None) -> Source:
    """Conversations of a hub data set."""
    given, place = parse(spec)
    stream = given or stream_of(_parts(place)[0])
    read, chosen = partial(_rows, place), columns or chat.Columns()
    return Source(place, stream, lambda: chat.table_conversations(read, place, chosen, stream))


def _parts(place: str) -> tuple[str, str | None, str]:
    name, _, rest = place.removeprefix(PREFIX).partition(":")
    config, _, split = rest.partition(":")
    return name, config or None, split or "train"


def _rows(place: str, choose: rows.Choose) -> Iterator[rows.Row | Bad]:
    name, config, split = _parts(place)
    try:
        dataset = datasets.load_dataset(name, config, split=split, streaming=True)
        features = dataset.features or {}
        there = dataset.column_names or list(next(iter(dataset)))
    except Exception as error:  # network, name, config and split fail in different ways
        told = " ".join(str(error).split())
        raise ValueError(
            f"{place} must be a readable hub data set. Got '{told}' instead."
        ) from error
    wanted = list(choose(there))
    for column in wanted:
        if isinstance(features.get(column), datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    number = -1
    try:
        for number, values in enumerate(dataset.select_columns(wanted)):
            yield _row(place, f"row {number}", values, features)
    except Exception as error:  # a connection breaks, a file behind the first is damaged
        told = f"'{' '.join(str(error).split())}' after {number + 1:,} rows"
        raise ValueError(f"{place} must be readable up to its end. Got {told} instead.") from error


def _row(place: str, which: str, values: dict[str, Any], features: Any) -> rows.Row | Bad:
    """A row with the bytes of its pictures and the names of its classes."""
    try:
        found = {n: _value(place, value, features.get(n)) for n, value in values.items()}
    except (ValueError, OSError) as error:
        return Bad(place, which, str(error))
    return which, found


def _value(place: str, value: Any, feature: Any) -> Any:
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return feature.names[value].replace("_", " ") if value >= 0 else None
    if isinstance(feature, datasets.Image) and value and value["bytes"] is None and value["path"]:
        if not _is_inside(value["path"], _parts(place)[0]):
            raise ValueError(f"{value['path']!r} lies outside of the data set")
        with xopen(value["path"], "rb") as file:
            return file.read()
    return value


def _is_inside(path: str, name: str) -> bool:
    """Whether a file, or the archive that it lies in, is one of the data set's own."""
    outer = path.rpartition("::")[2]
    if outer.startswith((f"hf://datasets/{name}/", f"hf://datasets/{name}@")):
        return True
    return Path(name).is_dir() and Path(outer).resolve().is_relative_to(Path(name).resolve())

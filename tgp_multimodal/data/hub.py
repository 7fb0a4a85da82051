"""Documents and captioned pictures of a data set on the Hugging Face Hub, streamed.

A data set is named `[stream=]hub:owner/name[:config[:split]]`; the split is "train" if none is
given. Apart from `sources.py` because `datasets` takes a second to import: whoever names no hub
data set never pays that.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasets

from tgp_multimodal.data import rows
from tgp_multimodal.data.picture_sources import Columns, table_pictures
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
    """Captioned pictures of a hub data set."""
    given, place = parse(spec)
    stream = given or stream_of(_parts(place)[0])
    read, chosen = partial(_rows, place), columns or Columns()
    return Source(place, stream, lambda: table_pictures(read, place, _NOWHERE, chosen, stream))


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
    for number, values in enumerate(dataset.select_columns(wanted)):
        yield f"row {number}", values

"""Rows of tables to captioned pictures: which columns count, and what makes a row a bad one."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tgp_multimodal.data import rows
from tgp_multimodal.data.captions import cleaned
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import valid_text
from tgp_multimodal.data.written_lists import members

CAPTION_COLUMNS = ("captions", "caption", "text")  # the first that there is
LICENSE, SPLIT = "license", "split"  # columns that are obeyed where a table has them
_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines knows others, which texts hold
_SPLITS = {  # what such a column says: the split; None may be trained on
    "train": None,
    "training": None,
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class Captioned(NamedTuple):
    """One picture file and what it shows.

    Attributes:
        image: the file, encoded.
        captions: one or more.
        stream: as in `Picture`.
        source: the file it is from.
        row: which row of it.
        license: as in `Picture`.
        split: as in `Picture`.
    """

    image: bytes
    captions: tuple[str, ...]
    stream: str
    source: str
    row: str
    license: str | None = None
    split: str | None = None


class Columns(NamedTuple):
    """Columns of tables.

    Attributes:
        image: of the picture.
        caption: of the caption or the list of captions; None takes the first of CAPTION_COLUMNS.
        stream: of the name of each picture's stream; None has all of a source in its own.
    """

    image: str = "image"
    caption: str | None = None
    stream: str | None = None


def table_pictures(
    read: Callable[[rows.Choose], Iterator[rows.Row | Bad]],
    where: str,
    root: Path,
    columns: Columns,
    stream: str,
) -> Iterator[Captioned | Bad]:
    """Pictures of a table, which `read` opens; paths in it are below `root`."""
    about: dict[str, str] = {}

    def choose(there: Sequence[str]) -> list[str]:
        image = rows.column("image_column", columns.image, there, where)
        about.update(facts_of(columns, there, where))
        return [name for name in dict.fromkeys([image, *about.values()]) if name in there]

    for row in read(choose):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            data = _image(row[1][columns.image], columns.image, root)
            yield captioned(data, row[1], about, stream, where, row[0])
        except (ValueError, OSError) as error:
            yield Bad(where, row[0], str(error))


def _caption_column(columns: Columns, there: Sequence[str], where: str) -> str:
    if columns.caption is None:
        found = next((name for name in CAPTION_COLUMNS if name in there), None)
        if found is not None:
            return found
    wanted = columns.caption or " or ".join(CAPTION_COLUMNS)
    return rows.column("caption_column", wanted, there, where)


def facts_of(columns: Columns, there: Sequence[str], where: str) -> dict[str, str]:
    """What a table says of its pictures: fact -> the column that holds it, if there is one."""
    found = {"captions": _caption_column(columns, there, where)}
    if columns.stream is not None:
        found["stream"] = rows.column("stream_column", columns.stream, there, where)
    return found | {LICENSE: LICENSE, SPLIT: SPLIT}


def captioned(
    image: bytes, row: dict[str, Any], about: dict[str, str], stream: str, source: str, name: str
) -> Captioned:
    """A picture file and what its row says of it; `about` names the columns.

    Raises:
        ValueError: the row is a bad one; the message says why.
    """
    said = {fact: row.get(column) for fact, column in about.items()}
    captions, split = _captions(said["captions"], about["captions"]), _split(said.get(SPLIT))
    if "stream" in about:
        stream = valid_text(said["stream"], about["stream"]).strip()
    license = said.get(LICENSE)
    stated = license.strip() if isinstance(license, str) else None
    return Captioned(image, captions, stream, source, name, stated or None, split)


def _split(value: Any) -> str | None:
    """The split that a picture is held back for; None if a hash decides.

    Raises:
        ValueError: the value is no split that is known: such a row may be one to keep away from.
    """
    if value is None or value == "":
        return None
    name = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(name, str) or name not in _SPLITS:
        raise ValueError(f"column {SPLIT!r} holds {value!r} and not train, validation or test")
    return _SPLITS[name]


def _image(value: Any, column: str, root: Path) -> bytes:
    if isinstance(value, dict):  # as Hugging Face `datasets` stores pictures
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value:
        return inside(root, value).read_bytes()
    raise ValueError(f"column {column!r} holds no picture")


def inside(root: Path, name: str) -> Path:
    """A file below the folder of the data: what the data name must not reach out of it.

    Links that lie in the folder are followed, as those of the Hugging Face cache must be: only a
    name could lead somewhere that the folder does not.

    Raises:
        ValueError: there is none; the message is a reason for a bad row.
    """
    full = root / name
    ways = ((_plain(root), _plain(full)), (root.resolve(), whereabouts(full)))
    found = [root / to.relative_to(base) for base, to in ways if to.is_relative_to(base)]
    if not found:
        raise ValueError(f"{name!r} lies outside of the data's folder")
    file = next(filter(Path.is_file, found), None)
    if file is None:
        raise ValueError(f"{name!r} does not exist")
    return file


def whereabouts(file: Path) -> Path:
    """One name for a file in a folder that several links lead to; two links to it are two files."""
    return file.parent.resolve() / file.name


def _plain(path: Path) -> Path:
    """An absolute path without "..", links in it left as they are."""
    return Path(os.path.normpath(path.absolute()))


def _captions(value: Any, column: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if isinstance(value, str) and value.lstrip().startswith("["):
        listed = members(value)
        several = [value] if listed is None else listed
    some = [v for v in several if v and not (isinstance(v, str) and v.isspace())] or several[:1]
    return cleaned([valid_text(v, column) for v in some])


def caption_lines(content: bytes, name: str) -> list[str]:
    """Captions of a text file, one on each line that is not blank.

    Raises:
        ValueError: there is none, or it is no text; the message is a reason for a bad row.
    """
    return [line for line in _LINE_END.split(valid_text(content, name)) if line.strip()]


def licensed(item: Captioned | Bad, license: Any) -> Captioned | Bad:
    """A picture that states no license has that of its file's card."""
    if isinstance(item, Bad) or item.license is not None or not isinstance(license, str):
        return item
    return item._replace(license=license)

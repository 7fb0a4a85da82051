"""Raw data to captioned pictures: tables, WebDataset archives, folders of picture files.

Pictures stay encoded here; `decoded` turns a stream of them into pixels, in several threads and in
order, a batch at a time.
"""

import gzip
import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from tgp_multimodal.data import images, rows
from tgp_multimodal.data.captions import cleaned
from tgp_multimodal.data.picture_rows import (
    CAPTION_COLUMNS,
    LICENSE,
    SPLIT,
    Captioned,
    Columns,
    caption_lines,
    captioned,
    facts_of,
    inside,
    licensed,
    table_pictures,
    whereabouts,
)
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.records import Pair, Picture
from tgp_multimodal.data.sources import (
    Source,
    count,
    find,
    licenses,
    parse,
    root_of,
    size,
    state_of,
    stated,
    stream_of,
    valid_text,
)

_TAR = (".tar", ".tar.gz", ".tgz")
_PICTURE_KINDS = "pictures (.jpg, .png, ...), archives (.tar) or tables (.parquet, .jsonl, .csv)"
_METADATA = ("metadata.jsonl", "metadata.csv")
_TAR_CAPTIONS = (".txt", ".caption", ".json")
_UNLINK = "tar --dereference --hard-dereference packs what it leads to"
_CHUNK = 256  # pictures that are decoded at once


def pictures(spec: str, columns: Columns | None = None) -> Source:
    """Captioned pictures of a table, a WebDataset archive or picture files, or a folder of such.

    A folder with picture files takes their captions from its `metadata.jsonl` or `metadata.csv`
    (with a column `file_name`), or else from `<name>.txt` beside each, or else the name of the
    folder that each lies in is its label. A column `license` of tables, metadata and the `.json` of
    archives is kept (a card beside the data stands for those without); one called `split` says
    which pictures are held back.

    Args:
        spec: `path` or `stream=path`.
        columns: those of tables.

    Raises:
        ValueError: there is nothing of that kind.
    """
    stream, place = parse(spec)
    chosen = columns or Columns()
    files = find(place, lambda p: _is_shard(p) or _is_picture(p), "pictures", _PICTURE_KINDS)
    stream = stream or stream_of(place)
    loose = [f for f in files if _is_picture(f)]
    root, of_cards = root_of(place, files), licenses(files)
    _check_mixture(place, root, files, loose)

    def read() -> Iterator[Captioned | Bad]:
        if loose:
            yield from _loose(root, loose, chosen, stream, of_cards)
            return
        for file in files:
            if file.name.lower().endswith(_TAR):
                found = _archive(file, chosen, stream)
            else:
                table = partial(rows.read, file, late=(LICENSE, SPLIT))
                found = table_pictures(table, str(file), file.parent, chosen, stream)
            yield from (licensed(item, of_cards.get(file)) for item in found)

    known = None if any(f.name.lower().endswith(_TAR) for f in files) else count(loose or files)
    license = stated(of_cards)
    beside = [root / name for name in _METADATA] + [f.with_suffix(".txt") for f in loose]
    state = state_of([*files, *filter(Path.is_file, beside)], json.dumps(chosen))
    return Source(place, stream, read, known, size(files), license, state=state)


def decoded(
    items: Iterable[Captioned | Pair | Bad], side: int, workers: int
) -> Iterator[Picture | Bad]:
    """The pictures as pixels, (Y, X, 3) of `side` rows and columns."""
    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        while chunk := list(islice(iterator, _CHUNK)):
            yield from pool.map(partial(_decoded, side=side), chunk)


def _decoded(item: Captioned | Pair | Bad, side: int) -> Picture | Bad:
    if isinstance(item, Bad):
        return item
    if isinstance(item, Pair):
        return item._replace(pixels_YXC=images.resized(item.pixels_YXC, side)).picture()
    try:
        pixels = images.decode(item.image, side)
    except ValueError as error:
        return Bad(item.source, item.row, str(error))
    name = f"{item.source}:{item.row}"
    key = hashlib.sha256(item.image).digest()
    return Picture(pixels, list(item.captions), item.stream, name, item.license, item.split, key)


def _check_mixture(place: str, root: Path, files: Sequence[Path], loose: Sequence[Path]) -> None:
    """Refuses a folder of which a part would be passed over."""
    if loose and len(loose) < len(files):
        table = next(f for f in files if not _is_picture(f))
        raise ValueError(
            f"a source must be tables and archives, or picture files, and not both (name the "
            f"table). Got {table.name} beside {_name(loose[0], root)} in {place} instead."
        )
    below = sorted({f.parent for f in loose} - {root})
    if found := [d / name for d in below for name in _METADATA if (d / name).is_file()]:
        raise ValueError(
            f"{found[0].name} must lie in the folder that is named (name each such folder as a "
            f"source). Got {_name(found[0], root)} in {place} instead."
        )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES


def _is_shard(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(_TAR) or (rows.is_table(path) and name not in _METADATA)


def _loose(
    root: Path, files: Sequence[Path], columns: Columns, stream: str, of_cards: Mapping[Path, Any]
) -> Iterator[Captioned | Bad]:
    metadata = next((root / name for name in _METADATA if (root / name).is_file()), None)
    if metadata is not None:
        yield from _listed(root, files, metadata, columns, stream, of_cards)
        return
    if columns.stream is not None:
        there = f"{columns.stream!r} for {root}, which has no metadata,"
        raise ValueError(f"stream_column must be a column of a table. Got {there} instead.")
    with_text = any(f.with_suffix(".txt").is_file() for f in files)
    for file in files:
        try:
            captions = cleaned(_beside(file) if with_text else [_label(file, root)])
            found = Captioned(file.read_bytes(), captions, stream, str(root), _name(file, root))
            yield licensed(found, of_cards[file])
        except (ValueError, OSError) as error:
            yield Bad(str(root), _name(file, root), str(error))


def _listed(
    root: Path,
    files: Sequence[Path],
    metadata: Path,
    columns: Columns,
    stream: str,
    of_cards: Mapping[Path, Any],
) -> Iterator[Captioned | Bad]:
    """Pictures in the order of the metadata; those it does not name are bad rows."""
    left = {whereabouts(f): f for f in files}
    asked, license_of = frozenset(left), {whereabouts(f): of_cards[f] for f in files}
    about: dict[str, str] = {}

    def choose(there: Sequence[str]) -> list[str]:
        file = rows.column("file_name", "file_name", there, metadata)
        about.update(facts_of(columns, there, str(metadata)))
        return [name for name in dict.fromkeys([file, *about.values()]) if name in there]

    for row in rows.read(metadata, choose, late=(LICENSE, SPLIT)):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            path = inside(root, valid_text(row[1]["file_name"], "file_name"))
            key = whereabouts(path)
            if key not in asked and _is_picture(path):
                continue  # a pattern left it out
            left.pop(key, None)
            name = _name(path, root)
            item = captioned(path.read_bytes(), row[1], about, stream, str(root), name)
            yield licensed(item, license_of.get(key))
        except (ValueError, OSError) as error:
            yield Bad(str(metadata), row[0], str(error))
    for file in left.values():
        yield Bad(str(root), _name(file, root), f"{metadata.name} does not name it")


def _beside(file: Path) -> list[str]:
    text = file.with_suffix(".txt")
    if not text.is_file():
        raise ValueError(f"no caption ({text.name} does not exist)")
    return caption_lines(text.read_bytes(), text.name)


def _label(file: Path, root: Path) -> str:
    if file.parent == root:
        raise ValueError(f"no caption (no {file.stem}.txt, no folder that names it, no metadata)")
    return file.parent.name.replace("_", " ").replace("-", " ")


def _name(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else file.name


class _Header(tarfile.TarInfo):
    """A header that, where it is no whole one, is an error, and not the end or passed over."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"a broken header ({error})") from None
            raise  # zeros: an end, behind which another archive may have been put


class _Member(NamedTuple):
    """A file of an archive.

    Attributes:
        archive: which of the archives that were put one behind the other.
        key: its name up to the first dot.
        suffix: the rest of its name.
        content: its bytes.
        link: why there are none.
    """

    archive: int
    key: str
    suffix: str
    content: bytes
    link: str = ""


def _archive(file: Path, columns: Columns, stream: str) -> Iterator[Captioned | Bad]:
    """WebDataset: neighbours that share a name up to the first dot are one row."""
    for (_, key), found in groupby(_members(file), lambda member: member[:2]):
        members = list(found)
        if link := next((m.link for m in members if m.link), None):
            yield Bad(str(file), key, link)
        else:
            parts = {m.suffix: m.content for m in members}
            yield _sample(file, key, parts, columns, stream)


def _members(file: Path) -> Iterator[_Member]:
    """Files in an archive and in those behind it, and links that stand for a part of a row.

    Raises:
        ValueError: it is damaged, cut short or of another kind.
    """
    archive = end = 0
    try:
        with (
            _unzipped(file) as raw,
            tarfile.open(fileobj=raw, mode="r|*", tarinfo=_Header, ignore_zeros=True) as tar,
        ):
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or else it keeps every one
                archive, end = archive + (member.offset > end), tar.offset
                key, suffix = _key(member.name)
                if Path(member.name).name.startswith("."):
                    continue
                if member.isfile():
                    content = tar.extractfile(member)
                    yield _Member(archive, key, suffix, content.read() if content else b"")
                elif member.linkname and suffix in (*images.SUFFIXES, *_TAR_CAPTIONS):
                    link = f"its {suffix} is a link to {member.linkname!r}"
                    yield _Member(archive, key, suffix, b"", f"{link} ({_UNLINK})")
            # A cut between headers looks like the end to `tarfile`, but for the zeros.
            if tar.offset - end < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end of the archive")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} must be a whole tar archive. Got {error} instead.") from error


def _unzipped(file: Path) -> IO[bytes]:
    """What an archive holds; `tarfile` would read the first of several parts of gzip only."""
    with file.open("rb") as raw:
        is_zipped = raw.read(2) == b"\x1f\x8b"
    return gzip.open(file) if is_zipped else file.open("rb")  # type: ignore[return-value]


def _key(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


def _sample(
    file: Path, key: str, parts: dict[str, bytes], columns: Columns, stream: str
) -> Captioned | Bad:
    image = next((data for suffix, data in parts.items() if suffix in images.SUFFIXES), None)
    caption = next((suffix for suffix in _TAR_CAPTIONS if suffix in parts), None)
    try:
        if image is None:
            raise ValueError("no picture")
        if caption is None:
            raise ValueError(f"no caption ({', '.join(_TAR_CAPTIONS)})")
        read = json.loads(parts[".json"]) if ".json" in parts else {}
        row = read if isinstance(read, dict) else {}
        if columns.caption is not None:
            if columns.caption not in row:
                raise ValueError(f"no {columns.caption!r} in its .json")
            caption = columns.caption
        elif caption != ".json":
            row = {**row, caption: caption_lines(parts[caption], caption)}
        elif not (caption := next((name for name in CAPTION_COLUMNS if name in row), "")):
            raise ValueError(f"no {' or '.join(CAPTION_COLUMNS)} in its .json")
        about = {"captions": caption, LICENSE: LICENSE, SPLIT: SPLIT}
        if columns.stream is not None:
            about["stream"] = columns.stream
        return captioned(image, row, about, stream, str(file), key)
    except (ValueError, RecursionError) as error:
        return Bad(str(file), key, str(error))

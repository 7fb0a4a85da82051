"""A saved index of passages of text files: a file is embedded again only when it has changed.

    <folder>/index.json              digest of the model, lines of a passage, files and passages
    <folder>/vectors-<digest>.npy    float32 (N, D), of all passages in the order of index.json

`index.json` is written last and names its vectors: a kill leaves the older index or the newer one.

Shape letters: N passages, D width.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMAT = 2
_ENDS = re.compile(r"\r\n|\r|\n")  # of lines, as editors count them
_INDEX = "index.json"

Embedder = Callable[[list[str]], np.ndarray]


class Passage(NamedTuple):
    """Some lines of a file.

    Attributes:
        file: as it was named.
        line: number of the first line, from 1.
        text: what stands there.
    """

    file: Path
    line: int
    text: str


class Found(NamedTuple):
    """All passages, and their vectors (N, D)."""

    passages: list[Passage]
    vector_ND: np.ndarray


def passages(file: Path, lines: int) -> Iterator[Passage]:
    """The passages of a file; nothing where it is no UTF-8 text.

    Args:
        file: what to read.
        lines: lines of a passage.
    """
    yield from _passages(file, file.read_bytes(), lines)


def _passages(file: Path, raw: bytes, lines: int) -> Iterator[Passage]:
    try:
        rows = _ENDS.split(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return
    for start in range(0, len(rows), lines):
        text = "\n".join(rows[start : start + lines]).strip()
        if text and "\0" not in text:
            yield Passage(file, start + 1, text)


def update(folder: Path, files: Sequence[Path], lines: int, model: str, embed: Embedder) -> Found:
    """Brings the index of a folder to what the files hold now, and returns it.

    A file whose size and time are as they were is not read; one whose digest is as it was is not
    embedded. Files that are not named any more are forgotten.

    Args:
        folder: where the index lies, or is to lie.
        files: what it shall hold.
        lines: lines of a passage.
        model: digest of the weights that embed.
        embed: texts -> their vectors (N, D).

    Raises:
        ValueError: the folder holds something else, an index of another model or of passages of
            another length, or one that is damaged.
    """
    known, vector_ND = _opened(folder, lines, model)
    kept: dict[str, dict[str, Any]] = {}
    places: list[np.ndarray | None] = []  # rows of the old vectors; None where there are none
    new: list[str] = []
    for file in files:
        name = str(file.resolve())
        if name in kept:
            continue
        old = known.get(name)
        kept[name] = now = _entry(file, old, lines)
        is_same = old is not None and now["sha256"] == old["sha256"]
        places.append(vector_ND[slice(*old["rows"])] if old is not None and is_same else None)
        new += [] if is_same else [text for _, text in now["passages"]]
    fresh_ND = embed(new) if new else vector_ND[:0]
    vector_ND = _joined(places, [len(entry["passages"]) for entry in kept.values()], fresh_ND)
    start = 0
    for entry in kept.values():
        entry["rows"] = [start, start := start + len(entry["passages"])]
    if kept != known and (known or len(vector_ND)):  # an index of nothing has no width
        _write(folder, {"format": FORMAT, "model": model, "lines": lines, "files": kept}, vector_ND)
    named = {str(file.resolve()): file for file in files}
    found = [
        Passage(named[name], line, text)
        for name, entry in kept.items()
        for line, text in entry["passages"]
    ]
    return Found(found, vector_ND)


def _entry(file: Path, old: dict[str, Any] | None, lines: int) -> dict[str, Any]:
    state = file.stat()
    seen = {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
    if old is not None and seen.items() <= old.items():
        return dict(old)
    raw = file.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if old is not None and digest == old["sha256"]:
        return old | seen
    told = [[p.line, p.text] for p in _passages(file, raw, lines)]
    return seen | {"sha256": digest, "passages": told}


def _joined(
    places: Sequence[np.ndarray | None], counts: Sequence[int], fresh_ND: np.ndarray
) -> np.ndarray:
    """Vectors of all files in order: old ones where there are, and the next fresh ones."""
    parts, start = [], 0
    for old, count in zip(places, counts, strict=True):
        if old is None:
            parts.append(fresh_ND[start : start + count])
            start += count
        else:
            parts.append(old)
    # Of nothing there are no vectors, and none that say how wide they are.
    return np.concatenate([part for part in parts if len(part)] or [fresh_ND[:0]])


def _opened(folder: Path, lines: int, model: str) -> tuple[dict[str, Any], np.ndarray]:
    """Files of an index, and its vectors; none of both where there is no index yet."""
    path = folder / _INDEX
    if not path.is_file():
        if folder.exists() and not (folder.is_dir() and all(map(_is_left, folder.iterdir()))):
            raise ValueError(f"index must be a folder of its own. Got {folder} instead.")
        return {}, np.zeros((0, 0), dtype=np.float32)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        there = {name: found[name] for name in ("format", "model", "lines")}
        vector_ND = np.load(folder / found["vectors"], allow_pickle=False)
        count = sum(len(entry["passages"]) for entry in found["files"].values())
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise ValueError(
            f"index must be a whole one (remove {folder} to make it anew). Got {error!r} instead."
        ) from error
    for name, now in (("format", FORMAT), ("model", model), ("lines", lines)):
        if there[name] != now:
            raise ValueError(
                f"index must be of {name} {now} (remove {folder}, or name another). "
                f"Got one of {there[name]} instead."
            )
    if len(vector_ND) != count:
        raise ValueError(
            f"index must hold {count} vectors (remove {folder} to make it anew). "
            f"Got {len(vector_ND)} instead."
        )
    return found["files"], vector_ND


def _is_left(path: Path) -> bool:
    """Whether a file is what a first write that was killed leaves."""
    return path.name == f"{_INDEX}.partial" or path.match("vectors-*.npy*")


def _write(folder: Path, content: dict[str, Any], vector_ND: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"vectors-{hashlib.sha256(vector_ND.tobytes()).hexdigest()[:16]}.npy"
    # The index that stands may name a file of this very name: it is whole at any moment.
    with (folder / f"{name}.partial").open("wb") as file:
        np.save(file, vector_ND)
    (folder / f"{name}.partial").replace(folder / name)
    partial = folder / f"{_INDEX}.partial"
    partial.write_text(json.dumps(content | {"vectors": name}), encoding="utf-8")
    partial.replace(folder / _INDEX)
    for path in folder.glob("vectors-*.npy*"):
        if path.name != name:
            path.unlink()

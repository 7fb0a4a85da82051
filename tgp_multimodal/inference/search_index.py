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
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMAT = 3
_ENDS = re.compile(r"\r\n|\r|\n")  # of lines, as editors count them
_INDEX = "index.json"

_GROUP = 512  # passages that are embedded at once

Embedder = Callable[[list[str]], np.ndarray]
Progress = Callable[[int, int], None]


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


class SearchIndex(NamedTuple):
    """All passages, and their vectors (N, D)."""

    passages: list[Passage]
    vector_ND: np.ndarray


def passages(file: Path, lines: int) -> Iterator[Passage]:
    """The passages of a file; nothing where it is no UTF-8 text.

    Args:
        file: what to read.
        lines: lines of a passage. Fewer than half of that at the end of a file belong to the
            passage before: a line or two resemble whatever is short.
    """
    yield from _passages(file, file.read_bytes(), lines)


def _passages(file: Path, raw: bytes, lines: int) -> Iterator[Passage]:
    try:
        rows = _ENDS.split(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return
    starts = list(range(0, len(rows), lines))
    if len(starts) > 1 and 2 * (len(rows) - starts[-1]) < lines:
        starts.pop()
    for start, end in pairwise([*starts, len(rows)]):
        text = "\n".join(rows[start:end]).strip()
        if text and "\0" not in text:
            yield Passage(file, start + 1, text)


def embed_in_groups(texts: Sequence[str], embed: Embedder, progress: Progress) -> np.ndarray:
    """Vectors of texts, (N, D), some hundred at a time.

    Args:
        texts: at least one.
        embed: texts -> their vectors.
        progress: is told how many are done, and of how many.
    """
    parts = []
    for start in range(0, len(texts), _GROUP):
        progress(start, len(texts))
        parts.append(embed(list(texts[start : start + _GROUP])))
    return np.concatenate(parts)


def update(
    folder: Path,
    files: Sequence[Path],
    lines: int,
    model: str,
    embed: Embedder,
    progress: Progress = lambda done, total: None,
) -> SearchIndex:
    """Brings the index of a folder to what the files hold now; returns what it holds of them.

    A file whose size and time are as they were is not read; one whose digest is as it was is not
    embedded. Files that are not named stay in the index as long as they exist. What was embedded
    before an interruption is kept.

    Args:
        folder: where the index lies, or is to lie.
        files: what to look in.
        lines: lines of a passage.
        model: digest of the weights that embed.
        embed: texts -> their vectors (N, D).
        progress: is told how many new passages are embedded, and of how many.

    Raises:
        ValueError: the folder holds something else, an index of another model or of passages of
            another length, or one that is damaged.
    """
    known, vector_ND = _opened(folder, lines, model)
    named = {str(file.resolve()): file for file in files}
    entries = {name: entry for name, entry in known.items() if _exists(name)}
    vectors = {name: vector_ND[slice(*entry["rows"])] for name, entry in entries.items()}
    new: list[str] = []
    for name, file in named.items():
        old = entries.get(name)
        entries[name] = _entry(file, old, lines)
        if old is None or entries[name]["sha256"] != old["sha256"]:
            vectors.pop(name, None)
            new.append(name)
    about = {"format": FORMAT, "model": model, "lines": lines}
    try:
        _embed_files(new, entries, vectors, embed, progress)
    finally:  # of an interrupted call, the files that are done
        whole = {name: entry for name, entry in entries.items() if name in vectors}
        _store(folder, about, whole, vectors, known)
    found = [
        Passage(file, line, text)
        for name, file in named.items()
        for line, text in entries[name]["passages"]
    ]
    return SearchIndex(found, _stacked([vectors[name] for name in named]))


def _exists(name: str) -> bool:
    """Whether a file is there, or may be: in a folder that may not be entered."""
    try:
        return Path(name).is_file()
    except PermissionError:
        return True


def _embed_files(
    names: Sequence[str],
    entries: dict[str, dict[str, Any]],
    vectors: dict[str, np.ndarray],
    embed: Embedder,
    progress: Progress,
) -> None:
    """Adds the vectors of these files, as many files at a time as make a group of passages."""
    total = sum(len(entries[name]["passages"]) for name in names)
    done = 0
    for group in _groups(names, entries):
        texts = [text for name in group for _, text in entries[name]["passages"]]
        progress(done, total)
        vector_ND = embed(texts) if texts else np.zeros((0, 0), dtype=np.float32)
        ends = np.cumsum([len(entries[name]["passages"]) for name in group])
        vectors.update(zip(group, np.split(vector_ND, ends[:-1]), strict=True))
        done += len(texts)


def _groups(names: Sequence[str], entries: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Files in groups that hold some hundred passages together."""
    group: list[str] = []
    count = 0
    for name in names:
        group.append(name)
        count += len(entries[name]["passages"])
        if count >= _GROUP:
            yield group
            group, count = [], 0
    if group:
        yield group


def _store(
    folder: Path,
    about: dict[str, Any],
    entries: dict[str, dict[str, Any]],
    vectors: dict[str, np.ndarray],
    known: dict[str, Any],
) -> None:
    """Writes the index unless it stands there as it is."""
    start = 0
    placed = {}
    for name, entry in entries.items():
        end = start + len(entry["passages"])
        placed[name] = entry | {"rows": [start, end]}
        start = end
    if placed != known and (known or start):  # an index of nothing has no width
        _write(folder, about | {"files": placed}, _stacked([vectors[name] for name in placed]))


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Vectors of all parts; of nothing there are none, and none that say how wide they are."""
    return np.concatenate([part for part in parts if len(part)] or [np.zeros((0, 0), np.float32)])


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
            f"index must be a whole one (remove {folder} to make it anew). Got a damaged one"
            f" ({error}) instead."
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

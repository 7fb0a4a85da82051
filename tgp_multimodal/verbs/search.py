"""`tgp search`: ranks passages of files by meaning, by words, or by both."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

_LARGEST = 1_000_000  # bytes; a larger file is data, not text to read


def search(
    folder: str,
    query: str,
    path: list[str] | None = None,
    pattern: str = "*",
    lines: int = 12,
    k: int = 5,
    by: Literal["meaning", "words", "both"] = "meaning",
    index: str | None = None,
) -> None:
    """Rank passages of text files.

    Files are cut into passages of a few lines; each is turned into a vector and compared with the
    query's. Of a folder, hidden files and those above a megabyte are left out; files that are not
    UTF-8 are never read. With --index the vectors are kept: the next search reads only the files
    that changed.

    Args:
        folder: export folder of the model.
        query: what to look for.
        path: files or folders to look in; left out: this folder.
        pattern: which files of a folder to read, for example *.py.
        lines: lines of a passage.
        k: how many passages to show.
        by: meaning compares vectors (cosine), words counts them (BM25), both joins the two
            rankings by the reciprocals of their ranks.
        index: folder of a saved index, of this model and these files; made where there is none.

    Examples:
        tgp search runs/nano/export "read a file line by line" --path src --pattern "*.py"
        tgp search runs/nano/export "left join" --path notes.md --k 3 --by words
        tgp search runs/nano/export "who pays for shipping" --path mail --by both --index mail.index
    """
    import tgp_multimodal
    from tgp_multimodal.inference import ranking, search_index

    for name, value in (("lines", lines), ("k", k)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    own = None if index is None else Path(index)
    files = _files([Path(p) for p in path or ["."]], pattern, own)
    passages, vectors = [], None
    if own is None:
        passages = [p for file in files for p in search_index.passages(file, lines)]
    nothing = ValueError(
        f"path must hold text files that match {pattern}. Got {', '.join(path or ['.'])} instead."
    )
    if not (files if own else passages):
        raise nothing  # before the model is loaded
    model = tgp_multimodal.load(folder)
    if own is not None:
        passages, vectors = search_index.update(own, files, lines, model.digest, model.embed)
        if not passages:
            raise nothing
    texts = [passage.text for passage in passages]
    scores = [_by_words(query, texts)] if by != "meaning" else []
    if by != "words":
        vectors = model.embed(texts) if vectors is None else vectors
        scores.append(ranking.cosines(model.embed([query])[0], vectors))
    total = scores[0] if len(scores) == 1 else ranking.fused(scores)
    # Where no word of the query stands, a passage has no score.
    best = [number for number in ranking.best(total, k) if total[number] != float("-inf")]
    if not best:
        print("no passage holds a word of the query", file=sys.stderr)
    for number in best:
        file, line, text = passages[number]
        print(f"{total[number]:6.3f}  {file}:{line}  {' '.join(text.split())[:100]}")


def _by_words(query: str, texts: list[str]) -> Any:
    """Score of each text by BM25; minus infinity where it has no word of the query."""
    import re

    import numpy as np

    from tgp_multimodal.data.bm25 import WORDS, WordWeights

    if not any(re.search(WORDS, text) for text in texts):
        return np.full(len(texts), -np.inf)
    score_N = WordWeights(texts).scores(query)
    return np.where(score_N > 0, score_N, -np.inf)


def _tell_large(files: list[Path]) -> None:
    """Says which files of folders were not looked in."""
    if files:
        count = "a file" if len(files) == 1 else f"{len(files):,} files"
        print(
            f"note: {count} above a megabyte left out, as {files[0]}; name one to search it",
            file=sys.stderr,
        )


def _files(paths: list[Path], pattern: str, index: Path | None) -> list[Path]:
    """The files to search; says which of a folder are too large for it."""
    found: list[Path] = []
    large: list[Path] = []
    for path in paths:
        for file in _all(path, pattern, index):
            is_large = file != path and file.stat().st_size > _LARGEST
            (large if is_large else found).append(file)
    _tell_large(large)
    return found


def _all(path: Path, pattern: str, index: Path | None) -> Iterator[Path]:
    if Path(pattern).is_absolute():
        raise ValueError(f"pattern must be relative to the folders of path. Got {pattern} instead.")
    own = None if index is None else index.resolve()
    if path.is_file():
        yield path
    elif path.is_dir():
        for inner in sorted(path.rglob(pattern)):
            hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
            if inner.is_file() and not hidden and inner.resolve().parent != own:
                yield inner
    else:
        raise FileNotFoundError(f"path must be a file or a folder. Got {path} instead.")

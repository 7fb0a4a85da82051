"""`tgp search`: ranks passages of files by meaning, by words, or by both."""

import codecs
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tgp_multimodal.user_text import decoded

_LOOK = 1 << 16  # bytes that say whether a file is text
_LARGEST = 1_000_000  # bytes; a larger file is data, not text to read


def search(
    folder: str,
    query: str,
    path: list[str] | None = None,
    pattern: str = "*",
    lines: int = 12,
    k: int = 5,
    by: Literal["meaning", "words", "both"] = "both",
    index: str | None = None,
) -> None:
    """Rank passages of text files.

    Files are split into passages of a few lines; each is embedded and compared with the query. In
    a folder, hidden files, those above a megabyte and those that are not UTF-8 text are skipped;
    all but hidden and binary ones are told of.
    With --index the embeddings are saved: the next search embeds only the files that changed, and
    Ctrl-C keeps what is done.

    Args:
        folder: export folder of the model.
        query: what to look for.
        path: files or folders to look in; left out: this folder.
        pattern: which files of a folder to read, for example *.py.
        lines: lines per passage, up to half as many more at the end of a file; a passage longer
            than the model's context is truncated.
        k: how many passages to show.
        by: meaning ranks by cosine similarity of embeddings; words by BM25, without the model; both
            adds the two, each in standard deviations from its mean over the passages, so that
            scores around 0 are average.
        index: folder of a saved index of this model; created if there is none.

    Examples:
        tgp search runs/nano/export "read a file line by line" --path src --pattern "*.py"
        tgp search runs/nano/export "left join" --path notes.md --k 3 --by words
        tgp search runs/nano/export "who pays for shipping" --path mail --index mail.index
    """
    from tgp_multimodal.inference import ranking

    if not query.strip():
        raise ValueError(f"query must be a text with something in it. Got {query!r} instead.")
    for name, value in (("lines", lines), ("k", k)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    if by == "words" and index is not None:
        raise ValueError(f"index must be left out by words. Got {index} instead.")
    places = [Path(p) for p in path or ["."]]
    files = _files(places, pattern, None if index is None else Path(index))
    passages, cosine_N = _compared(folder, query, files, lines, by, index)
    if not passages:
        raise ValueError(
            f"path must hold text files that match {pattern}. "
            f"Got {', '.join(map(str, places))} instead."
        )
    scores = [] if cosine_N is None else [cosine_N]
    if by != "meaning":
        scores.append(_by_words(query, [passage.text for passage in passages]))
    total = scores[0] if len(scores) == 1 else ranking.sum_of_standard_scores(scores)
    # Where no word of the query stands, a passage has no score.
    best = [number for number in ranking.best(total, k) if total[number] != float("-inf")]
    if not best:
        print("no passage holds a word of the query", file=sys.stderr)
    for number in best:
        file, line, text = passages[number]
        # Names of files may hold bytes that are no text.
        name = os.fsencode(file).decode("utf-8", "backslashreplace")
        name = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
        print(f"{total[number]:6.3f}  {name}:{line}  {' '.join(text.split())[:100]}")


def _compared(
    folder: str, query: str, files: list[Path], lines: int, by: str, index: str | None
) -> tuple[list[Any], Any]:
    """The passages, and the cosine similarity of each to the query; None with BM25 alone."""
    import tgp_multimodal
    from tgp_multimodal.consoles import live_status
    from tgp_multimodal.inference import ranking, search_index

    if by == "words" or index is None:
        passages = [p for file in files for p in search_index.passages(file, lines)]
        if by == "words" or not passages:
            return passages, None
    elif not files:
        return [], None
    model = tgp_multimodal.load(folder)
    with live_status("embedding") as show:

        def progress(done: int, total: int) -> None:
            show(f"embedding passages: {done:,} of {total:,}")

        if index is None:
            texts = [passage.text for passage in passages]
            vectors = search_index.embed_in_groups(texts, model.embed, progress)
        else:
            passages, vectors = search_index.update(
                Path(index), files, lines, model.digest, model.embed, progress
            )
    if not passages:
        return [], None
    return passages, ranking.cosines(model.embed([query])[0], vectors)


def _by_words(query: str, texts: list[str]) -> Any:
    """Score of each text by BM25; minus infinity where it has no word of the query."""
    import re
    import unicodedata

    import numpy as np

    from tgp_multimodal.data.bm25 import Bm25Weights, any_words

    # A letter with its accent may be one character or two.
    query, *texts = (unicodedata.normalize("NFC", text) for text in (query, *texts))
    if not any(re.search(any_words(), text) for text in texts):
        return np.full(len(texts), -np.inf)
    score_N = Bm25Weights(texts, any_words()).scores(query)
    return np.where(score_N > 0, score_N, -np.inf)


def _tell_left_out(why: str, files: list[Path]) -> None:
    """Says which files of folders were not looked in."""
    if files:
        count = "a file" if len(files) == 1 else f"{len(files):,} files"
        print(f"note: {count} {why} left out, as {files[0]}", file=sys.stderr)


def _files(paths: list[Path], pattern: str, index: Path | None) -> list[Path]:
    """The files to search, each once; says which of a folder are left out."""
    found: dict[Path, Path] = {}
    large, closed, foreign = list[Path](), list[Path](), list[Path]()
    for path in paths:
        for file in _all(path, pattern, index):
            if file == path:
                decoded(file.read_bytes(), str(file))
            elif not os.access(file, os.R_OK):
                closed.append(file)
                continue
            elif file.stat().st_size > _LARGEST:
                large.append(file)
                continue
            elif _is_foreign(file):
                foreign.append(file)
                continue
            found.setdefault(file.resolve(), file)
    _tell_left_out("above a megabyte (name one to search it)", large)
    _tell_left_out("that may not be read", closed)
    _tell_left_out("whose text is not UTF-8", foreign)
    return list(found.values())


def _is_foreign(file: Path) -> bool:
    """Whether a file begins as text of another encoding; one with a zero byte is no text at all."""
    with file.open("rb") as stream:
        start = stream.read(_LOOK)
    try:
        is_whole = len(start) < _LOOK  # else it may end within a character
        codecs.getincrementaldecoder("utf-8")().decode(start, is_whole)
    except UnicodeDecodeError:
        return b"\0" not in start
    return False


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

"""The 13-grams of the training text, and how many of a test item's are among them.

An index is one file, `ngrams.npy` in the folder of prepared text: the hashes (`ngrams.py`) of all
runs of 13 lowercased words of the documents of training, uint64, sorted, each once. Thirteen words
in a row are not met by chance (Brown et al. 2020, appendix C). A text of fewer words is one gram:
it is found if a document of training is that text and no more, and not inside a longer one.

An index of runs of another length can be made of a prepared folder afterwards (`index_of`).

Shape letters: G grams of one text, N texts.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.arrays import ArrayFile, open_array
from tgp_multimodal.data.journal import Journal
from tgp_multimodal.data.ngrams import ngrams, words
from tgp_multimodal.data.prepared import manifest, open_text

FILE = "ngrams.npy"
SIZE = 13  # words

_ROOM = 1 << 23  # grams that are held at once, 64 MB; sorting and merging take about as much again


class IndexWriter:
    """Gathers the grams of documents in sorted runs on disk and merges them.

    Args:
        runs: folder for the runs, which the caller removes; those that lie there are of an earlier
            try to index the same documents and are not made again.
        size: words of a gram.
    """

    def __init__(self, runs: Path, size: int = SIZE) -> None:
        runs.mkdir(parents=True, exist_ok=True)
        self.folder, self.size = runs, size
        self.runs: list[Path] = []
        while (path := self._run()).is_file():
            self.runs.append(path)
        self.grams, self.filled = np.empty(_ROOM, dtype=np.uint64), 0
        self.old = len(self.runs) * len(self.grams)  # grams that lie in old runs, with copies
        self.journal = Journal(runs / "counts")  # grams of each document

    def add(self, text: str) -> None:
        """Takes in one document."""
        known = self.journal.take(1)
        if known is not None and known[0] <= self.old:
            self.old -= int(known[0])
            return
        gram_G = ngrams(words(text), self.size)
        if known is None:
            self.journal.add(np.array([len(gram_G)]))
        gram_G, self.old = gram_G[self.old :], max(0, self.old - len(gram_G))
        while len(gram_G):
            some = gram_G[: len(self.grams) - self.filled]
            self.grams[self.filled : self.filled + len(some)] = some
            self.filled += len(some)
            gram_G = gram_G[len(some) :]
            if self.filled == len(self.grams):
                self._spill(self._run())

    def finish(self, path: Path) -> dict[str, Any]:
        """Writes the index and returns what a manifest says of it."""
        self._spill(self.folder / "last.npy")
        self.close()
        room, file = len(self.grams), ArrayFile(path, np.uint64)
        total = sum(len(np.load(run, mmap_mode="r")) for run in self.runs)
        # Hashes are spread evenly, so ranges of equal width hold about as many each.
        parts = max(1, -(-total // room))
        edges = np.array([i * 2**64 // parts for i in range(1, parts)], dtype=np.uint64)
        cuts = [_cuts(np.load(run, mmap_mode="r"), edges) for run in self.runs]
        for part in range(parts):
            # Opened anew for each part: a hundred gigabytes of text have more runs than files
            # may be open.
            opened = (np.load(run, mmap_mode="r") for run in self.runs)
            pieces = [run[cut[part] : cut[part + 1]] for run, cut in zip(opened, cuts, strict=True)]
            file.append(_sorted_once(np.concatenate(pieces)))
        file.close()
        return {"file": path.name, "words": self.size, "count": file.rows}

    def close(self) -> None:
        """Closes what is open; may be repeated."""
        self.journal.close()

    def _run(self) -> Path:
        return self.folder / f"{len(self.runs)}.npy"

    def _spill(self, path: Path) -> None:
        partial = self.folder / "partial.npy"
        np.save(partial, _sorted_once(self.grams[: self.filled]))
        partial.replace(path)  # a run is whole or not there
        self.runs.append(path)
        self.filled = 0


def open_index(folder: Path) -> np.ndarray:
    """Memory-maps the index of a folder of prepared text, uint64, sorted.

    Raises:
        ValueError: the folder was not prepared, or without an index, or its file is not whole.
    """
    found = manifest(folder).get("ngrams")
    if not found:
        wanted = f"{folder} must hold an index of {SIZE}-grams (tgp prepare --ngrams)"
        raise ValueError(f"{wanted}. Got one without instead.")
    if found["words"] != SIZE:
        raise ValueError(f"the index must be of {SIZE}-grams. Got {found['words']} instead.")
    return open_array(folder / found["file"], found["count"], "r")


def index_of(folder: Path, size: int, cache: Path) -> np.ndarray:
    """The grams of the training text of a prepared folder, uint64, sorted.

    Those of 13 words lie in the folder, if it was prepared with them; all others are gathered from
    its tokens once and kept as `<cache>/<digest of the text>.<size>.npy`.

    Args:
        folder: what `tgp prepare` wrote.
        size: words of a gram.
        cache: folder for what is gathered.

    Raises:
        ValueError: the folder holds no prepared text.
    """
    found = manifest(folder / "text")
    if size == SIZE and found.get("ngrams"):
        return open_index(folder / "text")
    path = cache / f"{found['digest']}.{size}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer = tokenizers.load(folder / "tokenizer")
        text = open_text(folder / "text", "train")
        with TemporaryDirectory(dir=cache) as runs:
            writer = IndexWriter(Path(runs), size)
            for start, end in zip(
                text.offsets[:-1].tolist(), text.offsets[1:].tolist(), strict=True
            ):
                writer.add(tokenizer.decode(text.tokens[start:end].tolist()))
            partial = Path(runs) / "whole.npy"
            writer.finish(partial)
            partial.replace(path)
    return np.load(path, mmap_mode="r")


def shares(texts: Sequence[str], index: np.ndarray, size: int = SIZE) -> np.ndarray:
    """For each text, the share of its grams of `size` words that are in the index, (N,), float64.

    A text of fewer words counts as one gram, so its share is 0 or 1; one without words has a share
    of 0.
    """
    found_N = np.zeros(len(texts))
    for i, text in enumerate(texts):
        gram_G = np.sort(ngrams(words(text), size))  # neighbours are on the same page of the file
        if len(gram_G) and len(index):
            place_G = np.minimum(np.searchsorted(index, gram_G), len(index) - 1)
            found_N[i] = np.mean(index[place_G] == gram_G)
    return found_N


def _sorted_once(grams: np.ndarray) -> np.ndarray:
    """Sorts in place and drops duplicates.

    `np.unique` of NumPy 2.4 puts integers into a hash table first, which takes ten times as long.
    """
    grams.sort()
    is_first = np.ones(len(grams), dtype=bool)
    np.not_equal(grams[1:], grams[:-1], out=is_first[1:])
    return grams[is_first]


def _cuts(run: np.ndarray, edges: np.ndarray) -> list[int]:
    return [0, *np.searchsorted(run, edges).tolist(), len(run)]

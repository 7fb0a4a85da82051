"""Documents packed into rows of one length: row i is a pure function of (seed, i).

That is what makes the stream resumable, shardable and independent of worker processes: its whole
state is one integer.

Shape letters: L length of a row in tokens.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tgp_multimodal.data.prepared import TextSplit, TooLittleError
from tgp_multimodal.data.tokenizer import Tokenizer

_SHORTEST_INFILL = 24  # tokens; a shorter piece has nothing to leave out


class Row(NamedTuple):
    """One packed row.

    Attributes:
        token_L: ids; every document is `[BOS] ids [EOS]`.
        position_L: positions; they restart at 0 at every BOS and at the start of the row.
        is_infill: whether it was rearranged to prefix, suffix, middle.
        number: its number in the stream.
    """

    token_L: np.ndarray
    position_L: np.ndarray
    is_infill: bool
    number: int


def hash_unit(seed: int, *counters: int) -> float:
    """A number in [0, 1), a hash of seed and counters (SplitMix64, Steele et al. 2014)."""
    state = seed & 0xFFFFFFFFFFFFFFFF
    for counter in counters:
        state = (state ^ (counter & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return min(state / 2**64, 1 - 2**-53)  # the largest states would be rounded up to 1


class PackedRows:
    """The endless rows of one stream of documents: shuffled anew each epoch, concatenated, cut.

    Args:
        split: tokenized documents.
        stream: name of the stream in `split.streams` whose documents are taken.
        length: tokens in a row, L.
        tokenizer: gives the ids of the special tokens.
        seed: decides the order and the infilling.
        infill: share of rows that are rearranged to prefix, suffix, middle.

    Raises:
        ValueError: the stream is not there or holds less than one row.
    """

    def __init__(
        self,
        split: TextSplit,
        stream: str,
        length: int,
        tokenizer: Tokenizer,
        seed: int = 0,
        infill: float = 0.0,
    ) -> None:
        if stream not in split.streams:
            raise ValueError(
                f"stream must be one of {', '.join(split.streams)}. Got {stream!r} instead."
            )
        self.split, self.length, self.tokenizer, self.seed, self.infill = (
            split,
            length,
            tokenizer,
            seed,
            infill,
        )
        self.document = np.flatnonzero(split.stream == split.streams.index(stream))
        self.size = split.offsets[self.document + 1] - split.offsets[self.document] + 2
        self.per_epoch = int(self.size.sum()) // length
        if self.per_epoch < 1:
            held = f"{int(self.size.sum())} tokens"
            raise TooLittleError(split, stream, f"at least one row of {length} tokens", held)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self.per_epoch

    def __getitem__(self, number: int) -> Row:
        epoch, index = divmod(number, self.per_epoch)
        document, end, order = self._epoch(epoch)
        start = int(order[index]) * self.length
        token_L, position_L = self._cut(document, end, start)
        row = Row(token_L, position_L, False, number)
        if self.infill and hash_unit(self.seed, 1, number) < self.infill:
            return to_fim(row, self.tokenizer, self.seed)
        return row

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Documents in this epoch's order, where each ends, and the order of the rows."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = generator.permutation(len(self.document))
        rows = generator.permutation(self.per_epoch)
        return self.document[order], np.cumsum(self.size[order]), rows

    def _cut(
        self, document: np.ndarray, end: np.ndarray, start: int
    ) -> tuple[np.ndarray, np.ndarray]:
        token_L = np.empty(self.length, dtype=np.int64)
        position_L = np.empty(self.length, dtype=np.int64)
        filled, which = 0, int(np.searchsorted(end, start, side="right"))
        while filled < self.length:
            offsets = self.split.offsets
            ids = self.split.tokens[offsets[document[which]] : offsets[document[which] + 1]]
            skipped = start + filled - (int(end[which]) - len(ids) - 2)
            piece = self._piece(ids, skipped, skipped + self.length - filled)
            token_L[filled : filled + len(piece)] = piece
            position_L[filled : filled + len(piece)] = np.arange(len(piece))
            filled += len(piece)
            which += 1
        return token_L, position_L

    def _piece(self, ids: np.ndarray, first: int, end: int) -> np.ndarray:
        """`[BOS] ids [EOS]` from place `first` to before `end`; of a long document no more is read.

        Args:
            ids: of one document.
            first: at least 0 and before the end of the document.
            end: behind `first`; may lie behind the end of the document.
        """
        bos = [self.tokenizer.bos] if first == 0 else []
        eos = [self.tokenizer.eos] if end >= len(ids) + 2 else []
        parts = (bos, ids[max(0, first - 1) : end - 1], eos)
        return np.concatenate(parts, dtype=np.int64, casting="unsafe")  # an empty list is of floats


def to_fim(row: Row, tokenizer: Tokenizer, seed: int) -> Row:
    """The row with its longest piece rearranged for infilling (Bavarian et al. 2022).

    The piece becomes `[BOS] [PREFIX] prefix [SUFFIX] suffix [MIDDLE] middle [EOS]`
    (arXiv:2207.14255), cut inside the row rather than the document, so that all three parts are in
    one row; the specials displace its last tokens. A row whose longest piece has no room for 24
    tokens beside them stays as it is.
    """
    starts = np.flatnonzero(row.position_L == 0)
    ends = np.append(starts[1:], len(row.token_L))
    longest = int(np.argmax(ends - starts))
    begin, end = int(starts[longest]), int(ends[longest])
    piece = row.token_L[begin:end]
    piece = piece[(piece != tokenizer.bos) & (piece != tokenizer.eos)]
    room = end - begin - 5
    if room < _SHORTEST_INFILL:
        return row
    piece = piece[:room]
    first, second = sorted(
        int(hash_unit(seed, 2 + k, row.number) * (len(piece) + 1)) for k in range(2)
    )
    parts = (
        [tokenizer.bos, tokenizer.prefix], piece[:first], [tokenizer.suffix], piece[second:],
        [tokenizer.middle], piece[first:second], [tokenizer.eos],
    )  # fmt: skip
    token_L = row.token_L.copy()
    token_L[begin:end] = np.concatenate(parts)
    return Row(token_L, row.position_L, True, row.number)

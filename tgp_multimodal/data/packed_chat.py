"""Conversations packed whole into rows of one length, and batches of such rows.

A conversation is not cut in two as a document is (`packing.py`): an answer without its question
teaches the model to make things up. Rows are filled by best-fit-decreasing bin packing, as in Ding
et al. 2024 (arXiv:2404.10830, section 3). Which conversations share a row is the same in all
epochs; the order of the rows is not. Row i is a function of (seed, i).

Shape letters: B batch, L length of a row in tokens, S conversations.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tgp_multimodal.data.batches import RandomAccess, check_shares, grain, streams_with_items
from tgp_multimodal.data.prepared_chat import ChatSplit
from tgp_multimodal.data.records import ChatRows
from tgp_multimodal.data.tokenizer import Tokenizer


class ChatRow(NamedTuple):
    """One row: ids, positions that restart with each conversation, and which ids are answers."""

    token_L: np.ndarray
    position_L: np.ndarray
    is_answer_L: np.ndarray


class PackedChat:
    """The endless rows of one stream of conversations.

    One longer than a row loses its end; one without an answer in what is left is left out.

    Args:
        split: tokenized conversations.
        stream: name of the stream in `split.streams`.
        length: tokens in a row, L.
        pad: id that fills what no conversation does; its positions are 0.
        seed: decides the order.
    """

    def __init__(self, split: ChatSplit, stream: str, length: int, pad: int, seed: int) -> None:
        self.split, self.length, self.pad, self.seed = split, length, pad, seed
        own = np.flatnonzero(split.stream == split.streams.index(stream))
        begin = split.offsets[own]
        end = np.minimum(split.offsets[own + 1], begin + length)
        answered = [split.is_answer_T[b:e].any() for b, e in zip(begin, end, strict=True)]
        kept = np.array(answered, dtype=bool)
        self.begin, self.size = begin[kept], (end - begin)[kept]
        self.rows = best_fit(self.size, length)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> ChatRow:
        epoch, index = divmod(number, len(self.rows))
        token_L = np.full(self.length, self.pad, dtype=np.int64)
        position_L = np.zeros(self.length, dtype=np.int64)
        is_answer_L = np.zeros(self.length, dtype=bool)
        start = 0
        for conversation in self.rows[self._order(epoch)[index]]:
            begin, size = int(self.begin[conversation]), int(self.size[conversation])
            place = slice(start, start + size)
            token_L[place] = self.split.token_T[begin : begin + size]
            is_answer_L[place] = self.split.is_answer_T[begin : begin + size]
            position_L[place] = np.arange(size)
            start += size
        return ChatRow(token_L, position_L, is_answer_L)

    def _shuffled(self, epoch: int) -> np.ndarray:
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        return generator.permutation(len(self.rows))


def best_fit(size_S: np.ndarray, length: int) -> list[list[int]]:
    """Best-fit bin packing: each conversation goes into the fullest row that has room for it.

    Args:
        size_S: tokens of each conversation, 1 to `length`.
        length: tokens of a row.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by the room left in them
    for conversation in np.argsort(-size_S, kind="stable").tolist():
        size = int(size_S[conversation])
        room = next((r for r in range(size, length + 1) if with_room[r]), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, length
        else:
            row = with_room[room].pop()
        rows[row].append(conversation)
        with_room[room - size].append(row)
    return rows


def chat_batches(
    split: ChatSplit,
    tokenizer: Tokenizer,
    length: int,
    batch: int,
    seed: int,
    weights: Mapping[str, float] = MappingProxyType({}),
    shard: tuple[int, int] = (0, 1),
) -> "grain.MapDataset[ChatRows]":
    """Rows of conversations of the weighted streams, `batch` at a time.

    A row has `length + 1` tokens: inputs and the targets, which are shifted by one.

    Args:
        split: tokenized conversations.
        tokenizer: the tokenizer they were written with.
        length: inputs of a row.
        batch: rows of a batch.
        seed: decides the order.
        weights: stream -> its share of the rows; where none is given, by their numbers of rows.
        shard: number of this process, and of how many.

    Raises:
        ValueError: a weight names a stream that is not there, or no answer begins within `length`.
    """
    check_shares("data.chat.weights", weights, split.streams)
    names = streams_with_items(weights or dict.fromkeys(split.streams, 1.0), split)
    packed = {n: PackedChat(split, n, length + 1, tokenizer.pad, seed) for n in names}
    if short := [n for n, rows in packed.items() if not len(rows)]:
        message = f"length must be so long that an answer of {', '.join(short)} begins within it"
        if len(short) == len(packed):
            raise ValueError(f"{message}. Got {length} instead.")
        told = f"{message}; with {length} there is none, and others come instead"
        warnings.warn(told, stacklevel=2)
    there = {n: rows for n, rows in packed.items() if len(rows)}
    shares = [weights[n] if weights else float(len(rows)) for n, rows in there.items()]
    sources = [grain.MapDataset.source(RandomAccess(p.__getitem__)) for p in there.values()]
    mixed = grain.MapDataset.mix(sources, weights=shares)
    byte_length_V = tokenizer.byte_length_V

    def collate(rows: Sequence[ChatRow]) -> ChatRows:
        token_BL, position_BL, is_answer_BL = (np.stack(part) for part in zip(*rows, strict=True))
        return ChatRows(token_BL, position_BL, is_answer_BL, byte_length_V[token_BL])

    return mixed[shard[0] :: shard[1]].batch(batch, batch_fn=collate)

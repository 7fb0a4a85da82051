"""Batches of text by index, on Grain, and what batches of every kind have in common.

Batch i is a pure function of the settings and i: the index is the only state.

Shape letters: B batch, L length in tokens.
"""

import logging
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from tgp_multimodal.data.docstrings import COLON, FENCE, DocstringPairs, ids_with
from tgp_multimodal.data.packing import PackedRows, Row
from tgp_multimodal.data.passages import PassagePairs
from tgp_multimodal.data.prepared import PictureSplit, TextSplit, TooLittleError
from tgp_multimodal.data.prepared_chat import ChatSplit
from tgp_multimodal.data.records import PassageRows, TextRows
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.names import hint

logging.getLogger("absl").setLevel(
    logging.ERROR
)  # Grain warns at import that it found no profiler of jax

import grain as grain  # noqa: E402  (others take it from here, silenced)


class RandomAccess:
    """An endless sequence given by a function of the index; what Grain wants of a source."""

    def __init__(self, item: Any, length: int = 2**40) -> None:
        self.item, self.length = item, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def text_batches(
    split: TextSplit,
    tokenizer: Tokenizer,
    weights: Mapping[str, float],
    infill: Mapping[str, float],
    length: int,
    batch: int,
    seed: int,
    shard: tuple[int, int] = (0, 1),
    ramp: Sequence[Mapping[str, int]] = (),
) -> "grain.MapDataset[TextRows]":
    """Packed rows of the weighted streams, `batch` at a time.

    A row has `length + 1` tokens: inputs and the targets, which are shifted by one.

    Args:
        split: tokenized documents.
        tokenizer: the tokenizer they were written with.
        weights: stream -> its share of the rows.
        infill: stream -> share of its rows that are rearranged to prefix, suffix, middle.
        length: inputs of a row.
        batch: rows of a batch.
        seed: decides everything that is drawn.
        shard: number of this process, and of how many.
        ramp: stages before the settings above, in order: `{until: 200, length: 64, batch: 16}`
            holds for the batches before number 200. Short rows early save time (Charpentier &
            Samuel 2024, arXiv:2410.24159, section 3).

    Raises:
        ValueError: a weight or an infilling share names a stream that is not there, or a stage of
            the ramp has other keys or does not come after the one before.
    """
    if ramp:
        stages = _stages(ramp, length, batch)
        common = (split, tokenizer, weights, infill)
        parts = [text_batches(*common, n, size, seed, shard) for _, n, size in stages]
        ends = [until for until, _, _ in stages[:-1]]
        return grain.MapDataset.source(RandomAccess(lambda i: parts[bisect_right(ends, i)][i]))
    for setting, shares, most in (("weights", weights, math.inf), ("infill", infill, 1.0)):
        check_shares(f"data.text.{setting}", shares, split.streams, most)

    def packed(name: str) -> PackedRows:
        return PackedRows(split, name, length + 1, tokenizer, seed, infill.get(name, 0.0))

    mixed = _mixed(
        split, [(partial(packed, n), weights[n]) for n in streams_with_items(weights, split)]
    )
    # The row's number in the mixture, not in its stream: its training mode (causal or masked) is
    # a hash of this number, so no two rows of this packing may share one. Those of two stages of a
    # ramp may: each packs and counts for itself, and the stage after `until` starts at row
    # until * batch of its own packing. So within an epoch some text is passed over, or seen twice.
    numbered = grain.MapDataset.source(RandomAccess(lambda i: mixed[i]._replace(number=i)))
    return numbered[shard[0] :: shard[1]].batch(batch, batch_fn=collate_rows)


def _stages(
    ramp: Sequence[Mapping[str, int]], length: int, batch: int
) -> list[tuple[int, int, int]]:
    """Stages of a ramp and what comes after it: (first batch after it, row length, rows)."""
    stages: list[tuple[int, int, int]] = []
    for stage in ramp:
        if set(stage) != {"until", "length", "batch"}:
            raise ValueError(
                f"a stage of ramp must have until, length and batch. Got {dict(stage)} instead."
            )
        if stage["until"] <= (stages[-1][0] if stages else 0):
            raise ValueError(
                f"until must rise from stage to stage of ramp. Got {stage['until']} instead."
            )
        stages.append((stage["until"], stage["length"], stage["batch"]))
    return [*stages, (0, length, batch)]


def collate_rows(rows: Sequence[Row]) -> TextRows:
    """Rows of one length as one batch."""
    return TextRows(
        np.stack([r.token_L for r in rows]),
        np.stack([r.position_L for r in rows]),
        np.array([r.is_infill for r in rows]),
        np.array([r.number for r in rows]),
    )


def passage_batches(
    split: TextSplit,
    tokenizer: Tokenizer,
    weights: Mapping[str, float],
    length: int,
    batch: int,
    seed: int,
    shard: tuple[int, int] = (0, 1),
    docstrings: Mapping[str, float] = MappingProxyType({}),
    query_length: int | None = None,
) -> "grain.MapDataset[PassageRows]":
    """Pairs of passages of the weighted streams, `batch` pairs at a time.

    Args:
        split: tokenized documents.
        tokenizer: the tokenizer they were written with.
        weights: stream -> share of pairs that are two passages of one document.
        length: most ids of a passage, without the BOS in front.
        batch: pairs of a batch.
        seed: decides everything that is drawn.
        shard: number of this process, and of how many.
        docstrings: stream of Python files -> share of pairs that are a docstring and its code.
        query_length: most ids of the first passage of a pair, which then is short as a query is,
            and of a docstring; left out: as many as of the second.

    Raises:
        ValueError: a weight names a stream that is not there, or one without such pairs.
    """
    for setting, shares in (("weights", weights), ("docstrings", docstrings)):
        check_shares(f"data.passages.{setting}", shares, split.streams)
    described = [name for name, share in docstrings.items() if share > 0]
    is_weighted = any(weight > 0 for weight in weights.values())
    names = streams_with_items(weights, split) if is_weighted or not described else []
    samplers: list[tuple[Callable[[], Any], float]] = [
        (partial(PassagePairs, split, n, length, seed, query_length), weights[n]) for n in names
    ]
    if described:
        marks = ids_with(tokenizer, FENCE), ids_with(tokenizer, COLON)
        samplers += [
            (partial(DocstringPairs, split, n, length, *marks, seed, query_length), docstrings[n])
            for n in described
        ]
    mixed = _mixed(split, samplers)

    def collate(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> PassageRows:
        return passage_rows(pairs, tokenizer)

    return mixed[shard[0] :: shard[1]].batch(batch, batch_fn=collate)


def _mixed(
    split: TextSplit, samplers: Sequence[tuple[Callable[[], Any], float]]
) -> "grain.MapDataset[Any]":
    """Samplers, each with its share, as one.

    Held-out streams may be too small for one of their items: those are left out, with a warning.

    Args:
        split: what they read.
        samplers: functions that make them.

    Raises:
        TooLittleError: a stream of training is too small, or every held-out one.
    """
    made, shares, refused = list[Any](), list[float](), list[TooLittleError]()
    for make, share in samplers:
        try:
            made.append(make())
            shares.append(share)
        except TooLittleError as error:
            refused.append(error)
    if refused and (split.name == "train" or not made):
        raise refused[0]
    for one in refused:
        warnings.warn(f"left out: {one}", stacklevel=2)
    sources = [grain.MapDataset.source(RandomAccess(s.__getitem__)) for s in made]
    return grain.MapDataset.mix(sources, weights=shares)


def passage_rows(
    pairs: Sequence[Sequence[np.ndarray | list[int]]],
    tokenizer: Tokenizer,
    longest: int | None = None,
) -> PassageRows:
    """Pairs of ids as a batch, each with BOS in front, cut to `longest` ids where that is given."""
    sides = [
        padded(
            [[tokenizer.bos, *np.asarray(pair[i]).tolist()][:longest] for pair in pairs],
            tokenizer.pad,
        )
        for i in (0, 1)
    ]
    return PassageRows(*sides[0], *sides[1])


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, padded to a multiple of 8."""
    length = -(-max(len(row) for row in rows) // 8) * 8
    token_BL = np.full((len(rows), length), pad, dtype=np.int64)
    for line_L, row in zip(token_BL, rows, strict=True):
        line_L[: len(row)] = row
    return token_BL, np.arange(length) < np.array([len(row) for row in rows])[:, None]


def streams_with_items(
    weights: Mapping[str, float], split: TextSplit | PictureSplit | ChatSplit
) -> list[str]:
    """Streams of positive weight with members in this split; a small stream may have none."""
    there = [split.streams[i] for i in np.unique(split.stream)]
    names = [name for name, weight in weights.items() if weight > 0 and name in there]
    if not names:
        raise ValueError(
            f"weights must be positive for one of {', '.join(there)}. Got {dict(weights)} instead."
        )
    return names


def check_shares(
    setting: str, shares: Mapping[str, float], there: Sequence[str], most: float = math.inf
) -> None:
    """Refuses shares below 0 or above `most`, and those of streams that are not there.

    Args:
        setting: what holds them.
        shares: stream -> share.
        there: streams of the prepared data.
        most: the largest share that can be.

    Raises:
        ValueError: there is one.
    """
    check_streams(setting, shares, there)
    for name, share in shares.items():
        if not 0 <= share <= most:
            wanted = f"from 0 to {most:g}" if most < math.inf else "0 or more"
            raise ValueError(f"{setting} must be {wanted}. Got {share} for {name!r} instead.")


def check_streams(setting: str, wanted: Iterable[str], there: Sequence[str]) -> None:
    """Refuses streams that the prepared data do not have.

    Args:
        setting: what names them.
        wanted: names.
        there: streams of the prepared data.

    Raises:
        ValueError: there is one.
    """
    for stream in wanted:
        if stream not in there:
            raise ValueError(
                f"{setting} must name streams of the prepared data, which has "
                f"{', '.join(there)}. Got {stream} instead.{hint(stream, there)}"
            )

"""Sends requests to a model in chunks, caches answers (on disk too), and splits the work.

The distinct requests of a list are cut into chunks of fixed size, each answered as a whole.
Rounding depends on what else is in a batch, so this is what makes a result identical to the last
bit wherever a run was killed, whatever cards came before, and however many processes share the
work: each chunk always has the same requests in the same order.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.journal import AnswerJournal
from tgp_multimodal.evaluation.outcome import Ask
from tgp_multimodal.evaluation.requests import (
    Answer,
    Embed,
    EmbedTokens,
    JointEmbed,
    MaskedScore,
    Perplexity,
    Request,
    Score,
    key,
)

# Items of a chunk: enough to fill batches, few enough that a kill costs little.
_LARGE, _SMALL = 512, 64
_ITEMS = {Score: _LARGE, Embed: _LARGE, JointEmbed: _LARGE, Perplexity: 128}


class Team(NamedTuple):
    """The processes that share the work; all of them run the same cards in the same order.

    Attributes:
        rank: number of this process.
        world: how many there are.
        gather: all-gather: takes this process's object and returns those of all, by rank.
    """

    rank: int = 0
    world: int = 1
    gather: Callable[[Any], list[Any]] = lambda mine: [mine]


ALONE = Team()
_SIGNS = {Score: 1, MaskedScore: 1, Perplexity: -1}  # of nats that may not be above 0
_ROUNDING = 1e-3  # nats above 0 that are a likelihood of 1
# Answers to chunks, by the keys of their requests.
AnswerCache: TypeAlias = dict[tuple[str, ...], list[Answer]]


def asker(
    adapter: Adapter,
    cache: AnswerCache | None = None,
    journal: AnswerJournal | None = None,
    team: Team = ALONE,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Ask:
    """Returns a function that sends each distinct request once and answers in the order asked.

    Chunks that were answered before are not sent again. Two kinds of answers are neither cached nor
    journalled: those of models that are fitted on each card, which differ from card to card, and
    vectors of named views and of words, of which there are too many.

    Args:
        adapter: the model.
        cache: chunks that were answered, shared between cards.
        journal: the same on disk, of this card.
        team: chunk i is answered by process i modulo their number.
        progress: is called with how many of the distinct requests are answered.
    """
    is_fitted = type(adapter).fit is not Adapter.fit
    store = _Store({} if cache is None else cache, journal)

    def answers(chunk: dict[str, Request]) -> list[Answer]:
        is_cached = not is_fitted and not any(map(_is_large, chunk.values()))
        found = store.get(tuple(chunk)) if is_cached else None
        if found is not None:
            return found
        start = time.perf_counter()
        found = adapter.answer(list(chunk.values()))
        _check(adapter.name, list(chunk.values()), found)
        if is_cached:
            store.add(tuple(chunk), found, time.perf_counter() - start)
        return found

    def ask(requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        keys = [key(r) for r in requests]
        parts = list(chunks(dict(zip(keys, requests, strict=True))))
        count, done, mine = sum(map(len, parts)), 0, {}
        for number, chunk in enumerate(parts):
            done += len(chunk)
            if number % team.world == team.rank:
                mine[number] = answers(chunk)
                progress(done, count)
        all_of_them = {n: a for theirs in team.gather(mine) for n, a in theirs.items()}
        of: dict[str, Answer] = {}
        for number, chunk in enumerate(parts):
            of.update(zip(chunk, all_of_them[number], strict=True))
        return [of[k] for k in keys]

    return ask


def _check(name: str, requests: Sequence[Request], found: Sequence[Answer]) -> None:
    """Refuses answers that are no answers to the requests, which scores would not show.

    Raises:
        ValueError: there are more or fewer of them, a likelihood is above 1 or no number, or
            features are no vectors of one length.
    """
    if len(found) != len(requests):
        raise ValueError(
            f"{name} must answer each of {len(requests)} requests. Got {len(found)} instead."
        )
    if isinstance(requests[0], Embed | JointEmbed):
        _check_vectors(name, requests, found)
    for request, answer in zip(requests, found, strict=True):
        sign = _SIGNS.get(type(request))
        nats = getattr(answer, "nats", None)
        if sign is None:
            continue
        if not isinstance(nats, Real) or not sign * float(nats) <= _ROUNDING:
            side = "at most" if sign > 0 else "at least"
            raise ValueError(
                f"nats of {name}, which answer {type(request).__name__}, must be {side} 0. "
                f"Got {answer if nats is None else nats} instead."
            )


def _check_vectors(name: str, requests: Sequence[Request], found: Sequence[Answer]) -> None:
    """Refuses features that are no vectors, or of several lengths in one view and one chunk."""
    lengths: dict[str, set[int]] = {}
    for request, answer in zip(requests, found, strict=True):
        is_row = sparse.issparse(answer) and answer.shape[0] == 1
        if not is_row and not (isinstance(answer, np.ndarray) and answer.ndim == 1):
            shape = f" of shape {tuple(answer.shape)}" if hasattr(answer, "shape") else ""
            raise ValueError(
                f"features of {name} must be vectors of NumPy, or sparse rows. Got"
                f" {type(answer).__module__.partition('.')[0]}.{type(answer).__name__}{shape}"
                " instead."
            )
        lengths.setdefault(str(getattr(request, "view", "")), set()).add(answer.shape[-1])
    for of in lengths.values():
        if len(of) > 1:
            numbers = " and ".join(map(str, sorted(of)[:2]))
            raise ValueError(f"features of {name} must have one length. Got {numbers} instead.")


def chunks(distinct: dict[str, Request]) -> Iterator[dict[str, Request]]:
    """Cuts requests, by their keys, into runs of so many items; views of one item stay together."""
    chunk: dict[str, Request] = {}
    items, last = 0, None
    for name, request in distinct.items():
        item = getattr(request, "item", request)
        if item is not last and items == _ITEMS.get(type(request), _SMALL):
            yield chunk
            chunk, items = {}, 0
        items += item is not last
        last = item
        chunk[name] = request
    if chunk:
        yield chunk


def _is_large(request: Request) -> bool:
    """Whether the answers to such requests are too many to be kept."""
    return isinstance(request, EmbedTokens) or bool(getattr(request, "view", ""))


class _Store(NamedTuple):
    """Answered chunks, in memory and on disk."""

    cache: AnswerCache
    journal: AnswerJournal | None

    def get(self, keys: tuple[str, ...]) -> list[Answer] | None:
        if keys not in self.cache and self.journal is not None:
            found = self.journal.get(keys)
            if found is not None:
                self.cache[keys] = found
        return self.cache.get(keys)

    def add(self, keys: tuple[str, ...], answers: list[Answer], seconds: float) -> None:
        if self.journal is not None:
            self.journal.add(keys, answers, seconds)
        self.cache[keys] = answers

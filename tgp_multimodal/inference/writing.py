"""Continues text: greedy or sampled, many prompts at once, with a static key/value cache.

Shape letters: B batch, L length, V vocabulary.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.code_blocks import end_of_block
from tgp_multimodal.inference.compiled import compiled
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.sampling import Sampling, check, sample_tokens
from tgp_multimodal.inference.text import device_of, infilling_prompt
from tgp_multimodal.models.layers import KeyValueCache
from tgp_multimodal.models.text_transformer import TextTransformer

BATCH = 32
_LEAST_PROMPT = 8  # ids
_COMPACT_BELOW = 2 / 3  # share of rows that are not finished, at which the others are dropped
_CUT_CHARACTER = "\ufffd"  # what a cut UTF-8 sequence decodes to


def plain_prompt(tokenizer: Tokenizer, text: str, room: int) -> list[int]:
    """`[BOS] text`; a long text loses its left end, so that at most `room` ids are left."""
    ids = tokenizer.encode(text)
    return [tokenizer.bos, *ids[max(0, len(ids) - (room - 1)) :]]


def room_for_prompt(text: TextTransformer, max_tokens: int) -> int:
    """How many ids may stand before `max_tokens` new ones.

    Raises:
        ValueError: `max_tokens` is below 1, or leaves room for fewer than 8.
    """
    room = text.context - max_tokens
    if max_tokens < 1 or room < _LEAST_PROMPT:
        raise ValueError(
            f"max_tokens must be between 1 and {text.context - _LEAST_PROMPT} (the context is "
            f"{text.context} tokens). Got {max_tokens} instead."
        )
    return room


def prompt_ids(
    text: TextTransformer, tokenizer: Tokenizer, prompt: str, suffix: str | None, max_tokens: int
) -> list[int]:
    """Ids that stand before the new text, short enough that `max_tokens` fit behind them.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        prompt: what stands before.
        suffix: what stands after, for infilling; None for plain continuation.
        max_tokens: new tokens that must fit.

    Raises:
        ValueError: `max_tokens` is out of range, see `room_for_prompt`.
    """
    room = room_for_prompt(text, max_tokens)
    if suffix is None:
        return plain_prompt(tokenizer, prompt, room)
    return infilling_prompt(tokenizer, tokenizer.encode(prompt), tokenizer.encode(suffix), room)


class GenerationRequest(NamedTuple):
    """One text to be written.

    Attributes:
        prompt: ids that stand before it.
        sampling: how it is written; `seed` is that of its own draws.
    """

    prompt: Sequence[int]
    sampling: Sampling


def generate(
    text: TextTransformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    batch: int = BATCH,
    seeds: Sequence[int] | None = None,
) -> list[str]:
    """Continuations of the prompts, in order; each ends at EOS, a stop string or `max_tokens`.

    Prompts of similar length share a batch, and equal ones of a batch are read once; a continuation
    does not depend on the other prompts. `seeds` gives each prompt a seed of its own, instead of
    `sampling.seed + i`.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    check(sampling)
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        own = {i: int(sampling.seed) + i if seeds is None else seeds[i] for i in chosen}
        requests = [GenerationRequest(prompts[i], sampling._replace(seed=own[i])) for i in chosen]
        writer = BatchGenerator(text, tokenizer, requests)
        while writer.step():
            pass
        for index, row in zip(chosen, writer.rows, strict=True):
            answers[index] = row.text()
    return answers


def stream(
    text: TextTransformer, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling
) -> Iterator[str]:
    """The new text in pieces, as it is written; together they are what `generate` gives.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    writer = BatchGenerator(text, tokenizer, [GenerationRequest(prompt, sampling)])
    (row,) = writer.rows
    while writer.step():
        if piece := row.piece():
            yield piece
    yield row.piece()


class GeneratedText:
    """The new tokens of one row.

    Attributes:
        ids: what was written.
        finish_reason: why it ended: "stop" (EOS, a stop string, the end of a block of code) or
            "length"; empty while it goes on.
        ended_with_eos: whether it ended with EOS, which is not among the ids.
    """

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self.tokenizer, self.sampling = tokenizer, sampling
        self.ids: list[int] = []
        self.finish_reason, self.ended_with_eos = "", False
        # Texts of training were composed: "é" is one character in them, whatever is asked for.
        composed = (unicodedata.normalize("NFC", s) for s in sampling.stop)
        self._stop = tuple(dict.fromkeys([*sampling.stop, *composed]))
        longest = max(map(len, self._stop), default=0)
        # A token is at least one byte, so a stop string that ends in the newest token starts
        # no further back than this.
        self._lookback = max((len(s.encode()) for s in self._stop), default=0) + 4
        self._held_back, self._emitted = max(0, longest - 1), 0

    def add(self, token: int) -> None:
        """Takes the next token; nothing, if the text has ended."""
        if self.finish_reason:
            return
        if token == self.tokenizer.eos:
            self.finish_reason, self.ended_with_eos = "stop", True
            return
        self.ids.append(token)
        if self._is_stopped():
            self.finish_reason = "stop"
        elif len(self.ids) >= self.sampling.max_tokens:
            self.finish_reason = "length"

    def _is_stopped(self) -> bool:
        stop, block = self._stop, self.sampling.block
        if stop:
            recent = self.tokenizer.decode(self.ids[-self._lookback :])
            if any(s in recent for s in stop):
                return True
        return (
            block is not None and end_of_block(block, self.tokenizer.decode(self.ids)) is not None
        )

    def text(self) -> str:
        """All of it, up to where it ended."""
        whole, block = self.tokenizer.decode(self.ids), self.sampling.block
        ends = [whole.find(s) for s in self._stop if s in whole]
        if block is not None and (end := end_of_block(block, whole)) is not None:
            ends.append(end)
        return whole[: min(ends)] if ends else whole

    def piece(self) -> str:
        """What is new since the last call, and sure to stay."""
        ready = self.text()
        if not self.finish_reason:
            # What may turn out to be the start of a stop string, or of a character, waits; so do
            # blank lines in a block of code, which may be the last of it.
            ready = ready[: max(0, len(ready) - self._held_back)].rstrip(_CUT_CHARACTER)
            ready = ready if self.sampling.block is None else ready.rstrip()
        new = ready[self._emitted :]
        self._emitted = max(self._emitted, len(ready))
        return new


class BatchGenerator:
    """Texts that are written side by side, token by token.

    Attributes:
        rows: the texts, in the order in which they were asked for.

    Args:
        text: the network.
        tokenizer: its tokenizer.
        requests: what to write; the settings must have one `batch_key`.

    Raises:
        ValueError: a setting is out of range.
    """

    @torch.inference_mode()
    def __init__(
        self, text: TextTransformer, tokenizer: Tokenizer, requests: Sequence[GenerationRequest]
    ) -> None:
        for one in requests:
            check(one.sampling)
        self.rows = [GeneratedText(tokenizer, one.sampling) for one in requests]
        self._unfinished = self.rows
        self._decoder = _Decoder(text, tokenizer, requests)

    @torch.inference_mode()
    def step(self) -> bool:
        """Generates one token for each unfinished row; False when all have finished.

        Finished rows are dropped once they are a third. Setting the `finish_reason` of a row from
        outside finishes it too.
        """
        for row, token in zip(self._unfinished, self._decoder.next(), strict=True):
            row.add(token)
        unfinished = [i for i, row in enumerate(self._unfinished) if not row.finish_reason]
        if not unfinished:
            return False
        self._decoder.read()
        if len(unfinished) <= _COMPACT_BELOW * len(self._unfinished):
            self._decoder.keep(unfinished)
            self._unfinished = [self._unfinished[i] for i in unfinished]
        return True


class _Decoder:
    """Rows that are written side by side, with their cache.

    Rows are padded on the left. Equal prompts are read once; if all are equal, and steps are not
    compiled, they stay one row of the cache.
    """

    def __init__(
        self,
        text: TextTransformer,
        tokenizer: Tokenizer,
        requests: Sequence[GenerationRequest],
    ) -> None:
        self.network, self.batch_key = fused(text), requests[0].sampling.batch_key
        assert all(one.sampling.batch_key == self.batch_key for one in requests)
        device, self.last = device_of(text), text.context - 1
        prompts = [one.prompt for one in requests]
        room = max(one.sampling.max_tokens for one in requests)
        self.unwritable_N = torch.tensor(tokenizer.unwritable(text.vocabulary), device=device)
        self.generators = [
            torch.Generator().manual_seed(int(one.sampling.seed)) for one in requests
        ]
        distinct = {tuple(prompt): i for i, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        index_B = torch.tensor([distinct[tuple(prompt)] for prompt in prompts], device=device)
        length = max(map(len, prompts))
        token_NL = torch.full((len(distinct), length), tokenizer.pad)
        for index, prompt in enumerate(distinct):
            token_NL[index, length - len(prompt) :] = torch.tensor(prompt)
        start_N = torch.tensor([length - len(prompt) for prompt in distinct])
        self.is_padded = bool(start_N.any())
        token_NL, start_N = token_NL.to(device), start_N.to(device)
        self.compiled = compiled(text)
        shares_prompt = len(distinct) == 1 < len(prompts) and not self._compiles(len(prompts))
        cache = text.new_cache(len(distinct), length + (0 if shares_prompt else room), start_N)
        logits_NV = self._read(token_NL, cache)
        if shares_prompt:
            cache = cache.with_shared_prefix(len(prompts), room)
        elif len(distinct) < len(prompts):
            cache = cache.rows(index_B)
        self._continue(cache)
        self.logits_BV = logits_NV[index_B]
        self.occurred_BV: Tensor | None = None
        if self.batch_key.repetition_penalty != 1:
            self.occurred_BV = torch.zeros_like(self.logits_BV, dtype=torch.bool)
            for row, ids in zip(self.occurred_BV, prompts, strict=True):
                row[torch.tensor(ids, device=device)] = True

    def next(self) -> list[int]:
        """The next token of every row."""
        token_B = sample_tokens(self.logits_BV, self.batch_key, self.generators, self.occurred_BV)
        if self.occurred_BV is not None:
            self.occurred_BV.scatter_(1, token_B[:, None], True)
        self.token_B = token_B
        return token_B.tolist()

    def read(self) -> None:
        """Reads the tokens that `next` gave."""
        if self.steps is None:
            self.logits_BV = self._read(self.token_B[:, None], self.cache)
        else:
            self.logits_BV = self._logits(self.steps.read(self.token_B))

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows alone; must not come between `next` and `read`."""
        index_B = torch.tensor(rows, device=self.logits_BV.device)
        self.logits_BV = self.logits_BV[index_B]
        self._continue(self.cache.rows(index_B))
        self.generators = [self.generators[row] for row in rows]
        if self.occurred_BV is not None:
            self.occurred_BV = self.occurred_BV[index_B]

    def _compiles(self, rows: int) -> bool:
        return self.compiled is not None and self.compiled.reads(rows)

    def _continue(self, cache: KeyValueCache) -> None:
        self.cache = cache
        self.steps = None if self.compiled is None else self.compiled.steps(cache)

    def _read(self, token_BL: Tensor, cache: KeyValueCache) -> Tensor:
        """Scores of the token behind each row, (B, V)."""
        position_BL, allowed_BLM = None, None
        new, start_B1 = token_BL.shape[1], cache.start_B[:, None]
        column_M = torch.arange(cache.length + new, device=token_BL.device)
        column_L = column_M[cache.length :]
        if self.is_padded:
            # A row that has ended is read until it goes, maybe beyond the context, and not used.
            position_BL = (column_L - start_B1).clamp(0, self.last)
        if self.is_padded or new > 1:
            # Padding, in front of a row, looks at itself alone.
            behind_LM = column_L[:, None] >= column_M
            is_itself_LM = column_L[:, None] == column_M
            allowed_BLM = behind_LM & (column_M >= start_B1)[:, None] | is_itself_LM
        state_BLD = self.network.states(token_BL, position_BL, allowed_BLM, cache)
        return self._logits(state_BLD[:, -1])

    def _logits(self, state_BD: Tensor) -> Tensor:
        logits_BV = self.network.logits(state_BD).float()
        return logits_BV.index_fill_(1, self.unwritable_N, -torch.inf)

"""Continues text: greedy or sampled, many prompts at once, with a static key/value cache.

Shape letters: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.sampling import Sampling, check, choose
from tgp_multimodal.inference.text import device_of, infilling_prompt
from tgp_multimodal.models.layers import KeyValueCache
from tgp_multimodal.models.text_transformer import TextTransformer

BATCH = 32
_SHRINK = 2 / 3  # share of rows that are not finished, at which the others are dropped
_UNFINISHED = "\ufffd"  # what a cut UTF-8 sequence decodes to


def plain_prompt(tokenizer: Tokenizer, text: str, room: int) -> list[int]:
    """`[BOS] text`; a long text loses its left end, so that at most `room` ids are left."""
    ids = tokenizer.encode(text)
    return [tokenizer.bos, *ids[max(0, len(ids) - (room - 1)) :]]


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
        ValueError: nothing of the prompt would be left.
    """
    room = text.context - max_tokens
    if max_tokens < 1 or room < 8:
        raise ValueError(
            f"max_tokens must be between 1 and {text.context - 8} (the context is {text.context} "
            f"tokens). Got {max_tokens} instead."
        )
    if suffix is None:
        return plain_prompt(tokenizer, prompt, room)
    return infilling_prompt(tokenizer, tokenizer.encode(prompt), tokenizer.encode(suffix), room)


def generate(
    text: TextTransformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    batch: int = BATCH,
    seeds: Sequence[int] | None = None,
) -> list[str]:
    """New text behind each prompt, in order; it ends at EOS, at a stop string or at `max_tokens`.

    Prompts of similar length share a batch; what is written behind one depends on no other. With
    `seeds`, each prompt has its own in the place of `sampling.seed + i`.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    check(sampling)
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        own = [sampling.seed + i if seeds is None else seeds[i] for i in chosen]
        written = [_Written(tokenizer, sampling.stop) for _ in chosen]
        _write(_Decoder(text, tokenizer, [prompts[i] for i in chosen], sampling, own), written)
        for index, row in zip(chosen, written, strict=True):
            answers[index] = row.text()
    return answers


@torch.inference_mode()
def _write(decoder: "_Decoder", written: Sequence["_Written"]) -> None:
    """Writes until every row is finished; rows that are go, once they are a third."""
    going = list(written)
    for left in reversed(range(decoder.sampling.max_tokens)):
        for row, token in zip(going, decoder.next(), strict=True):
            row.add(token)
        alive = [i for i, row in enumerate(going) if not row.finished]
        if not alive or not left:
            return
        decoder.read()
        if len(alive) <= _SHRINK * len(going):
            decoder.keep(alive)
            going = [going[i] for i in alive]


def stream(
    text: TextTransformer, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling
) -> Iterator[str]:
    """The new text in pieces, as it is written; together they are what `generate` gives.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    check(sampling)
    row = _Written(tokenizer, sampling.stop)
    shown = ""
    held = max((len(s) for s in sampling.stop), default=1) - 1
    for token in _tokens(text, tokenizer, prompt, sampling):
        row.add(token)
        if row.finished:
            break
        ready = row.text()
        # What may turn out to be the start of a stop string, or of a character, waits.
        ready = ready[: len(ready) - held].rstrip(_UNFINISHED)
        if len(ready) > len(shown):
            yield ready[len(shown) :]
            shown = ready
    yield row.text()[len(shown) :]


@torch.inference_mode()
def _tokens(
    text: TextTransformer, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling
) -> Iterator[int]:
    """The new tokens of one row."""
    decoder = _Decoder(text, tokenizer, [prompt], sampling, [sampling.seed])
    for left in reversed(range(sampling.max_tokens)):
        yield decoder.next()[0]
        if left:
            decoder.read()


class _Written:
    """The new tokens of one row."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.ids: list[int] = []
        self.finished = False
        # A token is at least one byte, so a stop string that ends in the newest token starts
        # no further back than this.
        self.tail = max((len(s.encode()) for s in stop), default=0) + 4

    def add(self, token: int) -> None:
        if self.finished:
            return
        if token == self.tokenizer.eos:
            self.finished = True
            return
        self.ids.append(token)
        if self.stop:
            recent = self.tokenizer.decode(self.ids[-self.tail :])
            self.finished = any(s in recent for s in self.stop)

    def text(self) -> str:
        whole = self.tokenizer.decode(self.ids)
        ends = [whole.find(s) for s in self.stop if s in whole]
        return whole[: min(ends)] if ends else whole


class _Decoder:
    """Rows that are written side by side, with their cache.

    Rows are padded on the left. Equal prompts are read once.
    """

    def __init__(
        self,
        text: TextTransformer,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> None:
        self.network, self.sampling = fused(text), sampling
        device = device_of(text)
        self.forbidden_N = torch.tensor(tokenizer.unwritable(text.vocabulary), device=device)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        distinct = {tuple(prompt): i for i, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        index_B = torch.tensor([distinct[tuple(prompt)] for prompt in prompts], device=device)
        length = max(map(len, prompts))
        token_NL = torch.full((len(distinct), length), tokenizer.pad)
        for index, prompt in enumerate(distinct):
            token_NL[index, length - len(prompt) :] = torch.tensor(prompt)
        start_N = torch.tensor([length - len(prompt) for prompt in distinct])
        self.is_padded = bool(start_N.any())
        token_NL, start_N = token_NL.to(device), start_N.to(device)
        cache = text.new_cache(len(distinct), length + sampling.max_tokens, start_N)
        logits_NV = self._read(token_NL, cache)
        self.cache = cache.rows(index_B) if len(distinct) < len(prompts) else cache
        self.logits_BV = logits_NV[index_B]
        self.seen_BV: Tensor | None = None
        if sampling.repetition_penalty != 1:
            self.seen_BV = torch.zeros_like(self.logits_BV, dtype=torch.bool)
            for row, ids in zip(self.seen_BV, prompts, strict=True):
                row[torch.tensor(ids, device=device)] = True

    def next(self) -> list[int]:
        """The next token of every row."""
        token_B = choose(self.logits_BV, self.sampling, self.generators, self.seen_BV)
        if self.seen_BV is not None:
            self.seen_BV.scatter_(1, token_B[:, None], True)
        self.token_B = token_B
        return token_B.tolist()

    def read(self) -> None:
        """Reads the tokens that `next` gave."""
        self.logits_BV = self._read(self.token_B[:, None], self.cache)

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows alone; must not come between `next` and `read`."""
        index_B = torch.tensor(rows, device=self.logits_BV.device)
        self.logits_BV = self.logits_BV[index_B]
        self.cache = self.cache.rows(index_B)
        self.generators = [self.generators[row] for row in rows]
        if self.seen_BV is not None:
            self.seen_BV = self.seen_BV[index_B]

    def _read(self, token_BL: Tensor, cache: KeyValueCache) -> Tensor:
        """Scores of the token behind each row, (B, V)."""
        position_BL, allowed_BLM = None, None
        new, start_B1 = token_BL.shape[1], cache.start_B[:, None]
        column_M = torch.arange(cache.length + new, device=token_BL.device)
        column_L = column_M[cache.length :]
        if self.is_padded:
            position_BL = (column_L - start_B1).clamp_min(0)
        if self.is_padded or new > 1:
            # Padding, in front of a row, looks at itself alone.
            behind_LM = column_L[:, None] >= column_M
            is_itself_LM = column_L[:, None] == column_M
            allowed_BLM = behind_LM & (column_M >= start_B1)[:, None] | is_itself_LM
        state_BLD = self.network.states(token_BL, position_BL, allowed_BLM, cache)
        logits_BV = self.network.logits(state_BLD[:, -1]).float()
        return logits_BV.index_fill_(1, self.forbidden_N, -torch.inf)

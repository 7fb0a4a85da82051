"""Continues text: greedy or sampled, many prompts at once, with a static key/value cache.

Shape letters: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.text import device_of, infilling_prompt
from tgp_multimodal.models.text_transformer import TextTransformer

BATCH = 32
_UNFINISHED = "\ufffd"  # what a cut UTF-8 sequence decodes to


class Sampling(NamedTuple):
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: most new tokens.
        temperature: divides the logits; 0 takes the most probable token.
        top_p: draws from the most probable tokens that hold this much of the probability
            (Holtzman et al. 2019, arXiv:1904.09751).
        stop: the text ends before the first of these strings.
        seed: prompt i draws from its own generator, seeded with `seed + i`.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


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
) -> list[str]:
    """New text behind each prompt, in order; it ends at EOS, at a stop string or at `max_tokens`.

    Prompts of similar length share a batch; what is written behind one depends on no other.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    _check(sampling)
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        seeds = [sampling.seed + i for i in chosen]
        written = [_Written(tokenizer, sampling.stop) for _ in chosen]
        for tokens in _steps(text, tokenizer, [prompts[i] for i in chosen], sampling, seeds):
            for row, token in zip(written, tokens, strict=True):
                row.add(token)
            if all(row.finished for row in written):
                break
        for index, row in zip(chosen, written, strict=True):
            answers[index] = row.text()
    return answers


def stream(
    text: TextTransformer, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling
) -> Iterator[str]:
    """The new text in pieces, as it is written; together they are what `generate` gives.

    Raises:
        ValueError: a setting of `sampling` is out of range.
    """
    _check(sampling)
    row = _Written(tokenizer, sampling.stop)
    shown = ""
    held = max((len(s) for s in sampling.stop), default=1) - 1
    for (token,) in _steps(text, tokenizer, [prompt], sampling, [sampling.seed]):
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


@torch.inference_mode()
def _steps(
    text: TextTransformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int],
) -> Iterator[list[int]]:
    """The next token of every row, `max_tokens` times. Rows are padded on the left."""
    device = device_of(text)
    length = max(map(len, prompts))
    token_BL = torch.full((len(prompts), length), tokenizer.pad)
    for index, prompt in enumerate(prompts):
        token_BL[index, length - len(prompt) :] = torch.tensor(prompt)
    start_B = torch.tensor([length - len(p) for p in prompts], device=device)
    cache = text.new_cache(len(prompts), length + sampling.max_tokens, start_B)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    forbidden = tokenizer.unwritable(text.vocabulary)
    token_BL = token_BL.to(device)
    for _ in range(sampling.max_tokens):
        logits_BV = text.logits(text(token_BL, cache=cache)[:, -1]).float()
        logits_BV[:, forbidden] = -torch.inf
        token_BL = _choose(logits_BV, sampling, generators)[:, None]
        yield token_BL[:, 0].tolist()


def _choose(logits_BV: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> Tensor:
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    share_BV = (logits_BV / sampling.temperature).softmax(dim=-1)
    share_BV, token_BV = share_BV.sort(dim=-1, descending=True)
    before_BV = share_BV.cumsum(dim=-1) - share_BV
    share_BV = share_BV.masked_fill(before_BV >= sampling.top_p, 0.0)
    drawn = [float(torch.rand((), generator=g)) for g in generators]
    # One uniform number per row, looked up in the cumulative distribution of that row alone.
    level_B1 = torch.tensor(drawn, device=share_BV.device)[:, None] * share_BV.sum(-1, keepdim=True)
    place_B1 = (share_BV.cumsum(dim=-1) <= level_B1).sum(dim=-1, keepdim=True)
    last_B1 = (share_BV > 0).sum(dim=-1, keepdim=True) - 1
    return token_BV.gather(1, place_B1.minimum(last_B1))[:, 0]


def _check(sampling: Sampling) -> None:
    if sampling.temperature < 0:
        raise ValueError(f"temperature must be at least 0. Got {sampling.temperature} instead.")
    if not 0 < sampling.top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1. Got {sampling.top_p} instead.")
    if "" in sampling.stop:
        raise ValueError(f"stop must hold no empty string. Got {list(sampling.stop)} instead.")

"""How the next token is chosen.

The filters and their order are those of `transformers`: repetition penalty on the logits, then
temperature, top-k, nucleus (top-p).

Shape letters: B batch, V vocabulary, K candidates.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tgp_multimodal.inference import kinds
from tgp_multimodal.inference.code_blocks import Block

_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of pairs, which no text holds
# Between these float32 has a number for every score that is divided or multiplied by them.
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 1e-6, 1e4
_LEAST_PENALTY, _MOST_PENALTY = 1e-3, 1e3
_LARGEST_SEED = 2**62  # below torch's limit, since sample i has seed + i


class Sampling(NamedTuple):
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: most new tokens.
        temperature: divides the logits; 0 takes the most probable token.
        top_p: samples from the smallest set of most probable tokens that holds this much of the
            probability (nucleus sampling, Holtzman et al. 2019, arXiv:1904.09751); 1 for all.
        stop: the text ends before the first of these strings.
        seed: prompt i draws from its own generator, seeded with `seed + i`.
        top_k: samples from this number of most probable tokens; 0 for all.
        repetition_penalty: divides the positive and multiplies the negative logits of tokens that
            stand in the prompt or were written (Keskar et al. 2019, arXiv:1909.05858, section
            4.1); 1 for none.
        block: the text ends where this block of code does; None: it is no code.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    block: Block | None = None

    @property
    def batch_key(self) -> "Sampling":
        """The settings that rows of a batch must share: all but length, stops, seed, block."""
        return self._replace(max_tokens=1, stop=(), seed=0, block=None)


def check(sampling: Sampling) -> None:
    """Refuses settings that are of another kind or out of range.

    `max_tokens` may be any whole number here: how many there may be is a matter of the context.

    Raises:
        ValueError: one is; the message names it.
    """
    _check_kinds(sampling)
    temperature, top_p, penalty = (
        sampling.temperature, sampling.top_p, sampling.repetition_penalty
    )  # fmt: skip
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0. Got {temperature} instead.")
    if temperature and not _LEAST_TEMPERATURE <= temperature <= _MOST_TEMPERATURE:
        raise ValueError(
            f"temperature must be 0, or between {_LEAST_TEMPERATURE:g} and {_MOST_TEMPERATURE:g}. "
            f"Got {temperature} instead."
        )
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1. Got {top_p} instead.")
    if not _LEAST_PENALTY <= penalty <= _MOST_PENALTY:
        raise ValueError(
            f"repetition_penalty must be between {_LEAST_PENALTY:g} and {_MOST_PENALTY:g}. "
            f"Got {penalty} instead."
        )
    for one in sampling.stop:
        if not one or _SURROGATE.search(one):
            wanted = "valid Unicode" if one else "no empty string"
            raise ValueError(f"stop must hold {wanted}. Got {list(sampling.stop)} instead.")
    check_seed(sampling.seed)
    if sampling.top_k < 0:
        raise ValueError(f"top_k must be at least 0. Got {sampling.top_k} instead.")


def _check_kinds(sampling: Sampling) -> None:
    if not isinstance(sampling, Sampling):
        raise kinds.refusal("sampling", "a Sampling", sampling)
    for name in ("max_tokens", "top_k"):
        kinds.whole(name, getattr(sampling, name))
    for name in ("temperature", "top_p", "repetition_penalty"):
        kinds.number(name, getattr(sampling, name))
    kinds.texts("stop", sampling.stop)
    if not isinstance(sampling.block, Block | None):
        raise kinds.refusal("block", "a Block, or None", sampling.block)


def as_stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Stop strings; a single one may stand alone, and None is none.

    Raises:
        ValueError: there is something else than texts.
    """
    return () if stop is None else tuple(kinds.text_or_texts("stop", stop))


def check_seed(seed: int) -> None:
    """Refuses what torch takes for no seed.

    Raises:
        ValueError: it is no whole number, or out of range.
    """
    if abs(kinds.whole("seed", seed)) > _LARGEST_SEED:
        raise ValueError(
            f"seed must be between -{_LARGEST_SEED} and {_LARGEST_SEED}. Got {seed} instead."
        )


def sample_tokens(
    logits_BV: Tensor,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    occurred_BV: Tensor | None = None,
) -> Tensor:
    """The next token of each row, (B,).

    By the Gumbel-max trick: each token gets Gumbel noise of its own, and the argmax of the sums is
    a sample from the softmax (Maddison et al. 2014, arXiv:1411.0030). Rounding, which differs
    between batches, then changes a token only if the two largest sums nearly tie; inverse-CDF
    sampling would cross one of its many edges far more often.

    Args:
        logits_BV: scores, in float32; minus infinity where a token may not be written.
        sampling: settings.
        generators: one for each row, which draws V uniform numbers; not used at temperature 0.
        occurred_BV: True where a token has occurred, for the repetition penalty.
    """
    if occurred_BV is not None and sampling.repetition_penalty != 1:
        factor = sampling.repetition_penalty
        penalised_BV = torch.where(logits_BV < 0, logits_BV * factor, logits_BV / factor)
        logits_BV = torch.where(occurred_BV, penalised_BV, logits_BV)
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    score_BV = logits_BV / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        score_BV = score_BV.masked_fill(score_BV < _threshold_B1(score_BV, sampling), -torch.inf)
    uniform_BV = torch.empty(score_BV.shape, dtype=torch.float32)
    for uniform_V, generator in zip(uniform_BV, generators, strict=True):
        uniform_V.uniform_(generator=generator)
    # One in 2^24 draws is 0, whose noise would be minus infinity even for the only candidate.
    uniform_BV.clamp_(min=torch.finfo(torch.float32).tiny)
    gumbel_BV = -(-uniform_BV.to(score_BV.device).log()).log()
    return (score_BV + gumbel_BV).argmax(dim=-1)


def _threshold_B1(score_BV: Tensor, sampling: Sampling) -> Tensor:  # noqa: N802  (B and 1 are a shape)
    """The lowest score that may still be drawn, (B, 1)."""
    count = min(sampling.top_k or score_BV.shape[1], score_BV.shape[1])
    if score_BV.device.type == "cpu":  # where NumPy sorts several times faster than torch
        score_BK = torch.from_numpy(-np.sort(-score_BV.numpy(), axis=1))[:, :count]
    else:
        score_BK = score_BV.topk(count, dim=-1).values
    share_BK = score_BK.softmax(dim=-1)
    before_BK = share_BK.cumsum(dim=-1) - share_BK
    kept_B1 = (before_BK < sampling.top_p).sum(dim=-1, keepdim=True)
    return score_BK.gather(1, kept_B1.clamp_min(1) - 1)

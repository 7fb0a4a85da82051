"""How the next token is chosen.

The filters and their order are those of `transformers`: repetition penalty on the scores, then
temperature, the k most probable, the nucleus.

Shape letters: B batch, V vocabulary, K candidates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Sampling(NamedTuple):
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: most new tokens.
        temperature: divides the logits; 0 takes the most probable token.
        top_p: draws from the most probable tokens that hold this much of the probability
            (Holtzman et al. 2019, arXiv:1904.09751).
        stop: the text ends before the first of these strings.
        seed: prompt i draws from its own generator, seeded with `seed + i`.
        top_k: draws from so many most probable tokens; 0 for all.
        repetition_penalty: divides the positive and multiplies the negative logits of tokens that
            stand in the prompt or were written (Keskar et al. 2019, arXiv:1909.05858, section
            4.1); 1 for none.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0


def check(sampling: Sampling) -> None:
    """Refuses settings that are out of range.

    Raises:
        ValueError: one is; the message names it.
    """
    if sampling.temperature < 0:
        raise ValueError(f"temperature must be at least 0. Got {sampling.temperature} instead.")
    if not 0 < sampling.top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1. Got {sampling.top_p} instead.")
    if "" in sampling.stop:
        raise ValueError(f"stop must hold no empty string. Got {list(sampling.stop)} instead.")
    if sampling.top_k < 0:
        raise ValueError(f"top_k must be at least 0. Got {sampling.top_k} instead.")
    if sampling.repetition_penalty <= 0:
        raise ValueError(
            f"repetition_penalty must be above 0. Got {sampling.repetition_penalty} instead."
        )


def choose(
    logits_BV: Tensor,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    seen_BV: Tensor | None = None,
) -> Tensor:
    """The next token of each row, (B,).

    Args:
        logits_BV: scores, in float32; minus infinity where a token may not be written.
        sampling: settings.
        generators: one for each row, which draws one uniform number; not used at temperature 0.
        seen_BV: True where a token has occurred, for the repetition penalty.
    """
    if seen_BV is not None and sampling.repetition_penalty != 1:
        factor = sampling.repetition_penalty
        penalised_BV = torch.where(logits_BV < 0, logits_BV * factor, logits_BV / factor)
        logits_BV = torch.where(seen_BV, penalised_BV, logits_BV)
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    count = min(sampling.top_k or logits_BV.shape[-1], logits_BV.shape[-1])
    score_BK, token_BK = (logits_BV / sampling.temperature).topk(count, dim=-1)
    share_BK = score_BK.softmax(dim=-1)
    before_BK = share_BK.cumsum(dim=-1) - share_BK
    share_BK = share_BK.masked_fill(before_BK >= sampling.top_p, 0.0)
    drawn = [float(torch.rand((), generator=g)) for g in generators]
    # One uniform number per row, looked up in the cumulative distribution of that row alone.
    level_B1 = torch.tensor(drawn, device=share_BK.device)[:, None] * share_BK.sum(-1, keepdim=True)
    place_B1 = (share_BK.cumsum(dim=-1) <= level_B1).sum(dim=-1, keepdim=True)
    last_B1 = (share_BK > 0).sum(dim=-1, keepdim=True) - 1
    return token_BK.gather(1, place_B1.minimum(last_B1))[:, 0]

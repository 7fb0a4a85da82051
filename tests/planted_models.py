"""Adapters whose every answer is known, so that every score is known beforehand."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import (
    DENOISE_TIMES,
    Answer,
    Compare,
    Denoise,
    Draw,
    Embed,
    EmbedTokens,
    Generate,
    JointEmbed,
    MaskedScore,
    Perplexity,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
    key,
)


class Planted(Adapter):
    """Answers each request by the function for its class; counts what it is asked."""

    def __init__(
        self, name: str = "planted", digest: str = "0", **functions: Callable[[Any], Answer]
    ) -> None:
        kinds = {"score": Score, "masked_score": MaskedScore, "perplexity": Perplexity}
        kinds |= {"embed": Embed, "joint_embed": JointEmbed, "draw": Draw, "denoise": Denoise}
        kinds |= {"compare": Compare, "embed_tokens": EmbedTokens, "generate": Generate}
        self.name, self.digest = name, digest
        self.functions = {kinds[k]: f for k, f in functions.items()}
        self.supports = frozenset(self.functions)
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked.extend(requests)
        return [self.functions[type(r)](r) for r in requests]

    def facts(self) -> dict[str, Any]:
        return {"digest": self.digest}


def hashed(request: Request, width: int = 8) -> np.ndarray:
    """A vector that depends on the request's content alone and means nothing."""
    seed = int(hashlib.sha256(key(request).encode()).hexdigest()[:12], 16)
    return np.random.default_rng(seed).standard_normal(width)


def dummy(name: str = "dummy") -> Planted:
    """Answers everything, knows nothing."""
    return Planted(
        name,
        score=lambda r: ScoreAnswer(-float(np.abs(hashed(r)[0])), 1, False),
        masked_score=lambda r: ScoreAnswer(-float(np.abs(hashed(r)[0])), 1, False),
        perplexity=lambda r: PerplexityAnswer(5.0 * len(r.text.encode()), len(r.text.encode()), 1),
        embed=hashed,
        embed_tokens=lambda r: np.stack([hashed(Embed(word)) for word in r.words]),
        generate=lambda r: f"a text of {abs(hashed(r)[0]):.3f}",
        joint_embed=hashed,
        draw=lambda r: np.full((32, 32, 3), 128, np.uint8),
        compare=lambda r: hashed(r, len(r.texts)),
        denoise=lambda r: np.abs(hashed(r, len(DENOISE_TIMES))),
    )

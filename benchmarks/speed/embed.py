"""Vectors of texts of mixed lengths, against sentence-transformers on the same export."""

import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal import export
from tgp_multimodal.inference import text
from tgp_multimodal.models.text_transformer import TextTransformer

# Random weights round more in bfloat16 than trained ones, which lose 2e-5.
_LOST = {"float32": 1e-4, "bfloat16": 3e-4}


def contests(quick: bool) -> Iterator[Contest]:
    """512 texts of 2 to 200 words, most of them short; `encode` with its own settings.

    Ours in float32 and in bfloat16, both against the peer's float32, which is its default: what is
    asked is how fast vectors of these directions can be had.
    """
    drawn = random.Random(2)
    lengths = [min(200, 2 + int(drawn.expovariate(1 / 30))) for _ in range(32 if quick else 512)]
    items = exports.texts(lengths, seed=6)
    with exports.exported(exports.random_language_model()) as folder:
        networks = {
            name: export.load(folder).network.to(dtype).text
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        }
        stock = SentenceTransformer(str(folder), device="cpu")
    tokens = sum(len(ids) + 1 for ids in exports.tokenizer().encode_batch(items))
    for precision, network in networks.items():
        yield Contest(
            f"embed {len(items)} texts, {precision}",
            Side("inference.text.embed", precision, _ours(network, items)),
            Side("SentenceTransformer.encode", "float32", lambda: stock.encode(items)),
            lost_cosine,
            _LOST[precision],
            {"texts": len(items), "tokens": tokens},
        )


def _ours(network: TextTransformer, items: list[str]) -> Callable[[], np.ndarray]:
    return lambda: text.embed(network, exports.tokenizer(), items)


def lost_cosine(ours_ND: np.ndarray, theirs_ND: np.ndarray) -> float:
    """1 - the smallest cosine of two vectors of one text."""
    norms_N = np.linalg.norm(ours_ND, axis=1) * np.linalg.norm(theirs_ND, axis=1)
    return float(1 - ((ours_ND * theirs_ND).sum(axis=1) / norms_N).min())

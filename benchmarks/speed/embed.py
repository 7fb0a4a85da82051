"""Vectors of texts of mixed lengths, against sentence-transformers on the same export."""

import random
from collections.abc import Iterator

import numpy as np
from sentence_transformers import SentenceTransformer

import tgp_multimodal
from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side


def contests(quick: bool) -> Iterator[Contest]:
    """512 texts of 2 to 200 words, most of them short; `encode` with its own settings."""
    drawn = random.Random(2)
    lengths = [min(200, 2 + int(drawn.expovariate(1 / 30))) for _ in range(32 if quick else 512)]
    items = exports.texts(lengths, seed=6)
    with exports.exported(exports.random_language_model()) as folder:
        model = tgp_multimodal.load(folder)
        stock = SentenceTransformer(str(folder), device="cpu")
    tokens = sum(len(ids) + 1 for ids in exports.tokenizer().encode_batch(items))
    yield Contest(
        f"embed {len(items)} texts",
        Side("inference.text.embed", "float32", lambda: model.embed(items)),
        Side("SentenceTransformer.encode", "float32", lambda: stock.encode(items)),
        lost_cosine,
        1e-4,
        {"texts": len(items), "tokens": tokens},
    )


def lost_cosine(ours_ND: np.ndarray, theirs_ND: np.ndarray) -> float:
    """1 - the smallest cosine of two vectors of one text."""
    norms_N = np.linalg.norm(ours_ND, axis=1) * np.linalg.norm(theirs_ND, axis=1)
    return float(1 - ((ours_ND * theirs_ND).sum(axis=1) / norms_N).min())

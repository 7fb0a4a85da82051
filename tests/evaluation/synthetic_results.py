"""Result folders made up for the leaderboard's tests: planted skills, real result files."""

import base64
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

from tgp_multimodal.evaluation import results
from tgp_multimodal.evaluation.results import Result
from tgp_multimodal.evaluation.stats import Interval, wilson

HOSTILE = '</script><script>alert("x")</script>'
CARDS = {
    "text/pydoc_package": ("probe", "accuracy", 0.17, True),
    "text/bits_per_byte": ("perplexity", "bits_per_byte", 8.0, False),
    "code/docstring_retrieval": ("retrieval", "mrr", 0.012, True),
    "code/infilling": ("infilling", "accuracy", 0.25, True),
    "biomedical/breast_cancer": ("probe", "accuracy", 0.63, True),
    "image/digits": ("probe", "accuracy", 0.1, True),
    "image/scene_eval": ("scene_eval", "mean_axis_accuracy", 0.08, True),
}
AXES = ("single_object", "two_objects", "counting", "colours", "position", "attribute_binding")
# Model -> (skill between chance and perfect, parameters, domains).
MODELS = {
    "nano": (0.62, 12_600_000, None),
    "random-weights": (0.22, 12_600_000, None),
    "tfidf-lr": (0.58, None, ("text", "code", "biomedical")),
    "raw-pixels": (0.6, None, ("image",)),
    "majority": (0.0, None, ("text", "biomedical", "image")),
    "Modèle-Ω 日本語": (0.7, 124_000_000, ("text", "code")),
    HOSTILE: (0.4, 22_700_000, ("text", "code", "biomedical")),
}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_one(
    root: Path, model: str, card: str, skill: float, n: int = 300, parameters: int | None = None,
    **changes: object,
) -> Path:  # fmt: skip
    """One result with items; difficulty of item i is the same for all models, so they pair well."""
    protocol, metric, chance, higher = CARDS[card]
    hard_N = np.random.default_rng(int(digest(card)[:8], 16)).random(n)
    own = np.random.default_rng(int(digest(model + card)[:8], 16))
    mixed_N = np.where(own.random(n) < 0.75, hard_N, own.random(n))
    perfect = 1.0 if higher else 0.0
    mean = chance + skill * (perfect - chance)
    details: dict[str, object] = {"C": 0.1}
    records = [
        {"id": f"{card}-{i}", "prediction": f"class {int(9 * h)}"} for i, h in enumerate(hard_N)
    ]
    if metric in ("accuracy", "mean_axis_accuracy"):
        right_N = mixed_N < mean
        for record, right, hard in zip(records, right_N, hard_N, strict=True):
            target = record["prediction"] if right else f"class {int(9 * hard) + 1} <b>&amp;</b>"
            record |= {"correct": bool(right), "target": target}
        value, interval = float(right_N.mean()), wilson(int(right_N.sum()), n)
    else:
        score_N = np.clip(mean + 0.8 * (mixed_N - 0.5), 0, None)
        if higher:
            score_N = np.clip(score_N, 0, 1)
        size_N = np.arange(1, n + 1) % 40 + 20.0 if metric == "bits_per_byte" else np.ones(n)
        for record, score, size in zip(records, score_N, size_N, strict=True):
            record |= {"score": float(score)} | ({"bytes": int(size)} if not higher else {})
        value = float((score_N * size_N).sum() / size_N.sum())
        half = 1.96 * float(np.std(score_N)) / n**0.5
        interval = Interval(value - half, value + half)
    if card == "image/scene_eval":
        shares = {a: max(0.0, min(1.0, value + 0.4 - 0.13 * k)) for k, a in enumerate(AXES)}
        details["axes"] = {a: {"value": share, "n": 30} for a, share in shares.items()}
        details["held_out"] = {a: {"value": share / 2, "n": 8} for a, share in shares.items()}
    facts = {"digest": digest(model), "device": "cpu", "dtype": "float32"}
    facts |= {"parameters": parameters} if parameters else {}
    content = {
        "model": model, "card": card, "card_version": 1, "card_digest": digest(card),
        "domain": card.split("/")[0], "protocol": protocol, "metric": metric, "value": value,
        "n": n,
        "low": interval.low, "high": interval.high, "chance": chance, "higher_is_better": higher,
        "details": details, "limit": None, "data_digest": digest(card + "data"),
        "seconds": 0.4 + (parameters or 1e5) / 4e6, "model_facts": facts,
        "environment": {
            "tgp_multimodal": "0.1.0", "python": "3.11.9", "torch": "2.14.1", "threads": 2,
            "platform": "Linux-6.1-x86_64", "date": "2025-06-01T12:00:00+00:00",
            "source": digest(card + "source"),
        },
        "items_file": Path(card.replace("/", "__") + ".jsonl").name,
    }  # fmt: skip
    return results.write(root, Result(**{**content, **changes}), records)


def write_all(root: Path) -> Path:
    """Seven models on seven cards, with gaps."""
    for model, (skill, parameters, domains) in MODELS.items():
        for card in CARDS:
            if domains is None or card.split("/")[0] in domains:
                if model == "majority" and card == "text/bits_per_byte":
                    continue
                write_one(root, model, card, skill, parameters=parameters)
    place = results.folder(root, "nano")
    (place / "samples.png").write_bytes(png(64, 32))
    skipped = '{"card": "text/bits_per_byte", "reason": "cannot answer Perplexity"}\n'
    (results.folder(root, "majority") / "skipped.jsonl").write_text(skipped)
    return root


def png(width: int, height: int) -> bytes:
    """A valid picture: a slope of colours."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (4 * x % 256, 8 * y % 256, 120))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64decode("iVBORw0KGgo=") + body

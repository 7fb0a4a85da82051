"""A small task that every kind of label can say: whether a sentence says "river"."""

import numpy as np

from tgp_multimodal.data.labelled import Item, Splits

QUICK = {"rate": 3e-3, "steps": 24, "batch": 8}  # settings of a run of seconds
WORDS = ["river", "stone", "bridge", "field", "boat", "dog", "letter", "gate", "valley", "ice"]


def item(text, label, number):
    return Item(text, label, f"line {number}", str(number))


def sentences(count, seed):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, 6)) for _ in range(count)]


def task(kind="classification", counts=(60, 30, 30)):
    """Whether a sentence says "river", in the form of each kind."""
    said = {
        "classification": lambda t: "wet" if "river" in t else "dry",
        "multi_label": lambda t: tuple(w for w in ("river", "dog") if w in t),
        "regression": lambda t: float(t.count("river") - t.count("stone")),
        "tagging": lambda t: tuple("B-water" if w == "river" else "O" for w in t.split()),
    }[kind]
    reads = "words" if kind == "tagging" else "text"
    parts = []
    for number, count in enumerate(counts):
        texts = sentences(count, number)
        shown = [tuple(t.split()) if reads == "words" else t for t in texts]
        parts.append(
            [item(s, said(t), i) for i, (s, t) in enumerate(zip(shown, texts, strict=True))]
        )
    return Splits(kind, reads, *parts, "made_up")

"""Bits per byte of the documents that a prepared folder holds back, one card for each stream.

The cards are made on the spot, for a folder of the user's own; what a compressor needs for these
documents stands beside them (`xz`, `zstd`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepared import TextSplit, manifest, open_text
from tgp_multimodal.evaluation.cards import DOMAINS, Card

_DOCUMENTS = 200
_LONGEST = 4_000  # characters of a document
_TRAINING = 8_000_000  # characters of training text, for compressors
_SPLITS = ("test", "validation")  # the first one that is there


def cards(folder: Path) -> list[Card]:
    """One card for each stream of text with held-out documents.

    Args:
        folder: what `tgp prepare` wrote.

    Raises:
        ValueError: there is no such folder, or it holds no text back.
    """
    if not (folder / "text").is_dir():
        raise ValueError(f"held_out must be a prepared folder with text. Got {folder} instead.")
    found = manifest(folder / "text")
    split = next((s for s in _SPLITS if found["splits"].get(s, {}).get("documents")), None)
    if split is None:
        raise ValueError(f"held_out must hold documents back. Got {folder}, which has none.")
    text = open_text(folder / "text", split)
    streams = [text.streams[i] for i in np.unique(text.stream)]
    return [_card(folder, stream, split, str(found["digest"])) for stream in streams]


def rows(card: Card, split: str) -> list[dict[str, Any]]:
    """The held-out documents of a card's stream, or a part of those that training reads."""
    source = card.source
    held_out = source["splits"]["test"]
    name = {"test": held_out, "train": "train"}.get(split)
    folder = Path(source["prepared"])
    if name is None or not (folder / "text" / f"{name}.offsets.npy").is_file():
        return []
    text = open_text(folder / "text", name)
    tokenizer = tokenizers.load(folder / "tokenizer")
    found: list[dict[str, Any]] = []
    left = _TRAINING
    for number in _documents(text, source["stream"]):
        start, end = text.offsets[number : number + 2].tolist()
        # A character is at most four bytes, and an id at least one.
        document = tokenizer.decode(text.tokens[start : min(end, start + 4 * _LONGEST)])
        found.append({"text": document[:_LONGEST], "group": str(number)})
        left -= len(found[-1]["text"])
        if split == "train" and left <= 0:
            break
    return [row for row in found if row["text"].strip()]


def _documents(text: TextSplit, stream: str) -> np.ndarray:
    if stream not in text.streams:
        return np.zeros(0, np.int64)
    return np.flatnonzero(text.stream == text.streams.index(stream))


def _card(folder: Path, stream: str, split: str, digest: str) -> Card:
    domain = stream if stream in DOMAINS else "text"
    return Card(
        name=f"{domain}/held_out_{stream}",
        version=1,
        domain=domain,
        description=f"Bits per byte of {stream} that the prepared folder holds back from training: "
        f"at most {_DOCUMENTS} documents, each cut to {_LONGEST} characters and read anew.",
        license="see the manifest of the prepared folder",
        citation="see the manifest of the prepared folder",
        source={
            "prepared": str(folder),
            "stream": stream,
            "digest": digest,
            "splits": {"test": split},
        },
        protocol="perplexity",
        metric="bits_per_byte",
        chance=8.0,
        columns={"text": "text", "group": "group"},
        sizes={"test": _DOCUMENTS},
        higher_is_better=False,
    )

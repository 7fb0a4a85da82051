"""Cards of what a prepared folder holds back, made on the spot, one or two for each stream.

For text bits per byte, and what a compressor needs stands beside them (`xz`, `zstd`). For pictures
the denoising error, and how far drawn pictures are from real ones.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepared import (
    PictureSplit,
    TextSplit,
    manifest,
    open_pictures,
    open_text,
)
from tgp_multimodal.evaluation.cards import DOMAINS, PROTOCOLS, Card

_DOCUMENTS = 200
_LONGEST = 4_000  # characters of a document
_TRAINING = 8_000_000  # characters of training text, for compressors
_PICTURES = {"denoising": 200, "likeness": 200, "picture_retrieval": 1000}
_RETRIEVED = {"picture": "image", "captions": "captions"}
_SPLITS = ("test", "validation")  # the first one that has something
_COUNTED = {"text": "documents", "pictures": "pictures"}


def cards(folder: Path) -> list[Card]:
    """The cards of each stream that has something held out.

    Args:
        folder: what `tgp prepare` wrote.

    Raises:
        ValueError: there is no such folder, or it holds nothing back.
    """
    kinds = [kind for kind in _COUNTED if (folder / kind).is_dir()]
    if not kinds:
        raise ValueError(
            f"held_out must be a prepared folder with text or pictures. Got {folder} instead."
        )
    found = [card for kind in kinds for card in _of_kind(folder, kind)]
    if not found:
        raise ValueError(f"held_out must hold something back. Got {folder}, which has nothing.")
    return found


def rows(card: Card, split: str) -> list[dict[str, Any]]:
    """What is held out of a card's stream, or a part of what training sees."""
    source = card.source
    name = {"test": source["splits"]["test"], "train": "train"}.get(split)
    folder = Path(source["prepared"])
    if name is None:
        return []
    if card.protocol == "perplexity":
        return _text_rows(folder, source["stream"], name)
    return _picture_rows(folder, source["stream"], name)


def _of_kind(folder: Path, kind: str) -> list[Card]:
    found = manifest(folder / kind)
    split = next((s for s in _SPLITS if found["splits"].get(s, {}).get(_COUNTED[kind])), None)
    if split is None:
        return []
    opened = (open_text if kind == "text" else open_pictures)(folder / kind, split)
    streams = [opened.streams[i] for i in np.unique(opened.stream)]
    source = {"prepared": str(folder), "digest": str(found["digest"]), "splits": {"test": split}}
    if kind == "text":
        return [_text_card(stream, source | {"stream": stream}) for stream in streams]
    return [
        card for stream in streams for card in _picture_cards(stream, source | {"stream": stream})
    ]


def _text_rows(folder: Path, stream: str, split: str) -> list[dict[str, Any]]:
    if not (folder / "text" / f"{split}.offsets.npy").is_file():
        return []
    text = open_text(folder / "text", split)
    tokenizer = tokenizers.load(folder / "tokenizer")
    found: list[dict[str, Any]] = []
    left = _TRAINING
    for number in _members(text, stream):
        start, end = text.offsets[number : number + 2].tolist()
        # A character is at most four bytes, and an id at least one.
        document = tokenizer.decode(text.tokens[start : min(end, start + 4 * _LONGEST)])
        found.append({"text": document[:_LONGEST], "group": str(number)})
        left -= len(found[-1]["text"])
        if split == "train" and left <= 0:
            break
    return [row for row in found if row["text"].strip()]


def _picture_rows(folder: Path, stream: str, split: str) -> list[dict[str, Any]]:
    if not (folder / "pictures" / f"{split}.pixels.npy").is_file():
        return []
    seen = open_pictures(folder / "pictures", split)
    return [
        {
            "image": np.asarray(seen.pixels[i]),
            "caption": seen.captions[i][0],
            "captions": list(seen.captions[i]),
        }
        for i in _members(seen, stream)
    ]


def _members(split: TextSplit | PictureSplit, stream: str) -> np.ndarray:
    if stream not in split.streams:
        return np.zeros(0, np.int64)
    return np.flatnonzero(split.stream == split.streams.index(stream))


def _text_card(stream: str, source: dict[str, Any]) -> Card:
    domain = stream if stream in DOMAINS else "text"
    return Card(
        name=f"{domain}/held_out_{stream}",
        version=1,
        domain=domain,
        description=f"Bits per byte of {stream} that the prepared folder holds back from training: "
        f"at most {_DOCUMENTS} documents, each cut to {_LONGEST} characters and read anew.",
        license="see the manifest of the prepared folder",
        citation="see the manifest of the prepared folder",
        source=source,
        protocol="perplexity",
        metric="bits_per_byte",
        chance=8.0,
        columns={"text": "text", "group": "group"},
        sizes={"test": _DOCUMENTS},
        higher_is_better=False,
    )


def _picture_cards(stream: str, source: dict[str, Any]) -> list[Card]:
    """Denoising error, likeness of drawings, and retrieval for models with a joint space."""
    said = {
        "denoising": (f"Squared error of {stream} pictures cleaned of noise, told a caption", 1.0),
        "likeness": (f"KID x 1,000 of {stream} pictures and one drawn for each first caption", 1.0),
        "picture_retrieval": (f"Captions of {stream} found by picture, and the other way", 0.0),
    }
    both = {"item": "image", "caption": "caption"}
    return [
        Card(
            name=f"image/{protocol}_{stream}",
            version=1,
            domain="image",
            description=f"{text}; at most {_PICTURES[protocol]} of those held back.",
            license="see the manifest of the prepared folder",
            citation="see the manifest of the prepared folder",
            source=source,
            protocol=protocol,
            metric=PROTOCOLS[protocol].metrics[-1],
            chance=chance,
            columns=_RETRIEVED if protocol == "picture_retrieval" else both,
            sizes={"test": _PICTURES[protocol], "train": _PICTURES[protocol]},
            higher_is_better=protocol == "picture_retrieval",
        )
        for protocol, (text, chance) in said.items()
    ]

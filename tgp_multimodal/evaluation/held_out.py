"""Cards of what a prepared folder holds back, generated at run time for each stream.

For text: bits per byte, to be read beside those of compressors (`xz`, `zstd`). For pictures: the
denoising error, how far drawn pictures are from real ones, and retrieval by caption.
"""

import warnings
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
from tgp_multimodal.evaluation.cards import DOMAINS, Card

_DOCUMENTS = 200
_LONGEST = 4_000  # characters of a document
_TRAINING = 8_000_000  # characters of training text, for compressors
_MOST = {"denoising": 200, "likeness": 200, "picture_retrieval": 1000}  # pictures of a card
_FEWEST = 20  # pictures of a stream that are compared as a set
_SPLITS = ("test", "validation")  # of each stream the first one that has enough
_COUNTED = {"text": "documents", "pictures": "pictures"}


def cards(folder: Path) -> list[Card]:
    """The cards of each stream that has something held out; warns of what is not measured.

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
    """The cards of one kind; each stream has its own split.

    That is the first in which it has something, or of pictures enough to compare them as a set.
    """
    found = manifest(folder / kind)
    read = open_text if kind == "text" else open_pictures
    opened = {
        split: read(folder / kind, split)
        for split in _SPLITS
        if found["splits"].get(split, {}).get(_COUNTED[kind])
    }
    cards: list[Card] = []
    for stream in found["streams"]:
        count = {split: len(_members(seen, stream)) for split, seen in opened.items()}
        if not any(count.values()):
            continue
        enough = _FEWEST if kind == "pictures" else 1
        most = max(count, key=lambda split: count[split])
        split = next((split for split, n in count.items() if n >= enough), most)
        source: dict[str, Any] = {"prepared": str(folder), "stream": stream}
        source |= {"digest": str(found["digest"]), "splits": {"test": split}}
        seen = opened[split]
        cards += (
            _picture_cards(stream, source, count[split], _says_several(seen, stream))
            if isinstance(seen, PictureSplit)
            else [_text_card(stream, source)]
        )
    return cards


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
    )


def _says_several(split: PictureSplit, stream: str) -> bool:
    """Whether the pictures of a stream have more than one caption among them."""
    return len({caption for i in _members(split, stream) for caption in split.captions[i]}) > 1


def _picture_cards(
    stream: str, source: dict[str, Any], count: int, says_several: bool
) -> list[Card]:
    """Denoising error, KID of drawn pictures, and retrieval for models with a joint space.

    The last two need 20 pictures, and retrieval captions that differ; a warning says which are left
    out. The chance level of the first two is unknown: it is set to the perfect score, which keeps
    them out of means over cards.
    """
    both = {"item": "image", "caption": "caption"}
    several = {"picture": "image", "captions": "captions"}
    guessed = 10 / min(count, _MOST["picture_retrieval"])
    cleaned = "cleaned of noise, told a caption: squared error"
    drawn = "and one drawn for each first caption: KID x 1,000"
    found = "found by caption, and captions by picture"
    cards = [_picture_card("denoising", stream, cleaned, source, both, "squared_error", 0.0)]
    if count < _FEWEST:
        of = f"{count} of the {_FEWEST} pictures that KID and retrieval need"
        told = f"{stream} holds back {of} in its {source['splits']['test']} split"
        warnings.warn(f"{told}: only its denoising error is measured", stacklevel=2)
        return cards
    cards.append(_picture_card("likeness", stream, drawn, source, both, "kid", 0.0))
    if says_several:
        parts = (source, several, "recall_at_10", guessed)
        cards.append(_picture_card("picture_retrieval", stream, found, *parts))
    else:
        told = f"all pictures that {stream} holds back have one caption: retrieval is not measured"
        warnings.warn(told, stacklevel=2)
    return cards


def _picture_card(
    protocol: str,
    stream: str,
    said: str,
    source: dict[str, Any],
    columns: dict[str, str],
    metric: str,
    chance: float,
) -> Card:
    most = _MOST[protocol]
    return Card(
        name=f"image/{protocol}_{stream}",
        version=1,
        domain="image",
        description=f"Pictures of {stream} {said}; at most {most} of its "
        f"{source['splits']['test']} split.",
        license="see the manifest of the prepared folder",
        citation="see the manifest of the prepared folder",
        source=source,
        protocol=protocol,
        metric=metric,
        chance=chance,
        columns=columns,
        sizes={"test": most, "train": most},
    )

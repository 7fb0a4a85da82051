"""Numbers that show what a stream of captioned pictures is like, before anything is trained.

A stream of classes is seen by its repeated captions, one of web pages by the share of captions that
are cut, one with a placeholder in the place of lost pictures by its duplicates.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tgp_multimodal.data.records import Picture
from tgp_multimodal.data.tokenizer import Tokenizer

NOT_STATED = "not stated"  # the license of a picture that comes without one

_LONGEST = 64  # ids of a caption, BOS included, that the shipped configs read
_CHUNK = 4096  # captions that are tokenized at once
_LICENSES = 20  # that are named


class PictureQuality:
    """Counts pictures as they pass, by stream."""

    def __init__(self) -> None:
        self.streams: dict[str, Counter[str]] = {}
        self.licenses: dict[str, Counter[str]] = {}

    def add(self, picture: Picture) -> None:
        """Counts a picture that is kept."""
        self._of(picture.stream)["pictures"] += 1
        self.licenses[picture.stream][picture.license or NOT_STATED] += 1

    def drop(self, stream: str, kind: Literal["duplicates", "elsewhere"]) -> None:
        """Counts a picture that is left out as a copy of another; see `PictureDuplicates`."""
        self._of(stream)[kind] += 1

    def numbers(
        self, captions: Mapping[str, Sequence[Sequence[str]]], tokenizer: Tokenizer
    ) -> dict[str, dict[str, Any]]:
        """What the manifest says of each stream.

        Args:
            captions: those of each picture, by stream.
            tokenizer: the set's own.

        Returns:
            By stream: sizes (pictures, captions, captions_per_picture, most_captions), the length
            of a caption in words and in ids with BOS (mean, median, 95th percentile), the shares of
            captions that are cut at 64 ids (cut_at_64) and that say the very same as another
            caption of the stream before them (repeated_captions), what was left out (duplicates;
            elsewhere: pictures that stand in another split), and licenses: value -> pictures.
        """
        return {
            stream: {
                "pictures": count["pictures"],
                **_numbers(captions.get(stream, ()), tokenizer),
                "duplicates": count["duplicates"],
                "elsewhere": count["elsewhere"],
                "licenses": _named(self.licenses[stream]),
            }
            for stream, count in self.streams.items()
        }

    def _of(self, stream: str) -> Counter[str]:
        self.licenses.setdefault(stream, Counter())
        return self.streams.setdefault(stream, Counter())


def _numbers(captions: Sequence[Sequence[str]], tokenizer: Tokenizer) -> dict[str, Any]:
    texts = [text for some in captions for text in some]
    words_N = np.array([len(text.split()) for text in texts], dtype=np.int64)
    ids_N = _lengths(texts, tokenizer)
    count = max(1, len(texts))
    return {
        "captions": len(texts),
        "captions_per_picture": round(len(texts) / max(1, len(captions)), 6),
        "most_captions": max(map(len, captions), default=0),
        **_spread("words", words_N),
        **_spread("ids", ids_N),
        "cut_at_64": round(int((ids_N > _LONGEST).sum()) / count, 6),
        "repeated_captions": round((len(texts) - len(set(texts))) / count, 6),
    }


def _lengths(texts: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """Ids of each text, BOS included."""
    lengths: list[int] = []
    for start in range(0, len(texts), _CHUNK):
        some = tokenizer.encode_batch(texts[start : start + _CHUNK], bos=True)
        lengths += [len(ids) for ids in some]
    return np.array(lengths, dtype=np.int64)


def _spread(what: str, length_N: np.ndarray) -> dict[str, float]:
    some = length_N if len(length_N) else np.zeros(1, dtype=np.int64)
    return {
        f"mean_{what}": round(float(some.mean()), 6),
        f"median_{what}": float(np.median(some)),
        f"{what}_95": float(np.percentile(some, 95)),
    }


def _named(licenses: Counter[str]) -> dict[str, int]:
    """The most frequent licenses; the others together, where they are many."""
    named = dict(licenses.most_common(_LICENSES))
    left = licenses.total() - sum(named.values())
    return named | ({"others": left} if left else {})

"""The embedded corpus (`embedded.py`, `scenes.py`) as sources, and as a prepared set.

Apart from `prepare.py` because scikit-learn, which holds the digits, takes a second to import.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tgp_multimodal.data import embedded, scenes
from tgp_multimodal.data.prepare import Prepared, prepare
from tgp_multimodal.data.prepare_settings import Progress, Settings
from tgp_multimodal.data.records import Document, Pair
from tgp_multimodal.data.sources import Source

DIGITS_LICENSE = "CC-BY-4.0 (UCI Optical Recognition of Handwritten Digits)"
SCENES_LICENSE = "Apache-2.0 (drawn by this package)"

_HELD_BACK = 20  # training scenes for one of validation and one of test


def text_sources() -> list[Source]:
    """Prose and code of the installation, one source for each split."""
    licenses = {found["name"]: found["license"] for found in embedded.sources()}

    # Reading takes seconds and is done twice: for the tokenizer, and to tokenize.
    @cache
    def documents(split: str) -> list[Document]:
        return list(embedded.documents(split))

    def source(split: str) -> Source:
        return Source(
            f"embedded {split} text",
            "prose, code",
            lambda: iter(documents(split)),
            license=licenses,
            split=split,
        )

    return [source(split) for split in embedded.SPLITS]


def picture_sources(size: int, count: int, seed: int) -> list[Source]:
    """Digits, and `count` scenes for training and a twentieth of that for each other split."""
    found = []
    for number, split in enumerate(embedded.SPLITS):
        some = count if split == "train" else count // _HELD_BACK
        found.append(_pictures("digits", split, None, DIGITS_LICENSE, _digits(split)))
        if some:
            drawn = _scenes(some, seed + number, size)
            found.append(_pictures("scenes", split, some, SCENES_LICENSE, drawn))
    return found


def prepare_embedded(
    output: Path,
    vocabulary: int = 4096,
    size: int = 32,
    scenes: int = 20_000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Makes a prepared set of the embedded corpus, with a tokenizer of its own.

    Args:
        output: folder of the set.
        vocabulary: ids of the tokenizer.
        size: rows and columns of the pictures.
        scenes: drawn scenes for training.
        seed: of the scenes.
        overwrite: replace a set that `output` holds.
        progress: is told how far the work is.
    """
    settings = Settings(vocabulary=vocabulary, size=size)
    pictures = picture_sources(size, scenes, seed)
    return prepare(
        output, text_sources(), pictures, settings, overwrite=overwrite, progress=progress
    )


def _digits(split: str) -> Callable[[], Iterator[Pair]]:
    return lambda: embedded.digits(split)


def _scenes(count: int, seed: int, size: int) -> Callable[[], Iterator[Pair]]:
    return lambda: scenes.pairs(count, seed, size)


def _pictures(
    stream: str, split: str, count: int | None, license: str, read: Callable[[], Iterator[Pair]]
) -> Source:
    return Source(f"embedded {split} {stream}", stream, read, count, license=license, split=split)

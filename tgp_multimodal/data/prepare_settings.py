"""How `tgp prepare` works: its settings, and what is told of its progress."""

from collections.abc import Callable
from typing import NamedTuple

from tgp_multimodal.data.duplicates import NEAR
from tgp_multimodal.data.quarantine import ALLOWED
from tgp_multimodal.data.tokenizer import SPECIALS

Progress = Callable[[str, int, int | None], None]  # what is done, how much, of how much


class Settings(NamedTuple):
    """How to prepare.

    Attributes:
        vocabulary: ids of a tokenizer that is trained.
        size: rows and columns of the pictures.
        validation_share: of the documents and of the pictures.
        allow_bad: largest share of bad rows of each source.
        limit: rows of each source that are read; None reads all.
        workers: threads that decode pictures; 0 takes one for each core.
        keep_duplicates: keep documents, and captioned pictures, that were there before.
        near_duplicates: whether to keep or drop documents that are nearly one that was before.
        near_threshold: the Jaccard similarity from which they are.
        ngrams: write the index of 13-grams.
    """

    vocabulary: int = 4096
    size: int = 32
    validation_share: float = 0.02
    allow_bad: float = ALLOWED
    limit: int | None = None
    workers: int = 0
    keep_duplicates: bool = False
    near_duplicates: str = "drop"
    near_threshold: float = NEAR
    ngrams: bool = True

    def check(self) -> None:
        """Raises ValueError where a setting cannot be."""
        if not 0 <= self.validation_share <= 0.5:
            wrong = self.validation_share
            raise ValueError(f"validation_share must be from 0 to 0.5. Got {wrong} instead.")
        if self.near_duplicates not in ("keep", "drop"):
            given = self.near_duplicates
            raise ValueError(f"near_duplicates must be keep or drop. Got {given} instead.")
        fewest = len(SPECIALS) + 256  # and all bytes, before the corpus is read
        floors = (("vocabulary", fewest), ("size", 8), ("limit", 1), ("workers", 0))
        for name, least in floors:
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}. Got {value} instead.")

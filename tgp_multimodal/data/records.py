"""The records passed between the stages of the data pipeline.

Shape letters: B batch, L length in tokens, C channels, Y rows, X columns.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy in the pipeline, torch from the loader on


class Document(NamedTuple):
    """One text, whole.

    Attributes:
        text: the text, any length but empty.
        stream: which mixture it belongs to, for example "prose" or "code".
        name: where it came from, for messages and manifests.
    """

    text: str
    stream: str
    name: str


class Picture(NamedTuple):
    """One picture and what is said of it.

    Attributes:
        pixels_YXC: unsigned bytes, RGB.
        captions: one or more, each one sentence or a few words. `prepare` adds those that the same
            picture comes with later.
        stream: which mixture it belongs to, for example "scenes" or "digits".
        name: where it came from.
        license: the one that the data state for this picture.
        split: the split that the data hold it back for; None leaves that to a hash of it.
        key: hash of its file, which stays in whatever size it is prepared; None if it has none.
    """

    pixels_YXC: np.ndarray
    captions: list[str]
    stream: str
    name: str
    license: str | None = None
    split: str | None = None
    key: bytes | None = None


class Pair(NamedTuple):
    """One picture and one caption of it, as they are drawn or stand in a data set of classes.

    Attributes:
        pixels_YXC: unsigned bytes, RGB.
        caption: one sentence or a few words.
        stream: as in `Picture`.
        name: where it came from.
    """

    pixels_YXC: np.ndarray
    caption: str
    stream: str
    name: str

    def picture(self) -> Picture:
        """The same as a picture with one caption."""
        return Picture(self.pixels_YXC, [self.caption], self.stream, self.name)


class TextRows(NamedTuple):
    """A batch of packed rows, ready for the language objective.

    Attributes:
        token_BL: token ids, int64.
        position_BL: positions, int64; 0 starts a document, or a row that starts inside one.
        infill_B: True where the row was built prefix-suffix-middle.
        row_B: global number of each row since the start of training; its mode is a hash of it.
    """

    token_BL: Array
    position_BL: Array
    infill_B: Array
    row_B: Array


class CaptionedImages(NamedTuple):
    """A batch of pictures with tokenized captions.

    Attributes:
        pixels_BCYX: unsigned bytes.
        token_BL: caption ids, BOS first, padded; int64.
        mask_BL: False at padding.
    """

    pixels_BCYX: Array
    token_BL: Array
    mask_BL: Array


class PassageRows(NamedTuple):
    """A batch of pairs of passages: row b of the one side and row b of the other belong together.

    The sides have widths of their own, since queries are shorter than what answers them.

    Attributes:
        first_BL: ids, BOS first, padded; int64.
        first_mask_BL: False at padding.
        second_BM: as `first_BL`.
        second_mask_BM: as `first_mask_BL`.
    """

    first_BL: Array
    first_mask_BL: Array
    second_BM: Array
    second_mask_BM: Array


class ChatRows(NamedTuple):
    """A batch of packed conversations.

    Attributes:
        token_BL: ids, each conversation from its BOS on, padded at the end; int64.
        position_BL: positions; they restart at 0 with each conversation, and are 0 at padding.
        is_answer_BL: True where an id is the model's to write.
        bytes_BL: bytes of text that each id stands for; 0 for specials.
    """

    token_BL: Array
    position_BL: Array
    is_answer_BL: Array
    bytes_BL: Array

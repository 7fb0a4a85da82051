"""What travels between the stages of the data road.

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


class Pair(NamedTuple):
    """One picture and what it shows.

    Attributes:
        pixels_YXC: unsigned bytes, RGB.
        caption: one sentence or a few words.
        stream: which mixture it belongs to, for example "scenes" or "digits".
        name: where it came from.
    """

    pixels_YXC: np.ndarray
    caption: str
    stream: str
    name: str


class TextRows(NamedTuple):
    """A batch of packed rows, ready for the language objective.

    Attributes:
        token_BL: token ids, int64.
        position_BL: positions, int64; each 0 starts a document.
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
    """A batch of pairs of passages: rows b and b + B / 2 are from one document.

    Attributes:
        token_BL: ids, BOS first, padded; int64.
        mask_BL: False at padding.
    """

    token_BL: Array
    mask_BL: Array

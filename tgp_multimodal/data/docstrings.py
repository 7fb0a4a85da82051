"""Pairs of a docstring and the code that it describes: pair i is a pure function of (seed, i).

Docstrings are free labels: they say in words what the code does. Embeddings trained to match the
two retrieve code by description (Neelakantan et al. 2022, arXiv:2201.10005, section 3.2). The pairs
are found in the ids of whole source files, so any prepared corpus of Python has them.
"""

import numpy as np

from tgp_multimodal.data.packing import hash_unit
from tgp_multimodal.data.passages import check_query_length
from tgp_multimodal.data.prepared import TextSplit, TooLittleError
from tgp_multimodal.data.tokenizer import Tokenizer

FENCE, COLON = '"""', ":"
_SHORTEST = 8  # tokens of a docstring, and of the code after it
_BEFORE = 3  # a third of the code is what stands before the docstring: most of the signature
_NEAR = 3  # tokens before a docstring, one of which ends a signature
_CHUNK = 4_000_000  # tokens that are looked through at once


def ids_with(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Ids whose text holds some ASCII characters in a row."""
    names = (tokenizer.backend.id_to_token(i) or "" for i in range(tokenizer.vocabulary))
    return np.array([i for i, name in enumerate(names) if text in name], np.int64)


class DocstringPairs:
    """The endless pairs of one stream of Python files; each docstring is as likely as any other.

    Args:
        split: tokenized documents.
        stream: name of the stream in `split.streams` whose documents are taken.
        length: most tokens of the code.
        fence: ids that open and close a docstring.
        colon: ids that may end a signature; other strings in triple quotes have none before them.
        seed: decides every draw.
        query_length: most tokens of a docstring; None: as many as of its code.

    Raises:
        ValueError: the stream is not there or holds no docstring, or a query would be longer than a
            passage.
    """

    def __init__(
        self,
        split: TextSplit,
        stream: str,
        length: int,
        fence: np.ndarray,
        colon: np.ndarray,
        seed: int = 0,
        query_length: int | None = None,
    ) -> None:
        if stream not in split.streams:
            raise ValueError(
                f"stream must be one of {', '.join(split.streams)}. Got {stream!r} instead."
            )
        self.split, self.length, self.seed = split, length, seed
        check_query_length(query_length, length)
        self.query_length = length if query_length is None else query_length
        of_stream = split.stream == split.streams.index(stream)
        place = _where(split.tokens, fence)
        document = np.searchsorted(split.offsets, place, side="right") - 1
        place, document = place[of_stream[document]], document[of_stream[document]]
        number = np.arange(len(place)) - np.searchsorted(document, document)  # in its document
        opens = np.flatnonzero((number[:-1] % 2 == 0) & (document[:-1] == document[1:]))
        inside = place[opens + 1] - place[opens] - 1
        after = split.offsets[document[opens] + 1] - place[opens + 1] - 1
        opens = opens[(inside >= _SHORTEST) & (after >= _SHORTEST)]
        before = place[opens][:, None] - 1 - np.arange(_NEAR)
        is_own = before >= split.offsets[document[opens]][:, None]
        ends = np.isin(split.tokens[np.maximum(before, 0)], colon) & is_own
        opens = opens[ends.any(axis=1)]
        if not len(opens):
            raise TooLittleError(split, stream, "a docstring")
        self.open, self.close, self.document = place[opens], place[opens + 1], document[opens]

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a docstring, and of the code before and after it."""
        chosen = int(hash_unit(self.seed, 31, number) * len(self.open))
        first, last = int(self.open[chosen]), int(self.close[chosen])
        start, end = self.split.offsets[self.document[chosen] : self.document[chosen] + 2].tolist()
        tokens = self.split.tokens
        before = tokens[max(start, first - self.length // _BEFORE) : first]
        after = tokens[last + 1 : min(end, last + 1 + self.length - len(before))]
        docstring = tokens[first + 1 : min(last, first + 1 + self.query_length)]
        return docstring, np.concatenate((before, after))


def _where(tokens: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Indices of the tokens that are among the wanted ones."""
    found = [
        start + np.flatnonzero(np.isin(tokens[start : start + _CHUNK], wanted))
        for start in range(0, len(tokens), _CHUNK)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)

"""Pairs of passages of one document: pair i is a pure function of (seed, i).

Two nearby passages are positives for contrastive learning, with no labels needed: the objective
learns text embeddings from them (Neelakantan et al. 2022, arXiv:2201.10005; independent crops as in
Izacard et al. 2022, arXiv:2112.09118). The first passage may be short, as a query is: the second is
then what a search should find.
"""

import numpy as np

from tgp_multimodal.data.packing import hash_unit
from tgp_multimodal.data.prepared import TextSplit, TooLittleError

_SHORTEST = 24  # tokens of a document that gives a pair
_NEAR = 2  # both passages lie in a window of this many times their lengths together
_FEWEST = 8  # tokens of a query
_BRIEF = 0.25  # share of the pairs with a query whose other passage is as short as queries may be


def check_query_length(query_length: int | None, length: int) -> None:
    """Refuses queries that would say nothing, or be longer than what is to be found.

    Raises:
        ValueError: so it is.
    """
    if query_length is not None and not _FEWEST <= query_length <= length:
        raise ValueError(
            f"query_length must be from {_FEWEST} to length, which is {length}. "
            f"Got {query_length} instead."
        )


class PassagePairs:
    """The endless pairs of one stream of documents.

    Documents are sampled in proportion to their length in windows, rounded up; the two passages are
    independent random crops of one window of the document, and may overlap. Without `query_length`
    they have one length; with it the first has 8 tokens to that many, and in a quarter of the pairs
    the second is short as well, so that vectors of short texts can be compared, too.

    Args:
        split: tokenized documents.
        stream: name of the stream in `split.streams` whose documents are taken.
        length: most tokens of a passage.
        seed: decides every draw.
        query_length: most tokens of the first passage; None: as many as of the second.

    Raises:
        ValueError: the stream is not there or has no document that is long enough, or a query would
            be longer than a passage.
    """

    def __init__(
        self,
        split: TextSplit,
        stream: str,
        length: int,
        seed: int = 0,
        query_length: int | None = None,
    ) -> None:
        if stream not in split.streams:
            raise ValueError(
                f"stream must be one of {', '.join(split.streams)}. Got {stream!r} instead."
            )
        if length < _SHORTEST // 2:
            raise ValueError(f"length must be at least {_SHORTEST // 2}. Got {length} instead.")
        check_query_length(query_length, length)
        self.split, self.length, self.seed = split, length, seed
        self.query_length = query_length
        size = np.diff(split.offsets)
        own = (split.stream == split.streams.index(stream)) & (size >= _SHORTEST)
        self.document = np.flatnonzero(own)
        if not len(self.document):
            raise TooLittleError(split, stream, f"a document of {_SHORTEST} tokens")
        self.window = _NEAR * (length + (query_length or length))
        windows = np.ceil(size[self.document] / self.window)
        self.share = np.cumsum(windows) / windows.sum()

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of two passages."""
        draw = [hash_unit(self.seed, 21 + k, number) for k in range(4)]
        place = min(int(np.searchsorted(self.share, draw[0], side="right")), len(self.share) - 1)
        document = self.document[place]
        start, end = self.split.offsets[document : document + 2].tolist()
        window = min(end - start, self.window)
        start += int(draw[1] * (end - start - window + 1))
        lengths = self._lengths(number, min(self.length, window // 2))
        first, second = (
            slice(begin := start + int(d * (window - length + 1)), begin + length)
            for d, length in zip(draw[2:], lengths, strict=True)
        )
        return self.split.tokens[first], self.split.tokens[second]

    def _lengths(self, number: int, length: int) -> tuple[int, int]:
        """Tokens of the two passages, where each could have `length`."""
        if self.query_length is None:
            return length, length
        share, of_query = (hash_unit(self.seed, 41 + k, number) for k in range(2))
        longest = min(length, self.query_length)
        query = _FEWEST + int(of_query * (longest - _FEWEST + 1))
        return query, longest if share < _BRIEF else length

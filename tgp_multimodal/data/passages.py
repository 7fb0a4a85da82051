"""Pairs of passages of one document: pair i is a pure function of (seed, i).

Two nearby passages are positives for contrastive learning, with no labels needed: the objective
learns text embeddings from them (Neelakantan et al. 2022, arXiv:2201.10005; independent crops as in
Izacard et al. 2022, arXiv:2112.09118).
"""

import numpy as np

from tgp_multimodal.data.packing import hash_unit
from tgp_multimodal.data.prepared import TextSplit, TooLittleError

_SHORTEST = 24  # tokens of a document that gives a pair
_NEAR = 4  # both passages lie in a window of this many times their length


class PassagePairs:
    """The endless pairs of one stream of documents.

    Documents are sampled in proportion to their length in windows, rounded up; the two passages are
    independent random crops of one window of the document, and may overlap.

    Args:
        split: tokenized documents.
        stream: name of the stream in `split.streams` whose documents are taken.
        length: most tokens of a passage.
        seed: decides every draw.

    Raises:
        ValueError: the stream is not there or has no document that is long enough.
    """

    def __init__(self, split: TextSplit, stream: str, length: int, seed: int = 0) -> None:
        if stream not in split.streams:
            raise ValueError(
                f"stream must be one of {', '.join(split.streams)}. Got {stream!r} instead."
            )
        if length < _SHORTEST // 2:
            raise ValueError(f"length must be at least {_SHORTEST // 2}. Got {length} instead.")
        self.split, self.length, self.seed = split, length, seed
        size = np.diff(split.offsets)
        own = (split.stream == split.streams.index(stream)) & (size >= _SHORTEST)
        self.document = np.flatnonzero(own)
        if not len(self.document):
            raise TooLittleError(split, stream, f"a document of {_SHORTEST} tokens")
        windows = np.ceil(size[self.document] / (_NEAR * length))
        self.share = np.cumsum(windows) / windows.sum()

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of two passages."""
        draw = [hash_unit(self.seed, 21 + k, number) for k in range(4)]
        place = min(int(np.searchsorted(self.share, draw[0], side="right")), len(self.share) - 1)
        document = self.document[place]
        start, end = self.split.offsets[document : document + 2].tolist()
        window = min(end - start, _NEAR * self.length)
        start += int(draw[1] * (end - start - window + 1))
        length = min(self.length, window // 2)
        first, second = (start + int(d * (window - length + 1)) for d in draw[2:])
        tokens = self.split.tokens
        return tokens[first : first + length], tokens[second : second + length]

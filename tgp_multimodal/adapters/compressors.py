"""Compressors as models of text: what a language model's bits per byte have to beat."""

import lzma
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pyarrow

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import Answer, Perplexity, PerplexityAnswer, Request
from tgp_multimodal.names import unknown

# More would cost half a minute; a small model reads about as much in ten minutes on two cores.
_TRAINING_BYTES = 8_000_000
_ZSTD_LEVEL = 19

Size = Callable[[bytes], int]


class Compressor(Adapter):
    """A compressor as a model of text.

    It compresses the whole held-out text as one, which favours it: a language model starts anew at
    each document. Without an argument it starts with nothing; with `trained` it may refer back to
    the training text: the size of training and held-out text together, less that of training text
    alone. The details hold both. Texts that are compared in pairs are compressed alone: after
    megabytes of training text each would take seconds, so `trained` refuses those cards.

    Attributes:
        kind: its name without the argument.
        library: what compresses, with its version, which decides how well.
    """

    kind: str
    library: str
    supports = frozenset({Perplexity})

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", "trained"):
            raise ValueError(unknown(f"argument of {self.kind}", argument, ["trained"]))
        self.is_trained = self.has_read = argument == "trained"
        self.name = f"{self.kind}-trained" if self.is_trained else self.kind
        self.training = b""

    @staticmethod
    def size(text: bytes) -> int:
        """Bytes of the compressed text."""
        raise NotImplementedError

    def can(self, card: Card) -> str | None:
        if self.is_trained and card.protocol == "pairwise":
            return f"cannot compare texts in pairs; {self.kind} can, untrained"
        return super().can(card)

    def fit(self, items: Iterable[str]) -> None:
        self.training = "\n\n".join(items).encode("utf-8", "replace")[:_TRAINING_BYTES]

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        texts = [r.text.encode("utf-8", "replace") for r in requests if isinstance(r, Perplexity)]
        return [PerplexityAnswer(_nats(self.size(t)), len(t), 0) for t in texts]

    def whole(self, texts: Sequence[str]) -> dict[str, float]:
        held_out = "\n\n".join(texts).encode("utf-8", "replace")
        alone, after_training = _sizes(self.size, held_out, self.training)
        totals = {"untrained": _nats(alone), "trained": _nats(after_training)}
        first = "trained" if self.is_trained else "untrained"
        return {first: totals.pop(first), **totals}

    def facts(self) -> dict[str, Any]:
        return {"digest": f"{self.name}/2/{_TRAINING_BYTES}/{self.library}", "parameters": 0}


class Xz(Compressor):
    """xz at its strongest, `-9e`."""

    kind = "xz"
    library = f"python {platform.python_version()}"

    @staticmethod
    def size(text: bytes) -> int:
        # The dictionary spans the text, so that nothing is out of reach; the raw format has no
        # header.
        filters = [
            {
                "id": lzma.FILTER_LZMA2,
                "preset": 9 | lzma.PRESET_EXTREME,
                "dict_size": max(1 << 16, len(text)),
            }
        ]
        return len(lzma.compress(text, format=lzma.FORMAT_RAW, filters=filters))


class Zstd(Compressor):
    """Zstandard at level 19, which looks back over 8 MB."""

    kind = "zstd"
    library = f"pyarrow {pyarrow.__version__}"

    @staticmethod
    def size(text: bytes) -> int:
        return len(pyarrow.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(text))


@lru_cache(maxsize=8)
def _sizes(size: Size, held_out: bytes, training: bytes) -> tuple[int, int]:
    """Bytes that a text takes alone, and that it adds to those of the training text."""
    with ThreadPoolExecutor(3) as pool:  # both work outside the interpreter's lock
        alone, before, both = pool.map(size, [held_out, training, training + held_out])
    return alone, both - before


def _nats(size: int) -> float:
    return size * 8 * math.log(2)

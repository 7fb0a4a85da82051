"""What the cases share: a network of the reference shape, a tokenizer, texts, and their export.

Texts are of made-up words with the frequencies of a language (Zipf's law), drawn from a fixed seed:
nothing is downloaded, and every machine reads the same.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import AdamW

from tgp_multimodal import export
from tgp_multimodal.data.tokenizer import Tokenizer, train
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import LanguageModel, Multimodal, Network
from tgp_multimodal.models.text_transformer import TextTransformer

VOCABULARY = 4096
_WORDS, _CIRCLE, _LESSONS = 5000, 64, 80
_ONSETS = (*"bcdfghklmnprstvw", "st", "tr", "pl", "gr")
_RHYMES = (*"aeiou", "ai", "ou", "an", "en", "in", "on", "ar", "er", "or", "el", "ing")


def reference_text(context: int = 1024) -> TextTransformer:
    """The text transformer of `configs/nano.yaml`, fresh."""
    return TextTransformer(VOCABULARY, 256, 6, 640, 4, 2, context)


def reference_head() -> DiffusionHead:
    """The diffusion head of `configs/nano.yaml`, fresh."""
    return DiffusionHead(text_width=256, width=192, depth=6, heads=3, patch=4, size=32)


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> None:
    """Random values for all weights: a fresh network is the identity, and hides what it computes.

    Signals keep about their size. The row of EOS in the token table becomes zero, so that it is
    never the most probable token.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "embed_tokens" in name:
            weight.copy_(0.05 * noise)
            weight[tokenizer().eos] = 0.0
        elif weight.ndim == 2:
            weight.copy_(0.7 * noise * weight.shape[1] ** -0.5)
        else:
            weight.add_(0.3 * noise)


def random_language_model() -> LanguageModel:
    """The text transformer alone, every weight random."""
    network = LanguageModel(reference_text())
    randomise(network)
    return network.eval()


def random_multimodal() -> Multimodal:
    """Text transformer and head, every weight random."""
    network = Multimodal(reference_text(), reference_head())
    randomise(network)
    return network.eval()


def taught_language_model() -> LanguageModel:
    """A language model that has learnt to go round a circle of tokens, in some seconds.

    Where the best token leads by far, bfloat16 chooses the same one on both sides; between the even
    chances of random weights, rounding chooses.
    """
    torch.manual_seed(0)
    network = LanguageModel(reference_text())
    optimizer = AdamW(network.parameters(), fused=True, weight_decay=0.0)
    for lesson in range(_LESSONS):
        starts = range(37 * lesson, 37 * lesson + _CIRCLE, _CIRCLE // 4)
        row_BL = torch.tensor([walk(start, 41) for start in starts])
        logits_BLV = network.text.logits(network.text(row_BL[:, :-1]))
        F.cross_entropy(logits_BLV.flatten(0, 1), row_BL[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - lesson / _LESSONS)
        optimizer.step()
        optimizer.zero_grad()
    return network.eval().requires_grad_(False)


def walk(start: int, length: int) -> list[int]:
    """Ids of so many steps round the circle, from some place on."""
    circle = random.Random(3).sample(range(300, VOCABULARY), _CIRCLE)
    return [circle[(start + step) % _CIRCLE] for step in range(length)]


@lru_cache
def tokenizer() -> Tokenizer:
    """4096 ids, learnt from our texts."""
    return train(texts([200] * 1500, seed=1), VOCABULARY)


def texts(lengths: list[int], seed: int) -> list[str]:
    """One text of so many words for each length; the word of rank r is drawn with weight 1 / r."""
    drawn, words = random.Random(seed), _words()
    weights = list(accumulate(1 / rank for rank in range(1, _WORDS + 1)))
    return [" ".join(drawn.choices(words, cum_weights=weights, k=length)) for length in lengths]


@contextmanager
def exported(network: Network) -> Iterator[Path]:
    """The export of a network in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "export"
        export.save(folder, network, tokenizer(), {}, "A network for timing; it knows nothing.")
        yield folder


@lru_cache
def _words() -> list[str]:
    drawn = random.Random(0)
    found: dict[str, None] = {}
    while len(found) < _WORDS:
        syllables = range(drawn.choice((1, 2, 2, 3)))
        word = "".join(drawn.choice(_ONSETS) + drawn.choice(_RHYMES) for _ in syllables)
        found[word] = None
    return list(found)

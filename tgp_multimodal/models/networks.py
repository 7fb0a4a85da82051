"""Compositions of parts: what is trained, saved and loaded as one thing.

A constructor argument is the name of the sub-module, of the section in the YAML and of the section
in the saved description.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tgp_multimodal.models.diffusion_head import DiffusionHead, HeadBlock
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.text_transformer import Block, TextTransformer

PROMPT_TOKENS = 64  # longest caption that conditions a picture, BOS included
_TWIN_SEED = 20_260_101


class Network(nn.Module):
    """Anything that holds the shared text transformer under the name `text`.

    Args:
        text: the text transformer.
        tower: embeds pictures in the space of the text embeddings; its `text_width` is the
            transformer's width. None for networks without one.

    Raises:
        ValueError: `tower.text_width` differs from `text.width`.
    """

    def __init__(self, text: TextTransformer, tower: ImageTower | None = None) -> None:
        super().__init__()
        if tower is not None:
            _check_width("tower", tower.text_width, text)
        self.text = text
        self.tower = tower


class LanguageModel(Network):
    """The text transformer alone.

    Args:
        text: the text transformer.
    """

    def __init__(self, text: TextTransformer) -> None:
        super().__init__(text)


class DualEncoder(Network):
    """Texts and pictures in one space, and nothing that draws.

    Args:
        text: the text transformer.
        tower: the picture's side; its `text_width` is the transformer's width.

    Raises:
        ValueError: `tower.text_width` differs from `text.width`.
    """

    tower: ImageTower

    def __init__(self, text: TextTransformer, tower: ImageTower) -> None:
        super().__init__(text, tower)


class Multimodal(Network):
    """The text transformer and the head that draws from its states.

    Args:
        text: the shared text transformer.
        head: the head; its `text_width` is the transformer's width.
        tower: the picture's side of a joint space, with the same `text_width`; left out: none.

    Raises:
        ValueError: `text_width` of head or tower differs from `text.width`.
    """

    def __init__(
        self, text: TextTransformer, head: DiffusionHead, tower: ImageTower | None = None
    ) -> None:
        super().__init__(text, tower)
        _check_width("head", head.text_width, text)
        self.head = head


def in_words(network: Network) -> str:
    """Parts with their parameters, the context, and the size of pictures, for people."""
    parts = {n: sum(p.numel() for p in m.parameters()) for n, m in network.named_children()}
    listed = ", ".join(f"{part} {count / 1e6:.1f}M" for part, count in parts.items())
    name, context = type(network).__name__, network.text.context
    said = f"{name}: {listed} parameters; {context} tokens of context"
    if isinstance(network, Multimodal):
        said += f"; pictures of {network.head.size} x {network.head.size} pixels"
    return said


def blocks(network: Network) -> list[nn.Module]:
    """The repeated blocks of all parts, which are compiled, and sharded, one by one."""
    ours = [m for m in network.modules() if isinstance(m, Block | HeadBlock)]
    return [*ours, *(network.tower.blocks if network.tower is not None else ())]


def _check_width(name: str, text_width: int, text: TextTransformer) -> None:
    if text_width != text.width:
        raise ValueError(
            f"{name}.text_width must equal text.width={text.width}. Got {text_width} instead."
        )


_CLASSES: dict[str, Any] = {
    c.__name__: c
    for c in (TextTransformer, DiffusionHead, ImageTower, LanguageModel, DualEncoder, Multimodal)
}


def describe(module: nn.Module) -> dict[str, Any]:
    """A module as plain data: its class and the arguments that build it again, no weights.

    A part that was left out (None) is left out here too.
    """
    names = inspect.signature(type(module).__init__).parameters.keys() - {"self"}
    values = {name: getattr(module, name) for name in sorted(names)}
    given = {name: value for name, value in values.items() if value is not None}
    plain = {k: describe(v) if isinstance(v, nn.Module) else v for k, v in given.items()}
    return {"class": type(module).__name__, **plain}


def differences(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Where two descriptions differ: dotted name, the one's value, the other's; None for none."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*mine, *(k for k in other if k not in mine)]:
        a, b = mine.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [(f"{key}.{name}", x, y) for name, x, y in differences(a, b)]
        elif a != b:
            one, there = (part["class"] if isinstance(part, Mapping) else part for part in (a, b))
            found.append((key, one, there))
    return found


def from_description(description: dict[str, Any]) -> nn.Module:
    """The inverse of `describe`, with fresh weights.

    Raises:
        ValueError: the class is none of ours.
    """
    arguments = dict(description)
    name = arguments.pop("class", None)
    if name not in _CLASSES:
        raise ValueError(f"class must be one of {', '.join(_CLASSES)}. Got {name!r} instead.")
    built = {k: from_description(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return _CLASSES[name](**built)


def random_twin(network: Network) -> Network:
    """The architecture of `network` with fresh weights, always the same ones.

    It is the baseline for what training adds, and not uninformative. The output projections of the
    text layers and the gates of the head start at zero, so the layers are the identity: a text's
    features are the mean of random token embeddings (a bag of tokens, randomly projected), a
    picture's are means of randomly projected patches. Both carry information, and a trained network
    has to beat them. An image tower is initialised as by open_clip, which is no identity.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_TWIN_SEED)  # and not those of GPUs, which stay
        fresh = from_description(describe(network))
    assert isinstance(fresh, Network)
    return fresh.eval().requires_grad_(False)

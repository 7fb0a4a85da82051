"""Compositions of parts: what is trained, saved and loaded as one thing.

A constructor argument is the name of the sub-module, of the section in the YAML and of the section
in the saved description.
"""

import inspect
from typing import Any

from torch import nn

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.text_transformer import TextTransformer

PROMPT_TOKENS = 64  # longest caption that conditions a picture, BOS included


class Network(nn.Module):
    """Anything that holds the shared text transformer under the name `text`."""

    text: TextTransformer


class LanguageModel(Network):
    """The text transformer alone.

    Args:
        text: the text transformer.
    """

    def __init__(self, text: TextTransformer) -> None:
        super().__init__()
        self.text = text


class Multimodal(Network):
    """The text transformer and the head that draws from its states.

    Args:
        text: the shared text transformer.
        head: the head; its `text_width` is the transformer's width.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, text: TextTransformer, head: DiffusionHead) -> None:
        super().__init__()
        if head.text_width != text.width:
            raise ValueError(
                f"head.text_width must equal text.width={text.width}. "
                f"Got {head.text_width} instead."
            )
        self.text = text
        self.head = head


_CLASSES: dict[str, Any] = {
    c.__name__: c for c in (TextTransformer, DiffusionHead, LanguageModel, Multimodal)
}


def describe(module: nn.Module) -> dict[str, Any]:
    """A module as plain data: its class and the arguments that build it again, no weights."""
    names = inspect.signature(type(module).__init__).parameters.keys() - {"self"}
    values = {name: getattr(module, name) for name in sorted(names)}
    plain = {k: describe(v) if isinstance(v, nn.Module) else v for k, v in values.items()}
    return {"class": type(module).__name__, **plain}


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

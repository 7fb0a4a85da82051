"""The sections of `data` in a config: which keys each may have, and what they mean.

A section is keyword arguments of the function that makes its batches, so its keys, their defaults
and what is said of them are read from there.
"""

import inspect
from collections.abc import Callable, Mapping
from textwrap import fill
from typing import Any, NamedTuple

from docstring_parser import parse

from tgp_multimodal.data.batches import passage_batches, text_batches
from tgp_multimodal.data.packed_chat import chat_batches
from tgp_multimodal.data.picture_batches import caption_batches, picture_batches
from tgp_multimodal.data.scenes import Mix
from tgp_multimodal.names import unknown

_WHOLE = (int, int | None)  # types of arguments
_SHARES = Mapping[str, float]
_OF_THE_RUN = ("seed", "shard", "held_out")  # arguments that no section gives


class Section(NamedTuple):
    """A section.

    Attributes:
        make: what its keys are arguments of, behind the split and the tokenizer.
        optional: arguments without a default that may be left out nevertheless, and what is taken
            instead.
    """

    make: Callable[..., Any]
    optional: Mapping[str, str] = {}


SECTIONS = {
    "text": Section(text_batches, {"infill": "none"}),
    "pictures": Section(picture_batches, {"weights": "as many as there are of each"}),
    "passages": Section(passage_batches),
    "captions": Section(
        caption_batches, {"weights": "those of pictures", "drawn": "as for pictures"}
    ),
    "chat": Section(chat_batches),
}


def checked_section(name: str, settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The settings of a section; what is null is left out, so that an overlay can take it away.

    Args:
        name: one of `SECTIONS`.
        settings: what it holds; None where there is none.

    Raises:
        ValueError: a key is not known, one that is needed is missing, or a number that should be
            whole is not.
    """
    if settings is None:
        return None
    known = _parameters(name)
    for key in settings:
        if key not in known:
            raise ValueError(unknown(f"key of data.{name}", key, known))
    given = {key: value for key, value in settings.items() if value is not None}
    for key, value in given.items():
        if known[key].annotation in _WHOLE and type(value) is not int:
            raise ValueError(f"data.{name}.{key} must be a whole number. Got {value!r} instead.")
        if known[key].annotation == _SHARES and not _are_shares(value):
            raise ValueError(
                f"data.{name}.{key} must be numbers by stream, like {{prose: 0.5}}. "
                f"Got {value!r} instead."
            )
    optional = SECTIONS[name].optional
    missing = [
        key
        for key, parameter in known.items()
        if parameter.default is inspect.Parameter.empty and key not in {*given, *optional}
    ]
    if missing:
        raise ValueError(f"data.{name} must have {', '.join(missing)}. Got none instead.")
    return given


def _are_shares(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(n, int | float) for n in value.values())


def describe_section(name: str) -> str:
    """A paragraph for each key of a section: what it means, and what it is when left out."""
    section, meanings = SECTIONS[name], _meanings(SECTIONS[name].make)
    lines = []
    for key, parameter in _parameters(name).items():
        default = parameter.default
        if key in section.optional:
            left_out = f"left out: {section.optional[key]}"
        elif default is inspect.Parameter.empty:
            left_out = "needed"
        else:
            is_empty = isinstance(default, Mapping | tuple) and not default
            left_out = f"left out: {'none' if is_empty else default}"
        lines.append(f"{key} ({left_out}): {meanings[key]}")
        if key == "drawn" and name == "pictures":
            lines += _lines_of_mix()
    return "\n".join(fill(line, 92, subsequent_indent="    ") for line in lines)


def _lines_of_mix() -> list[str]:
    meanings = _meanings(Mix)
    return [
        f"  drawn.STREAM.{key} (left out: {default}): {meanings[key]}"
        for key, default in Mix._field_defaults.items()
    ]


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    _, _, *known = inspect.signature(SECTIONS[name].make).parameters.values()
    return {p.name: p for p in known if p.name not in _OF_THE_RUN}


def _meanings(described: Any) -> dict[str, str]:
    """What the docstring says of each argument or attribute, in one line."""
    found = parse(inspect.getdoc(described) or "")
    return {p.arg_name: " ".join((p.description or "").split()) for p in found.params}

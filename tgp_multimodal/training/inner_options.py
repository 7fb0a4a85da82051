"""Options for single values deep inside a section of `data`: `--data.text.weights.prose 0.7`.

jsonargparse takes such an option for the whole of `weights`, so that one value would drop its
neighbours. Here it becomes what it means: all that the configs say, with that one value changed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import yaml

# YAML takes 1e-3, which has no point, for a text.
_POWER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

# Section, keys below it, at least two of them, and the value where it stands in the same word.
_INNER = re.compile(r"--data\.(\w+)\.([^.=]+(?:\.[^.=]+)+)(?:=(.*))?", re.DOTALL)


class NestedOption(NamedTuple):
    """An option: section of `data`, keys below it, and the value as it was typed."""

    section: str
    keys: tuple[str, ...]
    value: str


def split_nested(arguments: Sequence[str]) -> tuple[list[str], list[NestedOption]]:
    """The arguments without options of this kind, and those options."""
    plain, inner = [], []
    pairs = iter(zip(arguments, [*arguments[1:], "--"], strict=True))
    for word, following in pairs:
        found = _INNER.fullmatch(word)
        if found is None or (found[3] is None and following.startswith("--")):
            plain.append(word)  # of an option without a value the parser says what is wrong
            continue
        value = found[3]
        if value is None:
            value, _ = next(pairs)
        inner.append(NestedOption(found[1], tuple(found[2].split(".")), value))
    return plain, inner


def merge_nested(data: Mapping[str, Any], options: Sequence[NestedOption]) -> list[str]:
    """Options that set each outermost value whole: the inner one merged with its siblings.

    Args:
        data: section `data` as the other arguments have it.
        options: what is changed in it, in this order.

    Raises:
        ValueError: what an option points into is a number or a list.
    """
    sections: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for option in options:
        section = sections.setdefault(option.section, deepcopy(data.get(option.section)) or {})
        place, path = section, f"data.{option.section}"
        if not isinstance(section, dict):
            raise ValueError(
                f"{path} must be given whole. Got {option.keys[0]} inside of it instead."
            )
        for key in option.keys[:-1]:
            place[key] = {} if place.get(key) is None else place[key]
            place, path = place[key], f"{path}.{key}"
            if not isinstance(place, dict):
                raise ValueError(
                    f"{path} must be given whole. Got {option.keys[-1]} inside of it instead."
                )
        place[option.keys[-1]] = _read(option.value)
        changed[f"--data.{option.section}.{option.keys[0]}"] = section[option.keys[0]]
    return [f"{name}={json.dumps(value)}" for name, value in changed.items()]


def _read(word: str) -> Any:
    try:
        return float(word) if _POWER.fullmatch(word) else yaml.safe_load(word)
    except yaml.YAMLError:
        return word

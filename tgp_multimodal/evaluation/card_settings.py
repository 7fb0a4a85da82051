"""What the value of a card's setting must be: of the kind of its default, and not too small."""

import math
from collections.abc import Mapping
from typing import Any

_CAN_BE_ZERO = ("shots", "seed", "temperature")
_MOST = {"top_p": 1.0}
_LABELS = ("labels", "positive")  # which are numbers in some data


def problem(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str | None:
    """None, or in one sentence which setting cannot have its value.

    A setting that is read as something else than what was written changes a prompt in silence:
    `stop: "END"` as the three letters, a key without a value as the word None.

    Args:
        settings: of a card, all of them settings of its protocol.
        defaults: of the protocol.
    """
    for name, value in settings.items():
        default = defaults[name]
        least, most = int(name not in _CAN_BE_ZERO), _MOST.get(name, math.inf)
        if not _fits(value, default, name in _LABELS, least, most):
            wanted = _wanted(default, least, most)
            return f"{name} must be {wanted}. Got {value!r} instead."
    return None


def _fits(value: Any, default: Any, is_label: bool, least: int, most: float) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, str):
        return type(value) in ((str, int) if is_label else (str,))
    if isinstance(default, tuple):
        kinds = (str, int) if is_label else (type(default[0]) if default else str,)
        is_list = isinstance(value, list | tuple)
        return is_list and all(type(one) in kinds and one != "" for one in value)
    is_number = isinstance(value, int if isinstance(default, int) else int | float)
    # A share may be anything above 0.
    low = least if isinstance(default, int) or least == 0 else math.nextafter(0, 1)
    is_number = is_number and not isinstance(value, bool) and math.isfinite(value)
    return is_number and low <= value <= most


def _wanted(default: Any, least: int, most: float) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str):
        return "a text (quote it, if it is a number or empty)"
    if isinstance(default, tuple):
        of_numbers = default and isinstance(default[0], int)
        return "a list of " + ("whole numbers" if of_numbers else "texts with something in them")
    if isinstance(default, int):
        return f"a whole number of {least} or more"
    return "a number of 0 or more" if least == 0 else f"a number above 0, at most {most:g}"

"""Finds the files that ship with the package: configs, benchmark cards and suites.

They live at the top of a checkout and under `tgp_multimodal/_shipped/` in an installed wheel;
nobody else needs to know.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """Path of a shipped file or folder, for example `shipped("configs", "nano.yaml")`.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    places = [_PACKAGE / "_shipped", _PACKAGE.parent]
    for place in places:
        path = place.joinpath(*parts)
        if path.exists():
            return path
    below = " or ".join(map(str, places))
    raise FileNotFoundError(
        f"{'/'.join(parts)} must ship with tgp_multimodal. Got no such file below {below} instead."
    )

"""Finds the files that ship with the package: configs, benchmark cards and suites.

They live at the top of a checkout and under `tgp_multimodal/_shipped/` in an installed wheel;
nobody else needs to know.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped_config(given: str | Path) -> Path | None:
    """The shipped config that a user means by `nano.yaml` or `configs/nano.yaml`; None: none."""
    path = Path(given)
    if str(path.parent) not in (".", "configs"):
        return None
    try:
        found = shipped("configs", path.name)
    except FileNotFoundError:
        return None
    return found if found.is_file() else None


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

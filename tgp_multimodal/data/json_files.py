"""JSON files that a folder may hold damaged: cut off, or edited by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: the file is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no text are one, too
        raise ValueError(f"{path} must be whole JSON. Got {error} instead.") from None


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        keys: what it must have.

    Raises:
        ValueError: the file is no JSON, no object, or without one of the keys.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object. Got {type(found).__name__} instead.")
    check_keys(path, found, keys)
    return found


def read_format(path: Path, kind: str, wanted: int, *keys: str) -> dict[str, Any]:
    """The object in a JSON file that says of which format it is.

    Args:
        path: the file.
        kind: what has the format, for the error.
        wanted: the one that is read here.
        keys: what the object must have besides.

    Raises:
        ValueError: it is none, of another format, or without one of the keys.
    """
    found = read_object(path, "format")
    if found["format"] != wanted:
        raise ValueError(
            f"{kind} format must be {wanted}. Got {found['format']} in {path} instead."
        )
    check_keys(path, found, keys)
    return found


def check_keys(path: Path, found: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuses an object, read from a file, that lacks one of the keys.

    Raises:
        ValueError: it does.
    """
    missing = [key for key in keys if key not in found]
    if missing:
        raise ValueError(f"{path} must have {', '.join(keys)}. Got no {missing[0]!r} instead.")

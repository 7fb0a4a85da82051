"""The only form in which anything crosses a border of the sandbox: plain values as bounded JSON.

A value is None, a bool, int, float, complex, str or bytes, or a list, tuple, dict, set or frozenset
of such. What is read is of exactly these types, whatever was written: an instance of a subclass
arrives as its plain base, so that no method of the writer's is ever called by the reader. Pickle,
which runs code of the writer's choice, is nowhere.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

LIMIT = 4 * 2**20  # bytes of a message
_HEAD = struct.Struct("!I")
_SAFE = 2**63  # whole numbers from here on are written in hexadecimal, which takes linear time


def encode(value: Any) -> bytes:
    """JSON of a value.

    Raises:
        ValueError: it is no plain value, or too long, or contains itself.
    """
    try:
        text = json.dumps(_to_json(value))
    except RecursionError:
        raise ValueError(
            "value must not be nested so deeply. Got too many levels instead."
        ) from None
    if len(text) > LIMIT:
        raise ValueError(f"value must have at most {LIMIT} bytes. Got {len(text)} instead.")
    return text.encode("ascii")


def decode(message: bytes) -> Any:
    """The value that `encode` wrote.

    Raises:
        ValueError: it is none; nothing else is raised, whatever the bytes are.
    """
    try:
        return _from_json(json.loads(message))
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"message must hold a plain value. Got {error!r:.100} instead.") from None


def send(file: int, value: Any) -> None:
    """Writes a value to a file descriptor, with its length before it.

    Raises:
        ValueError: see `encode`.
        OSError: nobody reads.
    """
    write(file, encode(value))


def write(file: int, content: bytes) -> None:
    """Writes what `encode` made, with its length before it.

    Raises:
        OSError: nobody reads.
    """
    rest = memoryview(_HEAD.pack(len(content)) + content)
    while rest:
        rest = rest[os.write(file, rest) :]


def receive(file: int) -> Any:
    """Reads a value that `send` wrote.

    Raises:
        EOFError: the other side has closed.
        ValueError: what comes is longer than `LIMIT`, or no plain value.
    """
    (length,) = _HEAD.unpack(_read(file, _HEAD.size))
    if length > LIMIT:
        raise ValueError(f"message must have at most {LIMIT} bytes. Got {length} instead.")
    return decode(_read(file, length))


def values(stream: bytes) -> list[Any]:
    """All values of a stream that `send` wrote to.

    Raises:
        ValueError: it is no such stream.
    """
    found, place = [], 0
    while place < len(stream):
        if len(stream) < place + _HEAD.size:
            raise ValueError("stream must end with a message. Got a part of one instead.")
        (length,) = _HEAD.unpack_from(stream, place)
        place += _HEAD.size + length
        found.append(decode(stream[place - length : place]))
    return found


def _read(file: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(file, min(length, 65_536))
        if not part:
            raise EOFError("the other side has closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _to_json(value: Any) -> Any:
    """A value as what JSON can say; containers are lists that begin with the name of their type."""
    if value is None or value is True or value is False:
        return value
    for base, written in _WRITERS.items():
        if isinstance(value, base):
            return written(value)
    raise ValueError(f"value must be plain. Got an object of type {type(value).__name__} instead.")


def _integer(value: int) -> Any:
    number = int.__index__(value)
    return number if -_SAFE < number < _SAFE else ["int", hex(number)]


# By the methods of the base: those of a subclass are not asked.
_WRITERS: dict[type, Callable[[Any], Any]] = {
    int: _integer,
    float: lambda v: float.__add__(v, -0.0),
    str: str.__str__,
    complex: lambda v: ["complex", v.real, v.imag],
    bytes: lambda v: ["bytes", bytes.hex(v)],
    list: lambda v: ["list", *map(_to_json, list.__iter__(v))],
    tuple: lambda v: ["tuple", *map(_to_json, tuple.__iter__(v))],
    dict: lambda v: [
        "dict",
        *([_to_json(k), _to_json(dict.__getitem__(v, k))] for k in dict.__iter__(v)),
    ],
    set: lambda v: ["set", *map(_to_json, set.__iter__(v))],
    frozenset: lambda v: ["frozenset", *map(_to_json, frozenset.__iter__(v))],
}


def _from_json(found: Any) -> Any:
    if isinstance(found, list):
        return _READERS[found[0]](found[1:])
    if isinstance(found, dict):
        raise ValueError("a JSON object stands for nothing")
    return found


_READERS: dict[str, Callable[[list[Any]], Any]] = {
    "int": lambda parts: int(parts[0], 16),
    "complex": lambda parts: complex(float(parts[0]), float(parts[1])),
    "bytes": lambda parts: bytes.fromhex(parts[0]),
    "list": lambda parts: [*map(_from_json, parts)],
    "tuple": lambda parts: (*map(_from_json, parts),),
    "dict": lambda parts: {_from_json(k): _from_json(v) for k, v in parts},
    "set": lambda parts: {*map(_from_json, parts)},
    "frozenset": lambda parts: frozenset(map(_from_json, parts)),
}

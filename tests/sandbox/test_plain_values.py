"""The format of all that crosses a border: what goes in comes out, and nothing else does."""

import json
import math
import os
from collections import Counter, namedtuple
from contextlib import suppress
from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgp_multimodal.evaluation.sandbox import plain

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
HASHABLE = st.recursive(
    SCALARS, lambda own: st.tuples(own, own) | st.frozensets(own, max_size=3), max_leaves=6
)
VALUES = st.recursive(
    SCALARS,
    lambda own: (
        st.lists(own)
        | st.tuples(own)
        | st.tuples(own, own)
        | st.dictionaries(HASHABLE, own)
        | st.sets(HASHABLE)
    ),
    max_leaves=20,
)


def alike(one: object, other: object) -> bool:
    """Equal, and of one type at every level."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike([*one], [*other]) and alike([*one.values()], [*other.values()])
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(alike(a, b) for b in other) for a in one)
    return one == other and repr(one) == repr(other)


@settings(max_examples=80, deadline=None)
@given(VALUES)
def test_what_goes_in_comes_out(value: object):
    assert alike(plain.decode(plain.encode(value)), value)


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, -(2**63), 7**999, math.inf, -0.0, "\ud800"])
def test_ends_of_the_ranges(value: object):
    assert alike(plain.decode(plain.encode(value)), value)


def test_a_number_too_long_for_decimals_arrives():
    value = 7**9999
    assert plain.decode(plain.encode([value, -value])) == [value, -value]


def test_not_a_number_stays_one():
    assert math.isnan(plain.decode(plain.encode(math.nan)))


class Loud(str):
    """A text whose every method would be noticed."""

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __eq__ = __len__ = encode = __str__  # type: ignore[assignment]
    __hash__ = str.__hash__


class Colour(IntEnum):
    RED = 3


def test_subclasses_arrive_as_their_base_and_none_of_their_methods_is_called():
    point = namedtuple("point", "x y")
    for value, wanted in (
        (Loud("a"), "a"),
        (Colour.RED, 3),
        (Counter("aab"), {"a": 2, "b": 1}),
        (point(1, 2), (1, 2)),
    ):
        assert alike(plain.decode(plain.encode(value)), wanted)


def test_an_endless_value_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        plain.encode(endless)


@pytest.mark.parametrize("value", [object(), len, iter([]), range(3), type, {1: [lambda: 0]}])
def test_what_is_not_plain_is_refused(value: object):
    with pytest.raises(ValueError, match=r"value must be plain\. Got an object of type"):
        plain.encode(value)


def test_a_long_value_is_refused():
    with pytest.raises(ValueError, match="must have at most"):
        plain.encode("x" * plain.LIMIT)


BAD = [
    b"", b"{", b"{}", b"[]", b'["list"', b'["eval", "1"]', b'["int", 5]', b'["int", "zz"]',
    b'["set", ["list"]]', b'["dict", [1]]', b'["dict", 1]', b'["bytes", "x"]', b'["complex", 1]',
    b'["complex", 1' + b"0" * 400 + b", 0]",
    b'[["list"]]', b"\xff", b"[" * 10_000, b"1" * 5000, b'["name"]', b'["list", {"a": 1}]',
]  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_message_is_a_value_error(message: bytes):
    with pytest.raises(ValueError, match="message must hold a plain value"):
        plain.decode(message)


@settings(max_examples=80, deadline=None)
@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_nothing_but_a_value_error_comes_of_any_bytes(message: bytes | str):
    with suppress(ValueError):
        plain.decode(message if isinstance(message, bytes) else message.encode())


def test_messages_go_through_a_pipe_and_end_with_it():
    source, sink = os.pipe()
    for value in (1, ["a"], None):
        plain.send(sink, value)
    os.close(sink)
    assert [plain.receive(source) for _ in range(3)] == [1, ["a"], None]
    with pytest.raises(EOFError):
        plain.receive(source)
    os.close(source)


def test_a_length_beyond_the_limit_is_not_waited_for():
    source, sink = os.pipe()
    os.write(sink, b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="at most"):
        plain.receive(source)
    os.close(source)
    os.close(sink)


def test_half_a_message_is_refused():
    whole = b"\0\0\0\x011"
    assert plain.values(whole * 2) == [1, 1]
    for part in (whole[:3], whole + b"\0"):
        with pytest.raises(ValueError, match="must end with a message"):
            plain.values(part)

"""Rows of the code cards: functions to be found by their docstring, and functions with a gap."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tgp_multimodal.data.embedded import Function

Row = dict[str, Any]

_QUERY = 240  # characters of a docstring that are shown
_BODY = 400
_LONGEST_GAP = 3  # lines
_FUNCTION_LINES = (6, 30)
_FUNCTION_CHARACTERS = 800


def documents(functions: Sequence[Function]) -> list[Row]:
    """The bodies that are searched; one that occurs twice is one document."""
    bodies = {_digest(_body(f)): _body(f) for f in functions}
    return [{"id": name, "text": text} for name, text in bodies.items()]


def queries(asked: Sequence[Function], functions: Sequence[Function]) -> list[Row]:
    """Docstrings, and which bodies of `functions` they belong to.

    Functions with the same docstring answer the same query.
    """
    relevant: dict[str, list[str]] = defaultdict(list)
    for function in functions:
        name = _digest(_body(function))
        if name not in relevant[_query(function)]:
            relevant[_query(function)].append(name)
    modules = {_query(f): f.module for f in asked}
    return [{"text": q, "relevant": relevant[q], "module": m} for q, m in modules.items()]


def infilling_rows(asked: Sequence[Function], functions: Sequence[Function]) -> list[Row]:
    """Each function with one to three lines taken out; the wrong middles are from its neighbours.

    Neighbours are those of `functions` that are of the same file, or of the same package where the
    file has too few. The wrong middles have as many lines, are near in length and stand at the same
    indentation.
    """
    by_place: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        by_place[function.module].append(function)
        by_place[function.module.partition("/")[0]].append(function)
    rows = []
    for function in asked:
        lines = function.body.split("\n")
        low, high = _FUNCTION_LINES
        if low <= len(lines) <= high and len(function.body) <= _FUNCTION_CHARACTERS:
            row = _gap(function, lines, by_place)
            if row is not None:
                rows.append(row)
    return rows


def _gap(function: Function, lines: list[str], by_place: dict[str, list[Function]]) -> Row | None:
    number = _number(f"{function.module}|{function.name}|{function.body}")
    count = 1 + number % _LONGEST_GAP
    start = 2 + (number // 7) % (len(lines) - count - 2)
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    # A gap ends before its block does: no candidate goes back to the left.
    while not all(line.startswith(indent) for line in lines[start : start + count]):
        count -= 1
    middle = "".join(line + "\n" for line in lines[start : start + count])
    wrong: list[str] = []
    for place in (function.module, function.module.partition("/")[0]):
        others = [f for f in by_place[place] if f.body != function.body]
        pieces = {p for f in others for p in _pieces(f, count, indent)} - {middle}
        # Near in length, since a sum of log-probabilities favours what is short.
        near = sorted(pieces - set(wrong), key=lambda p: (abs(len(p) - len(middle)), _digest(p)))
        wrong += near[: 3 - len(wrong)]
    if len(wrong) < 3:
        return None
    choices = sorted([middle, *wrong], key=lambda c: _digest(function.module + c))
    return {
        "prefix": "\n".join(lines[:start]) + "\n",
        "suffix": "\n".join(lines[start + count :]),
        "choices": choices,
        "answer": choices.index(middle),
        "module": function.module,
    }


def _pieces(function: Function, count: int, indent: str) -> Iterator[str]:
    """All runs of `count` lines inside a function, moved so that the first has an indentation."""
    lines = function.body.split("\n")
    for start in range(2, len(lines) - count):
        run = lines[start : start + count]
        own = run[0][: len(run[0]) - len(run[0].lstrip())]
        if all(line.startswith(own) for line in run):
            yield "".join(f"{indent}{line.removeprefix(own)}\n" for line in run)


def _query(function: Function) -> str:
    return function.docstring[:_QUERY]


def _body(function: Function) -> str:
    return function.body[:_BODY]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _number(text: str) -> int:
    return int(_digest(text), 16)

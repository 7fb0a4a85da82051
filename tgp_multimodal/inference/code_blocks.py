"""Where a piece of code ends: the lines that go on with the block in which a prompt stops.

Only indentation is read, so a text in triple quotes that is indented less than its code ends a
block too early, and a prompt that ends behind a finished function is still in it.
"""

import re
from typing import NamedTuple

_HEADER = re.compile(r"\s*(async\s+def|def|class)\b")
_CLOSING = (")", "]", "}")
_TAB = 8  # columns, as Python itself counts them


class Block(NamedTuple):
    """The block of code that new text belongs to.

    Attributes:
        indentation: columns by which each of its lines is indented at least; 0: it never ends.
        is_at_line_start: True if new text begins a line, whose indentation then counts too.
    """

    indentation: int
    is_at_line_start: bool


def enclosing_block(prompt: str) -> Block:
    """The body of the function or class that the prompt stops in.

    Outside of both it is the block of the last line, which a colon at its end opens.
    """
    lines = prompt.split("\n")
    is_at_line_start = not lines[-1]
    filled = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not filled:
        return Block(0, is_at_line_start)
    last = filled[-1]
    level = _indentation(last) + bool(last.rstrip().endswith(":") or _HEADER.match(last))
    outer = level
    for line in reversed(filled):
        if _indentation(line) < outer and not line.lstrip().startswith(_CLOSING):
            outer = _indentation(line)
            if _HEADER.match(line):
                return Block(outer + 1, is_at_line_start)
    return Block(level, is_at_line_start)


def end_of_block(block: Block, text: str) -> int | None:
    """Length of the part of a text that belongs to the block; None while it goes on.

    A line ends the block by its first visible character, unless that closes a bracket. Blank lines
    in front of it belong to neither.
    """
    kept = start = 0
    for number, line in enumerate(text.split("\n")):
        visible = line.strip()
        counts = visible and (number or block.is_at_line_start)
        if counts and _indentation(line) < block.indentation and visible[0] not in _CLOSING:
            return kept
        if visible:
            kept = start + len(line)
        start += len(line) + 1
    return None


def _indentation(line: str) -> int:
    wide = line.expandtabs(_TAB)
    return len(wide) - len(wide.lstrip())

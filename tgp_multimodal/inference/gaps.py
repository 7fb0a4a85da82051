"""Where the gap is that a model shall fill: at a marker of a text, or at a cursor."""

import re

_ENDS = re.compile(r"\r\n|\r|\n")  # of lines, as editors see them
_PLACE = re.compile(r"(\d+):(\d+)")


def at_marker(content: str, marker: str) -> tuple[str, str]:
    """What stands before and behind the marker.

    Raises:
        ValueError: the marker does not stand there once.
    """
    count = content.count(marker) if marker else 0
    if count != 1:
        raise ValueError(
            f"file must hold the marker {marker!r} once. Got it {count} times instead."
        )
    before, after = content.split(marker)
    return before, after


def at_cursor(content: str, place: str) -> tuple[str, str]:
    """What stands before and behind a cursor.

    Args:
        content: of a file.
        place: LINE:COLUMN, both from 1 on, as editors count; columns are characters, and the cursor
            stands in front of that one, so the end of a line is one column behind its last.

    Raises:
        ValueError: there is no such place.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError(f"at must be LINE:COLUMN, for example 12:5. Got {place} instead.")
    line, column = int(found[1]), int(found[2])
    ends = list(_ENDS.finditer(content))
    starts = [0, *(end.end() for end in ends)]
    if not 1 <= line <= len(starts):
        raise ValueError(f"line of at must be between 1 and {len(starts)}. Got {line} instead.")
    start = starts[line - 1]
    longest = (ends[line - 1].start() if line <= len(ends) else len(content)) - start + 1
    if not 1 <= column <= longest:
        raise ValueError(
            f"column of at must be between 1 and {longest} in line {line}. Got {column} instead."
        )
    offset = start + column - 1
    return content[:offset], content[offset:]


def unix(text: str) -> str:
    """The text with the ends of lines that models know."""
    return _ENDS.sub("\n", text)


def end_of_lines(text: str) -> str:
    """How the lines of a text end: as under Windows where one does so."""
    return "\r\n" if "\r\n" in text else "\n"


def with_ends(text: str, end: str) -> str:
    """What a model wrote, or a piece of it, with these ends of lines."""
    return text.replace("\r", "").replace("\n", end)

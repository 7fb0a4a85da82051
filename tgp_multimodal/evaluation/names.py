"""The sentence for a name that does not exist."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, there_are: Iterable[str]) -> str:
    """`<kind> must be one that exists ... Did you mean ...?`, for a ValueError."""
    known = sorted(there_are)
    sentence = (
        f"{kind} must be one that exists. Got {name!r} instead; there are: {', '.join(known)}."
    )
    short = {k.rsplit("/", 1)[-1]: k for k in known}
    close = difflib.get_close_matches(name, known, 1, 0.6)
    close = close or [short[c] for c in difflib.get_close_matches(name, short, 1, 0.6)]
    return f"{sentence} Did you mean {close[0]}?" if close else sentence

"""The sentence for a name that does not exist."""

import difflib
from collections.abc import Iterable

_BEGINNING = 3  # from so many letters on, a name that starts with them is the likeliest one
_LONG = 12  # more names than this may be cut off where the line is printed: the hint comes first
_TOO_LONG = 40  # more names than this help nobody who has a hint


def unknown(kind: str, name: str, there_are: Iterable[str]) -> str:
    """`<kind> must be one that exists ... Did you mean ...?`, for a ValueError."""
    name = str(name)  # YAML has numbers and truth values for keys
    known = sorted(there_are)
    short, own = {k.rsplit("/", 1)[-1]: k for k in known}, name.rsplit("/", 1)[-1]
    close = sorted((k for k in known if len(name) >= _BEGINNING and k.startswith(name)), key=len)
    # By the last part alone: what is before it would make any two names of a domain alike.
    close = close or [short[c] for c in difflib.get_close_matches(own, short, 1, 0.6)]
    sentence = f"{kind} must be one that exists. Got {name!r} instead"
    hint = f" Did you mean {close[0]}?" if close else ""
    if close and len(known) > _TOO_LONG:
        return f"{sentence}.{hint}"
    listed = f"there are: {', '.join(known)}."
    return (
        f"{sentence}.{hint} T{listed[1:]}" if len(known) > _LONG else f"{sentence}; {listed}{hint}"
    )

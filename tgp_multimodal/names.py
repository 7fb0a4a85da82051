"""What to say about a name that does not exist: the names that do, and the one that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_BEGINNING = 3  # from so many letters on, a name that starts with them is the likeliest one
_LISTED = 20  # more names than this are a wall, not a help
_ALL_LISTED = 40  # the same where no name comes close, so that there is nothing else to go by


def unknown(kind: str, name: object, known: Iterable[str], meant: str | None = None) -> str:
    """The sentence for a name that does not exist, for a ValueError.

    Args:
        kind: what it should name.
        name: the wrong name; YAML has numbers and truth values for keys, too.
        known: the right ones.
        meant: the right one that goes by this name elsewhere; left out: the closest.
    """
    names = sorted(set(known))
    close = meant or closest(str(name), names)
    most = _LISTED if close else _ALL_LISTED
    listed = f"; there are: {', '.join(names)}" if 0 < len(names) <= most else ""
    return f"{kind} must be one that exists. Got {name} instead{listed}.{_question(close)}"


def hint(name: object, known: Iterable[str]) -> str:
    """` Did you mean ...?` for the end of a sentence; nothing where no name comes close."""
    return _question(closest(str(name), known))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The likeliest of the names that exist: one that begins so, else one spelt like it.

    Names in levels (`text/sst2`, `model.optimizer.muon_lr`) are compared by their last part: what
    is before it would make any two names of one level alike. Of keys with dots, those of the same
    level come first.
    """
    names = sorted(set(known))
    begun = [n for n in names if n.startswith(name)]
    if begun and len(name.lstrip("-")) >= _BEGINNING:
        return min(begun, key=len)
    level, dot, last = name.rpartition(".")
    beside = {n.rpartition(".")[2]: n for n in names if n.rpartition(".")[0] == level}
    if dot and (close := get_close_matches(last, beside, 1)):
        return beside[close[0]]
    short = {n.rpartition("/")[2]: n for n in names}
    close = get_close_matches(name.rpartition("/")[2], short, 1, 0.75 if dot else 0.6)
    return short[close[0]] if close else None


def _question(meant: str | None) -> str:
    return f" Did you mean {meant}?" if meant else ""

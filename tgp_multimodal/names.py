"""What to say about a name that does not exist: the names that do, and the one that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

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
    shown = name if str(name).strip() else repr(name)
    return f"{kind} must be one that exists. Got {shown} instead{listed}.{_question(close)}"


def hint(name: object, known: Iterable[str]) -> str:
    """` Did you mean ...?` for the end of a sentence; nothing where no name comes close."""
    return _question(closest(str(name), known))


def beside(path: Path) -> str:
    """The same for a file or folder that is not there, by what lies beside it."""
    there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    meant = closest(path.name, there, has_levels=False)
    return _question(str(path.parent / meant) if meant else None)


def closest(name: str, known: Iterable[str], has_levels: bool = True) -> str | None:
    """The likeliest of the names that exist: one that begins so, is spelt so, or has such a word.

    Names in levels (`text/sst2`, `model.optimizer.muon_lr`) are compared by their last part: what
    is before it would make any two names of one level alike. Of keys with dots, those of the same
    level come first. Dashes in front of options say nothing.

    Args:
        name: the wrong one.
        known: the right ones.
        has_levels: whether dots part levels; in names of files they do not.
    """
    bare = {full.lstrip("-"): full for full in sorted(set(known), reverse=True)}
    name = name.lstrip("-")
    if len(name) >= _BEGINNING and (begun := [n for n in bare if n.startswith(name)]):
        return bare[min(begun, key=lambda n: (len(n), n))]
    level, dot, last = name.rpartition(".") if has_levels else ("", "", name)
    beside = {n.rpartition(".")[2]: n for n in bare if n.rpartition(".")[0] == level}
    if dot and (close := get_close_matches(last, beside, 1)):
        return bare[beside[close[0]]]
    short = {n.rpartition("/")[2]: n for n in bare}
    if close := get_close_matches(name.rpartition("/")[2], short, 1, 0.75 if dot else 0.6):
        return bare[short[close[0]]]
    worded = [n for n in bare if not dot and name in n.rpartition(".")[2].split("_")]
    return bare[min(worded, key=lambda n: (len(n), n))] if worded else None


def _question(meant: str | None) -> str:
    return f" Did you mean {meant}?" if meant else ""

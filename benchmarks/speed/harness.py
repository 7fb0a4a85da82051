"""The clock: times two sides that do the same work, in turns, and gives the ratio of their times.

Timings drift from day to day and with whatever else runs; two sides that take turns drift alike, so
a figure here is the median over the rounds of their ratio. Sides whose outputs differ are refused:
the speed of a wrong answer counts for nothing.
"""

import gc
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Clock = Callable[[], float]


class DifferentWorkError(Exception):
    """Both sides of a contest do not compute the same."""


class Side(NamedTuple):
    """One way to do the work.

    Attributes:
        name: library and entry point.
        precision: of its matrix products.
        run: does the work once, and returns what it computed.
    """

    name: str
    precision: str
    run: Callable[[], Any]


class Contest(NamedTuple):
    """Two ways to do the same work.

    Attributes:
        name: what is done, on how much.
        ours, peer: the two sides.
        difference: how far our first output lies from the peer's first.
        tolerance: the largest difference that is rounding.
        facts: plain data that fix the work: shapes, counts.
    """

    name: str
    ours: Side
    peer: Side
    difference: Callable[[Any, Any], float]
    tolerance: float
    facts: dict[str, Any]


class Figure(NamedTuple):
    """What was measured.

    Attributes:
        ratio: median over the rounds of the peer's seconds / ours; above 1, we are faster.
        low, high: smallest and largest ratio of a round.
        rounds: how many there were.
        seconds_ours, seconds_peer: medians.
        first_ours, first_peer: the first, uncounted calls, which compile whatever is compiled.
        difference: between the outputs of the first calls.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    seconds_ours: float
    seconds_peer: float
    first_ours: float
    first_peer: float
    difference: float


def measure(
    contest: Contest, rounds: int, warm_up: int = 2, clock: Clock = time.perf_counter
) -> Figure:
    """Compares the outputs of both sides, then times them in turns: ours, peer, ours, peer, ...

    Args:
        contest: the two sides.
        rounds: how many times each side is timed.
        warm_up: calls of each side before, at least one; the first is the one that is compared.
        clock: seconds since some moment.

    Raises:
        DifferentWorkError: the outputs differ by more than the tolerance.
        ValueError: there would be no round or no warm-up.
    """
    for name, count in (("rounds", rounds), ("warm_up", warm_up)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1. Got {count} instead.")
    sides = (contest.ours, contest.peer)
    (ours, first_ours), (theirs, first_peer) = (_timed(side, clock) for side in sides)
    difference = contest.difference(ours, theirs)
    require(contest.name, difference, contest.tolerance)
    for _ in range(warm_up - 1):
        for side in sides:
            side.run()
    seconds = [tuple(_timed(side, clock)[1] for side in sides) for _ in range(rounds)]
    ratios = [peer / own for own, peer in seconds]
    own_median, peer_median = (median(column) for column in zip(*seconds, strict=True))
    return Figure(
        median(ratios),
        min(ratios),
        max(ratios),
        rounds,
        own_median,
        peer_median,
        first_ours,
        first_peer,
        difference,
    )


def require(name: str, difference: float, tolerance: float) -> None:
    """Refuses a difference that is more than rounding, or that is no number.

    Raises:
        DifferentWorkError: it is.
    """
    if not difference <= tolerance or math.isnan(tolerance):
        raise DifferentWorkError(
            f"{name}: the difference to the peer must be at most {tolerance:g}. "
            f"Got {difference:g} instead."
        )


def row(contest: Contest, figure: Figure) -> str:
    """One line of the table."""
    precisions = f"{contest.ours.precision} / {contest.peer.precision}"
    return (
        f"{contest.name:<38} {contest.peer.name:<40} {precisions:<19} {figure.ratio:6.2f}x "
        f"{figure.low:6.2f} -{figure.high:6.2f} {figure.seconds_ours:9.4f} "
        f"{figure.seconds_peer:9.4f} {figure.first_ours:7.2f} {figure.first_peer:7.2f} "
        f"{figure.difference:8.1e}"
    )


def heading() -> str:
    """The line above the rows."""
    return (
        f"{'work':<38} {'peer':<40} {'ours / peer':<19} {'ratio':>7} {'low - high':>14} "
        f"{'ours, s':>9} {'peer, s':>9} {'1st':>7} {'1st':>7} {'differ':>8}"
    )


def append(
    path: Path, case: str, contest: Contest, figure: Figure, circumstances: dict[str, Any]
) -> None:
    """Adds the figure to a file of JSON lines, with what is needed to judge and repeat it."""
    sides = {
        "ours": {"name": contest.ours.name, "precision": contest.ours.precision},
        "peer": {"name": contest.peer.name, "precision": contest.peer.precision},
    }
    checked = {"tolerance": contest.tolerance, "facts": contest.facts}
    line = {"case": case, "work": contest.name, **sides, **figure._asdict(), **checked}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **circumstances}) + "\n")


def _timed(side: Side, clock: Clock) -> tuple[Any, float]:
    gc.collect()  # so that no side pays for the other's garbage
    start = clock()
    output = side.run()
    return output, clock() - start

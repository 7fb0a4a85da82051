"""Score against labels on the leaderboard: of a card, and mean over the cards of a domain."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from tgp_multimodal.evaluation import leaderboard_plots as plots
from tgp_multimodal.evaluation.leaderboard import Column, normalise
from tgp_multimodal.evaluation.results import Result, is_bounded

ALL = "all"
_WIDE, _NARROW = 860, 330
_HEIGHT = 320


class Line(NamedTuple):
    """One model's curve; `readings`: count of labels per class, or "all" -> value and interval."""

    model: str
    readings: dict[str, plots.Reading]
    is_complete: bool


def of_columns(columns: Sequence[Column], order: Sequence[str]) -> dict[str, Any] | None:
    """What the template prints of these cards' curves; None where none of them is one.

    A point of several cards is the mean of their chance-normalised accuracies, its interval that of
    independent cards. A card with other counts than the first has no part in it. Of several columns
    of a card, which do not compare, the first that has a curve is drawn.

    Args:
        columns: of the board.
        order: models, best first; at most eight are drawn.
    """
    by_card: dict[str, Column] = {}
    for column in columns:
        if _counts(column.best):
            by_card.setdefault(column.best.card, column)
    found = list(by_card.values())
    found = [c for c in found if _counts(c.best) == _counts(found[0].best)]
    if not found:
        return None
    lines = [line for model in order if (line := _line(model, found))]
    drawn, rest = lines[: plots.BAR_COLOURS], [line.model for line in lines[plots.BAR_COLOURS :]]
    wide, narrow = (draw(drawn, width) for width in (_WIDE, _NARROW))
    return {
        "models": [line.model for line in drawn],
        "wide": wide,
        "narrow": narrow,
        "cards": len(found),
        "partial": [line.model for line in drawn if not line.is_complete],
        "left_out": ", ".join(rest),
    }


def _counts(result: Result) -> tuple[str, ...]:
    curve = result.details.get("curve")
    if not isinstance(curve, dict) or result.protocol != "few_labels":
        return ()
    is_whole = all(_is_count(name) and _reading(result, name) for name in curve)
    return tuple(curve) if is_whole else ()


def _is_count(name: str) -> bool:
    return name == ALL or (name.isdecimal() and int(name) > 0)


def _reading(result: Result, count: str) -> plots.Reading | None:
    """A point on the scale where chance is 0 and perfect is 1; None where the file has none."""
    point = result.details["curve"][count]
    found = point if isinstance(point, dict) else {}
    numbers: list[Any] = [found.get(name) for name in ("value", "low", "high")]
    sound = [float(n) for n in numbers if is_bounded(n)]
    scores = [score for n in sound if (score := normalise(result, n)) is not None]
    return plots.Reading(scores[0], scores[1], scores[2], 0.0) if len(scores) == 3 else None


def _line(model: str, columns: Sequence[Column]) -> Line | None:
    own = [r for c in columns if (r := c.of(model)) and _counts(r) == _counts(c.best)]
    if not own:
        return None
    readings = {}
    for count in _counts(own[0]):
        points = [point for r in own if (point := _reading(r, count))]
        value = sum(p.value for p in points) / len(points)
        below = math.hypot(*(p.value - p.low for p in points)) / len(points)
        above = math.hypot(*(p.high - p.value for p in points)) / len(points)
        readings[count] = plots.Reading(value, value - below, value + above, 0.0)
    return Line(model, readings, len(own) == len(columns))


def draw(lines: Sequence[Line], width: int) -> Markup:
    """Curves over labels per class on a logarithmic axis, "all" one step to the right of them."""
    counts = list(lines[0].readings)
    place = _places(counts)
    ends = [x for line in lines for p in line.readings.values() for x in (p.low, p.high)]
    low, high = math.log10(min(place.values())), math.log10(max(place.values()))
    air = 0.06 * (high - low) or 0.3
    frame = plots.Frame(
        width, _HEIGHT, low - air, high + air, plots.scale_for([0.0, *ends], high=1.0)
    )
    parts = [
        *plots.y_axis(frame, "score"),
        *plots.x_axis(frame, {place[c]: c for c in counts}, "labels per class"),
    ]
    for number, line in enumerate(lines):
        # Side by side, so that whiskers do not hide each other.
        shift = 3.0 * (number - (len(lines) - 1) / 2)
        xs = [round(frame.x(place[c]) + shift, 1) for c in counts]
        parts += _path(frame, line, xs, number)
    title = "Score against labels per class"
    return plots.pixel_svg("scatter", width, _HEIGHT, title, parts)


def _places(counts: Sequence[str]) -> dict[str, float]:
    numbers = [float(c) for c in counts if c != ALL] or [1.0]
    step = numbers[-1] / numbers[-2] if len(numbers) > 1 else 5.0
    return {c: numbers[-1] * step if c == ALL else float(c) for c in counts}


def _path(frame: plots.Frame, line: Line, xs: Sequence[float], number: int) -> list[Markup]:
    readings = list(line.readings.values())
    ys = [frame.y(reading.value) for reading in readings]
    course = " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True))
    parts = [
        Markup('<g data-model="{}"><title>{}: {:.3f} with all labels</title>').format(
            line.model, line.model, readings[-1].value
        ),
        Markup('<polyline class="course line{}" points="{}"/>').format(number, course),
    ]
    dot = Markup('<circle class="point series{}{}" cx="{}" cy="{}" r="3.6"/>')
    hollow = "" if line.is_complete else " hollow"
    for x, y, reading in zip(xs, ys, readings, strict=True):
        top, bottom = frame.y(reading.high), frame.y(reading.low)
        parts.append(frame.rule(x, x, top, bottom, f"line{number}"))
        parts.append(dot.format(number, hollow, x, y))
    return [*parts, Markup("</g>")]

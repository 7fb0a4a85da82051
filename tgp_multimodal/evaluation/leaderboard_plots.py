"""The leaderboard's plots, written by hand as inline SVG.

Colours are classes, so light and dark are the style sheet's business. Strips that must fit any
width have their x in percent and their y in pixels; the scatter plot, whose names must not collide,
is laid out for one width in pixels. Every text passes through `Markup.format`, which escapes it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

BAR_COLOURS = 8
_NOTHING = 1e-300  # ticks closer than that cannot be told apart


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Position in percent of the width, kept inside it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


class Reading(NamedTuple):
    """A value with its interval and the level of guessing, if there is one."""

    value: float
    low: float
    high: float
    chance: float | None


class Point(NamedTuple):
    """One model in the scatter plot; `is_complete`: its mean holds every card."""

    name: str
    cost: float
    reading: Reading
    is_complete: bool


def scale_for(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> Scale:
    """The axis that holds all values with a little air and stays within [low, high]."""
    least, most = min(values), max(values)
    airs = (0.06 * (most - least), 0.1 * abs(most), 1.0)
    air = next(air for air in airs if air > _NOTHING)
    least, most = max(low, least - air), min(high, most + air)
    if most <= least:
        least, most = least - air, least + air
    return Scale(least, most, _round_ticks(least, most, 5))


def _round_ticks(least: float, most: float, wanted: int) -> tuple[float, ...]:
    raw = (most - least) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(least / step - 1e-9)
    last = math.floor(most / step + 1e-9)
    return tuple(round(k * step, 10) for k in range(first, last + 1))


def axis_text(value: float, percent: bool) -> str:
    """A tick's number without needless zeros."""
    return f"{100 * value:.4g}" if percent else f"{value:.4g}"


def cell_bar(scale: Scale, reading: Reading) -> Markup:
    """The small bar in a table cell: interval, value and chance level."""
    return _strip(scale, reading, [], 12, 2.6, "cellbar")


def forest_row(scale: Scale, reading: Reading) -> Markup:
    """One model's line in a forest plot, as wide as its container."""
    return _strip(scale, reading, scale.ticks, 22, 4.2, "strip")


def _strip(
    scale: Scale,
    reading: Reading,
    ticks: Sequence[float],
    height: int,
    radius: float,
    css: str,
) -> Markup:
    middle, left, right = height / 2, scale.at(reading.low), scale.at(reading.high)
    parts = [_line(scale.at(tick), 0, height, "grid") for tick in ticks]
    if reading.chance is not None:
        parts.append(_line(scale.at(reading.chance), 0, height, "chance"))
    parts.append(
        Markup('<line class="whisker" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(
            left, right, middle, middle
        )
    )
    parts += [_line(x, middle - radius, middle + radius, "whisker") for x in (left, right)]
    place = scale.at(reading.value)
    parts.append(
        Markup('<circle class="dot" cx="{}%" cy="{}" r="{}"/>').format(place, middle, radius)
    )
    return _svg(css, height, "", parts)


def _svg(css: str, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    role = Markup('role="img" aria-label="{}"').format(label) if label else 'aria-hidden="true"'
    start = Markup('<svg class="{}" height="{}" {}>').format(css, height, Markup(role))
    return start + Markup("").join(parts) + Markup("</svg>")


def _line(x: float, top: float, bottom: float, css: str) -> Markup:
    return Markup('<line class="{}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(
        css, x, x, top, bottom
    )


def forest_axis(scale: Scale, label: str, percent: bool, chance: float | None) -> Markup:
    """The axis below a forest plot: ticks with numbers, its label, the word at the chance line."""
    parts = []
    for tick in scale.ticks:
        place = scale.at(tick)
        parts.append(_line(place, 0, 5, "tick"))
        parts.append(_text(f"{place}%", 17, axis_text(tick, percent), "axis", _anchor(place)))
    place = 0.0
    if chance is not None:
        place = scale.at(chance)
        word = f"chance {axis_text(chance, percent)}"
        parts.append(_text(f"{place}%", 32, word, "axis chance-text", _anchor(place)))
    x, anchor = ("0%", "start") if place > 50 else ("100%", "end")
    parts.append(_text(x, 32, label, "axis", anchor))
    return _svg("strip", 37, label, parts)


def _anchor(place: float) -> str:
    return "start" if place < 10 else "end" if place > 90 else "middle"


def _text(x: str | float, y: float, text: str, css: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, text
    )


def bars(axis: str, models: Sequence[str], values: Mapping[str, float]) -> Markup:
    """One small chart: a bar for each model from 0 to 1, the latter at 80 % of the width."""
    thick, gap, full, y = 13, 3, 80, 22
    parts = [_text("0", 15, axis.replace("_", " "), "bar-title")]
    for place, model in enumerate(models):
        value = values.get(model)
        width = round(full * min(1.0, max(0.0, value or 0.0)), 2)
        bar = '<rect class="series{}" x="0" y="{}" width="{}%" height="{}" rx="2"/>'
        parts += [
            Markup('<g data-model="{}"><title>{}</title>').format(model, model),
            Markup(bar).format(place % BAR_COLOURS, y, max(width, 0.5), thick),
            _text(f"{width + 2}%", y + thick - 2.5, _share(value), "axis"),
            Markup("</g>"),
        ]
        y += thick + gap
    grid = [_line(x, 22, y, "grid") for x in (0, full / 2, full)]
    return _svg("strip", y, f"Score on {axis}", [*grid, *parts])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


@dataclass(frozen=True)
class Frame:
    """Pixels of a plot on a logarithmic axis and what they stand for."""

    width: int
    height: int
    x_low: float  # powers of ten
    x_high: float
    y_scale: Scale
    left: int = 54
    right: int = 18
    top: int = 16
    foot: int = 46

    @property
    def bottom(self) -> int:
        return self.height - self.foot

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x_low) / (self.x_high - self.x_low)
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - self.y_scale.at(value) / 100 * (self.bottom - self.top), 1)

    def rule(self, x1: float, x2: float, y1: float, y2: float, css: str) -> Markup:
        return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            css, x1, x2, y1, y2
        )


def scatter(points: Sequence[Point], x_label: str, y_label: str, width: int) -> Markup:
    """Score against a cost on a logarithmic axis, models named where there is room for a name."""
    low, high = _decades([p.cost for p in points])
    ends = [x for p in points for x in (p.reading.low, p.reading.high)]
    frame = Frame(width, 360, low, high, scale_for([0.0, *ends], high=1.0))
    parts = _ticks(frame, x_label, y_label)
    places = [(frame.x(p.cost), frame.y(p.reading.value)) for p in points]
    labels = place_labels([p.name for p in points], places, width, (frame.top, frame.bottom))
    for point, (x, y), label in zip(points, places, labels, strict=True):
        name, reading = point.name, point.reading
        dot = Markup('<circle class="dot{}" cx="{}" cy="{}" r="5"/>')
        parts += [
            Markup('<g data-model="{}"><title>{}: {:.3f} at {}</title>').format(
                name, name, reading.value, short(point.cost)
            ),
            frame.rule(x, x, frame.y(reading.low), frame.y(reading.high), "whisker"),
            dot.format("" if point.is_complete else " hollow", x, y),
            _text(label.x, label.y, label.text, "name", label.anchor) if label else Markup(""),
            Markup("</g>"),
        ]
    title = f"{y_label} against {x_label}"
    return pixel_svg("scatter", width, frame.height, title, parts)


def _ticks(frame: Frame, x_label: str, y_label: str) -> list[Markup]:
    ticks = _log_ticks(frame.x_low, frame.x_high, frame.width / 80)
    return [*y_axis(frame, y_label), *x_axis(frame, {t: short(t) for t in ticks}, x_label)]


def y_axis(frame: Frame, label: str) -> list[Markup]:
    """The lines of an upright axis with their numbers, and its label."""
    parts, end = [], frame.width - frame.right
    for tick in frame.y_scale.ticks:
        y = frame.y(tick)
        parts.append(frame.rule(frame.left, end, y, y, "grid" if tick else "chance"))
        parts.append(_text(frame.left - 8, y + 4, axis_text(tick, False), "axis", "end"))
    turned = (
        '<text class="axis" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>'
    )
    return [*parts, Markup(turned).format((frame.top + frame.bottom) / 2, label)]


def x_axis(frame: Frame, names: Mapping[float, str], label: str) -> list[Markup]:
    """The lines of a level axis with a word for each, and its label."""
    parts = []
    for place, name in names.items():
        x = frame.x(place)
        parts.append(frame.rule(x, x, frame.top, frame.bottom, "grid"))
        parts.append(_text(x, frame.bottom + 17, name, "axis", "middle"))
    middle = (frame.left + frame.width - frame.right) / 2
    return [*parts, _text(middle, frame.height - 8, label, "axis", "middle")]


def pixel_svg(css: str, width: int, height: int, title: str, parts: Sequence[Markup]) -> Markup:
    """A plot that is laid out in pixels."""
    start = '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">'
    head = Markup(start).format(css, width, height, width, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    air = max(0.12, 0.08 * (high - low))
    return low - air, high + air


def _log_ticks(low: float, high: float, room: float) -> list[float]:
    """Round numbers between two powers of ten, at most about `room` of them."""
    for factors, skip in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        ticks = [f * 10.0**d for d in powers if d % skip == 0 for f in factors]
        ticks = [t for t in ticks if low <= math.log10(t) <= high]
        if len(ticks) <= room:
            break
    return ticks


def short(value: float) -> str:
    """A count in at most a few characters: 1.2M, 340k, 15."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


class Label(NamedTuple):
    """A name and where it stands."""

    x: float
    y: float
    text: str
    anchor: str


def place_labels(
    names: Sequence[str],
    places: Sequence[tuple[float, float]],
    width: float,
    rows: tuple[float, float],
) -> list[Label | None]:
    """Where each name stands beside its dot, touching no dot and no name; None where none fits."""
    dots = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    taken = list(dots)
    labels: list[Label | None] = []
    for name, dot, (x, y) in zip(names, dots, places, strict=True):
        text = name if len(name) <= 22 else name[:21] + "…"
        size = 7.2 * len(text)
        spots = [
            *((x + 10, y + 4, "start"), (x - 10, y + 4, "end"), (x + 6, y - 10, "start")),
            *((x - 6, y - 10, "end"), (x + 6, y + 18, "start"), (x - 6, y + 18, "end")),
            *((x, y - 14, "middle"), (x, y + 22, "middle")),
        ]
        label = None
        for spot_x, spot_y, anchor in spots:
            left = spot_x - {"start": 0.0, "end": size, "middle": size / 2}[anchor]
            box = (left, spot_y - 11, left + size, spot_y + 3)
            inside = left >= 56 and box[2] <= width and rows[0] - 12 <= box[1] and box[3] <= rows[1]
            if inside and not any(_touch(box, other) for other in taken if other != dot):
                label = Label(spot_x, spot_y, text, anchor)
                taken.append(box)
                break
        labels.append(label)
    return labels


def _touch(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]

"""Plots of one adapted model, written by hand as inline SVG: matrix, reliability, curve, scatter.

Colours are classes of the page's style sheet. Every text passes through `Markup.format`, which
escapes it. Each plot is laid out in pixels and shrinks with the page.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from tgp_multimodal.evaluation.leaderboard_plots import Scale, axis_text, scale_for

_SIDE = 300  # of square plots, without labels
_LEFT, _FOOT, _TOP, _RIGHT = 52, 44, 26, 14
_START = 0.05  # share of a training run whose values do not decide the scale of a plot
_NAME = 16  # letters of a label that are shown


class Mark(NamedTuple):
    """A point with the bar of its interval, and what is said of it when it is pointed at."""

    x: float
    y: float
    low: float
    high: float
    title: str


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Truth in rows, predictions in columns; a cell is as dark as its share of the row.

    Args:
        labels: of rows and columns.
        counts: of items in each cell.
    """
    cell = max(16, min(46, 460 // max(1, len(labels))))
    left, top = (
        8 + 7 * min(_NAME, max(map(len, labels))),
        24 + 5 * min(_NAME, max(map(len, labels))),
    )
    parts = []
    for row, (name, numbers) in enumerate(zip(labels, counts, strict=True)):
        y: float = top + row * cell
        parts.append(_text(left - 6, y + cell / 2 + 4, _short(name), "axis", "end"))
        for column, count in enumerate(numbers):
            x: float = left + column * cell
            share = count / max(1, sum(numbers))
            parts.append(
                Markup(
                    '<g><title>{} said to be {}: {}</title><rect class="cell{}" x="{}" y="{}" '
                    'width="{}" height="{}" fill-opacity="{}"/></g>'
                ).format(
                    name, labels[column], count, " right" if row == column else "",
                    x, y, cell - 1, cell - 1, round(0.06 + 0.94 * share, 3),
                )
            )  # fmt: skip
            if count and cell >= 24:
                css = "count light" if share > 0.55 else "count"
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(count), css, "middle"))
    for column, name in enumerate(labels):
        x = left + column * cell + cell / 2 + 4
        turned = '<text class="axis" transform="translate({} {}) rotate(-50)">{}</text>'
        parts.append(Markup(turned).format(x, top - 6, _short(name)))
    side = len(labels) * cell
    return _svg(left + side + 70, top + side + 6, "Confusion matrix", parts)


def reliability(marks: Sequence[Mark], counts: Sequence[int]) -> Markup:
    """Accuracy against confidence, with intervals; the diagonal is perfect calibration.

    Args:
        marks: one for each bin.
        counts: items in each, drawn as grey bars at the foot.
    """
    scale = Scale(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    frame = _Frame(scale, scale, _SIDE + 90, _SIDE + 30)
    parts = frame.axes("confidence", "share that is right")
    parts.append(frame.line([(0, 0), (1, 1)], "ideal"))
    most = max(counts, default=1)
    for mark, count in zip(marks, counts, strict=True):
        height = 40 * count / most
        bar = '<rect class="amount" x="{}" y="{}" width="14" height="{}"/>'
        parts.append(
            Markup(bar).format(frame.x(mark.x) - 7, frame.bottom - height, round(height, 1))
        )
    parts += [part for mark in marks for part in frame.mark(mark)]
    return _svg(frame.width, frame.height, "Reliability", parts)


def curve(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], label: str, chosen: float
) -> Markup:
    """Numbers over training steps; a dashed line stands at the step whose weights were kept.

    Args:
        lines: name and points (step, value) of each.
        label: of the vertical axis.
        chosen: the step that was kept.
    """
    points = [p for _, line in lines for p in line]
    x_scale = scale_for([x for x, _ in points] or [0.0, 1.0], low=0.0)
    frame = _Frame(x_scale, scale_for([y for _, y in points] or [0.0]), _SIDE + 160, _SIDE)
    parts = frame.axes("step", label)
    x = frame.x(chosen)
    parts.append(frame.rule(x, x, _TOP, frame.bottom, "chance"))
    for number, (name, line) in enumerate(lines):
        parts.append(frame.line(line, f"curve c{number}"))
        dots = (
            '<circle class="c{}" cx="{}" cy="{}" r="3"><title>{} at {:g}: {:.4f}</title></circle>'
        )
        parts += [Markup(dots).format(number, frame.x(a), frame.y(b), name, a, b) for a, b in line]
        parts.append(_text(_LEFT + 130 * number, _TOP - 12, name, f"key c{number}"))
    return _svg(frame.width, frame.height, label, parts)


class RunCurve(NamedTuple):
    """A metric of one training run: steps and values, of training and of validation."""

    number: int
    name: str
    train: Sequence[tuple[float, float]]
    held_out: Sequence[tuple[float, float]]


def run_curves(label: str, curves: Sequence[RunCurve]) -> Markup:
    """A metric over the steps of several runs: lines of training, dots of validation.

    What was logged in the first twentieth of the training does not decide the scale and may lie
    outside: losses begin many times as high as all that follows.

    Args:
        label: name of the metric.
        curves: one for each run.
    """
    last = max((x for one in curves for x, _ in (*one.train, *one.held_out)), default=1.0)
    shown = [y for one in curves for x, y in one.train if x > _START * last]
    shown += [y for one in curves for _, y in one.held_out]
    shown = shown or [y for one in curves for _, y in one.train] or [0.0]
    frame = _Frame(scale_for([0.0, last], low=0.0), scale_for(shown), _SIDE + 60, _SIDE - 60)
    parts = [_text(_LEFT, _TOP - 10, label, "name"), *frame.axes("step", "")]
    for one in curves:
        parts.append(frame.line(one.train, f"curve train c{one.number}"))
        parts.append(frame.line(one.held_out, f"curve held c{one.number}"))
        dot = (
            '<circle class="c{}" cx="{}" cy="{}" r="2.5"><title>{} at {:g}: {:.4g}</title></circle>'
        )
        parts += [
            Markup(dot).format(one.number, frame.x(x), frame.y(y), one.name, x, y)
            for x, y in one.held_out
        ]
    return _svg(frame.width, frame.height, label, parts)


def scatter(points: Sequence[tuple[float, float]]) -> Markup:
    """Predicted quantities against true ones."""
    scale = scale_for([value for point in points for value in point])
    frame = _Frame(scale, scale, _SIDE + 90, _SIDE + 30)
    parts = frame.axes("true", "predicted")
    ends = (scale.low, scale.high)
    parts.append(frame.line([(end, end) for end in ends], "ideal"))
    dot = Markup('<circle class="small" cx="{}" cy="{}" r="2.5"/>')
    parts += [dot.format(frame.x(x), frame.y(y)) for x, y in points]
    return _svg(frame.width, frame.height, "Predicted against true", parts)


def bands(
    places: Sequence[str], lines: Sequence[tuple[str, Sequence[Mark]]], x_label: str, y_label: str
) -> Markup:
    """Lines with intervals over named places at equal distances, moved apart a little.

    Args:
        places: names below the axis.
        lines: name and marks of each; `x` of a mark is the number of its place.
        x_label: of the horizontal axis.
        y_label: of the vertical one.
    """
    ends = [end for _, line in lines for mark in line for end in (mark.low, mark.high)]
    last = len(places) - 1
    frame = _Frame(Scale(-0.3, last + 0.3, ()), scale_for(ends or [0.0], high=1.0), 620, 380)
    parts = frame.axes(x_label, y_label)
    for number, name in enumerate(places):
        parts.append(_text(frame.x(number), frame.bottom + 16, name, "axis", "middle"))
    for number, (name, line) in enumerate(lines):
        shift = 0.05 * (number - (len(lines) - 1) / 2)
        moved = [mark._replace(x=mark.x + shift) for mark in line]
        parts.append(frame.line([(m.x, m.y) for m in moved], f"curve c{number}"))
        for mark in moved:
            x = frame.x(mark.x)
            parts.append(
                frame.rule(x, x, frame.y(mark.low), frame.y(mark.high), f"curve c{number}")
            )
            dot = '<circle class="c{}" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>'
            parts.append(Markup(dot).format(number, x, frame.y(mark.y), mark.title))
        parts.append(_text(_LEFT + 100 * number, _TOP - 12, name, f"key c{number}"))
    return _svg(frame.width, frame.height, f"{y_label} by {x_label}", parts)


class _Frame(NamedTuple):
    """Pixels of a plot and what they stand for."""

    x_scale: Scale
    y_scale: Scale
    width: int
    height: int

    @property
    def bottom(self) -> int:
        return self.height - _FOOT

    def x(self, value: float) -> float:
        return round(_LEFT + self.x_scale.at(value) / 100 * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - self.y_scale.at(value) / 100 * (self.bottom - _TOP), 1)

    def rule(self, x1: float, x2: float, y1: float, y2: float, css: str) -> Markup:
        return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            css, x1, x2, y1, y2
        )

    def line(self, points: Sequence[tuple[float, float]], css: str) -> Markup:
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        return Markup('<polyline class="{}" points="{}"/>').format(css, path)

    def mark(self, mark: Mark) -> list[Markup]:
        x = self.x(mark.x)
        return [
            self.rule(x, x, self.y(mark.low), self.y(mark.high), "whisker"),
            Markup('<circle class="dot" cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(
                x, self.y(mark.y), mark.title
            ),
        ]

    def axes(self, x_label: str, y_label: str) -> list[Markup]:
        end, parts = self.width - _RIGHT, []
        for tick in self.y_scale.ticks:
            y = self.y(tick)
            parts.append(self.rule(_LEFT, end, y, y, "grid"))
            parts.append(_text(_LEFT - 7, y + 4, axis_text(tick, False), "axis", "end"))
        for tick in self.x_scale.ticks:
            place = self.x(tick)
            parts.append(self.rule(place, place, _TOP, self.bottom, "grid"))
            parts.append(_text(place, self.bottom + 16, axis_text(tick, False), "axis", "middle"))
        middle = (_LEFT + end) / 2
        parts.append(_text(middle, self.height - 8, x_label, "axis", "middle"))
        turned = (
            '<text class="axis" transform="translate(13 {}) rotate(-90)" '
            'text-anchor="middle">{}</text>'
        )
        parts.append(Markup(turned).format((_TOP + self.bottom) / 2, y_label))
        return parts


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def _text(x: float, y: float, text: str, css: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        css, round(x, 1), round(y, 1), anchor, text
    )


def _svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    start = '<svg viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">'
    head = Markup(start).format(width, height, width, label)
    return head + Markup("").join(parts) + Markup("</svg>")

"""Results as tables for a terminal: values with intervals, and learning curves."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.leaderboard import chance_of
from tgp_multimodal.evaluation.results import Result, is_contaminated, overlap_note
from tgp_multimodal.evaluation.stats import detectable

Found = Mapping[str, Sequence[Result]]  # name of each model -> its results


def values(cards: Sequence[str], found: Found, limit: int | None) -> Table:
    """A row for each card, a column for each model, "-" where there is no result.

    Args:
        cards: names, in the order of the rows.
        found: what was measured.
        limit: most test items of a card, which the title says.
    """
    note = f", at most {limit} items" if limit else ""
    table = Table(title=f"Value and 95 % interval{note}", title_justify="left")
    for name in ("card", "metric", "chance", "visible gap", *found):
        # Folded, not cut off: beginnings of names tell no two rows apart.
        is_text = name in ("card", "metric")
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold")
    for card in cards:
        of = {model: _result(own, card) for model, own in found.items()}
        first = next((r for r in of.values() if r), None)
        if first is None:
            table.add_row(Text(card), "", "", "", *("-" for _ in of))
            continue
        direction = metrics.direction(first.metric, first.higher_is_better)
        plain = direction == "higher is better"
        metric = first.metric if plain else f"{first.metric} ({direction})"
        cells = (f"{r.value:.3f}\n{_interval(r)}" if r else "-" for r in of.values())
        intervals = [(r.low, r.high) for r in of.values() if r and r.n > 1]
        gap = f"{detectable(intervals):.2g}" if intervals else "-"
        level = chance_of(first)
        chance = "-" if level is None else f"{level:.3g}"
        table.add_row(*map(Text, (card, metric, chance, gap, *cells)))
    table.caption = "visible gap: what two models on separate items show in four of five tries"
    return table


def curves(cards: Sequence[str], found: Found) -> Table | None:
    """The points of all learning curves, a row for each card and model; None where there are none.

    Args:
        cards: names, in the order of the rows.
        found: what was measured.
    """
    results = [r for card in cards for own in found.values() if (r := _result(own, card))]
    results = [r for r in results if r.protocol == "few_labels"]
    if not results:
        return None
    counts = sorted({count for r in results for count in r.details["curve"]}, key=_labels)
    table = Table(title="Accuracy by labels per class", title_justify="left")
    for name in ("card", "model"):
        table.add_column(name, overflow="fold")
    for count in counts:
        table.add_column(count, justify="right", no_wrap=True)
    for result in results:
        curve, short = result.details["curve"], result.details["short"]
        points = (
            f"{curve[c]['value']:.3f}{'*' * (c in short)}" if c in curve else "-" for c in counts
        )
        table.add_row(*map(Text, (result.card, result.model, *points)))
    lacking = {r.card: r.details["short"] for r in results if r.details["short"]}
    if lacking:
        told = "\n".join(f"* {card}: {_few(s)}" for card, s in lacking.items())
        table.caption = Text(told)  # labels are no markup
    return table


def seen(found: Found) -> list[str]:
    """A line for each result with items that stand in training text, and one for all others."""
    reported = [r for of in found.values() for r in of if r.contamination]
    flagged = [r for r in reported if is_contaminated(r)]
    lines = [f"{r.model} {r.card}: {overlap_note(r)}; {overlap_note(r, 8)}" for r in flagged]
    rest = len(reported) - len(flagged)
    return [*lines, *([f"no item in training text: {rest} results"] if rest else [])]


def _result(own: Sequence[Result], card: str) -> Result | None:
    return next((r for r in own if r.card == card), None)


def _interval(result: Result) -> str:
    """Its ends; resampling one item gives it again, which is no interval."""
    return f"[{result.low:.2f}, {result.high:.2f}]" if result.n > 1 else "[one item]"


def _labels(count: str) -> float:
    """A count as a number; "all" comes last."""
    return float(count) if count.isdecimal() else math.inf


def _few(short: Mapping[str, Mapping[str, int]]) -> str:
    """Of the largest count: how many classes have fewer items, and the fewest that one has."""
    count = max(short, key=int)
    classes = short[count]
    least = min(classes, key=lambda label: classes[label])
    are = "class has" if len(classes) == 1 else "classes have"
    return f"{len(classes)} {are} fewer than {count}; {least} has {classes[least]}, the fewest"

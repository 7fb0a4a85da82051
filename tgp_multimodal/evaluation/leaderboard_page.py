"""The leaderboard as one HTML page: turns a `Board` into the plain values that the template prints.

Nothing is fetched: style, script, plots, pictures and records are inside, and the page's own
content policy forbids everything else, so that a hostile model name stays text.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tgp_multimodal.evaluation import leaderboard_curves as curves
from tgp_multimodal.evaluation import leaderboard_plots as plots
from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.leaderboard import (
    Board,
    Column,
    Mean,
    arrow,
    chance_of,
    is_percent,
    normalise,
    show,
    show_interval,
)
from tgp_multimodal.evaluation.results import (
    LARGEST,
    Result,
    is_contaminated,
    is_number,
    overlap_note,
)

MAX_PICTURE_BYTES = 1_000_000
_HERE = Path(__file__).parent
_COSTS = (("parameters", "parameters"), ("seconds", "seconds for its cards"))
_OWN = ("date", "source")  # facts that each result has its own of
_WIDE, _NARROW = 860, 330


def render(board: Board, reproduce: str, title: str = "TGP-Multimodal leaderboard") -> str:
    """The whole page as text."""
    script = (_HERE / "leaderboard.js").read_text("utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    ids = {id(column): f"card-{place}" for place, column in enumerate(board.columns, 1)}
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("leaderboard.html.j2").render(
        title=title,
        subtitle=_subtitle(board),
        style=Markup((_HERE / "leaderboard.css").read_text("utf-8")),
        script=Markup(script),
        script_digest=base64.b64encode(digest).decode(),
        models=[{"name": m, "facts": _model_facts(board, m)} for m in board.models],
        domains=[_domain(board, name, ids) for name in board.domains],
        warnings=board.warnings,
        problems=board.problems,
        counted=_counted(board, None),
        summary=_summary(board),
        scatter=_scatter(board, None),
        environment=[
            row for row in _distinct(r.environment for r in board.results) if row[0] not in _OWN
        ],
        reproduce=reproduce,
        records=script_json({ids[id(c)]: _records(c) for c in board.columns}),
    )


def script_json(data: Any) -> Markup:
    """JSON that may stand inside a script element: no character in it can end the element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _subtitle(board: Board) -> str:
    days = sorted({str(d)[:10] for r in board.results if (d := r.environment.get("date"))})
    when = f" · measured {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    cards, domains = len({c.best.card for c in board.columns}), len(board.domains)
    counts = ((len(board.models), "model"), (cards, "card"), (domains, "domain"))
    return " · ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts) + when


def _counted(board: Board, domain: str | None) -> int:
    return sum(c.counts for c in board.in_domain(domain))


def _mean(mean: Mean, scale: plots.Scale | None = None) -> dict[str, Any]:
    whole = mean.count + len(mean.missing)
    partial = bool(mean.missing) and mean.count > 0
    bar: Markup | str = ""
    if scale and mean.value is not None and mean.low is not None and mean.high is not None:
        bar = plots.cell_bar(scale, plots.Reading(mean.value, mean.low, mean.high, 0.0))
    return {
        "text": show(mean.value),
        "order": "" if mean.value is None else mean.value,
        "partial": partial,
        "part": f" {mean.count}/{whole}" if partial else "",
        "missing": ", ".join(mean.missing),
        "bar": bar,
    }


def _summary(board: Board) -> list[dict[str, Any]]:
    means = {m: [board.mean(m, d) for d in (None, *board.domains)] for m in board.models}
    ends = [
        x for row in means.values() for mean in row for x in (mean.low, mean.high) if x is not None
    ]
    scale = plots.scale_for([0.0, *ends], high=1.0)
    rows = []
    for model in board.models:
        parameters, seconds = (_cost(board, model, None, name) for name, _ in _COSTS)
        rows.append(
            {
                "model": model,
                "means": [_mean(mean, scale) for mean in means[model]],
                "parameters": "–" if parameters is None else plots.short(parameters),
                "parameters_order": "" if parameters is None else parameters,
                "seconds": f"{seconds:,.1f}",
                "seconds_order": seconds,
            }
        )
    return rows


def _cost(board: Board, model: str, domain: str | None, name: str) -> float | None:
    found = [r for c in board.in_domain(domain) if (r := c.of(model))]
    if name == "seconds":
        return sum(r.seconds for r in found)
    counts: list[Any] = [r.model_facts.get("parameters") for r in found]
    return max((float(n) for n in counts if is_number(n)), default=None)


def _scatter(board: Board, domain: str | None) -> list[dict[str, Any]]:
    plotted = []
    for name, label in _COSTS:
        points, absent = [], []
        for model in board.ranking(domain):
            mean, cost = board.mean(model, domain), _cost(board, model, domain, name)
            if mean.value is None or mean.low is None or mean.high is None:
                continue
            if cost is None or not 1 / LARGEST < cost < LARGEST:
                absent.append(model)
                continue
            reading = plots.Reading(mean.value, mean.low, mean.high, 0.0)
            points.append(plots.Point(model, cost, reading, not mean.missing))
        if points:
            wide, narrow = (plots.scatter(points, label, "mean score", w) for w in (_WIDE, _NARROW))
            plotted.append({"name": name, "label": label, "wide": wide, "narrow": narrow})
            plotted[-1]["absent"] = ", ".join(absent)
    return sorted(plotted, key=lambda plot: len(plot["absent"]))


def _domain(board: Board, name: str, ids: dict[int, str]) -> dict[str, Any]:
    columns, models = board.in_domain(name), board.ranking(name)
    sheets = [_sheet(m, board.folders[m] / "samples.png") for m in models if name == "image"]
    rows = [
        {
            "model": model,
            "mean": _mean(board.mean(model, name)),
            "cells": [_cell(board, column, model) for column in columns],
        }
        for model in models
    ]
    return {
        "id": "domain-" + "".join(c if c.isalnum() else "-" for c in name),
        "title": name[:1].upper() + name[1:],
        "counted": _counted(board, name),
        "cards": [_card(c, ids[id(c)], models) for c in columns],
        "rows": rows,
        "sheets": [sheet for sheet in sheets if sheet],
        "scatter": _scatter(board, name),
        "curves": curves.of_columns(columns, models),
    }


def _scale(column: Column) -> plots.Scale:
    values = [x for r in column.results for x in (r.value, r.low, r.high, chance_of(r))]
    ends = [x for x in values if x is not None]
    if is_percent(column.best.metric) and min(ends) >= 0 and max(ends) <= 1:
        return plots.scale_for(ends, 0.0, 1.0)
    return plots.scale_for(ends)


def _reading(result: Result) -> plots.Reading:
    return plots.Reading(result.value, result.low, result.high, chance_of(result))


def _cell(board: Board, column: Column, model: str) -> dict[str, Any]:
    result = column.of(model)
    if result is None:
        why = board.skipped.get((model, column.best.card), "not measured")
        empty = dict.fromkeys(("order", "score", "group", "bar"), "")
        return {**empty, "css": "none", "text": "–", "title": why}
    group, score = column.group[model], normalise(result, result.value)
    marks = (("best", column.is_best(result)), ("first", group == 1))
    notes = (
        show_interval(result, " to "),
        f"n {result.n:,}",
        _tie(column, model),
        overlap_note(result),
    )
    return {
        "css": " ".join(word for word, is_on in marks if is_on),
        "order": metrics.quality(result.metric, result.higher_is_better, result.value),
        "score": "" if score is None else score,
        "text": show(result.value, result.metric) + "†" * is_contaminated(result),
        "group": group,
        "bar": plots.cell_bar(_scale(column), _reading(result)),
        "title": " · ".join(filter(None, notes)),
    }


def _tie(column: Column, model: str) -> str:
    if column.best.model == model:
        return "the best"
    relation = "cannot be told from the best" if column.is_tied(model) else "differs from the best"
    return f"{relation}, p = {column.p_value[model]:.2g}"


def _card(column: Column, identifier: str, order: list[str]) -> dict[str, Any]:
    best, scale, percent = column.best, _scale(column), is_percent(column.best.metric)
    sizes = [r.n for r in column.results]
    forest = [
        {
            "model": r.model,
            "best": r is best,
            "text": show(r.value, r.metric),
            "interval": show_interval(r, " to "),
            "group": column.group[r.model],
            "bar": plots.forest_row(scale, _reading(r)),
        }
        for r in column.results
    ]
    metric = best.metric.replace("_", " ")
    sampled = [m for m, s in column.samples.items() if s.first or s.second]
    return {
        "id": identifier,
        "name": best.card,
        "label": column.label,
        "metric": metric,
        "arrow": arrow(best),
        "protocol": best.protocol.replace("_", " "),
        "n": " to ".join(dict.fromkeys((f"{min(sizes):,}", f"{max(sizes):,}"))),
        "counts": int(column.counts),
        "forest": forest,
        "axis": plots.forest_axis(scale, f"{metric}{', %' * percent}", percent, chance_of(best)),
        "axes": _axes(column),
        "curves": curves.of_columns([column], order),
        "facts": _card_facts(column),
        "sampled": sampled,
    }


def _axes(column: Column) -> list[dict[str, Any]]:
    """Bar charts of the details that are {axis: {"value": number, "n": items}}."""
    blocks = (("axes", "Score on each axis"), ("held_out", "On combinations held out of training"))
    charts = ({**_bars(column, name), "title": title} for name, title in blocks)
    return [chart for chart in charts if chart["plots"]]


def _bars(column: Column, name: str) -> dict[str, Any]:
    values: dict[str, dict[str, float]] = {}
    for result in column.results:
        axes = result.details.get(name)
        for axis, entry in axes.items() if isinstance(axes, dict) else ():
            number: Any = entry.get("value") if isinstance(entry, dict) else entry
            if is_number(number):
                values.setdefault(axis, {})[result.model] = float(number)
    models = [r.model for r in column.results if any(r.model in v for v in values.values())]
    drawn, rest = models[: plots.BAR_COLOURS], models[plots.BAR_COLOURS :]
    charts = [plots.bars(axis, drawn, found) for axis, found in values.items()]
    return {"models": drawn, "plots": charts, "left_out": ", ".join(rest)}


def _card_facts(column: Column) -> list[tuple[str, str]]:
    best, card = column.best, column.card
    direction = metrics.direction(best.metric, best.higher_is_better)
    rows: list[tuple[str, Any]] = [
        ("card", f"{best.card}, version {best.card_version}"),
        (
            "description",
            card.description if card else "not at hand: the card that ships is another one",
        ),
        ("protocol", best.protocol),
        ("metric", f"{best.metric}, {direction}"),
        ("chance", show(chance_of(best), best.metric)),
        ("compared by", ", ".join(column.tests) or "nothing to compare"),
        (
            "smallest visible gap",
            "none: one item"
            if column.visible_gap is None
            else f"{show(column.visible_gap, best.metric)}, two unpaired models at 80 % power",
        ),
        ("limit", best.limit),
    ]
    if card:
        rows += [
            (name, getattr(card, name)) for name in ("settings", "source", "license", "citation")
        ]
        rows.append(("published", [_plain(r) for r in card.references]))
    rows += [("card digest", best.card_digest), ("data digest", best.data_digest)]
    for result in column.results:
        rows.append((result.model, {k: v for k, v in result.details.items() if _is_short(v)}))
        rows += [
            (f"{result.model}, seen", said) for n in (13, 8) if (said := overlap_note(result, n))
        ]
    return [(name, text) for name, value in rows if (text := _plain(value))]


def _is_short(value: Any) -> bool:
    """Whether a detail may stand in a line of text: no table and no list of records."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(inner) <= 12 and not any(isinstance(v, dict | list) for v in inner)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def _records(column: Column) -> dict[str, Any]:
    return {model: samples._asdict() for model, samples in column.samples.items()}


def _sheet(model: str, path: Path) -> dict[str, str] | None:
    """A model's sample sheet as a data URI, or why it is not shown; None where there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return {"model": model, "data": "", "note": ": samples.png is not a PNG"}
    if len(content) > MAX_PICTURE_BYTES:
        note = f": samples.png is left out, for it has {len(content):,} bytes"
        return {"model": model, "data": "", "note": note}
    data = "data:image/png;base64," + base64.b64encode(content).decode()
    return {"model": model, "data": data, "note": ""}


def _model_facts(board: Board, model: str) -> list[tuple[str, str]]:
    found = [r for r in board.results if r.model == model]
    days = sorted(str(d) for r in found if (d := r.environment.get("date")))
    skipped = [f"{card} ({why})" for (name, card), why in board.skipped.items() if name == model]
    return [
        *_distinct(r.model_facts for r in found),
        ("results", str(len(found))),
        *([("last measured", days[-1])] if days else []),
        *([("not run", ", ".join(skipped))] if skipped else []),
    ]


def _distinct(mappings: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Every name with the different values that it has anywhere."""
    values: dict[str, dict[str, None]] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            if text := _plain(value):
                values.setdefault(str(name), {})[text] = None
    return [(name, "; ".join(found)) for name, found in values.items()]

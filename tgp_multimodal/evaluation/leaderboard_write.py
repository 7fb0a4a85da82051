"""Writes the three files of a leaderboard: Markdown, JSON and the page."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tgp_multimodal.evaluation import results
from tgp_multimodal.evaluation.leaderboard import (
    Board,
    Column,
    arrow,
    chance_of,
    normalise,
    show,
    show_interval,
)
from tgp_multimodal.evaluation.leaderboard_page import render
from tgp_multimodal.evaluation.results import Result, is_contaminated, overlap_note

FORMAT = 1
_LEGEND = (
    "Values with 95 % intervals; accuracies and their like in percent. The number after the"
    " interval is the rank group: models of group 1 cannot be told from the best (paired tests on"
    " the same items, Holm-corrected, 5 %). A lower group may still hold a model that is tied with"
    " the best, for a group ends at the first model that differs from its own best. The best values"
    " are bold. A mean with a fraction lacks cards and does not compare with the whole ones. The"
    " smallest gap is what two models on separate items would show in four of five tries; pairs on"
    " the same items show smaller ones."
)


def write(board: Board, folder: Path, reproduce: str = "tgp leaderboard") -> dict[str, Path]:
    """Writes the page, the tables and the data into a folder, each whole or not at all.

    The same results give the same bytes: the time of writing is in none of them.

    Args:
        board: what to print.
        folder: where to.
        reproduce: the command that makes these files.

    Returns:
        The path of each, by what it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "page": ("leaderboard.html", render(board, reproduce)),
        "tables": ("LEADERBOARD.md", as_markdown(board)),
        "data": ("leaderboard.json", json.dumps(as_data(board), indent=1, allow_nan=False) + "\n"),
    }
    for name, text in texts.values():
        # A lone surrogate may stand in a JSON string, but not in a UTF-8 file.
        results.replace(folder / name, text.encode("utf-8", "replace").decode("utf-8"))
    return {what: folder / name for what, (name, _) in texts.items()}


def as_data(board: Board) -> dict[str, Any]:
    """The board as plain data, for programs."""
    return {
        "format": FORMAT,
        "models": board.models,
        "cards": [_column_data(c) for c in board.columns],
        "means": {
            model: {
                "all": asdict(board.mean(model)),
                **{domain: asdict(board.mean(model, domain)) for domain in board.domains},
            }
            for model in board.models
        },
        "skipped": [
            {"model": model, "card": card, "reason": reason}
            for (model, card), reason in board.skipped.items()
        ],
        "warnings": board.warnings,
        "problems": board.problems,
    }


_SHARED = (
    *(
        "card",
        "card_version",
        "card_digest",
        "data_digest",
        "limit",
        "domain",
        "protocol",
        "metric",
    ),
    *("chance", "higher_is_better"),
)


def _column_data(column: Column) -> dict[str, Any]:
    rows = [
        {
            **{
                name: getattr(r, name) for name in ("model", "value", "low", "high", "n", "seconds")
            },
            "normalised": normalise(r, r.value),
            "rank_group": column.group[r.model],
            "p_against_best": column.p_value[r.model],
            "tied_with_best": column.is_tied(r.model),
            "contamination": _without_items(r),
        }
        for r in column.results
    ]
    shared = {name: getattr(column.best, name) for name in _SHARED}
    extra = {"counts_in_means": column.counts, "compared_by": column.tests}
    extra |= {"smallest_visible_gap": column.visible_gap}
    return {**shared, **extra, "rows": rows}


def _without_items(result: Result) -> dict[str, Any]:
    """The report on training text but for the items in it, which may be thousands."""
    return {
        name: {k: v for k, v in found.items() if k != "overlap"}
        if isinstance(found, dict) and name != "corpora"
        else found
        for name, found in result.contamination.items()
    }


def as_markdown(board: Board) -> str:
    """The board as Markdown: a table of means, then one for each domain."""
    lines = ["# Leaderboard", ""]
    for title, notes in (("Take care", board.warnings), ("File problems", board.problems)):
        if notes:
            lines += [f"**{title}** ({len(notes)}):", "", *(f"* {_escape(n)}" for n in notes), ""]
    means = [
        [_escape(model), *(_mean(board, model, domain) for domain in (None, *board.domains))]
        for model in board.models
    ]
    lines += ["Mean over tasks of chance-normalised scores: 0 is chance, 1 is perfect.", ""]
    lines += _table(["model", "all", *map(_escape, board.domains)], means)
    for domain in board.domains:
        columns = board.in_domain(domain)
        rows = [
            [_escape(model), *(_cell(column, column.of(model)) for column in columns)]
            for model in board.ranking(domain)
        ]
        rows.append(["*chance*", *(show(chance_of(c.best), c.best.metric) for c in columns)])
        rows.append(["*smallest gap*", *(show(c.visible_gap, c.best.metric) for c in columns)])
        head = ["model", *map(_head, columns)]
        lines += ["", f"## {_escape(domain.capitalize())}", "", *_table(head, rows)]
    flagged = [r for r in board.results if is_contaminated(r)]
    if flagged:
        said = (f"{r.model} on {r.card}: {overlap_note(r)}; {overlap_note(r, 8)}" for r in flagged)
        lines += ["", "† Items in training text:", "", *(f"* {_escape(line)}" for line in said)]
    return "\n".join([*lines, "", _LEGEND, ""])


def _head(column: Column) -> str:
    return f"{_escape(column.label)}<br>{_escape(column.best.metric)} {arrow(column.best)}"


def _mean(board: Board, model: str, domain: str | None) -> str:
    mean = board.mean(model, domain)
    if mean.value is None or not mean.missing:
        return show(mean.value)
    return f"*{show(mean.value)}* ({mean.count}/{mean.count + len(mean.missing)})"


def _cell(column: Column, result: Result | None) -> str:
    if result is None:
        return "–"
    value = show(result.value, result.metric)
    value = f"**{value}**" if column.is_best(result) else value
    seen = "†" * is_contaminated(result)
    return f"{value}{seen} [{show_interval(result)}] {column.group[result.model]}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines]


def _escape(text: str) -> str:
    """Text that Markdown neither reads as markup nor lets through as HTML."""
    flat = " ".join(text.split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + c if c in "\\`*_[]|" else c for c in flat)

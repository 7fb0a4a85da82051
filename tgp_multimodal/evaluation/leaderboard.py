"""The leaderboard: reads result files, groups them by card, compares models, takes means.

Every number on the board has a file. What cannot be read is named and counted, what must not be
compared (another version of a card, other test items) stands apart, and what is missing from a mean
is said beside it. `leaderboard_write.py` and `leaderboard_page.py` print what is built here.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tgp_multimodal.evaluation import cards, metrics, results
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.leaderboard_items import Items, Samples, compare, read_items
from tgp_multimodal.evaluation.leaderboard_warnings import limited, mixed_weights
from tgp_multimodal.evaluation.results import Result
from tgp_multimodal.evaluation.stats import detectable

LEVEL = 0.05
_PERCENT = ("accuracy", "f1", "recall", "precision", "exact_match", "pass_at", "share")


@dataclass
class Column:
    """One card in one version on one set of test items, with every model's result, best first.

    Attributes:
        results: of the models, never empty.
        is_split: whether the board has other columns of the card, with numbers that do not compare.
        is_main: whether it counts in means; of split columns only the first of `_column_order` does
            (all items, newest version), and no learning curve whose card is on the board.
        group: model -> rank group; 1 is the best and those that follow it up to the first that
            differs significantly from it, see `significance.rank_groups`.
        p_value: model -> corrected p-value of its difference to the best; 1 for the best itself.
        tests: names of the tests that compared the models.
        samples: a few items by model.
        card: the card that ships, if it is this very one.
    """

    results: list[Result]
    is_split: bool = False
    is_main: bool = True
    group: dict[str, int] = field(default_factory=dict)
    p_value: dict[str, float] = field(default_factory=dict)
    tests: list[str] = field(default_factory=list)
    samples: dict[str, Samples] = field(default_factory=dict)
    card: Card | None = None

    @property
    def best(self) -> Result:
        return self.results[0]

    @property
    def mark(self) -> str:
        """Which card, which test items and which files, in a few characters."""
        side = _picture_size(self.best)
        size = "" if side is None else f" {side} pixels"
        limit = "" if self.best.limit is None else f" limit {self.best.limit}"
        digests = (self.best.card_digest, self.best.data_digest, _source_digest(self.best))
        short = "/".join(digest[:6] for digest in digests if digest)
        return f"v{self.best.card_version} {short}{size}{limit}"

    @property
    def label(self) -> str:
        """The card without its domain, and its mark where the card is on the board twice."""
        task = self.best.card.removeprefix(f"{self.best.domain}/")
        return f"{task} {self.mark}" if self.is_split else task

    @property
    def counts(self) -> bool:
        """Whether its scores enter means."""
        return self.is_main and normalise(self.best, self.best.value) is not None

    @property
    def visible_gap(self) -> float | None:
        """The smallest difference that a card of this size shows, see `stats.detectable`.

        None where every result is of one item, which tells no interval.
        """
        intervals = [(r.low, r.high) for r in self.results if r.n > 1]
        return detectable(intervals) if intervals else None

    def of(self, model: str) -> Result | None:
        """The model's result, if it has one."""
        return next((r for r in self.results if r.model == model), None)

    def is_best(self, result: Result) -> bool:
        """Whether no result is better, as several of one value may be."""
        return _quality(result)[0] == _quality(self.best)[0]

    def is_tied(self, model: str) -> bool:
        """Whether the model is the best or does not differ significantly from it."""
        return self.p_value[model] >= LEVEL


@dataclass(frozen=True)
class Mean:
    """Mean of chance-normalised scores over the cards that a model has.

    Attributes:
        value, low, high: the mean and its 95 % interval; None without a card.
        count: cards in it.
        missing: names of the cards that others have and that are not in it.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    missing: tuple[str, ...]


@dataclass
class Board:
    """Everything that is printed.

    Attributes:
        columns: by domain and card.
        models: best first, see `ranking`.
        problems: a sentence for each file that could not be used.
        warnings: what makes numbers hard to compare.
        skipped: (model, card) -> why the model did not run the card.
        folders: of each model's files.
    """

    columns: list[Column]
    models: list[str]
    problems: list[str]
    warnings: list[str]
    skipped: dict[tuple[str, str], str]
    folders: dict[str, Path]

    @property
    def results(self) -> list[Result]:
        return [r for c in self.columns for r in c.results]

    @property
    def domains(self) -> list[str]:
        return list(dict.fromkeys(c.best.domain for c in self.columns))

    def in_domain(self, domain: str | None) -> list[Column]:
        """Columns of a domain, or all."""
        return [c for c in self.columns if domain in (None, c.best.domain)]

    def mean(self, model: str, domain: str | None = None) -> Mean:
        """The model's mean over the cards of a domain, or over all; every card counts once.

        Its interval takes the cards as independent.
        """
        counted = [c for c in self.in_domain(domain) if c.counts]
        found = [r for c in counted if (r := c.of(model))]
        missing = tuple(c.best.card for c in counted if c.of(model) is None)
        if not found:
            return Mean(None, None, None, 0, missing)
        rows = [[normalise(r, x) or 0.0 for x in (r.value, r.low, r.high)] for r in found]
        count, value = len(rows), sum(row[0] for row in rows) / len(rows)
        below = math.sqrt(sum((row[0] - min(row)) ** 2 for row in rows)) / count
        above = math.sqrt(sum((max(row) - row[0]) ** 2 for row in rows)) / count
        return Mean(value, value - below, value + above, count, missing)

    def ranking(self, domain: str | None = None) -> list[str]:
        """Models with a result there: first those with every card, each part by its mean."""
        means = {
            r.model: self.mean(r.model, domain) for c in self.in_domain(domain) for r in c.results
        }
        score = {m: -math.inf if mean.value is None else mean.value for m, mean in means.items()}
        return sorted(means, key=lambda m: (bool(means[m].missing), -score[m], m))


def normalise(result: Result, value: float) -> float | None:
    """A score on the scale where chance is 0 and perfect is 1.

    Perfect is 1 where higher is better, else 0, but for metrics with an ideal of their own. None
    where chance is perfect already, or nearer to it than can be divided by.
    """
    perfect = metrics.perfect(result.metric, result.higher_is_better)
    if abs(perfect - result.chance) < 1 / results.LARGEST:
        return None
    return (value - result.chance) / (perfect - result.chance)


def is_percent(metric: str) -> bool:
    """Whether a metric is a share of items and so printed as a percentage."""
    return any(name in metric.lower() for name in _PERCENT)


def show(value: float | None, metric: str = "") -> str:
    """A number as the board prints it: percentages with one decimal, all else with three."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if is_percent(metric) else f"{value:.3f}"


def chance_of(result: Result) -> float | None:
    """The chance level; None for costs whose 0, the best value, is no level of guessing."""
    is_level = result.metric in metrics.IDEAL or normalise(result, result.value) is not None
    return result.chance if is_level else None


def show_interval(result: Result, between: str = ", ") -> str:
    """The ends of the interval; resampling one item gives it again, which is none."""
    if result.n == 1:
        return "one item"
    return f"{show(result.low, result.metric)}{between}{show(result.high, result.metric)}"


def arrow(result: Result) -> str:
    """Which values of its metric are better: ↑, ↓, or an arrow to the ideal one."""
    if result.metric in metrics.IDEAL:
        return f"→ {show(metrics.IDEAL[result.metric], result.metric)}"
    return "↑" if result.higher_is_better else "↓"


def build(folder: Path, card_folder: Path | None = None) -> Board:
    """Reads, groups, compares and ranks.

    Args:
        folder: with `<model>/<domain>__<task>.json` and the `.jsonl` of items beside each.
        card_folder: with the cards, for their descriptions, licenses and citations.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: nothing in it can be used.
    """
    files, problems = read(folder)
    if not files:
        why = f" (of {len(problems)} files the first: {problems[0]})" if problems else ""
        raise ValueError(
            "results must hold <model>/<domain>__<task>.json. Got none that can be used in"
            f" {folder}{why} instead."
        )
    grouped: dict[tuple[object, ...], dict[str, Result]] = defaultdict(dict)
    for file in files:
        grouped[_key(file.result)][file.result.model] = file.result
    columns = [Column(sorted(group.values(), key=_quality)) for group in grouped.values()]
    columns.sort(key=_column_order)
    order = {domain: place for place, domain in enumerate(cards.DOMAINS)}
    columns.sort(key=lambda c: order.get(c.best.domain, len(order)))
    folders = {f.result.model: f.path.parent for f in files}
    board = Board(columns, [], problems, [], _skipped(folders), folders)
    _leave_curves_out(columns)
    board.warnings += [*_split(columns), *mixed_weights(board.results), *limited(board.results)]
    for column in columns:
        column.card = _shipped(card_folder, column.best)
        _compare(column, {id(f.result): f.path for f in files}, problems)
    board.models = board.ranking()
    return board


def _column_order(column: Column) -> tuple[Any, ...]:
    """Sort key: of a card's columns the one that means use is first.

    All items before a limit, then the newest version, the largest limit, the most results.
    """
    best = column.best
    smaller_limit = -best.limit if best.limit else 0
    order = (best.limit is not None, -best.card_version, smaller_limit, -len(column.results))
    return best.domain, best.card, *order, column.mark


class File(NamedTuple):
    """A result and where it was read."""

    result: Result
    path: Path


def read(folder: Path) -> tuple[list[File], list[str]]:
    """Every result below a folder, the newest of equals, and a sentence for each other file."""
    if not folder.is_dir():
        raise FileNotFoundError(f"results must be a folder of result files. Got {folder} instead.")
    found: dict[tuple[object, ...], File] = {}
    problems = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            file = File(results.read(path), path)
            if results.is_edited(path, file.result):
                problems.append(f"{path} was edited after it was measured; see `tgp verify`.")
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        key = (file.result.model, *_key(file.result))
        if key in found:
            older, file = sorted(
                (found[key], file), key=lambda f: str(f.result.environment.get("date"))
            )
            problems.append(f"{older.path} is left out: {file.path} is newer.")
        found[key] = file
    return list(found.values()), problems


def _key(result: Result) -> tuple[object, ...]:
    """Results with equal keys compare; others never stand in one column."""
    card = (result.domain, result.card, result.card_version, result.card_digest, result.metric)
    items = (result.data_digest, result.limit, result.chance)
    return (*card, *items, _source_digest(result), _picture_size(result))


def _source_digest(result: Result) -> str:
    """The digest of all that was read, training and corpus rows too; empty where the card tells."""
    card = result.recipe.get("card")
    source = card.get("source") if isinstance(card, dict) else None
    is_told = isinstance(source, dict) and bool({"files", "folder"} & set(source))
    return str(result.environment.get("source", "")) if is_told else ""


def _picture_size(result: Result) -> int | None:
    """The size of the pictures, where the number depends on it and each model has its own."""
    return result.details.get("size") if result.protocol in ("denoising", "likeness") else None


def _quality(result: Result) -> tuple[float, str]:
    quality = metrics.quality(result.metric, result.higher_is_better, result.value)
    return -quality, result.model


def _leave_curves_out(columns: Sequence[Column]) -> None:
    """Takes learning curves out of means whose card is there: one task counts once."""
    names = {column.best.card for column in columns}
    for column in columns:
        if column.best.protocol == "few_labels":
            card = column.best.card
            base = card.removesuffix("_curve")
            column.is_main = base == card or base not in names


def _split(columns: Sequence[Column]) -> list[str]:
    """Marks the cards that stand on the board more than once, with a sentence for each."""
    by_card: dict[str, list[Column]] = defaultdict(list)
    for column in columns:
        by_card[column.best.card].append(column)
    warnings = []
    for card, versions in by_card.items():
        if len(versions) == 1:
            continue
        for place, column in enumerate(versions):
            column.is_split = True
            column.is_main = column.is_main and place == 0
        marks = "; ".join(f"{c.mark}: {', '.join(r.model for r in c.results)}" for c in versions)
        warnings.append(
            f"{card} was measured in {len(versions)} versions or on different items ({marks})."
            f" They do not compare and stand apart; means use {versions[0].mark}."
        )
    return warnings


def _skipped(folders: dict[str, Path]) -> dict[tuple[str, str], str]:
    found = {}
    for model, folder in folders.items():
        items, _ = read_items(folder / "skipped.jsonl")
        for row in items.records:
            found[model, str(row.get("card"))] = str(row.get("reason"))
    return found


def _shipped(folder: Path | None, result: Result) -> Card | None:
    """The card in the folder, if it is the very one that was measured."""
    if folder is None or ".." in Path(result.card).parts:
        return None
    try:
        card = cards.load(folder / f"{result.card}.yaml")
    except (ValueError, OSError):
        return None
    return card if card.digest == result.card_digest else None


def _distance_to_ideal(result: Result) -> tuple[float, float, float]:
    """Value and interval; for a metric with an ideal the distance to it, as wide an interval."""
    value, ideal = result.value, metrics.IDEAL.get(result.metric)
    moved = value if ideal is None else abs(value - ideal)
    return moved, moved + result.low - value, moved + result.high - value


def _compare(column: Column, path_of: dict[int, Path], problems: list[str]) -> None:
    """Fills in rank groups, p-values and samples from the items of the results."""
    items = []
    for result in column.results:
        path = path_of[id(result)].parent / Path(str(result.items_file)).name
        found, broken = read_items(path)
        items.append(found)
        sides = metrics.SIDES.get(result.metric)
        column.samples[result.model] = found.samples(result.higher_is_better, sides)
        problems += [f"{path} has {broken} broken lines."] * (broken > 0)
    # Items say of an ideal who is higher, and not who is better; of a curve nothing of its draws.
    if column.best.metric in metrics.IDEAL or column.best.protocol == "few_labels":
        items = [Items([]) for _ in items]
    comparison = compare([_distance_to_ideal(r) for r in column.results], items, LEVEL)
    models = [r.model for r in column.results]
    column.group = dict(zip(models, comparison.group, strict=True))
    column.p_value = dict(zip(models, comparison.p_against_best, strict=True))
    column.tests = comparison.tests

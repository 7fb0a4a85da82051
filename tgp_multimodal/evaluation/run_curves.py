"""Curves of training runs as one HTML page, from the `metrics.csv` that each run writes."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tgp_multimodal.evaluation import task_plots as plots

METRICS = "metrics.csv"
MOST_RUNS = 8  # as many as there are colours

_HERE = Path(__file__).parent
_POINTS = 300  # of a line; more are averaged to so many
_BEFORE = ("train/", "validation/")
_MEASURED = ("validation/", "scene_eval/")
_HIGHER = ("found", "caption_saves")  # shares of what is right; all else is a loss or an error

Line = list[tuple[float, float]]  # steps and values


class Run(NamedTuple):
    """A run and what was logged of it.

    Attributes:
        name: for legends.
        logged: metric -> steps and values.
    """

    name: str
    logged: dict[str, Line]

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return 1 + int(max((line[-1][0] for line in self.logged.values()), default=-1))


class Summary(NamedTuple):
    """The last and the best value of a held-out metric of one run."""

    metric: str
    run: str
    last: float
    best: float
    best_step: int


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads runs, named after their folders, or by their paths where two folders share a name.

    Raises:
        ValueError: there are too many, or one has no metrics.
    """
    if len(folders) > MOST_RUNS:
        raise ValueError(f"runs must be at most {MOST_RUNS}. Got {len(folders)} instead.")
    names = [folder.resolve().name for folder in folders]
    are_told = len(set(names)) == len(names)
    return [
        Run(name if are_told else str(folder), _read(folder / METRICS))
        for name, folder in zip(names, folders, strict=True)
    ]


def whole_lines(path: Path) -> list[str]:
    """The lines of a `metrics.csv`, but for one that a kill has cut, maybe inside a number."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return lines[:-1] if lines and not lines[-1].endswith("\n") else lines


def _read(path: Path) -> dict[str, Line]:
    if not path.is_file():
        below = sorted(p.parent for p in path.parent.glob(f"*/{METRICS}"))
        hint = f" Did you mean {', '.join(map(str, below))}?" if below else ""
        wanted = f"run must hold a {METRICS}, as `tgp fit` writes it"
        raise ValueError(f"{wanted}. Got {path} instead.{hint}")
    found: dict[str, Line] = {}
    for row in csv.DictReader(whole_lines(path)):
        try:
            step = float(row.pop("step"))
            for name, cell in row.items():
                if cell and math.isfinite(value := float(cell)):
                    found.setdefault(name, []).append((step, value))
        except (KeyError, TypeError, ValueError):
            continue  # a line cut by a kill, too, in the file of a run that was resumed
    if not found:
        raise ValueError(f"{path} must hold a line with values. Got none instead.")
    return found


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """Held-out metrics of all runs, metric by metric."""
    names = dict.fromkeys(name for run in runs for name in run.logged)
    found = []
    for name in sorted(name for name in names if name.startswith(_MEASURED)):
        is_higher_better = name.startswith("scene_eval/") or name.endswith(_HIGHER)
        sign = -1 if is_higher_better else 1
        for run in runs:
            if line := run.logged.get(name):
                step, best = min(line, key=lambda point: sign * point[1])
                found.append(Summary(_short(name), run.name, line[-1][1], best, int(step)))
    return found


def render(runs: Sequence[Run]) -> str:
    """The page as text: a plot for each metric, losses first."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    names = dict.fromkeys(_short(name) for run in runs for name in run.logged)
    losses = sorted(name for name in names if name.endswith("/value"))
    others = sorted(name for name in names if name not in losses)
    return environment.get_template("run_curves.html.j2").render(
        title=", ".join(run.name for run in runs),
        style=Markup((_HERE / "task_report.css").read_text("utf-8")),
        runs=[(number, run.name, f"{run.steps:,}") for number, run in enumerate(runs)],
        groups=[
            ("Losses", [_plot(name, runs) for name in losses]),
            ("All else", [_plot(name, runs) for name in others]),
        ],
        rows=[
            (s.metric, s.run, f"{s.last:.4g}", f"{s.best:.4g}", f"{s.best_step:,}")
            for s in summaries(runs)
        ],
    )


def _short(name: str) -> str:
    for before in _BEFORE:
        name = name.removeprefix(before)
    return name


def _plot(name: str, runs: Sequence[Run]) -> Markup:
    curves = []
    for number, run in enumerate(runs):
        own = run.logged.get(name, [])
        own_train, own_held_out = ([], own) if name.startswith(_MEASURED) else (own, [])
        trained = run.logged.get(f"train/{name}") or own_train
        held_out = run.logged.get(f"validation/{name}") or own_held_out
        curves.append(plots.RunCurve(number, run.name, thinned(trained), held_out))
    return plots.run_curves(name, curves)


def thinned(line: Line, most: int = _POINTS) -> Line:
    """A line of at most so many points, each the mean of as many neighbours."""
    size = -(-len(line) // most) or 1
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def write(runs: Sequence[Run], path: Path) -> None:
    """Writes the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(runs), encoding="utf-8")


def by_metric(found: Sequence[Summary]) -> Mapping[str, list[Summary]]:
    """Summaries of each metric, in the order of the runs."""
    table: dict[str, list[Summary]] = {}
    for one in found:
        table.setdefault(one.metric, []).append(one)
    return table

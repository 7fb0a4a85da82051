"""The report of an adapted model as one HTML page, with nothing fetched from anywhere."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tgp_multimodal.evaluation import task_plots as plots
from tgp_multimodal.evaluation.leaderboard_plots import Scale
from tgp_multimodal.evaluation.stats import Interval

_HERE = Path(__file__).parent
_MATRIX = 24  # labels that a confusion matrix shows; of more those with the most mistakes
_MISTAKES = 20
_CLIP = 400  # letters of a text that are shown

Row = dict[str, Any]


def render(report: Row, predictions: Sequence[Row]) -> str:
    """The page as text.

    Args:
        report: content of report.json.
        predictions: rows of predictions.jsonl.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("task_report.html.j2").render(
        title=report["task"],
        subtitle=_subtitle(report),
        style=Markup((_HERE / "task_report.css").read_text("utf-8")),
        metrics=[_metric(name, score, report) for name, score in report["test"].items()],
        matrix=_matrix(report, predictions),
        labels=_label_rows(report, predictions),
        scatter=_scatter(report, predictions),
        reliability=_reliability(report),
        curves=_curves(report),
        mistakes=list(_mistakes(report, predictions)),
        facts=_facts(report),
    )


def _subtitle(report: Row) -> str:
    items = report["items"]
    counts = ", ".join(f"{items[name]:,} to {verb}" for name, verb in _SPLITS.items())
    return f"{report['kind'].replace('_', ' ')} · {report['base']['method']} · {counts}"


_SPLITS = {"train": "learn from", "validation": "choose by", "test": "measure on"}


def _metric(name: str, score: Row, report: Row) -> Row:
    scale = Scale(-1.0 if name in ("spearman", "pearson", "matthews") else 0.0, 1.0, ())
    ends = [scale.at(score[key]) for key in ("low", "high", "value")]
    is_share = name != "root_mean_square_error"
    return {
        "name": name.replace("_", " "),
        "value": f"{score['value']:.4f}",
        "interval": f"[{score['low']:.4f}, {score['high']:.4f}]",
        "is_main": name == report["metric"],
        "bar": dict(zip(("low", "high", "value"), ends, strict=True)) if is_share else None,
    }


def _pairs(report: Row, predictions: Sequence[Row]) -> list[tuple[str, str]]:
    """True and predicted label of each item, or of each word."""
    if report["kind"] == "tagging":
        both = ((p["label"], p["predicted"]) for p in predictions)
        return list(chain.from_iterable(zip(t, s, strict=True) for t, s in both))
    return [(p["label"], p["predicted"]) for p in predictions]


def _matrix(report: Row, predictions: Sequence[Row]) -> Row | None:
    if report["kind"] not in ("classification", "tagging"):
        return None
    counts = Counter(_pairs(report, predictions))
    mistakes: Counter[str] = Counter()
    names = list(report["labels"])
    for (true, said), count in counts.items():
        names += [name for name in (true, said) if name not in names]
        if true != said:
            mistakes[true] += count
            mistakes[said] += count
    kept = set(sorted(names, key=lambda n: -mistakes[n])[:_MATRIX])
    shown = [name for name in names if name in kept]
    cells = [[counts[true, said] for said in shown] for true in shown]
    left_out = len(names) - len(shown)
    return {"plot": plots.confusion_matrix(shown, cells), "left_out": left_out}


def _label_rows(report: Row, predictions: Sequence[Row]) -> list[Row]:
    """Precision, recall and F1 of each label or class."""
    if report["kind"] == "regression":
        return []
    if report["kind"] == "multi_label":
        sets = [(set(p["label"]), set(p["predicted"])) for p in predictions]
    else:
        sets = [({true}, {said}) for true, said in _pairs(report, predictions)]
    true, said, both = Counter[str](), Counter[str](), Counter[str]()
    for there, told in sets:
        true.update(there)
        said.update(told)
        both.update(there & told)
    return [
        {
            "label": name,
            "precision": _ratio(both[name], said[name]),
            "recall": _ratio(both[name], true[name]),
            "f1": _ratio(2 * both[name], true[name] + said[name]),
            "n": true[name],
        }
        for name in sorted(true | said)
    ]


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"


def _scatter(report: Row, predictions: Sequence[Row]) -> Markup | None:
    if report["kind"] != "regression":
        return None
    return plots.scatter([(p["label"], p["predicted"]) for p in predictions[:3000]])


def _reliability(report: Row) -> Row | None:
    if "calibration" not in report:
        return None
    bins = report["calibration"]["bins"]
    marks = [
        plots.Mark(
            b["confidence"], b["accuracy"], *Interval(*b["interval"]),
            f"{b['items']} answers of confidence {b['confidence']:.3f}: {b['accuracy']:.3f} right",
        )
        for b in bins
    ]  # fmt: skip
    error = f"{report['calibration']['error']:.4f}"
    return {"plot": plots.reliability(marks, [b["items"] for b in bins]), "error": error}


def _curves(report: Row) -> list[Markup]:
    history = report["history"]
    if len(history) < 2:
        return []
    kept = history[report["best"]]["step"]

    def line(key: str) -> list[tuple[float, float]]:
        known = [row for row in history if row[key] is not None and math.isfinite(row[key])]
        return [(row["step"], row[key]) for row in known]

    losses = [("training loss", line("train_loss")), ("validation loss", line("validation_loss"))]
    name = report["metric"].replace("_", " ")
    return [
        plots.curve([(f"validation {name}", line("metric"))], name, kept),
        plots.curve(losses, "loss", kept),
    ]


def _mistakes(report: Row, predictions: Sequence[Row]) -> Iterator[Row]:
    """The wrong answers that were surest, or the quantities that were furthest off."""
    if report["kind"] == "regression":
        worst = sorted(predictions, key=lambda p: -abs(p["predicted"] - p["label"]))
    else:
        told = sorted if report["kind"] == "multi_label" else _same
        wrong = (p for p in predictions if told(p["predicted"]) != told(p["label"]))
        worst = sorted(wrong, key=lambda p: -p["probability"])
    for row in worst[:_MISTAKES]:
        sure = row["probability"]
        yield {
            "item": row["item"],
            "text": _shown(row["text"]),
            "label": _shown(row["label"]),
            "predicted": _shown(row["predicted"]),
            "probability": "" if sure is None else f"{sure:.3f}",
        }


def _same(label: Any) -> Any:
    return label


def _shown(value: Any) -> str:
    if value is None:
        return "(a picture)"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        value = " | ".join(map(str, value)) if value else "(none)"
    return value if len(value) <= _CLIP else value[: _CLIP - 1] + "…"


def _facts(report: Row) -> list[tuple[str, str]]:
    facts, base = report["facts"], report["base"]
    found = {
        "model": base["base"],
        "its weights": base["base_weights"][:12],
        "method": base["method"],
        "trained parameters": f"{facts['trained_parameters']:,} of {facts['parameters']:,}"
        f" ({100 * facts['trained_parameters'] / facts['parameters']:.2f} %)",
        "rows that could not be used": str(report["bad_rows"]),
        "items that are also learned from": _shown(
            ", ".join(
                f"{count} of {split}" for split, count in report["copies_in_training"].items()
            )
        ),
        **{k.replace("_", " "): _shown(str(v)) for k, v in report["settings"].items()},
    }
    if "rate" in facts:
        found |= {"learning rate": f"{facts['rate']:g}", "steps": str(facts["steps"])}
    if facts.get("rates_tried"):
        tried = facts["rates_tried"].items()
        found["rates tried"] = ", ".join(f"{rate}: {row[0]:.4f}" for rate, row in tried)
    return list(found.items())

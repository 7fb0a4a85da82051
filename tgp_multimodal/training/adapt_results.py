"""What adapting leaves behind: the model in the forms that others load, predictions, a report.

adapted.json head.safetensors    the map on the states, and what it says
model/                           an export with the merged weights (`tgp export` says of what)
adapter/                         LoRA's matrices alone, for peft on the model they started from
classifier/                      transformers' Qwen3ForTokenClassification, where it can be one
predictions.jsonl report.json report.html
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tgp_multimodal import export, stock_export
from tgp_multimodal.data.labelled import Item, Predicted, Splits
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation import environment, task_report, task_scores
from tgp_multimodal.evaluation.task_scores import Score
from tgp_multimodal.inference import adapted
from tgp_multimodal.inference.adapted import Adapted
from tgp_multimodal.inference.task_network import TaskNetwork
from tgp_multimodal.model_card import model_card
from tgp_multimodal.models.networks import LanguageModel, Network
from tgp_multimodal.models.weights_file import write_weights
from tgp_multimodal.training import adapt_lora
from tgp_multimodal.training.adapt import PLAN, AdaptResult
from tgp_multimodal.training.adapt_runs import Settings
from tgp_multimodal.training.adapt_sources import copies
from tgp_multimodal.training.checkpoints import folder_of

REPORT = "report.json"


def write(
    folder: Path,
    loaded: export.Loaded,
    base: str,
    splits: Splits,
    settings: Settings,
    learned: AdaptResult,
    bad: int = 0,
) -> dict[str, Any]:
    """Writes everything and returns the report.

    What is reported is what the written folder answers, not what the trained network did.

    Args:
        folder: where to; it is made.
        loaded: the model that was adapted.
        base: its name, for most its folder.
        splits: the task.
        settings: how it was adapted.
        learned: what came of it.
        bad: rows that could not be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = learned.network
    about = {
        "base": export.without_home(base),
        "base_weights": loaded.digest,
        "method": settings.method,
    }
    if settings.method == "lora":
        adapt_lora.save(network.network.text, settings.rank, base, folder / "adapter")
        adapt_lora.merge(network.network.text)
    network.eval().requires_grad_(False)
    facts = loaded.facts | {"adapted": about | {"task": splits.name}}
    plain = _plain(network)
    card = model_card(plain, loaded.tokenizer, facts)
    export.save(folder / adapted.MODEL, plain, loaded.tokenizer, facts, card)
    adapted.write(folder, network, about, splits.columns)
    if is_stock(network):
        _write_classifier(folder, network, loaded.tokenizer)
    again = export.load(folder / adapted.MODEL)
    model = adapted.read(folder, again.network, again.tokenizer)
    predicted = model.predict([item.item for item in splits.test])
    report = _report(model, splits, predicted, learned) | {
        "base": about, "settings": asdict(settings), "bad_rows": bad,
        "copies_in_training": copies(splits),
    }  # fmt: skip
    rows = [_row(item, p) for item, p in zip(splits.test, predicted, strict=True)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    page = task_report.render(report, rows)
    for name, content in (("predictions.jsonl", lines), ("report.html", page)):
        # Names of files may hold bytes that are no text.
        (folder / name).write_text(content, encoding="utf-8", errors="backslashreplace")
    _write_json(folder / REPORT, report)
    shutil.rmtree(folder_of(folder), ignore_errors=True)  # nothing to go on from any more
    (folder / PLAN).unlink(missing_ok=True)
    return report


def is_stock(network: TaskNetwork) -> bool:
    """Whether a stock token classifier gives these outputs.

    It does where features are a mean of last states over tokens, with which a linear map commutes:
    not for pictures, nor for pairs that are read apart, nor where all layers are read.
    """
    task = network.task
    if task.states != "last":
        return False
    return task.reads in ("text", "words") or (task.reads == "pair" and task.pairs == "joint")


def _plain(network: TaskNetwork) -> Network:
    """The network to export; a text task drops the head, which was trained on the old states."""
    if network.task.reads == "picture":
        return network.network
    return LanguageModel(network.network.text).eval()


def _write_classifier(folder: Path, network: TaskNetwork, tokenizer: Tokenizer) -> None:
    """A `Qwen3ForTokenClassification`: the mean of its logits over tokens is what we say."""
    text, task, place = network.network.text, network.task, folder / "classifier"
    place.mkdir(exist_ok=True)
    tokenizer.save(place, task.length)
    weights = {f"model.{k}": v.detach().cpu().contiguous() for k, v in text.state_dict().items()}
    # A quantity is learned in standard deviations from the mean, and told as it is.
    said = {name: value * task.spread for name, value in network.head.folded().items()}
    said["bias"] += task.offset
    weights |= {f"score.{name}": value for name, value in said.items()}
    path = place / "model.safetensors"
    write_weights(weights, path)
    names = list(task.labels) or ["quantity"]
    settings = stock_export.qwen3(text, tokenizer, "Qwen3ForTokenClassification", False)
    settings |= {
        "num_labels": len(names),
        "id2label": {str(i): n for i, n in enumerate(names)},
        "label2id": {n: i for i, n in enumerate(names)},
        "classifier_dropout": 0.0,
    }
    _write_json(place / "config.json", settings)


def _report(
    model: Adapted, splits: Splits, predicted: Sequence[Predicted], learned: AdaptResult
) -> dict[str, Any]:
    items, task = splits.test, model.task
    scored = task_scores.scores(task.kind, items, predicted, splits.positive)
    found: dict[str, Any] = {
        "task": splits.name,
        "kind": task.kind,
        "reads": task.reads,
        "labels": list(task.labels),
        "metric": learned.facts["metric"],
        "items": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
        "test": {name: _plain_score(score) for name, score in scored.items()},
        "facts": learned.facts,
        "history": [{k: _finite(v) for k, v in row.items()} for row in learned.history],
        "best": learned.best,
        "environment": environment.describe(),
    }
    if task.kind != "regression":
        sure, right = task_scores.confidences(task.kind, items, predicted, task.labels)
        bins, error = task_scores.reliability(sure, right)
        found["calibration"] = {"error": error, "bins": [b._asdict() for b in bins]}
    return found


def _finite(value: float | None) -> float | None:
    """Null where a loss was no number: JSON has none such."""
    return value if value is not None and math.isfinite(value) else None


def _plain_score(score: Score) -> dict[str, float]:
    return {"value": score.value, "low": score.interval.low, "high": score.interval.high}


def _row(item: Item, predicted: Predicted) -> dict[str, Any]:
    shown = item.item if not hasattr(item.item, "shape") else None
    return {
        "item": item.where,
        "text": shown,
        "label": item.label,
        "predicted": predicted.label,
        "probability": predicted.probability,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

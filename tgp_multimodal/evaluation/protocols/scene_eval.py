"""SceneEval: does a picture show exactly what the prompt says? GenEval's six axes, no detector."""

from collections import defaultdict
from typing import Any

from tgp_multimodal.data.scene_check import check
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome
from tgp_multimodal.evaluation.requests import Draw
from tgp_multimodal.evaluation.stats import mean_of_proportions, wilson

Record = dict[str, Any]


def scene_eval(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean over axes of the share of pictures that `data.scene_check` accepts, one a prompt.

    After GenEval (Ghosh et al. 2023, arXiv:2310.11513), with a world whose truth is known instead
    of a detector. Prompts with combinations that pretraining never shows are drawn too and
    reported apart (`details["held_out"]`): they are not part of the value.
    """
    test = examples.test
    requests = [Draw(e.fields["prompt"], int(e.fields["seed"])) for e in test]
    records = [_judge(e, pixels) for e, pixels in zip(test, ask(requests), strict=True)]
    held_out = [e.fields["held_out"] for e in test]
    usual = [r for r, h in zip(records, held_out, strict=True) if not h]
    unseen = [r for r, h in zip(records, held_out, strict=True) if h]
    if not usual:
        raise ValueError(
            f"{examples.card.name}: items must hold one of a seen combination. Got none instead."
        )
    axes = _by_axis(usual)
    hits = [a["correct"] for a in axes.values()]
    sizes = [a["n"] for a in axes.values()]
    value = sum(a["value"] for a in axes.values()) / len(axes)
    details = {"axes": axes, "held_out": _by_axis(unseen), "held_out_items": unseen}
    return Outcome(value, mean_of_proportions(hits, sizes), usual, details)


def _judge(example: Example, pixels: Any) -> Record:
    verdict = check(pixels, example.fields["truth"])
    return {
        "id": example.id,
        "correct": bool(verdict.correct),
        "axis": example.fields["axis"],
        "prediction": verdict.reason,
        "target": example.fields["prompt"],
    }


def _by_axis(records: list[Record]) -> dict[str, Record]:
    found: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        found[record["axis"]].append(record["correct"])
    table = {}
    for axis, correct in found.items():
        low, high = wilson(sum(correct), len(correct))
        table[axis] = {
            "value": sum(correct) / len(correct),
            "n": len(correct),
            "correct": sum(correct),
            "low": low,
            "high": high,
        }
    return table

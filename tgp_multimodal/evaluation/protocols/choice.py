"""Choosing among given continuations by their log-likelihood, as lm-eval does it."""

from collections.abc import Callable, Sequence
from typing import Any

from tgp_multimodal.evaluation import fewshot, metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.requests import Score, ScoreAnswer

# A row of scores, one per choice, for each of the test items.
Table = list[list[ScoreAnswer]]
_METRICS = ("accuracy", "accuracy_per_character", "accuracy_per_byte")


def multiple_choice(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Which answer is the most probable continuation of the question, after k few-shot examples.

    Scored as lm-eval does: log-likelihood of delimiter + choice after preamble, shots and prompt;
    `accuracy` takes the sum, `accuracy_per_character` divides by the characters of the choice
    without the delimiter, `accuracy_per_byte` by its UTF-8 bytes; ties go to the first. Unlike
    lm-eval's, an item's shots depend on that item alone (see `fewshot`).

    Where the card has a `continuation`, choices stand before it, at the end of the prompt, and what
    is scored is delimiter + continuation behind each: partial scoring, as lm-eval does WinoGrande
    (Trinh and Le 2018, arXiv:1806.02847, section 3.1).
    """
    card = examples.card

    def requests(example: Example, context: str) -> list[Score]:
        delimiter = str(card.setting("delimiter"))
        choices = example.fields["choices"]
        if "continuation" in example.fields:
            ending = delimiter + str(example.fields["continuation"])
            return [Score(context + choice, ending) for choice in choices]
        return [Score(context, delimiter + choice) for choice in choices]

    asked = _looked_at(examples, adapter)
    rows = [*map(requests, asked, fewshot.contexts(examples, asked))]
    return _choose(examples, adapter, ask, rows)


def infilling(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Which middle is the most probable between a prefix and a suffix."""

    def requests(example: Example) -> list[Score]:
        fields = example.fields
        return [Score(fields["prefix"], c, fields["suffix"]) for c in fields["choices"]]

    return _choose(examples, adapter, ask, [requests(e) for e in _looked_at(examples, adapter)])


def _guess(examples: Examples, adapter: Adapter) -> int | None:
    pools = ([*lazy_field(examples, split, "answer")] for split in ("train", "validation"))
    return adapter.guess(next(filter(None, pools), [0]))


def _looked_at(examples: Examples, adapter: Adapter) -> Sequence[Example]:
    return examples.test if _guess(examples, adapter) is None else ()


def _choose(examples: Examples, adapter: Adapter, ask: Ask, requests: list[list[Score]]) -> Outcome:
    test = examples.test
    targets = [int(e.fields["answer"]) for e in test]
    guess = _guess(examples, adapter)
    if guess is None:
        answers = iter(ask([r for row in requests for r in row]))
        table = [[next(answers) for _ in row] for row in requests]
        plain = [_first_best([a.nats for a in row]) for row in table]
        choices = [e.fields["choices"] for e in test]
        by_metric = {
            "accuracy": plain,
            "accuracy_per_character": _per(len, table, choices),
            "accuracy_per_byte": _per(lambda choice: len(choice.encode()), table, choices),
        }
    else:
        table = [[] for _ in test]
        by_metric = dict.fromkeys(_METRICS, [guess] * len(test))
    chosen = by_metric[examples.card.metric]
    correct = [c == t for c, t in zip(chosen, targets, strict=True)]
    details: dict[str, Any] = {m: metrics.accuracy(p, targets) for m, p in by_metric.items()}
    if len({tuple(e.fields["choices"]) for e in test}) == 1:
        details["macro_f1"] = metrics.macro_f1(chosen, targets)
    records = [
        {"id": e.id, "correct": c, "prediction": p, "target": t, "nats": [a.nats for a in row]}
        for e, c, p, t, row in zip(test, correct, chosen, targets, table, strict=True)
    ]
    value = details[examples.card.metric]
    return Outcome(value, proportion(correct, groups(test)), records, details)


def _per(size: Callable[[str], int], table: Table, choices: list[Sequence[str]]) -> list[int]:
    """The choice with the highest log-likelihood per unit of its size, for each item."""
    return [
        _first_best([a.nats / max(1, size(c)) for a, c in zip(row, own, strict=True)])
        for row, own in zip(table, choices, strict=True)
    ]


def _first_best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: scores[i])

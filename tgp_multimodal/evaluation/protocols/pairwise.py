"""Pairwise likelihood: does a model find the better one of two whole texts likelier?"""

from collections import defaultdict
from typing import Any

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.metrics import wins
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field
from tgp_multimodal.evaluation.requests import Perplexity, PerplexityAnswer
from tgp_multimodal.evaluation.stats import share


def pairwise(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Share of pairs whose good text has the higher log-likelihood; a tie counts half.

    `accuracy` compares the sums, which favour the shorter text; `accuracy_per_byte` compares bits
    per byte, which favour the one whose surplus is easy to guess. `details["shorter"]` is what
    always taking the text of fewer bytes scores: a sum has to beat it to say more than a length.
    Unlike `minimal_pairs`, whose paradigms weigh alike, pairs weigh alike.
    """
    test = examples.test
    adapter.fit(lazy_field(examples, "train", "good"))
    texts = [str(e.fields[side]) for e in test for side in ("good", "bad")]
    answers: list[PerplexityAnswer] = ask([Perplexity(t) for t in texts])
    metric = examples.card.metric
    table = [
        _judge(e, metric, *pair) for e, *pair in zip(test, answers[::2], answers[1::2], strict=True)
    ]
    details: dict[str, Any] = {
        name: sum(row[name] for row in table) / len(table)
        for name in ("accuracy", "accuracy_per_byte", "shorter")
    }
    details["ties"] = sum(row["score"] == 0.5 for row in table)
    kinds: dict[str, list[float]] = defaultdict(list)
    for example, row in zip(test, table, strict=True):
        kinds[str(example.fields.get("kind", ""))].append(row["score"])
    if len(kinds) > 1:
        details["kinds"] = {
            kind: {"value": sum(own) / len(own), "n": len(own)}
            for kind, own in sorted(kinds.items())
        }
    interval = share([row["score"] for row in table], [1.0] * len(table), groups(test))
    return Outcome(details[metric], interval, table, details)


def _judge(
    example: Example, metric: str, good: PerplexityAnswer, bad: PerplexityAnswer
) -> dict[str, Any]:
    found = {
        "accuracy": wins(bad.nats, good.nats),
        "accuracy_per_byte": wins(bad.nats / max(1, bad.bytes), good.nats / max(1, good.bytes)),
        "shorter": wins(bad.bytes, good.bytes),
    }
    return {
        "id": example.id,
        "score": found[metric],
        "group": example.group,
        **found,
        "prediction": {1.0: "good", 0.5: "a tie", 0.0: "bad"}[found[metric]],
        "target": "good",
        "nats": [good.nats, bad.nats],
        "sizes": [good.bytes, bad.bytes],
    }

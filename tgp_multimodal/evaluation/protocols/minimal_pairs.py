"""Minimal pairs: does a model find the well-formed one of two sentences likelier?"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.metrics import wins
from tgp_multimodal.evaluation.outcome import Ask, Outcome
from tgp_multimodal.evaluation.requests import MaskedScore, Request, Score, ScoreAnswer
from tgp_multimodal.evaluation.stats import share


def minimal_pairs(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean over paradigms of the share of pairs whose good sentence is likelier than the bad one.

    After BLiMP (Warstadt et al. 2020, arXiv:1912.00582): whole sentences, not normalised by length.
    A tie counts half, where lm-eval counts it as right. With the setting `scoring: causal` a
    sentence is scored by its log-likelihood after an empty context, without the space that lm-eval
    puts in front (the template " {{ good }}" would put it there); with `masked` by the
    pseudo-log-likelihood of `MaskedScore`.

    Pairs of a paradigm are made by one template, so the interval and the leaderboard's paired tests
    resample whole paradigms.
    """
    test = examples.test
    scoring = str(examples.card.setting("scoring"))
    sentences = [str(e.fields[side]) for e in test for side in ("good", "bad")]
    answers: list[ScoreAnswer] = ask([request(scoring, s) for s in sentences])
    pairs = zip(answers[::2], answers[1::2], strict=True)
    records = [_judge(e, *pair) for e, pair in zip(test, pairs, strict=True)]
    paradigms = _by("axis", records)
    phenomena = _by("phenomenon", records)
    value = _mean_over_paradigms(records)
    details: dict[str, Any] = {
        "accuracy": value,
        "ties": sum(r["score"] == 0.5 for r in records),
        "phenomena": {
            name: {"value": _mean_over_paradigms(own), "n": len(own)}
            for name, own in phenomena.items()
        },
        "paradigms": {name: _mean(own) for name, own in paradigms.items()},
    }
    units = list(details["paradigms"].values())
    if len(units) == 1:  # no other paradigm to tell how much they differ
        units = [float(record["score"]) for record in records]
    return Outcome(value, share(units, [1.0] * len(units)), records, details)


def request(scoring: str, sentence: str) -> Request:
    """What a sentence is asked for by a card's setting `scoring`."""
    return MaskedScore(sentence) if scoring == "masked" else Score("", sentence)


def _judge(example: Example, good: ScoreAnswer, bad: ScoreAnswer) -> dict[str, Any]:
    fields = example.fields
    paradigm, phenomenon = str(fields["paradigm"]), str(fields["phenomenon"])
    by_score = {1.0: fields["good"], 0.5: "a tie", 0.0: fields["bad"]}
    score = wins(good.nats, bad.nats)
    return {
        "id": example.id,
        "score": score,
        # The leaderboard weighs axes alike and resamples groups whole.
        "axis": paradigm,
        "group": paradigm,
        "phenomenon": phenomenon,
        "prediction": by_score[score],
        "target": fields["good"],
        "nats": [good.nats, bad.nats],
    }


def _by(name: str, records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        found[record[name]].append(record)
    return dict(sorted(found.items()))


def _mean(records: Sequence[dict[str, Any]]) -> float:
    return float(sum(r["score"] for r in records) / len(records))


def _mean_over_paradigms(records: Sequence[dict[str, Any]]) -> float:
    means = [_mean(own) for own in _by("axis", records).values()]
    return sum(means) / len(means)

"""Tagging: how well a linear probe finds named entities from the frozen states of words.

Shape letters: N words of all sentences, D width, R axes.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.entities import EntityCounts, count_entities, total
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.feature_views import stack
from tgp_multimodal.evaluation.logistic import (
    Axes,
    Classifier,
    Features,
    principal_axes,
    solve,
)
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field, training_split
from tgp_multimodal.evaluation.protocols.probe import held_back, sweep
from tgp_multimodal.evaluation.requests import EmbedTokens
from tgp_multimodal.evaluation.stats import share

_AT_ONCE = 500  # test sentences whose states are in memory together
_OUTSIDE = "O"


def tagging(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """F1 of entities, tags given by L2 logistic regression on frozen states, one for each word.

    The probe is that of `probe`, with words in place of items: dense states are standardised by the
    training words, C is swept over decades and chosen by entity F1 on validation sentences, and the
    last fit is on train and validation together. Each word gets its likeliest tag, independently of
    its neighbours' tags. A word that the model did not read (its sentence is longer than the
    context) is tagged O, so that its entity counts as missed.

    `f1_strict` and `f1_lenient` are the two readings of seqeval (`entities`); a right entity has
    type, start and end right. The interval resamples sentences, or groups of them.
    """
    train, validation, test = training_split(examples), examples.validation, examples.test
    adapter.fit(lazy_field(examples, "train", "tokens"))
    is_strict = examples.card.metric == "f1_strict"
    tagger, details = _fit([*train, *validation], len(train), ask, is_strict)
    predicted = [tags for few in _some(test) for tags in tagger.tag(few, ask)]
    true = [list(e.fields["tags"]) for e in test]
    readings = {
        name: [count_entities(p, t, strict) for p, t in zip(predicted, true, strict=True)]
        for name, strict in (("f1_strict", True), ("f1_lenient", False))
    }
    details |= {name: total(found).f1 for name, found in readings.items()}
    details["word_accuracy"] = _word_accuracy(predicted, true)
    details["types"] = _by_type(predicted, true, is_strict)
    found = readings[examples.card.metric]
    records = [
        {
            "id": e.id,
            "score": f.f1 if f.true + f.predicted else 1.0,
            "entities": f.true,
            "predicted": f.predicted,
            "right": f.right,
            "prediction": " ".join(p),
            "target": " ".join(t),
        }
        for e, f, p, t in zip(test, found, predicted, true, strict=True)
    ]
    right, named = [2.0 * f.right for f in found], [float(f.true + f.predicted) for f in found]
    interval = share(right, named, groups(test))
    return Outcome(details[examples.card.metric], interval, records, details)


class Tagger(NamedTuple):
    """A fitted probe.

    Attributes:
        names: the tags there are, in the order of their numbers.
        scaler: None for sparse features.
        basis_DR: the axes of the classifier; None where they are the features themselves.
        classifier: on those axes.
    """

    names: list[str]
    scaler: StandardScaler | None
    basis_DR: np.ndarray | None
    classifier: Classifier

    def tag(self, sentences: Sequence[Example], ask: Ask) -> list[list[str]]:
        """A tag for each word of each sentence."""
        states = _ask(sentences, ask)
        at_NR = self.turn(_stack(states))
        numbers = iter(self.classifier.predict(at_NR))
        tags = [[self.names[next(numbers)] for _ in range(s.shape[0])] for s in states]
        return [_filled(t, e) for t, e in zip(tags, sentences, strict=True)]

    def turn(self, features_ND: Features) -> Features:
        """Features on the axes of the classifier."""
        if self.scaler is not None:
            features_ND = self.scaler.transform(features_ND)
        return features_ND if self.basis_DR is None else features_ND @ self.basis_DR


def _fit(
    known: Sequence[Example], train: int, ask: Ask, is_strict: bool
) -> tuple[Tagger, dict[str, Any]]:
    """Fits on `known`, the first `train` of which are the training sentences."""
    fit_on, held = np.arange(train), np.arange(train, len(known))
    if not len(held):
        fit_on, held = held_back(known[:train])
    states = _ask(known, ask)
    sizes = [s.shape[0] for s in states]
    labels = [t for e, size in zip(known, sizes, strict=True) for t in e.fields["tags"][:size]]
    names, label_N = np.unique(np.array(labels), return_inverse=True)
    spans = [np.arange(*span) for span in pairwise(accumulate(sizes, initial=0))]
    train_N, held_N = (np.concatenate([spans[i] for i in chosen]) for chosen in (fit_on, held))
    tags = names.tolist()

    def judge(predicted_N: np.ndarray) -> float:
        numbers = iter(predicted_N)
        found = []
        for i in held.tolist():
            own = _filled([tags[next(numbers)] for _ in spans[i]], known[i])
            found.append(count_entities(own, known[i].fields["tags"], is_strict))
        return total(found).f1

    features_ND = _stack(states)
    del states  # these and what follows may be gigabytes each
    # Matrices this thin are fastest on one thread, and by far where other processes compute too.
    with threadpool_limits(1, user_api="blas"):
        scaler, basis_DR, squares_R = _axes(features_ND, train_N)
        unfitted = Tagger(tags, scaler, basis_DR, Classifier(np.zeros((0, 0)), np.zeros(0), 0))
        width, at_NR = int(features_ND.shape[1]), unfitted.turn(features_ND)
        del features_ND
        c, scores, first = sweep(Axes(at_NR, squares_R), label_N, train_N, held_N, judge)
        final = solve(at_NR, squares_R, label_N, len(tags), c, first)
    details = {
        "train": len(fit_on),
        "validation": len(held),
        "words": len(label_N),
        "c": c,
        "validation_f1": scores,
        "features": width,
        "steps": final.steps,
    }
    return unfitted._replace(classifier=final), details


def _axes(
    features_ND: Features, train_N: np.ndarray
) -> tuple[StandardScaler | None, np.ndarray | None, np.ndarray]:
    """How features are scaled and turned, and the squares along each axis; sparse ones are left."""
    if not isinstance(features_ND, np.ndarray):
        return None, None, np.asarray(features_ND.power(2).sum(axis=0)).ravel()
    scaler = StandardScaler().fit(features_ND[train_N])
    basis_DR, squares_R = principal_axes(scaler.transform(features_ND))
    return scaler, basis_DR, squares_R


def _some(test: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for start in range(0, len(test), _AT_ONCE):
        yield test[start : start + _AT_ONCE]


def _ask(sentences: Sequence[Example], ask: Ask) -> list[Features]:
    return ask([EmbedTokens(tuple(e.fields["tokens"])) for e in sentences])


def _stack(states: Sequence[Features]) -> Features:
    """All words of all sentences as one matrix (N, D)."""
    if sparse.issparse(states[0]):
        return stack(states)
    return stack([np.concatenate(states)])[0]


def _filled(tags: list[str], example: Example) -> list[str]:
    return tags + [_OUTSIDE] * (len(example.fields["tokens"]) - len(tags))


def _word_accuracy(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> float:
    pairs = zip(chain(*predicted), chain(*true), strict=True)
    return float(np.mean([p == t for p, t in pairs]))


def _by_type(
    predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]], is_strict: bool
) -> dict[str, dict[str, Any]]:
    kinds = sorted({t.partition("-")[2] for tags in true for t in tags if t != _OUTSIDE})
    pairs = list(zip(predicted, true, strict=True))
    found: dict[str, EntityCounts] = {
        k: total([count_entities(*p, is_strict, k) for p in pairs]) for k in kinds
    }
    return {k: {"f1": f.f1, "n": f.true, "predicted": f.predicted} for k, f in found.items()}

"""Learning curves: accuracy with 1, 5, 10, ... labels of each class, and with all.

Only the number of labels changes along a curve. Features are computed once for all of it, and are
standardised over the whole training split, whose items are known though their labels are not.
With the settings `counts: [8]`, `seeds: 10` and `standardised: false` the point at 8 is MTEB's
classification (Muennighoff et al. 2022, arXiv:2210.07316, section 3.2) but for which items are
drawn.

Shape letters: N items, Q test items, D width, K classes, S draws, V neighbours that vote.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import t as student
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.curves import check_counts
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.feature_views import features_by_view
from tgp_multimodal.evaluation.few_labels import draw
from tgp_multimodal.evaluation.logistic import FINE, Axes, Features, rotate, solve
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, training_split
from tgp_multimodal.evaluation.protocols.probe import item_of, training_inputs
from tgp_multimodal.evaluation.stats import Interval, share

ALL = "all"
_C = 1.0
_NEIGHBOURS, _TEMPERATURE = 20, 0.07
_ROWS = 1000  # test items whose neighbours are looked for at once

# Places of training items whose labels are shown -> for each test item the number of a class.
Predictor = Callable[[list[int]], np.ndarray]


class Curve(NamedTuple):
    """What one way of predicting got right.

    Attributes:
        right: count of labels, or "all" -> (S, Q) booleans; "all" has one draw.
    """

    right: dict[str, np.ndarray]

    def at(self, count: str) -> float:
        """Accuracy with so many labels, mean over the draws."""
        return float(self.right[count].mean())


def few_labels(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean over counts of labels of the accuracy of a linear probe, each a mean over draws.

    The probe is that of `probe` with two differences, since few labels allow no model selection
    (Perez et al. 2021, arXiv:2105.11447, section 3): C is 1 at every count, and of a model with
    several views the usual one is taken. Draws are nested (`evaluation.few_labels`); the validation
    split is not used, so that "all" is all of train.

    The details also have nearest neighbours: the 20 training items of highest cosine vote with
    weights exp(cosine / 0.07) (Wu et al. 2018, arXiv:1805.01978, section 3.4).

    The interval of a mean over draws covers both the choice of test items and the draw of labels,
    see `interval_of`.

    Raises:
        ValueError: the training split is empty, or the counts are not ascending.
    """
    train, test, card = training_split(examples), examples.test, examples.card
    counts = check_counts(card.setting("counts"), card.setting("seeds"))
    labels = [e.fields["label"] for e in train]
    names = sorted(set(labels), key=str)
    label_N = np.array([names.index(label) for label in labels])
    target_Q = np.array([_place(names, e.fields["label"]) for e in test])
    digests = [e.digest for e in train]
    places, short = _draws(labels, digests, counts, int(card.setting("seeds")))
    predictors, details = _predictors(examples, adapter, ask, label_N, names)
    curves = {
        way: Curve({c: np.stack([say(p) == target_Q for p in places[c]]) for c in places})
        for way, say in predictors.items()
    }
    group_Q = groups(test)
    details |= {"train": len(train), "classes": len(names), "seeds": card.setting("seeds")}
    details |= {"c": _C, "short": short, "curve": _curve(curves[""], places, group_Q)}
    for way, curve in curves.items():
        details |= {f"{way}at_{count}": curve.at(count) for count in curve.right}
    right_Q = [_digits(curves[""], place) for place in range(len(test))]
    records = [
        {"id": e.id, "score": _score(right), "target": e.fields["label"]}
        | {
            f"{way}at_{c}": float(r[:, i].mean())
            for way, curve in curves.items()
            for c, r in curve.right.items()
        }
        | {"right": right}
        for i, (e, right) in enumerate(zip(test, right_Q, strict=True))
    ]
    value, low, high = mean_over_draws(right_Q, group_Q)
    details[card.metric] = value
    return Outcome(value, Interval(low, high), records, details)


def mean_over_draws(
    right: Sequence[Mapping[str, str]], group: Sequence[str]
) -> tuple[float, float, float]:
    """The mean over counts and its interval.

    Args:
        right: of each item count -> one digit for each draw, 1 where the item was right.
        group: of each item.
    """
    draws = max(len(digits) for digits in right[0].values())
    score_SN = np.zeros((draws, len(right)))
    for count in right[0]:
        score_SN += np.array([[d == "1" for d in own[count]] for own in right]).T
    score_SN /= len(right[0])
    return float(score_SN.mean()), *interval_of(score_SN, group)


def interval_of(score_SN: np.ndarray, group: Sequence[str]) -> Interval:
    """95 % interval of the mean over draws and items.

    The two parts, items (whole groups resampled) and draws (Student's t over the means of draws),
    are put together by the distances of their bounds (Zou & Donner 2008). What items and draws
    share is counted twice, which errs on the wide side. Of one draw only the items are known.
    """
    mean_N, mean_S = score_SN.mean(axis=0), score_SN.mean(axis=1)
    value, draws = float(score_SN.mean()), len(mean_S)
    items = share(mean_N.tolist(), [1.0] * len(mean_N), group)
    drawn = 0.0
    if draws > 1:
        drawn = float(student.ppf(0.975, draws - 1) * mean_S.std(ddof=1) / math.sqrt(draws))
    below = math.hypot(value - min(value, items.low), drawn)
    above = math.hypot(max(value, items.high) - value, drawn)
    return Interval(max(0.0, value - below), min(1.0, value + above))


def _draws(
    labels: Sequence[Any], digests: Sequence[str], counts: Sequence[int], seeds: int
) -> tuple[dict[str, list[list[int]]], dict[str, dict[str, int]]]:
    """Places by count, for each draw; and classes that have fewer, with how many they have."""
    places, short = {}, {}
    for count in counts:
        drawn = [draw(labels, count, seed, digests) for seed in range(seeds)]
        places[str(count)] = [d.places for d in drawn]
        if drawn[0].short:
            short[str(count)] = {str(label): n for label, n in drawn[0].short.items()}
    return {**places, ALL: [list(range(len(labels)))]}, short


def _predictors(
    examples: Examples, adapter: Adapter, ask: Ask, label_N: np.ndarray, names: list[Any]
) -> tuple[dict[str, Predictor], dict[str, Any]]:
    """The probe, under an empty name, and what else predicts; and facts of the features."""
    count, size = len(examples.train), len(examples.test)

    def guessed(places: list[int]) -> np.ndarray:
        told = [names[i] for i in label_N[places]]
        guess = adapter.guess(told) if len(names) > 1 else told[0]
        return np.full(size, names.index(guess))

    if len(names) == 1 or adapter.guess([names[i] for i in label_N]) is not None:
        return {"": guessed}, {}
    adapter.fit(training_inputs(examples))
    view = adapter.views(examples.card.modality)[0]
    both = [item_of(e) for e in (*examples.train, *examples.test)]
    (features_ND,) = features_by_view(both, [view], ask)
    if examples.card.setting("standardised") and not sparse.issparse(features_ND):
        features_ND = StandardScaler().fit(features_ND[:count]).transform(features_ND)
    axes = rotate(features_ND, count)
    facts = {"features": int(features_ND.shape[1])} | ({"view": view} if view else {})
    classes = len(names)
    predictors: dict[str, Predictor] = {
        "": lambda places: _by_probe(axes, label_N, places, classes),
        "neighbours_": lambda places: by_neighbours(
            features_ND[places], label_N[places], features_ND[count:], classes
        ),
    }
    return predictors, facts


def _by_probe(axes: Axes, label_N: np.ndarray, places: list[int], classes: int) -> np.ndarray:
    share_of_all = len(places) / len(label_N)
    with threadpool_limits(1, user_api="blas"):
        at_NR, squares_R = axes.at_NR[places], axes.squares_R * share_of_all
        found = solve(at_NR, squares_R, label_N[places], classes, _C, tolerance=FINE)
        return found.predict(axes.at_NR[len(label_N) :])


def by_neighbours(
    known_ND: Features, label_N: np.ndarray, asked_QD: Features, classes: int
) -> np.ndarray:
    """The class that the nearest known items vote for, (Q,); ties go to the first class."""
    votes_V = min(_NEIGHBOURS, len(label_N))
    known_ND, asked_QD = normalize(known_ND), normalize(asked_QD)
    found = []
    for start in range(0, asked_QD.shape[0], _ROWS):
        cosine_QN = asked_QD[start : start + _ROWS] @ known_ND.T
        cosine_QN = cosine_QN.toarray() if sparse.issparse(cosine_QN) else cosine_QN
        cosine_QN = np.round(cosine_QN, 9)  # so that a tie is a tie on every machine
        near_QV = np.argsort(-cosine_QN, axis=1, kind="stable")[:, :votes_V]
        weight_QV = np.exp((np.take_along_axis(cosine_QN, near_QV, axis=1) - 1) / _TEMPERATURE)
        vote_QK = np.zeros((len(cosine_QN), classes))
        np.add.at(vote_QK, (np.arange(len(cosine_QN))[:, None], label_N[near_QV]), weight_QV)
        found.append(vote_QK.argmax(axis=1))
    return np.concatenate(found)


def _curve(
    curve: Curve, places: dict[str, list[list[int]]], group: Sequence[str]
) -> dict[str, dict[str, float]]:
    """For each count how many labels that is in all, accuracy, and its interval."""
    found = {}
    for count, right_SQ in curve.right.items():
        low, high = interval_of(right_SQ.astype(float), group)
        found[count] = {"labels": len(places[count][0]), "value": curve.at(count)}
        found[count] |= {"low": low, "high": high}
    return found


def _digits(curve: Curve, place: int) -> dict[str, str]:
    return {c: "".join("01"[int(r)] for r in right[:, place]) for c, right in curve.right.items()}


def _score(right: Mapping[str, str]) -> float:
    """Mean over counts of the share of draws in which an item was right."""
    return math.fsum(d.count("1") / len(d) for d in right.values()) / len(right)


def _place(names: list[Any], label: Any) -> int:
    """Number of a label; -1, which is never predicted, for one that training items do not have."""
    return names.index(label) if label in names else -1

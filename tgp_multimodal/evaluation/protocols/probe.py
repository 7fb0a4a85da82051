"""Linear probe: how well a linear classifier predicts a label from frozen features.

Shape letters: N items, D width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgp_multimodal.evaluation import confusion, metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.feature_views import best_view, features_by_view
from tgp_multimodal.evaluation.logistic import FINE, Axes, Classifier, Features, rotate, solve
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, training_split
from tgp_multimodal.evaluation.stats import share, wilson
from tgp_multimodal.names import unknown

DECADES = tuple(10.0**e for e in range(-5, 5))
_PATIENCE = 2  # decades of C that bring nothing; the largest C cost the most
_VALIDATION_SHARE = 0.2
_STEPS = 1000  # of the last fit
_COMPARED = 2000  # most training items of a probe that compares views
_AXES = 400  # of its features, which takes a sixth of the time that all of some thousand take


class Sweep(NamedTuple):
    """The C that was chosen, how every C that was tried did, and the solution for that chosen."""

    c: float
    validation_accuracy: dict[str, float]
    classifier: Classifier

    @property
    def best(self) -> float:
        """How good the chosen C is on the items that it was chosen on."""
        return self.validation_accuracy[f"{self.c:g}"]


class LabelledItems(NamedTuple):
    """The items whose labels are shown, those of train first, then those of validation.

    Attributes:
        items: texts or pictures, or pairs of texts.
        names: the labels there are, in the order of their numbers.
        label_N: number of each item's label.
        train_index: indices that are fitted on while something is chosen.
        held_out: indices that it is chosen on.
    """

    items: list[Any]
    names: list[Any]
    label_N: np.ndarray
    train_index: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, train: Sequence[Example], validation: Sequence[Example]) -> "LabelledItems":
        """Where there is no validation split, a fixed fifth of train serves (`held_back`)."""
        both = [*train, *validation]
        names = sorted(set(_labels(both)), key=str)
        index = {name: i for i, name in enumerate(names)}
        label_N = np.array([index[name] for name in _labels(both)])
        train_index, held_out = np.arange(len(train)), np.arange(len(train), len(both))
        if not len(held_out):
            train_index, held_out = held_back(train, _stratify(label_N))
        return cls([item_of(e) for e in both], names, label_N, train_index, held_out)


def probe(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """L2 logistic regression on frozen features; C over decades on validation, then refit.

    Of a model's views, the one that is best on validation is used (`shortlist`). Dense features are
    standardised by the training items' mean and deviation; sparse ones (TF-IDF) stay as they are.
    Where the card has no validation split, a fixed fifth of train is held out, or of its groups
    where items share them. The last fit is on train and validation together, as in CLIP's probe
    (Radford et al. 2021, A.3).

    Where the card has a field `second`, an item is a pair of texts and its features are
    [u, v, |u - v|, u * v] of their vectors u and v (Conneau et al. 2017, arXiv:1705.02364, section
    3.1), so that a linear probe sees both what each text says and how they differ. Since these are
    four times as many, the usual view alone is read of pairs.

    Raises:
        ValueError: the training split is empty, or a whole run has no item with the label that the
            card's setting `positive` names.
    """
    train, validation, test = training_split(examples), examples.validation, examples.test
    _check(examples)
    details: dict[str, Any] = {"train": len(train), "validation": len(validation)}
    predictions, choices = _predictions(examples, adapter, ask)
    target_N = _labels(test)
    details |= choices | {"accuracy": metrics.accuracy(predictions, target_N)}
    labels = list(dict.fromkeys([*predictions, *target_N]))
    measures = measures_of(labels, str(examples.card.setting("positive")))
    whole = confusion.table(predictions, target_N, labels)
    details |= {name: float(measure(whole)[0]) for name, measure in measures.items()}
    correct = [p == t for p, t in zip(predictions, target_N, strict=True)]
    records = [
        {"id": e.id, "correct": c, "prediction": p, "target": t}
        for e, c, p, t in zip(test, correct, predictions, target_N, strict=True)
    ]
    metric = examples.card.metric
    if metric == "accuracy":
        interval = proportion(correct, groups(test))
    else:
        measure = measures[metric]
        interval = confusion.interval(measure, predictions, target_N, labels, groups(test))
    return Outcome(details[metric], interval, records, details)


def _predictions(
    examples: Examples, adapter: Adapter, ask: Ask
) -> tuple[list[Any], dict[str, Any]]:
    """A label for each test item, and what was chosen on the way."""
    train, validation, test = examples.train, examples.validation, examples.test
    train_labels = _labels([*train, *validation])
    # Where there is one label alone, as in a very limited run, it is the answer.
    is_one = len(set(train_labels)) == 1
    guess = train_labels[0] if is_one else adapter.guess(train_labels)
    if guess is not None:
        return [guess] * len(test), {}
    adapter.fit(training_inputs(examples))
    known = LabelledItems.of(train, validation)
    is_pairs = isinstance(known.items[0], tuple)
    views = adapter.views(examples.card.modality)[: 1 if is_pairs else None]
    views, compared = shortlist(views, known, ask)
    every = features_by_view([*known.items, *(item_of(e) for e in test)], views, ask)
    best, chosen = best_view(views, every, lambda f: _fit(f, known), lambda fit: fit.sweep.best)
    predictions, fitted = _predict(best, known)
    return predictions, fitted | chosen | compared


def _check(examples: Examples) -> None:
    card = examples.card
    positive = str(card.setting("positive"))
    labels = {str(x) for x in _labels([*examples.train, *examples.validation, *examples.test])}
    is_named = card.metric == "f1" or positive
    if is_named and examples.limit is None and positive not in labels:
        raise ValueError(f"{card.name}: {unknown('positive', positive, labels)}")


def measures_of(labels: Sequence[Any], positive: str) -> dict[str, confusion.Measure]:
    """The metrics of classification besides accuracy.

    Args:
        labels: all that are true of an item or predicted, in the order of the tables' rows.
        positive: the label that "f1" is of, which is 0 where that label does not occur; "" for no
            such number.
    """
    found: dict[str, confusion.Measure] = {
        "macro_f1": confusion.macro_f1,
        "matthews": confusion.matthews,
    }
    if positive:
        names = [*map(str, labels)]
        if positive in names:
            return {**found, "f1": confusion.f1_of(names.index(positive))}
        return {**found, "f1": lambda count_RKK: np.zeros(len(count_RKK))}
    return found


def held_back(
    train: Sequence[Example], class_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training items that are fitted on, and of the fixed fifth to choose on.

    Where items share groups it is a fifth of the groups, each as a whole: items of one group are
    alike, and splitting a group would leak what is fitted on into what is chosen on.

    Args:
        train: the items.
        class_N: classes that both have alike, where no group has two items; None for none.
    """
    if len(train) < 2:
        raise ValueError(
            "train split must hold at least two items where there is no validation split."
            f" Got {len(train)} instead."
        )
    places, group_N = np.arange(len(train)), groups(train)
    if 1 < len(set(group_N)) < len(train):
        fifth = GroupShuffleSplit(1, test_size=_VALIDATION_SHARE, random_state=0)
        return next(fifth.split(places, groups=group_N))
    train_index, held_out = train_test_split(
        places, test_size=_VALIDATION_SHARE, random_state=0, stratify=class_N
    )
    return train_index, held_out


def item_of(example: Example) -> Any:
    """What is embedded: the item, or the pair of it and the second one."""
    item = example.fields["item"]
    return (item, example.fields["second"]) if "second" in example.fields else item


def training_inputs(examples: Examples) -> Iterator[Any]:
    """Every item of the training split, both of a pair; nothing is read before the first."""
    for example in examples.train:
        item = item_of(example)
        yield from item if isinstance(item, tuple) else (item,)


def proportion(correct: Sequence[float], group: Sequence[str]) -> Any:
    """Wilson's interval, or that of whole groups where several items share one."""
    if len(set(group)) == len(group):
        return wilson(sum(correct), len(correct))
    return share([float(c) for c in correct], [1.0] * len(correct), group)


def sweep(
    axes: Axes,
    label_N: np.ndarray,
    train: np.ndarray,
    held_out: np.ndarray,
    scorer: Callable[[np.ndarray], float] | None = None,
) -> Sweep:
    """Sweeps C from small to large, each solve started from the last.

    The sweep ends early when three decades have brought nothing but more right training items, or
    two where those are all right already.

    Args:
        axes: features of train and validation items, rotated.
        label_N: of the same.
        train: indices that are fitted on.
        held_out: indices that choose C; ties go to the smaller C.
        scorer: how good predictions for `held_out` are; left out: the share that is right.
    """
    classes = int(label_N.max()) + 1
    found: Classifier | None = None
    scores: dict[str, float] = {}
    best: tuple[float, Classifier] | None = None
    best_score, learned_by_best, without_gain = -math.inf, 0.0, 0
    at_train, at_held = (axes.at_NR[i].astype(np.float32) for i in (train, held_out))
    for c in DECADES:
        found = solve(at_train, axes.squares_R, label_N[train], classes, c, found)
        predicted = found.predict(at_held)
        score = scorer(predicted) if scorer else float((predicted == label_N[held_out]).mean())
        scores[f"{c:g}"] = score
        learned = float((found.predict(at_train) == label_N[train]).mean())
        if score > best_score:
            best, best_score, learned_by_best, without_gain = (c, found), score, learned, 0
        elif learned > learned_by_best or learned == 1:
            without_gain += 1
        if without_gain >= (_PATIENCE if learned == 1 else _PATIENCE + 1):
            break
    assert best is not None, "there are decades"
    return Sweep(best[0], scores, best[1])


def shortlist(
    views: Sequence[str], known: LabelledItems, ask: Ask
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """For each width of features the view whose probe is best on validation, if no wider one is.

    These probes see at most 2,000 training items, and about the first 400 principal components of
    the features. So few items favour narrow views: a narrow one that loses to a wider one is left
    out, a wide one that loses to a narrower one is not. A model with one view is asked nothing;
    ties go to the view that comes first.

    Returns:
        The views, and for the details of a result `views`, the accuracy of each on validation.
    """
    if len(views) == 1:
        return [*views], {}
    few = np.sort(np.random.default_rng(0).permutation(known.train_index)[:_COMPARED])
    chosen = [*few, *known.held_out]
    label_N = known.label_N[chosen]
    train, held_out = np.arange(len(few)), np.arange(len(few), len(chosen))
    accuracies: dict[str, float] = {}
    best: dict[int, str] = {}
    for view, features_ND in zip(
        views, features_by_view([known.items[i] for i in chosen], views, ask), strict=True
    ):
        scaled_ND = StandardScaler().fit(features_ND[train]).transform(features_ND)
        axes = rotate(scaled_ND, len(few), _AXES)
        with threadpool_limits(1, user_api="blas"):
            found = sweep(axes, label_N, train, held_out)
        accuracies[view] = found.best
        first = best.setdefault(int(features_ND.shape[1]), view)
        if accuracies[view] > accuracies[first]:
            best[int(features_ND.shape[1])] = view
    kept = set[str]()
    for width, view in best.items():
        if accuracies[view] >= max(accuracies[v] for w, v in best.items() if w >= width):
            kept.add(view)
    return [view for view in views if view in kept], {"views": accuracies}


class _Fit(NamedTuple):
    """Features on their axes, known items first, and the sweep over C."""

    axes: Axes
    width: int
    sweep: Sweep


def _fit(features_ND: Features, known: LabelledItems) -> _Fit:
    width = int(features_ND.shape[1])
    if not sparse.issparse(features_ND):
        scaler = StandardScaler(copy=False).fit(
            features_ND[known.train_index]
        )  # they may be gigabytes
        features_ND = scaler.transform(features_ND)
    axes = rotate(features_ND, len(known.items))
    # Products this small are fastest on one thread, and by far where other processes compute too.
    with threadpool_limits(1, user_api="blas"):
        return _Fit(axes, width, sweep(axes, known.label_N, known.train_index, known.held_out))


def _predict(fit: _Fit, known: LabelledItems) -> tuple[list[Any], dict[str, Any]]:
    """Refits on all labelled rows and predicts the rows that follow them."""
    count, classes, axes = len(known.items), len(known.names), fit.axes
    c, accuracies, first = fit.sweep
    with threadpool_limits(1, user_api="blas"):
        final = solve(
            axes.at_NR[:count], axes.squares_R, known.label_N, classes, c, first, FINE, _STEPS
        )
        predictions = [known.names[i] for i in final.predict(axes.at_NR[count:])]
    return predictions, {
        "c": c,
        "validation_accuracy": accuracies,
        "features": fit.width,
        "steps": final.steps,
    }


def _labels(examples: Sequence[Example]) -> list[Any]:
    return [e.fields["label"] for e in examples]


def _stratify(labels: np.ndarray) -> np.ndarray | None:
    count_K = np.bincount(labels)
    held_count = math.ceil(_VALIDATION_SHARE * len(labels))
    return labels if count_K.min() >= 2 and held_count >= len(count_K) else None

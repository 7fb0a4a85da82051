"""One-shot classification: which of twenty new things is this, one picture of each being known.

Shape letters: N pictures, Q queries, S supports, D width.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler, normalize

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.feature_views import stack
from tgp_multimodal.evaluation.logistic import Features
from tgp_multimodal.evaluation.outcome import Ask, Outcome, lazy_field
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import share

_WAYS = 20  # classes of an episode that chooses the view
_EPISODES = 20
_SEED = 0


def one_shot(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Share of queries whose nearest support of their run is of another class: the error rate.

    After Omniglot's one-shot trials (Lake et al. 2015, doi:10.1126/science.aab3050): `corpus` holds
    the supports, one of each class of each run, and `test` the queries. Near is by cosine between
    features that are standardised by those of the background pictures (`train`); ties go to the
    first support. No label is used but those of the supports.

    Of a model with several views the one is taken that errs least in 20 episodes of 20 classes,
    made of background pictures. The interval resamples whole runs, whose queries share supports.
    """
    test, supports, background = examples.test, examples.corpus, examples.train
    adapter.fit(lazy_field(examples, "train", "picture"))
    view, errors = _choose(adapter.views("image"), background, ask)
    pictures = [e.fields["picture"] for e in (*background, *supports, *test)]
    features_ND = _standardised(stack(ask([Embed(p, view) for p in pictures])), len(background))
    support_SD = features_ND[len(background) : len(background) + len(supports)]
    query_QD = features_ND[len(background) + len(supports) :]
    of_run: dict[Any, list[int]] = defaultdict(list)
    for place, example in enumerate(supports):
        of_run[example.fields["run"]].append(place)
    records = []
    for place, example in enumerate(test):
        run = example.fields["run"]
        if run not in of_run:
            raise ValueError(f"run of a query must have supports. Got {run} without any instead.")
        chosen = of_run[run]
        best = chosen[int(nearest(query_QD[[place]], support_SD[chosen])[0])]
        predicted, target = supports[best].fields["label"], example.fields["label"]
        records.append(
            {
                "id": example.id,
                "score": float(predicted != target),
                "group": str(run),
                "prediction": predicted,
                "target": target,
            }
        )
    scores = [r["score"] for r in records]
    error = sum(scores) / len(scores)
    details: dict[str, Any] = {"error": error, "accuracy": 1 - error, "runs": len(of_run)}
    details |= {"view": view, "views": errors} if errors else {}
    interval = share(scores, [1.0] * len(scores), [r["group"] for r in records])
    return Outcome(error, interval, records, details)


def nearest(query_QD: Features, support_SD: Features) -> np.ndarray:
    """Place of the support with the highest cosine for each query, (Q,); ties go to the first."""
    cosine_QS = normalize(query_QD) @ normalize(support_SD).T
    if sparse.issparse(cosine_QS):
        cosine_QS = cosine_QS.toarray()
    # Rounded, so that a tie is a tie on every machine.
    return np.asarray(np.round(cosine_QS, 9).argmax(axis=1))


class Episode(NamedTuple):
    """Places of background pictures: support i and query i are of one class."""

    supports: list[int]
    queries: list[int]


def episodes(labels: Sequence[Any]) -> Iterator[Episode]:
    """Twenty fixed draws of twenty classes, or of all if there are fewer, and two pictures of each.

    A class with one picture takes no part.
    """
    of_class: dict[Any, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        of_class[label].append(place)
    classes = [places for places in of_class.values() if len(places) > 1]
    generator = np.random.default_rng(_SEED)
    for _ in range(_EPISODES):
        ways = generator.permutation(len(classes))[:_WAYS]
        pairs = [generator.permutation(classes[way])[:2].tolist() for way in ways]
        yield Episode([p[0] for p in pairs], [p[1] for p in pairs])


def _choose(
    views: Sequence[str], background: Sequence[Example], ask: Ask
) -> tuple[str, dict[str, float]]:
    """The view that errs least on episodes of background pictures, and the error of each."""
    drawn = list(episodes([e.fields["label"] for e in background])) if len(views) > 1 else []
    if not drawn or not drawn[0].supports:
        return views[0], {}
    used = sorted({place for episode in drawn for place in (*episode.supports, *episode.queries)})
    row = {place: number for number, place in enumerate(used)}
    answers = ask([Embed(background[i].fields["picture"], view) for i in used for view in views])
    errors = {}
    for number, view in enumerate(views):
        features_ND = _standardised(stack(answers[number :: len(views)]), len(used))
        wrong = [
            nearest(
                features_ND[[row[i] for i in episode.queries]],
                features_ND[[row[i] for i in episode.supports]],
            )
            != np.arange(len(episode.supports))
            for episode in drawn
        ]
        errors[view] = float(np.mean(np.concatenate(wrong)))
    return min(views, key=lambda view: errors[view]), errors


def _standardised(features_ND: Features, known: int) -> Features:
    """Dense features by mean and deviation of the first `known`; sparse ones as they are."""
    if sparse.issparse(features_ND) or not known:
        return features_ND
    return np.asarray(StandardScaler().fit(features_ND[:known]).transform(features_ND))

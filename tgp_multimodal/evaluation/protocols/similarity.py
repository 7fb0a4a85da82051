"""Similarity: do two texts lie as close together as people find them alike?

Shape letters: N pairs, R resamples.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.preprocessing import normalize

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.feature_views import stack
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import Interval, widened

RESAMPLES = 2_000  # each is ranked anew
_CHUNK = 200


def similarity(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Spearman's correlation of cosines with the scores that people gave (Cer et al. 2017).

    As MTEB's STS tasks: raw features, nothing is trained, ties have their mean rank. Pearson's
    correlation is in the details. Both are 0 where all cosines or all scores are equal. Baselines
    that learn from texts are fitted on those of the training split, or of the test items where
    there is none, and never see scores.
    """
    test = examples.test
    adapter.fit(_texts(examples))
    asked = [Embed(str(e.fields[side])) for side in ("first", "second") for e in test]
    features = normalize(stack(ask(asked)))
    first_ND, second_ND = features[: len(test)], features[len(test) :]
    product = first_ND * second_ND if isinstance(features, np.ndarray) else None
    if product is None:
        product = first_ND.multiply(second_ND)
    # Rounded, so that a tie is a tie on every machine.
    cosine_N = np.round(np.asarray(product.sum(axis=1)).ravel(), 9)
    score_N = np.array([float(e.fields["score"]) for e in test])
    rank_2N = np.stack([rankdata(cosine_N), rankdata(score_N)])
    details: dict[str, Any] = {
        "spearman": float(correlation(*rank_2N)),
        "pearson": float(correlation(cosine_N, score_N)),
    }
    metric = examples.card.metric
    interval = resampled(cosine_N, score_N, groups(test), ranked=metric == "spearman")
    value = details[metric]
    records = [
        {"id": e.id, "prediction": float(c), "target": float(s)}
        for e, c, s in zip(test, cosine_N, score_N, strict=True)
    ]
    return Outcome(value, interval, records, details)


def _texts(examples: Examples) -> Iterator[str]:
    for example in examples.train or examples.test:
        yield from (str(example.fields[side]) for side in ("first", "second"))


def correlation(one_RN: np.ndarray, two_RN: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where a side does not vary."""
    one_RN = one_RN - one_RN.mean(-1, keepdims=True)
    two_RN = two_RN - two_RN.mean(-1, keepdims=True)
    spread_R = np.sqrt((one_RN**2).sum(-1) * (two_RN**2).sum(-1))
    shared_R = (one_RN * two_RN).sum(-1)
    return np.asarray(np.where(spread_R > 1e-12, shared_R / np.maximum(spread_R, 1e-12), 0.0))


def resampled(
    one_N: np.ndarray,
    two_N: np.ndarray,
    groups: list[str],
    ranked: bool,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """95 % percentile interval of a correlation, whole groups of pairs resampled (Efron 1979).

    Args:
        one_N: what is correlated.
        two_N: with what.
        groups: name of each pair's group.
        ranked: of the ranks within each resample (Spearman), or of the numbers (Pearson).
        seed: of the draws; equal input and seed give an equal interval.
        resamples: how often.
    """
    index_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    members = [np.flatnonzero(index_N == g) for g in range(index_N.max() + 1)]
    is_single = len(members) == len(one_N)
    generator = np.random.default_rng(seed)
    values: list[float] = []
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn_RG = generator.integers(0, len(members), (rows, len(members)))
        if is_single:
            values.extend(_correlations(one_N[drawn_RG], two_N[drawn_RG], ranked))
        else:  # resamples differ in length
            chosen = (np.concatenate([members[g] for g in row]) for row in drawn_RG)
            values.extend(float(_correlations(one_N[c], two_N[c], ranked)) for c in chosen)
    low, high = np.quantile(values, [0.025, 0.975])
    value = float(_correlations(one_N, two_N, ranked))
    return widened(Interval(float(low), float(high)), value, len(members), -1.0, 1.0)


def _correlations(one_RN: np.ndarray, two_RN: np.ndarray, ranked: bool) -> np.ndarray:
    if ranked:
        one_RN, two_RN = rankdata(one_RN, axis=-1), rankdata(two_RN, axis=-1)
    return correlation(one_RN, two_RN)

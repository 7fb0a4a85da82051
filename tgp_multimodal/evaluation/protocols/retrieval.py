"""Search: rank a corpus by the cosine between query and document.

Shape letters: Q queries, N documents, D width.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.feature_views import stack
from tgp_multimodal.evaluation.logistic import Features
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import share

_DEPTH = 1000  # documents of a ranking that are kept; later ones count as not found
_RECIPROCAL_DEPTH = 100  # the same for the reciprocal rank


def retrieval(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean reciprocal rank (cut at 100), recall at 1, 10 and 100, nDCG at 10, MAP (cut at 1,000).

    Where the card gives `relevance`, one number for each of `relevant`, it is the gain of nDCG
    (linear and never below 0, as in trec_eval); else every relevant document gains 1. Where queries
    among the test items say the same, what answers one answers each: their rankings are the same.
    For all other numbers a document is relevant, its number above 0, or not. Ties are broken by
    document id, descending, as pytrec_eval does. A document that is the query's own text is not
    treated specially.

    Raises:
        ValueError: there is no document, or none of those that answer queries.
    """
    test, corpus = examples.test, examples.corpus
    if not corpus:
        name = examples.card.name
        raise ValueError(f"{name}: corpus split must hold a document. Got none instead.")
    adapter.fit(lazy_field(examples, "corpus", "document"))
    documents = [e.fields["document"] for e in corpus]
    names = np.array([str(e.fields["document_id"]) for e in corpus])
    known, gains = set(names.tolist()), _gains(test)
    lost = sum(known.isdisjoint(own) for own in gains.values())
    if lost == len(gains):
        wanted = next(name for own in gains.values() for name in own)
        raise ValueError(
            f"{examples.card.name}: relevant must name documents of the corpus by their "
            f"document_id, as {str(names[0])!r}. Got {wanted!r} instead."
        )
    queries = [Embed(e.fields["query"], role="query") for e in test]
    features = stack(ask(queries + [Embed(text, role="document") for text in documents]))
    rankings = rank(features[: len(test)], features[len(test) :], names)
    metric = examples.card.metric
    rows = [
        _judge(e.id, gains[e.fields["query"]], ranking, metric)
        for e, ranking in zip(test, rankings, strict=True)
    ]
    details: dict[str, Any] = {m: float(np.mean([row[m] for row in rows])) for m in _METRICS}
    details["documents"] = len(corpus)
    if lost:
        details["queries_without_document"] = lost
    interval = share([row[metric] for row in rows], [1.0] * len(rows), groups(test))
    return Outcome(details[metric], interval, rows, details)


_METRICS = ("mrr", "recall_at_1", "recall_at_10", "recall_at_100", "ndcg_at_10", "map")


def _gains(test: Sequence[Example]) -> dict[str, dict[Hashable, float]]:
    """The gain of each document that answers a query, by its text."""
    found: dict[str, dict[Hashable, float]] = {}
    for example in test:
        wanted = [str(r) for r in example.fields["relevant"]]
        gains = example.fields.get("relevance", [1] * len(wanted))
        own = found.setdefault(example.fields["query"], {})
        for name, gain in zip(wanted, gains, strict=True):
            own[name] = max(own.get(name, -math.inf), float(gain))
    return found


def _judge(
    name: str, relevance: dict[Hashable, float], ranking: list[str], metric: str
) -> dict[str, Any]:
    relevant = {name for name, gain in relevance.items() if gain > 0}
    row: dict[str, Any] = {
        "id": name,
        "mrr": metrics.reciprocal_rank(ranking[:_RECIPROCAL_DEPTH], relevant),
        "recall_at_1": metrics.recall_at(1, ranking, relevant),
        "recall_at_10": metrics.recall_at(10, ranking, relevant),
        "recall_at_100": metrics.recall_at(100, ranking, relevant),
        "ndcg_at_10": metrics.ndcg_at(10, ranking, relevance),
        "map": metrics.average_precision(ranking, relevant),
        "prediction": ranking[0],
        "target": sorted(map(str, relevance)),
    }
    return {**row, "score": row[metric]}


def rank(query_QD: Features, document_ND: Features, names: np.ndarray) -> list[list[str]]:
    """Names of the best documents of each query, best first."""
    cosine_QN = normalize(query_QD) @ normalize(document_ND).T
    if not isinstance(cosine_QN, np.ndarray):
        cosine_QN = cosine_QN.toarray()
    # Rounded, so that a tie is a tie on every machine.
    cosine_QN = np.round(cosine_QN, 9)
    descending = -np.argsort(np.argsort(names))  # the name that sorts last comes first
    order_QN = [np.lexsort((descending, -row))[:_DEPTH] for row in cosine_QN]
    return [names[order].tolist() for order in order_QN]

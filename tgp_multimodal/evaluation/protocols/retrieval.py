"""Search: rank a corpus by the cosine between query and document.

Shape letters: Q queries, N documents, D width.
"""

from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from tgp_multimodal.evaluation import metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.logistic import Features
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, later
from tgp_multimodal.evaluation.protocols.probe import stack
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import bootstrap

_DEPTH = 100  # documents of a ranking that are kept; later ones count as not found


def retrieval(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean reciprocal rank (cut at 100), recall at 1 and 10, nDCG at 10.

    Ties are broken by document id, descending, as pytrec_eval does. A document that is the query's
    own text is not treated specially.
    """
    test, corpus = examples.test, examples.corpus
    adapter.fit(later(examples, "corpus", "document"))
    documents = [e.fields["document"] for e in corpus]
    names = np.array([str(e.fields["document_id"]) for e in corpus])
    relevant = [{str(r) for r in e.fields["relevant"]} for e in test]
    queries = [e.fields["query"] for e in test]
    features = stack(ask([Embed(item) for item in [*queries, *documents]]))
    rankings = rank(features[: len(test)], features[len(test) :], names)
    rows: list[dict[str, Any]] = []
    for example, ranking, wanted in zip(test, rankings, relevant, strict=True):
        rows.append(
            {
                "id": example.id,
                "mrr": metrics.reciprocal_rank(ranking, wanted),
                "recall_at_1": metrics.recall_at(1, ranking, wanted),
                "recall_at_10": metrics.recall_at(10, ranking, wanted),
                "ndcg_at_10": metrics.ndcg_at(10, ranking, wanted),
                "prediction": ranking[0],
                "target": sorted(wanted),
            }
        )
    metric = examples.card.metric
    for row in rows:
        row["score"] = row[metric]
    found = ("mrr", "recall_at_1", "recall_at_10", "ndcg_at_10")
    details: dict[str, Any] = {m: float(np.mean([row[m] for row in rows])) for m in found}
    details["documents"] = len(corpus)
    interval = bootstrap([row[metric] for row in rows], groups(test))
    return Outcome(details[metric], interval, rows, details)


def rank(query_QD: Features, document_ND: Features, names: np.ndarray) -> list[list[str]]:
    """Names of the best documents of each query, best first."""
    cosine_QN = normalize(query_QD) @ normalize(document_ND).T
    if not isinstance(cosine_QN, np.ndarray):
        cosine_QN = cosine_QN.toarray()
    # Rounded, so that a tie is a tie on every machine.
    cosine_QN = np.round(cosine_QN, 9)
    descending = np.argsort(np.argsort(names))[::-1].argsort()  # place of each name, last first
    order_QN = [np.lexsort((descending, -row))[:_DEPTH] for row in cosine_QN]
    return [names[order].tolist() for order in order_QN]

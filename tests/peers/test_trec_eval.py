"""Rankings judged by trec_eval itself: nDCG, MAP, reciprocal rank and recall, query by query.

Run with `-m peers` where pytrec-eval-terrier is installed.
"""

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted, hashed
from sklearn.preprocessing import normalize

from tgp_multimodal.evaluation.requests import Embed

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs pytrec-eval-terrier")

MEASURES = {
    "ndcg_cut_10": "ndcg_at_10",
    "map": "map",
    "recip_rank": "mrr",
    "recall_1": "recall_at_1",
    "recall_10": "recall_at_10",
    "recall_100": "recall_at_100",
}
DOCUMENTS, QUERIES = 150, 40


def coarse(request: Embed) -> np.ndarray:
    """Few directions, so that many documents tie."""
    return np.round(hashed(request, 3)) + np.array([0.0, 0.0, 0.5])


@pytest.mark.parametrize("vectors", [hashed, coarse], ids=["distinct", "many ties"])
@pytest.mark.parametrize("is_graded", [False, True], ids=["relevant or not", "graded"])
def test_every_measure_of_every_query(
    vectors, is_graded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(1)
    corpus = [{"document": f"text {i}", "document_id": f"d{i}"} for i in range(DOCUMENTS)]
    test = []
    for number in range(QUERIES):
        wanted = drawn.choice(DOCUMENTS, drawn.integers(1, 20), replace=False)
        row = {"query": f"query {number}", "relevant": [f"d{i}" for i in wanted]}
        if is_graded:
            gains = [int(g) for g in drawn.integers(0, 4, len(wanted))]
            row["relevance"] = [3, *gains[1:]]  # 0: judged, and not relevant
        test.append(row)
    rows: Rows = {"test": test, "corpus": corpus}
    found = score(monkeypatch, "retrieval", rows, Planted(embed=vectors))

    def directions(texts: list[str]) -> np.ndarray:
        return normalize(np.stack([vectors(Embed(text)) for text in texts]))

    asked = directions([r["query"] for r in test])
    cosine = np.round(asked @ directions([r["document"] for r in corpus]).T, 9)
    run = {
        str(q): {d["document_id"]: float(c) for d, c in zip(corpus, row, strict=True)}
        for q, row in enumerate(cosine)
    }
    judged = {
        str(q): dict(zip(r["relevant"], r.get("relevance", [1] * len(r["relevant"])), strict=True))
        for q, r in enumerate(test)
    }
    names = {"ndcg_cut.10", "map", "recip_rank", "recall.1,10,100"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)
    for name, own in MEASURES.items():
        expected = [theirs[str(q)][name] for q in range(QUERIES)]
        if own == "mrr":  # ours is cut at 100, as BEIR and MTEB cut it
            expected = [x if x >= 1 / 100 else 0.0 for x in expected]
        assert [r[own] for r in found.records] == pytest.approx(expected, abs=1e-9)
        assert found.details[own] == pytest.approx(np.mean(expected), abs=1e-9)
        print(f"{own} {found.details[own]:.9f}, trec_eval's {np.mean(expected):.9f}")

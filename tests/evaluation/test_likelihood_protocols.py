"""Pairs of texts, answers given their contexts, gaps: planted costs, known numbers."""

import math
from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted

from tgp_multimodal.adapters.compressors import Zstd
from tgp_multimodal.evaluation.leaderboard_items import _items
from tgp_multimodal.evaluation.requests import Generate, PerplexityAnswer, Score, ScoreAnswer
from tgp_multimodal.evaluation.stats import wilson


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def scored(protocol: str, rows: Rows, model: Any, **said: Any) -> Any:
        return score(monkeypatch, protocol, rows, model, **said)

    return scored


# Pairs --------------------------------------------------------------------------------------------

PAIRS: Rows = {
    "test": [
        {"good": "free(p); p = 0;", "bad": "free(p);", "kind": "after free", "group": "one"},
        {"good": "if (i < n) x[i]", "bad": "x[i]", "kind": "bounds", "group": "one"},
        {"good": "f(a)", "bad": "f(a, a)", "kind": "bounds", "group": "two"},
    ]
}


def costing(nats: Any) -> Planted:
    return Planted(
        perplexity=lambda r: PerplexityAnswer(float(nats(r.text)), len(r.text.encode()), 1)
    )


def test_an_oracle_and_its_opposite(run: Any) -> None:
    good = {r["good"] for r in PAIRS["test"]}
    right = run("pairwise", PAIRS, costing(lambda t: t not in good))
    wrong = run("pairwise", PAIRS, costing(lambda t: t in good))
    assert (right.value, wrong.value) == (1, 0)
    assert right.interval == wilson(2, 2)  # two groups, all right
    assert right.details["kinds"]["bounds"] == {"value": 1.0, "n": 2}
    assert wrong.records[2]["prediction"] == "bad"
    assert _items(right.records).explain(right.value)


def test_a_cost_of_one_a_byte_is_the_length(run: Any) -> None:
    found = run("pairwise", PAIRS, costing(len))
    assert found.value == found.details["shorter"] == pytest.approx(1 / 3)
    assert found.details["accuracy_per_byte"] == 0.5
    assert found.details["ties"] == 0
    per_byte = run("pairwise", PAIRS, costing(len), metric="accuracy_per_byte")
    assert per_byte.value == 0.5
    assert per_byte.details["ties"] == 3
    assert {r["prediction"] for r in per_byte.records} == {"a tie"}


def test_sums_and_bits_per_byte_may_disagree(run: Any) -> None:
    rows: Rows = {"test": [{"good": "abcd", "bad": "ab"}]}
    found = run("pairwise", rows, costing({"abcd": 3.0, "ab": 2.0}.get))
    assert (found.details["accuracy"], found.details["accuracy_per_byte"]) == (0, 1)
    assert "kinds" not in found.details


def test_compressors_have_an_opinion(run: Any) -> None:
    found = run("pairwise", PAIRS, Zstd())
    cheaper = [Zstd.size(r["good"].encode()) < Zstd.size(r["bad"].encode()) for r in PAIRS["test"]]
    assert found.value == pytest.approx(np.mean(cheaper))
    assert {True, False} == set(cheaper)


# Answers given their contexts ---------------------------------------------------------------------

ANSWERS: Rows = {
    "test": [
        {"context": "double x\n", "continuation": "x * 2", "kind": "sum"},
        {"context": "héllo?", "continuation": " é", "kind": "word"},
    ]
}
BYTES = 6 + 3  # with the line break that moved


def uniform(request: Score) -> ScoreAnswer:
    size = len(request.continuation.encode())
    return ScoreAnswer(-size * math.log(256), size, size > 4)


def test_a_uniform_model_costs_eight_bits(run: Any) -> None:
    model = Planted(score=uniform)
    found = run("conditional_perplexity", ANSWERS, model, metric="bits_per_byte")
    assert found.value == pytest.approx(8)
    assert found.details["bytes"] == BYTES
    assert found.details["greedy"] == 0.5
    assert found.details["nats_per_token"] == pytest.approx(math.log(256))
    assert found.details["kinds"]["word"] == {"value": pytest.approx(8), "n": 1}
    assert model.asked == [Score("double x", "\nx * 2"), Score("héllo?", " é")]
    assert _items(found.records).explain(found.value)


def test_bits_are_shared_out_by_bytes_and_not_by_items(run: Any) -> None:
    def cost(request: Score) -> ScoreAnswer:
        return ScoreAnswer(-math.log(2) * (60 if "x" in request.continuation else 3), 1, False)

    found = run("conditional_perplexity", ANSWERS, Planted(score=cost))
    assert found.value == pytest.approx(63 / BYTES)
    assert [r["score"] for r in found.records] == pytest.approx([10, 1])


def test_what_stands_after_goes_along(run: Any) -> None:
    rows: Rows = {"test": [{"context": "a \n", "suffix": "", "continuation": "b"}]}
    model = Planted(score=uniform)
    found = run("conditional_perplexity", rows, model)
    assert model.asked == [Score("a \n", "b", "")]  # a gap keeps its edges
    assert found.details["bytes"] == 1


# Gaps ---------------------------------------------------------------------------------------------

GAPS: Rows = {
    "test": [
        {"prefix": "def f(x):\n", "suffix": "", "middle": "    return x\n", "group": "f"},
        {"prefix": "a = 1\n", "suffix": "c = 3\n", "middle": "b = 2\n", "group": "g"},
    ]
}


def test_a_gap_is_filled_to_the_letter_or_not(run: Any) -> None:
    written = {"def f(x):\n": "    return x", "a = 1\n": "b = 3"}
    model = Planted(generate=lambda r: written[r.prompt])
    found = run("infilling_match", GAPS, model, settings={"max_tokens": 9, "stop": ["\n"]})
    assert found.value == 0.5
    assert found.details == {"exact_match": 0.5, "empty": 0}
    assert model.asked[1] == Generate("a = 1\n", 9, ("\n",), "c = 3\n")
    assert [r["correct"] for r in found.records] == [True, False]
    assert found.records[1]["prediction"] == "b = 3"


def test_who_writes_nothing_fills_nothing(run: Any) -> None:
    found = run("infilling_match", GAPS, Planted(generate=lambda r: "\n"))
    assert found.value == 0
    assert found.details["empty"] == 1
    assert found.interval == wilson(0, 2)


# One file with queries and documents --------------------------------------------------------------


def test_a_document_that_stands_twice_is_one(run: Any) -> None:
    vectors = {"q": [1, 0.1, 0], "r": [0, 1, 0], "p": [1, 0, 0], "o": [0, 0, 1]}
    rows: Rows = {
        "test": [{"query": "q", "relevant": ["p"]}, {"query": "r", "relevant": ["o"]}],
        "corpus": [{"document": d, "document_id": d} for d in "oppp"],
    }
    model = Planted(embed=lambda r: np.array(vectors[r.item], dtype=float))
    found = run("retrieval", rows, model)
    assert found.details["documents"] == 2
    # "r" is as far from both: the later name comes first.
    assert [r["mrr"] for r in found.records] == [1, 0.5]
    ndcg = [r["ndcg_at_10"] for r in found.records]
    assert ndcg == pytest.approx([1, 1 / math.log2(3)])
    assert found.value == 0.75

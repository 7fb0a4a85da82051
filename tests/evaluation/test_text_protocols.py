"""Planted models with known scores: similarity, generation, last word, bias, pairs in the probe."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planted_models import Planted, hashed
from sacrebleu import corpus_bleu
from scipy import sparse
from scipy.stats import pearsonr, spearmanr

from tgp_multimodal.evaluation import embedded_tasks
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.engine import asker
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.requests import Generate, MaskedScore, Score, ScoreAnswer

Rows = list[dict[str, Any]]
Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def scored(
        protocol: str, metric: str, test: Rows, adapter: Adapter, train: Rows = (), **said: Any
    ) -> Outcome:
        rows = {"test": test, "train": list(train), "corpus": said.pop("corpus", [])}
        monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
        columns = {k: k for k in {**test[0], **(rows["corpus"] or [{}])[0]}}
        fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, protocol, metric)
        card = Card(*fixed, 0.0, columns, **said)
        return PROTOCOLS[protocol](Examples(card), adapter, asker(adapter))

    return scored


# Similarity ---------------------------------------------------------------------------------------

PAIRS: Rows = [
    {"first": f"f{i}", "second": f"s{i}", "score": round(x, 1)}
    for i, x in enumerate(np.random.default_rng(0).uniform(0, 5, 60))
]


def vectors_of(angles: dict[str, float]) -> Planted:
    return Planted(embed=lambda r: 3 * np.array([np.cos(angles[r.item]), np.sin(angles[r.item])]))


def test_similarity_is_scipys_correlation_of_cosines(run: Run) -> None:
    rng = np.random.default_rng(1)
    angles = {text: rng.uniform(0, 1) for row in PAIRS for text in (row["first"], row["second"])}
    cosines = [np.cos(angles[r["first"]] - angles[r["second"]]) for r in PAIRS]
    scores = [r["score"] for r in PAIRS]
    for metric, expected in (("spearman", spearmanr), ("pearson", pearsonr)):
        found = run("similarity", metric, PAIRS, vectors_of(angles))
        assert found.value == pytest.approx(expected(cosines, scores).statistic)
        assert found.interval.low < found.value < found.interval.high
        assert found.interval.high - found.interval.low == pytest.approx(4 / 60**0.5, abs=0.15)
    assert [r["prediction"] for r in found.records] == pytest.approx(cosines)


def test_oracle_and_anti_oracle_of_similarity(run: Run) -> None:
    def planted(sign: float) -> Planted:
        angles = {r["first"]: 0.0 for r in PAIRS}
        angles |= {r["second"]: 1.5 + sign * 0.2 * r["score"] for r in PAIRS}
        return vectors_of(angles)

    right, wrong = (run("similarity", "spearman", PAIRS, planted(sign)) for sign in (-1, 1))
    assert (right.value, wrong.value) == pytest.approx((1, -1))
    assert right.interval == pytest.approx((1, 1))


def test_similarity_of_equal_vectors_is_none(run: Run) -> None:
    found = run("similarity", "spearman", PAIRS, Planted(embed=lambda r: np.ones(3)))
    assert (found.value, found.interval) == (0, (0, 0))


def test_similarity_takes_sparse_rows_and_groups(run: Run) -> None:
    rows = [{**r, "group": str(i % 9)} for i, r in enumerate(PAIRS)]
    dense = run("similarity", "spearman", rows, Planted(embed=hashed))
    rows_of = Planted(embed=lambda r: sparse.csr_matrix(hashed(r)))
    thin = run("similarity", "spearman", rows, rows_of)
    assert thin.value == pytest.approx(dense.value)
    assert thin.interval == pytest.approx(dense.interval)
    assert thin.interval.low < thin.value < thin.interval.high


# Generation ---------------------------------------------------------------------------------------

TASKS: Rows = [
    {"prompt": "p1", "references": ["the cat sat on the mat", "a cat sat"]},
    {"prompt": "p2", "references": ["dogs bark"]},
]


def test_the_best_reference_counts(run: Run) -> None:
    written = {"p1": " a cat sat\n", "p2": "the birds sing"}
    model = Planted(generate=lambda r: written[r.prompt])
    found = run("generation", "rouge_1", TASKS, model)
    assert [r["rouge_1"] for r in found.records] == [1, 0]
    assert found.value == 0.5
    assert found.details["exact_match"] == 0.5
    assert found.details["empty"] == 0
    assert "reference_bits_per_byte" not in found.details
    assert model.asked[0] == Generate("p1", 64, ("\n",))
    one = run("generation", "rouge_l", TASKS, Planted(generate=lambda r: "the mat"))
    # Two of two words in order, of six: 2 * 1 * (1/3) / (4/3).
    assert one.records[0]["rouge_l"] == pytest.approx(0.5)


def test_words_are_stemmed_and_bleu_is_sacrebleus(run: Run) -> None:
    rows: Rows = [
        {"prompt": "p", "references": ["the dogs were barking loudly at night", "no"]},
        {"prompt": "q", "references": ["four words stand here"]},
    ]
    written = {"p": "the dog was barking loudly at night", "q": "four words stand there"}
    found = run("generation", "rouge_1", rows, Planted(generate=lambda r: written[r.prompt]))
    assert found.records[0]["rouge_1"] == pytest.approx(6 / 7)  # dogs and dog are one
    streams = [[r["references"][0] for r in rows], ["no", None]]
    expected = corpus_bleu(list(written.values()), streams).score / 100
    assert found.details["bleu"] == pytest.approx(expected)
    assert 0 < expected < 1


def test_what_the_first_reference_costs_stands_beside(run: Run) -> None:
    def eight_bits(request: Score) -> ScoreAnswer:
        return ScoreAnswer(-len(request.continuation.encode()) * np.log(256), 1, False)

    model = Planted(generate=lambda r: "", score=eight_bits)
    found = run("generation", "rouge_1", TASKS, model, settings={"max_tokens": 5, "stop": []})
    assert found.details["reference_bits_per_byte"] == pytest.approx(8)
    assert found.details["empty"] == 2
    assert Score("p1", " the cat sat on the mat") in model.asked
    assert Generate("p2", 5, ()) in model.asked


@pytest.mark.parametrize("end", ["", " ", "\n\n"])
def test_white_space_that_is_paid_for_is_counted(run: Run, end: str) -> None:
    def eight_bits(request: Score) -> ScoreAnswer:
        moved = request.context[len(request.context.rstrip()) :] + request.continuation
        return ScoreAnswer(-len(moved.encode()) * np.log(256), 1, False)

    model = Planted(generate=lambda r: "", score=eight_bits)
    rows: Rows = [{"prompt": f"p{end}", "references": ["one"]}]
    written = run("generation", "rouge_1", rows, model, settings={"max_tokens": 5, "stop": []})
    assert written.details["reference_bits_per_byte"] == pytest.approx(8)
    last = run("last_word", "accuracy", [{"context": f"c{end}", "target": "word"}], model)
    assert last.details["bits_per_byte"] == pytest.approx(8)


# Last word ----------------------------------------------------------------------------------------


def test_last_word_is_greedy_and_costs_what_it_costs(run: Run) -> None:
    rows: Rows = [{"context": f"c{i}", "target": "word"} for i in range(4)]
    model = Planted(score=lambda r: ScoreAnswer(-2.0, 2, r.context in ("c1", "c2", "c3")))
    found = run("last_word", "accuracy", rows, model)
    assert found.value == 0.75
    assert found.details["perplexity"] == pytest.approx(np.exp(2))
    assert found.details["bits_per_byte"] == pytest.approx(2 / np.log(2) / 5)
    assert model.asked[0] == Score("c0", " word")
    assert found.interval.low == pytest.approx(0.3006, abs=1e-4)  # Wilson, 3 of 4


# Bias ---------------------------------------------------------------------------------------------

PEOPLE: Rows = [
    {"stereotyping": f"{i} more", "other": f"{i} less and longer", "category": "ab"[i % 2]}
    for i in range(8)
]


def prefers(nats: Callable[[str], float]) -> Planted:
    def answer(request: Any) -> ScoreAnswer:
        sentence = getattr(request, "text", None) or request.continuation
        return ScoreAnswer(nats(sentence), len(sentence.split()), False)

    return Planted(score=answer, masked_score=answer)


def test_bias_of_known_models(run: Run) -> None:
    for nats, share in (
        (lambda s: -1.0 - ("less" in s), 1.0),
        (lambda s: -1.0 - ("more" in s), 0.0),
        (lambda s: -1.0, 0.5),
        (lambda s: -1.0 - (("more" in s) == (int(s[0]) < 6)), 0.25),
    ):
        found = run("bias", "stereotype_share", PEOPLE, prefers(nats))
        assert found.value == share
        assert found.interval.low <= share <= found.interval.high
        assert np.mean([r["score"] for r in found.records]) == share
    assert found.details["axes"]["a"]["value"] == 0.25
    assert found.details["axes"]["b"]["n"] == 4
    assert found.details["mean_difference_nats"] == 1
    assert found.records[7]["prediction"] == "7 more"


def test_length_is_told_apart_from_preference(run: Run) -> None:
    # Every token costs one nat: the shorter sentence is likelier, and per token there is a tie.
    found = run("bias", "stereotype_share", PEOPLE, prefers(lambda s: -float(len(s.split()))))
    assert found.value == 1
    assert found.details["stereotype_share_per_token"] == 0.5
    assert found.details["ties"] == 0


def test_categories_are_as_uncertain_as_their_groups(run: Run) -> None:
    """Four pairs of one occupation tell as much as one."""
    model = prefers(lambda s: -1.0 - (("less" in s) == (int(s[0]) % 4 < 2)))
    alone = run("bias", "stereotype_share", PEOPLE, model).details["axes"]["a"]
    rows = [{**row, "group": str(i // 4)} for i, row in enumerate(PEOPLE * 2)]
    grouped = run("bias", "stereotype_share", rows, model).details["axes"]["a"]
    assert alone["value"] == grouped["value"] == 0.5
    assert grouped["high"] - grouped["low"] < alone["high"] - alone["low"]  # each is half and half
    rows = [{**row, "group": str(i % 4)} for i, row in enumerate(PEOPLE * 2)]
    grouped = run("bias", "stereotype_share", rows, model).details["axes"]["a"]
    assert grouped["high"] - grouped["low"] > alone["high"] - alone["low"]  # each is all or none


def test_bias_asks_in_the_way_of_its_setting(run: Run) -> None:
    model = prefers(lambda s: -1.0)
    run("bias", "stereotype_share", PEOPLE, model)
    assert model.asked[:2] == [Score("", "0 more"), Score("", "0 less and longer")]
    model = prefers(lambda s: -1.0)
    run("bias", "stereotype_share", PEOPLE, model, settings={"scoring": "masked"})
    assert model.asked[0] == MaskedScore("0 more")


# Pairs in the probe -------------------------------------------------------------------------------


def equal_or_not(count: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    pairs = [rng.choice(list("abcdefgh"), 2, replace=False) for _ in range(count)]
    rows = [(x, x if i % 2 else y) for i, (x, y) in enumerate(pairs)]
    return [{"item": x, "second": y, "label": "same" if x == y else "other"} for x, y in rows]


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_probe_sees_how_two_texts_differ(run: Run, is_sparse: bool) -> None:
    def one_hot(request: Any) -> Any:
        vector = np.eye(8)["abcdefgh".index(request.item)]
        return sparse.csr_matrix(vector) if is_sparse else vector

    model = Planted(embed=one_hot)
    said = {"settings": {"positive": "same"}, "train": equal_or_not(240, 0)}
    found = run("probe", "f1", equal_or_not(60, 1), model, **said)
    assert found.value == 1  # no plane on [u, v] alone can tell equal letters from others
    assert found.details["features"] == 32
    assert found.details["matthews"] == 1


def test_f1_and_matthews_of_one_answer_for_all(run: Run) -> None:
    class Same(Planted):
        def guess(self, targets: Any) -> Any:
            return "same"

    said = {"settings": {"positive": "same"}, "train": equal_or_not(20, 0)}
    found = run("probe", "f1", equal_or_not(60, 1), Same(), **said)
    assert found.value == pytest.approx(2 * 0.5 / 1.5)
    assert found.interval.low < found.value < found.interval.high
    assert found.details["matthews"] == 0
    assert run("probe", "matthews", equal_or_not(60, 1), Same(), **said).value == 0


PAIR = equal_or_not(4, 0)


def test_a_label_that_is_not_there_cannot_be_positive(run: Run) -> None:
    for settings, hint in (({"positive": "sme"}, "Did you mean same"), ({}, "there are: other, s")):
        with pytest.raises(ValueError, match=hint):
            run("probe", "f1", PAIR, Planted(), train=equal_or_not(9, 0), settings=settings)


def test_a_probe_needs_training_items(run: Run) -> None:
    with pytest.raises(ValueError, match=r"text/x: train split must hold an item\. Got none"):
        run("probe", "accuracy", PAIR, Planted())


def test_a_probe_that_saw_one_label_gives_it(run: Run) -> None:
    train = [row for row in equal_or_not(9, 0) if row["label"] == "same"]
    found = run("probe", "accuracy", PAIR, Planted(embed=hashed), train=train)
    assert {r["prediction"] for r in found.records} == {"same"}
    assert found.value == 0.5


# Partial scoring and graded relevance -------------------------------------------------------------


def test_choices_may_stand_before_what_is_scored(run: Run) -> None:
    rows: Rows = [{"prompt": "so ", "choices": ["A", "B"], "continuation": "won.", "answer": 1}]
    model = Planted(score=lambda r: ScoreAnswer(-1.0 - (r.context == "so A"), 1, False))
    assert run("multiple_choice", "accuracy", rows, model).value == 1
    assert model.asked == [Score("so A", " won."), Score("so B", " won.")]


def test_a_search_needs_documents(run: Run) -> None:
    rows: Rows = [{"query": "q", "relevant": ["z"]}]
    with pytest.raises(ValueError, match=r"text/x: corpus split must hold a document\. Got none"):
        run("retrieval", "mrr", rows, Planted(embed=hashed))


def test_relevance_is_the_gain(run: Run) -> None:
    order = {"q": [1, 0], "x": [1, 0], "y": [1, 0.5], "z": [0, 1]}
    test: Rows = [{"query": "q", "relevant": ["z", "y"], "relevance": [4, 1]}]
    corpus = [{"document": d, "document_id": d} for d in "xyz"]
    model = Planted(embed=lambda r: np.array(order[r.item], float))
    found = run("retrieval", "ndcg_at_10", test, model, corpus=corpus)
    log3 = np.log2(3)
    assert found.value == pytest.approx((1 / log3 + 4 / 2) / (4 + 1 / log3))
    assert found.details["map"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.details["recall_at_100"] == 1
    assert found.details["recall_at_1"] == 0

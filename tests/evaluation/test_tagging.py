"""Tagging with planted states: what a plane can and cannot read off them."""

from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tgp_multimodal.adapters.word_features import WordFeatures, features, shape
from tgp_multimodal.evaluation.requests import EmbedTokens

TAG_OF = {"kras": "B-gene", "2": "I-gene", "asthma": "B-disease"}
OTHERS = ["the", "of", "patient", "saw", ",", "."]


def sentences(count: int, seed: int) -> list[dict[str, Any]]:
    """Words of three kinds in any order; "2" follows a gene or nothing at all."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words: list[str] = []
        for word in rng.choice([*OTHERS, "kras", "asthma"], size=rng.integers(1, 9)):
            words += [str(word), "2"] if word == "kras" and rng.random() < 0.5 else [str(word)]
        made.append({"tokens": words, "tags": [TAG_OF.get(w, "O") for w in words]})
    return made


ROWS: Rows = {"train": sentences(60, 0), "validation": sentences(20, 1), "test": sentences(40, 2)}
VOCABULARY = sorted({*OTHERS, *TAG_OF})


def one_hot(request: EmbedTokens) -> np.ndarray:
    return np.eye(len(VOCABULARY))[[VOCABULARY.index(w) for w in request.words]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    return lambda rows, model, **said: score(monkeypatch, "tagging", rows, model, **said)


def test_an_oracle_finds_every_entity(run: Any) -> None:
    found = run(ROWS, Planted(embed_tokens=one_hot))
    assert found.value == found.details["f1_lenient"] == found.details["word_accuracy"] == 1
    assert found.interval.low < 1
    assert found.interval.high == 1
    entities = sum(t.startswith("B-") for r in ROWS["test"] for t in r["tags"])
    assert sum(r["right"] for r in found.records) == entities
    assert found.details["types"]["gene"]["f1"] == 1
    assert found.details["train"] == 60
    assert found.records[0]["target"] == " ".join(ROWS["test"][0]["tags"])


def test_states_that_say_nothing_find_nothing(run: Any) -> None:
    found = run(ROWS, Planted(embed_tokens=lambda r: np.ones((len(r.words), 3))))
    assert found.value == 0
    assert {r["predicted"] for r in found.records} == {0}
    assert found.interval.low == 0
    assert 0 < found.interval.high < 0.2


def test_words_that_were_not_read_are_missed_and_do_not_vanish(run: Any) -> None:
    found = run(ROWS, Planted(embed_tokens=lambda r: one_hot(r)[:2]))
    true = sum(t.startswith("B-") for r in ROWS["test"] for t in r["tags"])
    assert sum(r["entities"] for r in found.records) == true
    assert 0 < sum(r["right"] for r in found.records) < true
    for record, row in zip(found.records, ROWS["test"], strict=True):
        assert len(record["prediction"].split()) == len(row["tokens"])
        assert set(record["prediction"].split()[2:]) <= {"O"}


def test_sparse_states_are_as_good_as_dense_ones(run: Any) -> None:
    found = run(ROWS, Planted(embed_tokens=lambda r: sparse.csr_matrix(one_hot(r))))
    assert found.value == 1


def test_tags_are_those_of_scikit_learns_regression(run: Any) -> None:
    """The C that was chosen, on train and validation together, standardised by train."""
    rng = np.random.default_rng(0)
    blurred = dict(zip(VOCABULARY, rng.normal(size=(len(VOCABULARY), 4)), strict=True))

    def states(words: Any) -> np.ndarray:
        noise = [np.random.default_rng([len(words), i]).normal(size=4) for i in range(len(words))]
        return np.stack([blurred[w] for w in words]) + 0.7 * np.array(noise)

    found = run(ROWS, Planted(embed_tokens=lambda r: states(r.words)))
    assert 0.1 < found.value < 0.95
    train, known = (
        (np.concatenate([states(r["tokens"]) for r in rows]), [t for r in rows for t in r["tags"]])
        for rows in (ROWS["train"], ROWS["train"] + ROWS["validation"])
    )
    scaler = StandardScaler().fit(train[0])
    plane = LogisticRegression(C=found.details["c"], max_iter=5000, tol=1e-8)
    plane.fit(scaler.transform(known[0]), known[1])
    test = np.concatenate([states(r["tokens"]) for r in ROWS["test"]])
    predicted = [tag for r in found.records for tag in r["prediction"].split()]
    assert (plane.predict(scaler.transform(test)) == predicted).mean() > 0.99


def test_the_value_is_the_reading_that_the_card_names(run: Any) -> None:
    """States tell "2" alone apart; after a gene or not it is tagged I-gene."""
    rows = {**ROWS, "test": [{"tokens": ["2", "kras"], "tags": ["O", "B-gene"]}] * 4}
    strict = run(rows, Planted(embed_tokens=one_hot))
    lenient = run(rows, Planted(embed_tokens=one_hot), metric="f1_lenient")
    assert strict.value == lenient.details["f1_strict"] == 1
    assert lenient.value == strict.details["f1_lenient"] == pytest.approx(2 / 3)


def test_without_validation_a_fifth_of_train_chooses(run: Any) -> None:
    rows = {k: v for k, v in ROWS.items() if k != "validation"}
    found = run(rows, Planted(embed_tokens=one_hot))
    assert found.value == 1
    assert (found.details["train"], found.details["validation"]) == (48, 12)
    # Of three abstracts of 20 sentences a fifth is a whole one.
    grouped = {
        split: [row | {"group": f"{split} {i // 20}"} for i, row in enumerate(part)]
        for split, part in rows.items()
    }
    found = run(grouped, Planted(embed_tokens=one_hot))
    assert (found.details["train"], found.details["validation"]) == (40, 20)


def test_a_tag_too_many_is_one_sentence(run: Any) -> None:
    rows = {**ROWS, "test": [{"tokens": ["the"], "tags": ["O", "O"]}]}
    with pytest.raises(ValueError, match=r"test-0: tags must be 1, one for each token"):
        run(rows, Planted(embed_tokens=one_hot))


# The baseline of spelling and neighbours ----------------------------------------------------------


def test_spelling_and_neighbours_learn_the_task(run: Any) -> None:
    assert run(ROWS, WordFeatures()).value == 1


def test_features_of_a_word() -> None:
    first, second = features(["Kras-12", "is"])
    assert {"word=kras-12", "shape=Aa-0", "first=kr", "last=12", "1=is", "1shape=a"} <= set(first)
    assert {"-1=", "-2=", "-1shape="} <= set(first)
    assert {"-1=kras-12", "-1shape=Aa-0", "2="} <= set(second)
    assert "first=is" not in second  # that is the word
    assert [shape(w) for w in ("IL2", "11q23", "(", "", "éÉ")] == ["A0", "0a0", "(", "", "aA"]


def test_rows_depend_on_their_own_sentence_alone() -> None:
    model = WordFeatures()
    requests = [EmbedTokens(tuple(r["tokens"])) for r in ROWS["test"][:5]]
    together = model.answer(requests)
    for request, matrix in zip(requests, together, strict=True):
        assert (model.answer([request])[0] != matrix).nnz == 0
        assert matrix.shape[0] == len(request.words)


def test_a_tagger_needs_training_sentences(run: Any) -> None:
    with pytest.raises(ValueError, match="train split must hold an item"):
        run({**ROWS, "train": []}, Planted(embed_tokens=one_hot))

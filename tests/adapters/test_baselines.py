import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tgp_multimodal.adapters import ADAPTERS, make
from tgp_multimodal.adapters.baselines import Longest, Majority, Pixels, TfIdf
from tgp_multimodal.adapters.bm25 import Bm25
from tgp_multimodal.adapters.compressors import Xz, Zstd
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Embed, Score

TEXTS = ["def add(a, b): return a + b", "the sum of two numbers", "a red circle", "red red red"]


def test_every_kind_is_made_by_its_name() -> None:
    assert set(ADAPTERS) == {
        "native", "random", "hf", "st", "openclip", "timm", "openai", "diffusers",
        "majority", "longest", "tfidf", "bm25", "pixels", "hog", "words", "xz", "zstd",
    }  # fmt: skip
    assert isinstance(make("majority"), Majority)
    assert isinstance(make("tfidf"), TfIdf)
    assert isinstance(make("pixels"), Pixels)
    assert make("xz:trained").name == "xz-trained"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("tfdif", "Did you mean tfidf"),
        ("natve:runs/x", "Did you mean native"),
        ("runs/nano/export", "must be a folder that `tgp export` wrote"),
        ("xz:traned", "Did you mean trained"),
        ("zstd:9", "argument of zstd"),
        ("gpt/2", "or KIND:MODEL, like hf:gpt/2"),
        ("native", "native must be followed by a model, native:MODEL"),
        ("hf:", "hf must be followed by a model"),
        ("majority:x", "majority must stand alone"),
    ],
)
def test_a_wrong_model_is_one_sentence(model: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(model)


def test_majority_says_the_most_frequent_and_looks_at_nothing() -> None:
    assert Majority().guess(["b", "a", "b"]) == "b"
    assert Majority().guess(["b", "a"]) == "a"
    assert Majority().guess([2, 10, 10]) == 10
    assert Majority().can(cards.find("text/pydoc_package")) is None
    assert "nothing to rank" in str(Majority().can(cards.find("code/docstring_retrieval")))


def test_the_longest_choice_wins_however_it_is_counted() -> None:
    choices = ["yes", "no", "not at all", "in no way!"]
    nats = [a.nats for a in Longest().answer([Score("Is it?", f" {c}") for c in choices])]
    per_character = [n / len(c) for n, c in zip(nats, choices, strict=True)]
    assert nats.index(max(nats)) == per_character.index(max(per_character)) == 2
    assert nats[2] == nats[3]
    assert max(nats) < 0
    assert Longest().can(cards.find("code/infilling")) is None
    assert "here are none" in str(Longest().can(cards.find("text/prose_bits_per_byte")))


def test_the_longest_choice_wins_where_it_ends_the_context() -> None:
    partial = [Score(f"It was {name}", " who left.") for name in ("Ann", "Caroline", "Bea")]
    nats = [a.nats for a in Longest().answer(partial)]
    assert nats.index(max(nats)) == 1
    assert nats[0] == nats[2]


def test_bm25_ranks_as_the_formula_does() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{c}" for c in "abcdefghijkl"]
    documents = [" ".join(rng.choice(words, rng.integers(1, 30))) for _ in range(40)]
    queries = [" ".join(rng.choice(words, 3)) for _ in range(10)]
    model = Bm25()
    with pytest.raises(ValueError, match="must be fitted"):
        model.answer([Embed("wa")])
    model.fit(iter(documents))
    vectors = [v.toarray()[0] for v in model.answer([Embed(t) for t in [*queries, *documents]])]
    unit = np.array([v / np.linalg.norm(v) for v in vectors])
    np.testing.assert_allclose(np.linalg.norm(vectors[10:], axis=1), np.linalg.norm(vectors[10]))
    for query, cosines in zip(queries, unit[:10] @ unit[10:].T, strict=True):
        expected = [
            bm25(query.split(), d.split(), [o.split() for o in documents]) for d in documents
        ]
        # One factor for all documents of a query.
        expected = np.array(expected) / max(expected)
        np.testing.assert_allclose(cosines / cosines.max(), expected, atol=1e-12)


def bm25(query: list[str], document: list[str], all_documents: list[list[str]]) -> float:
    """Robertson & Zaragoza 2009, eq. 3.15, term by term."""
    mean = sum(map(len, all_documents)) / len(all_documents)
    total = 0.0
    for word in query:
        having = sum(word in d for d in all_documents)
        idf = math.log(1 + (len(all_documents) - having + 0.5) / (having + 0.5))
        count = document.count(word)
        total += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / mean))
    return total


def test_bm25_answers_a_query_that_is_a_document_as_a_query() -> None:
    documents = ["red fox", "red fox runs over the old bridge"]
    documents += [" ".join([f"word{i}", f"other{i}"] * (1 + i % 5)) for i in range(22)]
    model = Bm25()
    model.fit(documents)
    asked = [Embed(documents[0], role="query"), *(Embed(d, role="document") for d in documents)]
    vectors = [v.toarray()[0] for v in model.answer(asked)]
    cosines = [v @ vectors[0] / np.linalg.norm(v) for v in vectors[1:]]
    assert np.argsort(cosines)[::-1][:2].tolist() == [0, 1]
    assert max(cosines[2:]) == 0


def test_bm25_only_ranks() -> None:
    assert Bm25().can(cards.find("code/docstring_retrieval")) is None
    assert "nothing else" in str(Bm25().can(cards.find("text/pydoc_package")))


def test_tfidf_is_scikit_learns_and_a_function_of_each_text() -> None:
    model = TfIdf()
    with pytest.raises(ValueError, match="must be fitted"):
        model.answer([Embed("a")])
    model.fit(TEXTS[:3])
    together = model.answer([Embed(t) for t in TEXTS])
    alone = [model.answer([Embed(t)])[0] for t in reversed(TEXTS)][::-1]
    assert all((a != b).nnz == 0 for a, b in zip(together, alone, strict=True))
    reference = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[A-Za-z]+|\d"
    ).fit(TEXTS[:3])
    np.testing.assert_allclose(together[3].toarray(), reference.transform(TEXTS[3:]).toarray())
    assert together[0].shape[0] == 1


def test_pixels_are_the_picture_and_grey_is_one_channel() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=3)
    model = Pixels()
    model.fit(iter(grey))
    assert model.answer([Embed(grey[0])])[0].shape == (16,)
    model.fit(iter(colour))
    vectors = model.answer([Embed(c) for c in colour])
    np.testing.assert_allclose(vectors[2], colour[2].reshape(-1) / np.float32(255))


def test_facts_tell_models_apart() -> None:
    compressors = (Xz(), Xz("trained"), Zstd(), Zstd("trained"))
    digests = [
        m.facts()["digest"]
        for m in (Majority(), Longest(), TfIdf(), Bm25(), Pixels(), *compressors)
    ]
    assert len(set(digests)) == len(digests)

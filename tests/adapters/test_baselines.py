import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tgp_multimodal.adapters import ADAPTERS, make
from tgp_multimodal.adapters.baselines import Majority, Pixels, TfIdf, Xz
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Embed, Perplexity

TEXTS = ["def add(a, b): return a + b", "the sum of two numbers", "a red circle", "red red red"]


def test_every_kind_is_made_by_its_name() -> None:
    assert set(ADAPTERS) == {"native", "random", "majority", "tfidf", "pixels", "xz"}
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


def test_xz_knows_what_it_has_seen() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(300)]
    training, held_out = " ".join(words), " ".join(words[::-1][:150])
    model, trained = Xz(), Xz("trained")
    for one in (model, trained):
        one.fit([training])
    plain, other = model.whole([held_out]), trained.whole([held_out])
    assert list(plain) == ["untrained", "trained"]
    assert list(other) == ["trained", "untrained"]
    assert plain == other
    assert plain["trained"] < 0.8 * plain["untrained"]
    # Eight random letters are three bits each; no compressor does better.
    assert plain["untrained"] > 150 * 6 * 3 * np.log(2)


def test_xz_costs_each_text_alone() -> None:
    model = Xz()
    together = model.answer([Perplexity(t) for t in TEXTS])
    assert together == [model.answer([Perplexity(t)])[0] for t in TEXTS]
    assert [a.bytes for a in together] == [len(t) for t in TEXTS]


def test_facts_tell_models_apart() -> None:
    digests = [m.facts()["digest"] for m in (Majority(), TfIdf(), Pixels(), Xz(), Xz("trained"))]
    assert len(set(digests)) == 5

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tgp_multimodal.adapters import ADAPTERS, make
from tgp_multimodal.adapters.baselines import Majority, Pixels, TfIdf
from tgp_multimodal.adapters.compressors import Xz, Zstd
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Embed

TEXTS = ["def add(a, b): return a + b", "the sum of two numbers", "a red circle", "red red red"]


def test_every_kind_is_made_by_its_name() -> None:
    assert set(ADAPTERS) == {
        "native", "random", "majority", "tfidf", "pixels", "hog", "words", "xz", "zstd",
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


def test_facts_tell_models_apart() -> None:
    compressors = (Xz(), Xz("trained"), Zstd(), Zstd("trained"))
    digests = [m.facts()["digest"] for m in (Majority(), TfIdf(), Pixels(), *compressors)]
    assert len(set(digests)) == 7

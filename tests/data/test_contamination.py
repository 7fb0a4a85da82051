"""The index holds each 13-gram of the training text once; test items in it are found."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgp_multimodal.data import contamination as work
from tgp_multimodal.data.contamination import IndexWriter, open_index, shares
from tgp_multimodal.data.ngrams import ngrams, words
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.records import Document
from tgp_multimodal.data.sources import Source

SMALL = Settings(vocabulary=300, validation_share=0)


def article(seed, count=200):
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 999, count))


def prepared_set(folder, texts, chosen=SMALL, split=None):
    documents = [Document(text, "s", str(i)) for i, text in enumerate(texts)]
    source = Source("here", "s", lambda: iter(documents), split=split)
    return prepare(folder, [source], [], chosen)


def written(texts, folder):
    writer = IndexWriter(folder / "runs")
    for text in texts:
        writer.add(text)
    facts = writer.finish(folder / "ngrams.npy")
    return facts, np.load(folder / "ngrams.npy")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=8), st.integers(1, 80))
def test_the_index_is_sorted_and_whole_however_little_is_held_at_once(made, room):
    texts = [article(seed, count) for seed, count in made]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(work, "_ROOM", room)
        facts, index = written(texts, Path(folder))
    every = {gram for text in texts for gram in ngrams(words(text), 13).tolist()}
    assert index.tolist() == sorted(every)
    assert index.dtype == np.uint64
    assert facts["count"] == len(every)


def test_a_planted_item_is_found_and_a_clean_corpus_flags_nothing(tmp_path):
    items = [article(seed, 40) for seed in range(100, 120)]
    texts = [article(seed) for seed in range(30)]
    prepared_set(tmp_path / "clean", texts)
    texts[7] = f"{article(200, 50)}\n{items[3].upper()}. {article(201, 50)}"
    prepared_set(tmp_path / "planted", texts)
    clean, planted = (open_index(tmp_path / name / "text") for name in ("clean", "planted"))
    assert isinstance(planted, np.memmap)
    assert shares(items, clean).tolist() == [0] * 20
    assert shares(items, planted).tolist() == [i == 3 for i in range(20)]


def test_a_share_is_of_the_grams_of_the_item(tmp_path):
    _, index = written([article(0, 100)], tmp_path)
    half = f"{article(0, 25)} {' '.join('xyz'[i % 3] for i in range(13))}"
    assert shares([half], index)[0] == 13 / 26


def test_short_texts_are_one_gram(tmp_path):
    _, index = written(["four words of text", article(0)], tmp_path)
    inside = " ".join(article(0).split()[:5])
    found = shares(["Four words, of text!", "four words of", inside, "", "?"], index)
    assert found.tolist() == [1, 0, 0, 0, 0]
    assert shares(["anything"], index[:0]).tolist() == [0]
    assert shares([], index).shape == (0,)


def test_only_the_text_of_training_is_in_the_index(tmp_path):
    texts = [article(seed) for seed in range(60)]
    prepared_set(tmp_path / "o", texts, SMALL._replace(validation_share=0.3))
    found = shares(texts, open_index(tmp_path / "o" / "text"))
    assert set(found) == {0, 1}
    assert 5 < np.sum(found == 0) < 35
    prepared_set(tmp_path / "p", texts, SMALL._replace(), "train")
    assert shares(texts, open_index(tmp_path / "p" / "text")).min() == 1


def test_the_index_may_be_left_out_and_leaves_no_trace(tmp_path):
    texts = [article(0), article(1)]
    first = prepared_set(tmp_path / "a", texts)
    second = prepared_set(tmp_path / "b", texts, SMALL._replace(ngrams=False))
    assert first.text["digest"] == second.text["digest"]
    assert first.text["ngrams"] == {"file": "ngrams.npy", "words": 13, "count": 376}
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["text", "tokenizer"]
    assert not (tmp_path / "b" / "text" / "ngrams.npy").exists()
    with pytest.raises(ValueError, match=r"must hold an index of 13-grams .* Got one without"):
        open_index(tmp_path / "b" / "text")


def test_an_index_that_does_not_fit_is_named(tmp_path):
    prepared_set(tmp_path, [article(0)])
    np.save(tmp_path / "text" / "ngrams.npy", np.zeros(3, dtype=np.uint64))
    with pytest.raises(ValueError, match=r"ngrams\.npy must hold 188 rows.* Got 3 instead"):
        open_index(tmp_path / "text")
    path = tmp_path / "text" / "manifest.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"ngrams": found["ngrams"] | {"words": 8}}))
    with pytest.raises(ValueError, match=r"index must be of 13-grams\. Got 8 instead"):
        open_index(tmp_path / "text")

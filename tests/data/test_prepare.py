"""`tgp prepare` from raw data to a prepared set: what bad input gets, and that nothing is lost."""

import hashlib
import os
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_data import jsonl, picture_folder, run, texts_of, words

from tgp_multimodal.data import intake, prepared, sources
from tgp_multimodal.data import prepare as work
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.picture_sources import pictures
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.splits import smallest

SMALL = Settings(vocabulary=300, size=16)


def test_every_document_and_picture_comes_back(tmp_path, capsys):
    path = jsonl(tmp_path / "a.jsonl", words(200))
    folder = picture_folder(tmp_path / "in", 30)
    code, out, _ = run(
        capsys, tmp_path / "o", "--text", f"prose={path}", "--pictures", folder,
        "--vocabulary", 300, "--size", 16, "--validation_share", 0.1, "--workers", 2,
    )  # fmt: skip
    assert code == 0
    text, validation = (texts_of(tmp_path / "o", name) for name in ("train", "validation"))
    assert sorted(text + validation) == sorted(words(200))
    assert 8 <= len(validation) <= 34
    seen = prepared.open_pictures(tmp_path / "o" / "pictures", "train")
    assert seen.pixels.shape[1:] == (16, 16, 3)
    assert seen.captions == [("noise",)] * len(seen.pixels)
    assert seen.streams == ("in",)
    (facts,) = prepared.manifest(tmp_path / "o" / "text")["sources"]
    assert facts["bytes"] == sum(len(t.encode()) for t in words(200))
    assert (facts["stream"], facts["rows"], facts["bad"]) == ("prose", 200, 0)
    assert "bytes per token" in out
    assert not (tmp_path / "o" / "quarantine.jsonl").exists()
    assert not (tmp_path / "o" / ".partial").exists()


def test_the_split_of_a_document_is_stable(tmp_path):
    def validation(name, rows):
        source = sources.text(str(jsonl(tmp_path / f"{name}.jsonl", rows)))
        settings = SMALL._replace(validation_share=0.1)
        prepare(tmp_path / name, [source], [], settings)
        return set(texts_of(tmp_path / name, "validation"))

    some = validation("some", words(200))
    assert validation("turned", words(200)[::-1]) == some
    assert validation("more", [*words(200), "one more"]) - {"one more"} == some


def test_a_document_that_its_hash_holds_back_is_learned_from_if_it_is_the_only_one(tmp_path):
    def hash_of(text):
        return intake._unit(hashlib.sha256(text.encode()).digest())

    text = next(t for t in (f"{i}\n" * 400 for i in range(999)) if hash_of(t) < 0.1)
    (tmp_path / "a.txt").write_text(text)
    settings = SMALL._replace(validation_share=0.1)
    prepare(tmp_path / "o", [sources.text(str(tmp_path / "a.txt"))], [], settings)
    (train,), (validation,) = (texts_of(tmp_path / "o", n) for n in ("train", "validation"))
    assert train + validation == text
    assert len(train) > 0.8 * len(text)


def test_the_only_document_is_cut_at_a_line(tmp_path):
    text = "".join(words(100))
    (tmp_path / "a.txt").write_text(text)
    settings = SMALL._replace(validation_share=0.1)
    prepare(tmp_path / "o", [sources.text(str(tmp_path / "a.txt"))], [], settings)
    (train,), (validation,) = (texts_of(tmp_path / "o", n) for n in ("train", "validation"))
    assert train + validation == text
    assert train.endswith("\n")
    assert 0.05 < len(validation) / len(text) < 0.15


@pytest.mark.parametrize("text", ["word", "word ", "\nword"])
def test_a_document_too_short_to_cut_is_training(tmp_path, text, capsys):
    (tmp_path / "a.txt").write_text(text)
    code, out, _ = run(capsys, tmp_path / "o", "--text", tmp_path / "a.txt", "--vocabulary", 270)
    assert code == 0
    assert texts_of(tmp_path / "o", "train") == [text]
    assert "note: text has no validation split" in out


def test_duplicates_go_unless_they_are_kept(tmp_path):
    first = jsonl(tmp_path / "a.jsonl", ["one", "two", "one"])
    second = jsonl(tmp_path / "b.jsonl", ["two", "three"])
    both = [sources.text(str(first)), sources.text(str(second))]
    settings = SMALL._replace(validation_share=0)
    found = prepare(tmp_path / "o", both, [], settings)
    assert texts_of(tmp_path / "o", "train") == ["one", "two", "three"]
    assert [s["duplicates"] for s in found.text["sources"]] == [1, 1]
    prepare(tmp_path / "p", both, [], settings._replace(keep_duplicates=True))
    assert texts_of(tmp_path / "p", "train") == ["one", "two", "one", "two", "three"]


def test_limit_is_of_each_source(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", words(50))
    settings = SMALL._replace(limit=7)
    found = prepare(tmp_path / "o", [sources.text(str(path))], [], settings)
    assert sum(s["documents"] for s in found.text["splits"].values()) == 7


def test_a_given_tokenizer_is_used(tmp_path):
    given = tokenizers.train(words(10), 280)
    given.save(tmp_path / "given")
    path = jsonl(tmp_path / "a.jsonl", words(50))
    source = [sources.text(str(path))]
    found = prepare(tmp_path / "o", source, [], SMALL, tmp_path / "given")
    assert found.tokenizer.digest == given.digest == found.text["tokenizer"]
    assert tokenizers.load(tmp_path / "o" / "tokenizer").digest == given.digest
    # One that lies in the output already may stay there.
    given.save(tmp_path / "p" / "tokenizer")
    prepare(tmp_path / "p", source, [], SMALL, tmp_path / "p" / "tokenizer")
    assert tokenizers.load(tmp_path / "p" / "tokenizer").digest == given.digest


@pytest.fixture
def trained_on(monkeypatch):
    """The texts that each tokenizer was trained on."""
    train, seen = tokenizers.train, []

    def watched(texts, vocabulary):
        seen.append(list(texts))
        return train(seen[-1], vocabulary)

    monkeypatch.setattr(tokenizers, "train", watched)
    return seen


def test_the_tokenizer_sees_no_validation_and_no_order(tmp_path, trained_on):
    settings = SMALL._replace(validation_share=0.5)
    for name, order in (("a", 1), ("b", -1)):
        source = sources.text(str(jsonl(tmp_path / f"{name}.jsonl", words(100)[::order])))
        prepare(tmp_path / name, [source], [], settings)
    assert trained_on[0] == trained_on[1]
    assert sorted(trained_on[0]) == sorted(texts_of(tmp_path / "a", "train"))


def test_the_tokenizer_is_trained_on_a_sample_of_a_large_corpus(tmp_path, monkeypatch, trained_on):
    monkeypatch.setattr(work, "_SAMPLE", 1)
    source = sources.text(str(jsonl(tmp_path / "a.jsonl", words(500))))
    prepare(tmp_path / "o", [source], [], SMALL)
    assert 200 < sum(map(len, trained_on[0])) <= 300
    numbers = sorted(int(text.split()[1]) for text in trained_on[0])
    assert numbers[0] < 150 < 350 < numbers[-1]  # from all over the file


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_sample_depends_on_no_order(sizes, shuffler):
    """The longest beginning, by hashes, that has room; at least one text."""
    texts = [(0.1 * place, "x" * size) for place, size in enumerate(sizes)]
    fit = sum(total <= 100 for total in accumulate(sizes))
    shuffled = shuffler.sample(texts, len(texts))
    assert smallest(shuffled, 100) == [text for _, text in texts[: max(1, fit)]][::-1]


def test_pictures_alone_train_a_tokenizer_on_their_captions(tmp_path):
    folder = picture_folder(tmp_path / "in", 3)
    found = prepare(tmp_path / "o", [], [pictures(str(folder))], SMALL)
    assert found.text is None
    assert tokenizers.load(tmp_path / "o" / "tokenizer").digest == found.tokenizer.digest
    assert len(found.tokenizer.encode("noise")) == 1


def test_captions_train_the_tokenizer_beside_the_text(tmp_path):
    folder = picture_folder(tmp_path / "in", 30)
    source = sources.text(str(jsonl(tmp_path / "a.jsonl", words(300))))
    alone = prepare(tmp_path / "alone", [source], [], SMALL).tokenizer
    both = prepare(tmp_path / "both", [source], [pictures(str(folder))], SMALL).tokenizer
    assert len(both.encode("noise")) == 1 < len(alone.encode("noise"))


def test_progress_is_told(tmp_path):
    told = []
    source = sources.text(str(jsonl(tmp_path / "a.jsonl", words(100))))
    prepare(tmp_path / "o", [source], [], SMALL, progress=lambda *report: told.append(report))
    assert ("training the tokenizer", 0, None) in told
    counts = [done for what, done, _ in told if what == "tokenizing a.jsonl"]
    assert counts == [32, 64, 96, 100]
    assert told[-3] == ("tokenizing a.jsonl", 100, 100)
    assert told[-1] == ("merging the index", 1, 1)


def test_two_files_of_one_name_have_a_bar_each(tmp_path):
    told, read = [], []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        path = jsonl(tmp_path / folder / "a.jsonl", [f"{folder} {t}" for t in words(40)])
        read.append(sources.text(str(path)))
    prepare(tmp_path / "o", read, [], SMALL, progress=lambda *report: told.append(report))
    ends = [what for what, done, total in told if what.startswith("token") and done == total == 40]
    assert ends == ["tokenizing a.jsonl", f"tokenizing {tmp_path}/y/a.jsonl"]


@pytest.mark.shared_data
def test_the_tiny_corpora(tmp_path, capsys):
    if "TGP_DATA" not in os.environ:
        pytest.skip("TGP_DATA names no folder of real data")
    corpora = Path(os.environ["TGP_DATA"]).parent / "corpora"
    text = [corpora / "tiny" / f"{name}.parquet" for name in ("general", "code", "biomedical")]
    code, _, _ = run(
        capsys, tmp_path / "o", "--text", *text, "--vocabulary", 1000,
        "--pictures", corpora / "tiny" / "pairs.parquet", f"wds={corpora / 'webdataset'}",
    )  # fmt: skip
    assert code == 0
    found = prepared.manifest(tmp_path / "o" / "text")
    assert found["streams"] == ["general", "code", "biomedical"]
    assert [s["bytes"] for s in found["sources"]] == [984109, 490091, 497888]
    assert found["sources"][1]["license"]["MIT"] == 54
    seen = prepared.manifest(tmp_path / "o" / "pictures")
    assert [s["bad"] for s in seen["sources"]] == [0, 0]
    assert sum(s["pictures"] for s in seen["splits"].values()) > 950
    assert seen["quality"]["pairs"]["captions"] == 1145
    assert seen["quality"]["pairs"]["licenses"]["CC-BY-4.0 (Twemoji)"] == 60

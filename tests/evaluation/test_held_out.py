"""Bits per byte of what a prepared folder holds back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_models import dummy

from tgp_multimodal.cli import main
from tgp_multimodal.data.prepared import write_pictures, write_text
from tgp_multimodal.data.records import Document, Pair
from tgp_multimodal.evaluation import engine
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.held_out import cards

LONG = "All of this is one long document. " * 400


@pytest.fixture(scope="module")
def prepared(corpus, tokenizer, tmp_path_factory):
    """Prose and code; of the documents held back one is long."""
    folder = tmp_path_factory.mktemp("prepared")
    tokenizer.save(folder / "tokenizer")
    streams = ("prose", "code")
    documents = [Document(t, streams[i % 2], f"d{i}") for i, t in enumerate(corpus)]
    held_out = [*documents[:6], Document(LONG, "prose", "long")]
    write_text(folder / "text", {"train": documents[6:], "validation": held_out}, tokenizer, [])
    return folder


def test_each_stream_is_a_card_of_the_very_documents_held_back(prepared, corpus):
    found = {card.name: Examples(card) for card in cards(prepared)}
    assert set(found) == {"text/held_out_prose", "code/held_out_code"}
    prose = [e.fields["text"] for e in found["text/held_out_prose"].test]
    assert prose == [*corpus[0:6:2], LONG[:4000]]
    assert [e.fields["text"] for e in found["code/held_out_code"].test] == corpus[1:6:2]
    training = [e.fields["text"] for e in found["code/held_out_code"].train]
    assert training == corpus[7::2]
    assert found["code/held_out_code"].validation == []


def test_other_data_is_another_card(prepared, corpus, tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    write_text(
        tmp_path / "text",
        {"train": [Document("a", "prose", "a")], "test": [Document("b", "prose", "b")]},
        tokenizer,
        [],
    )
    (other,) = cards(tmp_path)
    assert other.digest != cards(prepared)[0].digest
    assert [e.fields["text"] for e in Examples(other).test] == ["b"]


def test_the_same_data_elsewhere_is_the_same_card(prepared, tmp_path, monkeypatch):
    there = {card.name: card.digest for card in cards(prepared)}
    monkeypatch.chdir(prepared.parent)
    assert {card.name: card.digest for card in cards(Path(prepared.name))} == there
    shutil.copytree(prepared, tmp_path / "moved")
    assert {card.name: card.digest for card in cards(tmp_path / "moved")} == there


def test_the_verb_scores_compressors_on_it(prepared, tmp_path, capsys):
    main(["evaluate", "xz", "zstd:trained", "--held_out", str(prepared),
          "--results", str(tmp_path)])  # fmt: skip
    for model in ("xz", "zstd-trained"):
        for card in ("text__held_out_prose", "code__held_out_code"):
            result = json.loads((tmp_path / model / f"{card}.json").read_text())
            assert 0 < result["value"] < 8
    assert "code/held_out_code" in capsys.readouterr().out


def test_a_folder_that_holds_nothing_back_is_named(tokenizer, tmp_path):
    with pytest.raises(
        ValueError, match=r"held_out must be a prepared folder with text or pictures. Got"
    ):
        cards(tmp_path)
    tokenizer.save(tmp_path / "tokenizer")
    write_text(tmp_path / "text", {"train": [Document("a", "prose", "a")]}, tokenizer, [])
    with pytest.raises(ValueError, match=r"held_out must hold something back. Got"):
        cards(tmp_path)


def test_nothing_is_found_by_a_caption_that_all_pictures_have(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    pairs = [Pair(p, "a picture", "a", str(i)) for i, p in enumerate(pixels)]
    write_pictures(tmp_path / "pictures", {"train": pairs[:2], "validation": pairs[2:]}, [])
    with pytest.warns(UserWarning, match="all pictures that a holds back have one caption"):
        made = cards(tmp_path)
    assert [card.name for card in made] == ["image/denoising_a", "image/likeness_a"]


def test_pictures_held_back_make_three_cards_a_stream(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (92, 16, 16, 3), dtype=np.uint8)
    pairs = [Pair(p, f"caption {i}", "ab"[i % 2], str(i)) for i, p in enumerate(pixels)]
    few = [Pair(pixels[0], "rare", "few", "")]
    splits = {"train": pairs[:12], "validation": pairs[12:52] + few, "test": pairs[52:][1::2]}
    write_pictures(tmp_path / "pictures", splits, [])
    with pytest.warns(UserWarning, match="few holds back 1 of the 20 pictures that KID and"):
        found = {card.name: card for card in cards(tmp_path)}
    kinds = ("denoising", "likeness", "picture_retrieval")
    assert set(found) == {f"image/{p}_{s}" for p in kinds for s in "ab"} | {"image/denoising_few"}
    split = {name: card.source["splits"]["test"] for name, card in found.items()}
    assert split["image/likeness_a"] == split["image/denoising_few"] == "validation"
    assert split["image/likeness_b"] == "test"  # a stream of its own split
    assert found["image/picture_retrieval_a"].chance == 0.5
    examples = Examples(found["image/likeness_b"])
    assert [e.fields["caption"] for e in examples.test] == [
        f"caption {i}" for i in range(53, 92, 2)
    ]
    assert (examples.test[0].fields["item"] == pixels[53]).all()
    assert examples.train[0].fields["caption"] == "caption 1"
    results = engine.evaluate(dummy(), list(found.values()), tmp_path / "results")
    assert [r.n for r in results] == [20] * 6 + [1]
    assert all(r.low <= r.value <= r.high for r in results)

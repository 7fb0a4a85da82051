"""A prepared folder gives back what was written and is whole or has no manifest."""

import json

import numpy as np
import pytest

from tgp_multimodal.data import prepared
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.records import Document, Pair

TRAIN = [Document("one two", "prose", "a"), Document("x = 1\n", "code", "b")]
VALIDATION = [Document("three \u00e9", "code", "c")]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train([d.text for d in TRAIN], 270)


def picture(seed, stream="scenes", size=8):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Pair(pixels, f"caption {seed} \u00e9", stream, str(seed))


def test_documents_come_back(tokenizer, tmp_path):
    splits = {"train": TRAIN, "validation": VALIDATION}
    written = prepared.write_text(tmp_path, splits, tokenizer, [{"name": "here"}])
    for split, documents in splits.items():
        found = prepared.open_text(tmp_path, split)
        for i, document in enumerate(documents):
            ids = found.tokens[found.offsets[i] : found.offsets[i + 1]]
            assert tokenizer.decode(ids) == document.text
            assert found.streams[found.stream[i]] == document.stream
        assert len(found.offsets) == len(documents) + 1
    assert written["splits"]["validation"] == {"documents": 1, "tokens": 8, "bytes": 8}
    assert prepared.manifest(tmp_path) == written
    assert written["tokenizer"] == tokenizer.digest
    assert written["sources"] == [{"name": "here"}]


def test_many_documents_come_back_over_several_chunks(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_CHUNK", 7)
    documents = [Document("x" * (1 + i % 5), f"s{i % 3}", "") for i in range(50)]
    prepared.write_text(tmp_path, {"train": documents}, tokenizer, [])
    found = prepared.open_text(tmp_path, "train")
    texts = [tokenizer.decode(t) for t in np.split(found.tokens, found.offsets[1:-1])]
    assert texts == [d.text for d in documents]
    assert [found.streams[i] for i in found.stream] == [d.stream for d in documents]


def test_long_documents_are_not_kept_waiting(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_CHUNK_CHARACTERS", 10)
    with prepared.TextWriter(tmp_path, tokenizer) as writer:
        writer.add("train", Document("x" * 9, "s", ""))
        assert len(writer.waiting["train"]) == 1
        writer.add("train", Document("x", "s", ""))
        assert writer.waiting["train"] == []


def test_ids_take_two_bytes_or_four(tokenizer, tmp_path, monkeypatch):
    prepared.write_text(tmp_path, {"train": TRAIN}, tokenizer, [])
    assert prepared.open_text(tmp_path, "train").tokens.dtype == np.uint16
    monkeypatch.setattr(tokenizers.Tokenizer, "vocabulary", 2**16 + 1)
    prepared.write_text(tmp_path, {"train": TRAIN}, tokenizer, [])
    assert prepared.open_text(tmp_path, "train").tokens.dtype == np.uint32


def test_pictures_come_back(tmp_path):
    splits = {"train": [picture(0), picture(1, "digits")], "test": [picture(2, "digits")]}
    written = prepared.write_pictures(tmp_path, splits, [])
    for split, pairs in splits.items():
        found = prepared.open_pictures(tmp_path, split)
        assert isinstance(found.pixels, np.memmap)
        assert (found.pixels == np.stack([p.pixels_YXC for p in pairs])).all()
        assert found.captions == [(p.caption,) for p in pairs]
        assert [found.streams[i] for i in found.stream] == [p.stream for p in pairs]
    assert written["splits"]["train"] == {"pictures": 2, "rows": 8, "columns": 8}


def test_pictures_come_back_with_all_of_their_captions(tmp_path):
    said = [["one \u00e9", 'a "second"\n'], ["alone"], ["x", "y", "z"]]
    with prepared.PictureWriter(tmp_path) as writer:
        for number, captions in enumerate(said):
            stream = "scenes" if number else "digits"
            writer.add("train", picture(number, stream).picture()._replace(captions=captions))
        said[1].append("and once more")  # what comes before the end is written
        assert writer.described() == {"digits": said[:1], "scenes": said[1:]}
        writer.finish([], {"quality": 1})
    found = prepared.open_pictures(tmp_path, "train")
    assert found.captions == [tuple(captions) for captions in said]
    assert prepared.manifest(tmp_path)["quality"] == 1


def test_one_caption_is_written_as_it_always_was(tmp_path):
    """So that sets of earlier versions open, and those of one caption keep their digest."""
    prepared.write_pictures(tmp_path, {"train": [picture(0), picture(1)]}, [])
    written = (tmp_path / "train.captions.json").read_text(encoding="utf-8")
    assert json.loads(written) == [picture(0).caption, picture(1).caption]


def test_captions_of_another_set_are_named(tmp_path):
    prepared.write_pictures(tmp_path, {"train": [picture(0), picture(1)]}, [])
    (tmp_path / "train.captions.json").write_text('["alone"]')
    expected = r"train\.captions\.json must hold 2 rows, as its manifest says\. Got 1 instead\."
    with pytest.raises(ValueError, match=expected):
        prepared.open_pictures(tmp_path, "train")


def test_digest_is_of_the_content(tokenizer, tmp_path):
    def digest(folder, documents):
        return prepared.write_text(tmp_path / folder, {"train": documents}, tokenizer, [])["digest"]

    first = digest("a", TRAIN)
    assert digest("b", TRAIN) == first
    assert digest("c", TRAIN[:1]) != first
    assert digest("d", TRAIN[::-1]) != first
    digest("e", [*TRAIN, *TRAIN])
    assert digest("e", TRAIN) == first  # what lay there before leaves no trace


@pytest.mark.parametrize("write", ["text", "pictures"])
def test_a_split_of_nothing_is_refused_and_leaves_no_manifest(tokenizer, tmp_path, write):
    def run():
        if write == "text":
            prepared.write_text(tmp_path, {"train": TRAIN, "validation": []}, tokenizer, [])
        else:
            prepared.write_pictures(tmp_path, {"train": [picture(0)], "validation": []}, [])

    with pytest.raises(ValueError, match=r"validation split must hold a .* Got none instead\."):
        run()
    assert not (tmp_path / "manifest.json").exists()


def test_a_writer_that_dies_takes_the_old_manifest_with_it(tokenizer, tmp_path):
    def broken():
        yield TRAIN[0]
        raise KeyboardInterrupt

    prepared.write_text(tmp_path, {"train": TRAIN}, tokenizer, [])
    with pytest.raises(KeyboardInterrupt):
        prepared.write_text(tmp_path, {"train": broken()}, tokenizer, [])
    with pytest.raises(ValueError, match="data folder must be one that `tgp prepare` wrote"):
        prepared.open_text(tmp_path, "train")


def test_pictures_of_two_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"pictures must all be as the first one, \(8, 8, 3\)"):
        prepared.write_pictures(tmp_path, {"train": [picture(0), picture(1, size=9)]}, [])


def test_more_streams_than_a_byte_counts_are_refused(tokenizer, tmp_path):
    documents = [Document("x", f"stream{i}", "") for i in range(257)]
    with pytest.raises(ValueError, match=r"streams must be at most 256\. Got one more"):
        prepared.write_text(tmp_path, {"train": documents}, tokenizer, [])


def test_wrong_kind_split_and_format_are_named(tokenizer, tmp_path):
    prepared.write_text(tmp_path, {"train": TRAIN}, tokenizer, [])
    with pytest.raises(ValueError, match=r"must hold pictures\. Got text"):
        prepared.open_pictures(tmp_path, "train")
    with pytest.raises(ValueError, match=r"split must be one of train\. Got 'dev' instead\."):
        prepared.open_text(tmp_path, "dev")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match=r"manifest format must be 1\. Got 99"):
        prepared.manifest(tmp_path)
    path.write_text("{broken")
    with pytest.raises(ValueError, match=r"manifest\.json must be whole JSON"):
        prepared.manifest(tmp_path)


@pytest.mark.parametrize("name", ["train.tokens.npy", "train.offsets.npy", "train.streams.npy"])
def test_a_file_that_was_cut_is_named(tokenizer, tmp_path, name):
    prepared.write_text(tmp_path, {"train": TRAIN}, tokenizer, [])
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{name} must hold .* Got a file that is not whole"):
        prepared.open_text(tmp_path, "train")


def test_a_file_of_another_set_is_named(tokenizer, tmp_path):
    prepared.write_text(tmp_path / "a", {"train": TRAIN}, tokenizer, [])
    prepared.write_text(tmp_path / "b", {"train": [*TRAIN, *TRAIN]}, tokenizer, [])
    (tmp_path / "b" / "train.tokens.npy").replace(tmp_path / "a" / "train.tokens.npy")
    with pytest.raises(ValueError, match=r"tokens\.npy must hold 9 rows.* Got 18 instead\."):
        prepared.open_text(tmp_path / "a", "train")

"""`tgp prepare` on pictures: stored once with all captions, held back where the data say so."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from raw_data import image, run

from tgp_multimodal.data import prepared
from tgp_multimodal.data.picture_rows import Columns
from tgp_multimodal.data.picture_sources import pictures
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.records import Pair
from tgp_multimodal.data.sources import Source

SMALL = Settings(vocabulary=300, size=16)


def table(path, **columns):
    parquet.write_table(pyarrow.table(columns), path)
    return path


def made(output, *tables, settings=SMALL, columns=None):
    return prepare(output, [], [pictures(str(t), columns) for t in tables], settings)


def opened(output):
    """Captions of each picture, by the bytes of its pixels, of every split that there is."""
    found = {}
    for split in prepared.manifest(output / "pictures")["splits"]:
        seen = prepared.open_pictures(output / "pictures", split)
        found[split] = {
            pixels.tobytes(): captions
            for pixels, captions in zip(seen.pixels, seen.captions, strict=True)
        }
        assert len(found[split]) == len(seen.pixels)
    return found


def test_a_picture_that_comes_again_is_stored_once_with_every_caption(tmp_path):
    seeds = [0, 1, 0, 2, 1, 0]
    said = ["a", "b", "c", "d", "b", "e"]
    path = table(tmp_path / "a.parquet", image=[image(s) for s in seeds], text=said)
    written = made(tmp_path / "o", path, settings=SMALL._replace(validation_share=0)).pictures
    assert list(opened(tmp_path / "o")["train"].values()) == [("a", "c", "e"), ("b",), ("d",)]
    assert written["splits"]["train"]["pictures"] == 3
    assert written["sources"][0]["duplicates"] == written["quality"]["a"]["duplicates"] == 3


def test_a_picture_with_several_captions_is_on_one_side(tmp_path):
    captions = [[f"one {i % 2}", "both", f"two {i}"] for i in range(40)]
    images = [image(i // 2) for i in range(40)]  # each twice
    path = table(tmp_path / "a.parquet", image=images, captions=captions)
    found = made(tmp_path / "o", path, settings=SMALL._replace(validation_share=0.3))
    sides = opened(tmp_path / "o")
    assert not sides["train"].keys() & sides["validation"].keys()
    every = sides["train"] | sides["validation"]
    assert len(every) == 20
    assert all(len(some) == 5 for some in every.values())  # "both" counts once
    assert found.pictures["sources"][0]["duplicates"] == 20


@pytest.mark.parametrize("again", [1, 2, 5])
def test_the_first_picture_of_a_stream_may_come_again(tmp_path, again):
    """A stream's first picture is held until it is known whether validation needs it."""
    seeds = [0] * again + [1, 2]
    path = table(
        tmp_path / "a.parquet",
        image=[image(s) for s in seeds],
        text=[f"caption {i}" for i in range(len(seeds))],
    )
    made(tmp_path / "o", path, settings=SMALL._replace(validation_share=1e-9))
    sides = opened(tmp_path / "o")
    assert len(sides["validation"]) == 1
    every = sides["train"] | sides["validation"]
    assert len(every) == 3 == len(sides["train"]) + 1
    assert sorted(len(some) for some in every.values()) == [1, 1, again]


def test_a_placeholder_does_not_gather_captions_without_end(tmp_path):
    said = [f"caption {i}" for i in range(100)]
    path = table(tmp_path / "a.parquet", image=[image(0)] * 100, text=said)
    made(tmp_path / "o", path)
    (captions,) = opened(tmp_path / "o")["train"].values()
    assert captions == tuple(said[:64])


def test_duplicates_may_be_kept(tmp_path):
    path = table(tmp_path / "a.parquet", image=[image(0)] * 2, text=["a", "b"])
    kept = SMALL._replace(keep_duplicates=True, validation_share=0)
    made(tmp_path / "o", path, settings=kept)
    seen = prepared.open_pictures(tmp_path / "o" / "pictures", "train")
    assert seen.captions == [("a",), ("b",)]


def test_a_picture_stays_in_its_split_in_any_size(tmp_path):
    images, said = [image(i) for i in range(60)], [f"number {i}" for i in range(60)]
    path = table(tmp_path / "a.parquet", image=images, text=said)
    sides = []
    for size in (8, 16):
        folder = tmp_path / str(size)
        made(folder, path, settings=SMALL._replace(validation_share=0.3, size=size))
        sides.append({name: sorted(some.values()) for name, some in opened(folder).items()})
    assert sides[0] == sides[1]
    assert len(sides[0]["validation"]) > 5


def test_files_with_cards_of_their_own_keep_their_licenses_apart(tmp_path):
    for number, (name, license) in enumerate(
        (("a", "CC0-1.0"), ("b", "CC-BY-NC-4.0"), ("c", None))
    ):
        images = [image(3 * number + i) for i in range(3)]
        table(tmp_path / f"{name}.parquet", image=images, text=["x"] * 3)
        if license:
            (tmp_path / f"{name}.card.json").write_text(json.dumps({"license": license}))
    found = made(tmp_path / "o", f"all={tmp_path}/*.parquet").pictures
    (source,) = found["sources"]
    assert source["license"] == {"CC0-1.0": 1, "CC-BY-NC-4.0": 1, "not stated": 1}
    told = {"CC0-1.0": 3, "CC-BY-NC-4.0": 3, "not stated": 3}
    assert found["quality"]["all"]["licenses"] == told


def test_rows_of_a_held_out_split_are_never_trained_on(tmp_path):
    split = ["train", "test", "Validation", None, "val", "TRAIN", "dev", "training"] * 5
    images = [image(i) for i in range(40)]
    said = [f"{name} {i}" for i, name in enumerate(split)]
    path = table(tmp_path / "a.parquet", image=images, text=said, split=split)
    made(tmp_path / "o", path, settings=SMALL._replace(validation_share=0.2))
    words = {
        name: [captions[0].split()[0] for captions in found.values()]
        for name, found in opened(tmp_path / "o").items()
    }
    assert words["test"] == ["test"] * 5
    assert set(words["train"]) == {"train", "TRAIN", "None", "training"}
    assert "test" not in words["validation"]
    assert sum(w in ("Validation", "val", "dev") for w in words["validation"]) == 15
    assert sum(map(len, words.values())) == 40


def test_the_tokenizer_is_not_trained_on_held_out_captions(tmp_path):
    images = [image(i) for i in range(8)]
    said = ["zebra zebra zebra" if i % 2 else "apple apple apple" for i in range(8)]
    split = ["test" if i % 2 else "train" for i in range(8)]
    found = made(
        tmp_path / "o", table(tmp_path / "a.parquet", image=images, text=said, split=split)
    )
    assert len(found.tokenizer.encode("apple")) < len(found.tokenizer.encode("zebra"))


@pytest.mark.parametrize(("first", "second"), [("train", "test"), ("test", "train")])
def test_a_picture_of_two_splits_stays_in_the_first_and_keeps_its_captions(tmp_path, first, second):
    images, said = [image(0), image(0), image(1)], ["first", "second", "other"]
    path = table(tmp_path / "a.parquet", image=images, text=said, split=[first, second, "train"])
    found = made(tmp_path / "o", path, settings=SMALL._replace(validation_share=0))
    sides = opened(tmp_path / "o")
    assert ("first",) in sides[first].values()
    assert not any("second" in some for side in sides.values() for some in side.values())
    assert found.pictures["quality"]["a"]["elsewhere"] == 1


def test_an_unknown_split_is_a_bad_row(tmp_path, capsys):
    split = ["train"] * 150 + ["restval"]
    images = [image(i) for i in range(151)]
    path = table(tmp_path / "a.parquet", image=images, text=["x"] * 151, split=split)
    code, _, _ = run(capsys, tmp_path / "o", "--pictures", path, "--vocabulary", 300)
    assert code == 0
    (line,) = (tmp_path / "o" / "quarantine.jsonl").read_text().splitlines()
    reason = "column 'split' holds 'restval' and not train, validation or test"
    assert json.loads(line) == {"source": str(path), "row": "row 150", "reason": reason}


def test_a_column_names_the_streams(tmp_path, capsys):
    names = ["emoji", "icons", "emoji", "flags"] * 5
    images = [image(i) for i in range(20)]
    path = table(tmp_path / "a.parquet", image=images, text=names, kind=names)
    code, _, _ = run(
        capsys, tmp_path / "o", "--pictures", path, "--vocabulary", 300, "--stream_column", "kind",
    )  # fmt: skip
    assert code == 0
    for split in ("train", "validation"):
        seen = prepared.open_pictures(tmp_path / "o" / "pictures", split)
        assert [(seen.streams[i],) for i in seen.stream] == seen.captions
    quality = prepared.manifest(tmp_path / "o" / "pictures")["quality"]
    assert {name: told["pictures"] for name, told in quality.items()} == {
        "emoji": 10,
        "icons": 5,
        "flags": 5,
    }
    code, _, error = run(
        capsys, tmp_path / "p", "--pictures", path, "--vocabulary", 300, "--stream_column", "kid",
    )  # fmt: skip
    assert code == 2
    assert "stream_column must be a column of" in error
    assert "Did you mean kind?" in error


def test_what_streams_are_like_is_written_and_shown(tmp_path, capsys):
    images = [image(i % 3) for i in range(4)]
    captions = [["a b c", "a"], ["a"], ["x y"], ["z " * 80]]
    path = table(
        tmp_path / "a.parquet", image=images, captions=captions, license=["MIT", None, "MIT", "CC0"]
    )
    code, out, _ = run(
        capsys, tmp_path / "o", "--pictures", f"art={path}", "--vocabulary", 270,
        "--validation_share", 0,
    )  # fmt: skip
    assert code == 0
    told = prepared.manifest(tmp_path / "o" / "pictures")["quality"]["art"]
    sizes = {"pictures": 3, "captions": 5, "captions_per_picture": 1.666667, "most_captions": 3}
    assert sizes.items() <= told.items()
    words = {"mean_words": 17.4, "median_words": 2.0, "words_95": 64.6}
    assert words.items() <= told.items()
    assert told["cut_at_64"] == told["repeated_captions"] == 0.2
    assert (told["duplicates"], told["elsewhere"]) == (1, 0)
    assert told["licenses"] == {"MIT": 2, "not stated": 1}
    for line in ("captions per picture", "cut at 64 ids", "not stated"):
        assert line in out


def test_the_license_of_a_card_stands_for_pictures_without_one(tmp_path):
    path = table(tmp_path / "a.parquet", image=[image(0), image(1)], text=["a", "b"])
    (tmp_path / "a.card.json").write_text('{"license": "CC-BY-4.0"}')
    found = made(tmp_path / "o", path)
    assert found.pictures["quality"]["a"]["licenses"] == {"CC-BY-4.0": 2}


def test_pairs_that_are_decoded_already_are_resized(tmp_path):
    def read():
        for i in range(10):
            yield Pair(np.full((8, 8, 3), i, dtype=np.uint8), f"grey {i}", "grey", str(i))

    found = prepare(tmp_path / "o", [], [Source("grey", "grey", read, split="train")], SMALL)
    seen = prepared.open_pictures(tmp_path / "o" / "pictures", "train")
    assert list(found.pictures["splits"]) == ["train"]
    assert (seen.pixels == np.arange(10)[:, None, None, None]).all()


def test_a_bad_picture_costs_its_row_only(tmp_path, capsys):
    images = [image(i) for i in range(200)]
    images[7] = images[7][:50]
    path = table(tmp_path / "a.parquet", image=images, captions=[["x", "y"]] * 200)
    code, out, _ = run(capsys, tmp_path / "o", "--pictures", path, "--vocabulary", 300)
    assert code == 0
    assert "row 7: picture must be a whole image file" in " ".join(out.split())
    assert sum(map(len, opened(tmp_path / "o").values())) == 199


@pytest.mark.shared_data
def test_the_test_pictures_of_flickr8k_are_held_back(tmp_path):
    if "TGP_DATA" not in os.environ:
        pytest.skip("TGP_DATA names no folder of real data")
    folder = Path(os.environ["TGP_DATA"]).parent / "corpora" / "pairs"
    source = pictures(f"flickr={folder / 'flickr8k-*.parquet'}", Columns(caption="captions"))
    found = prepare(tmp_path / "o", [], [source], SMALL._replace(limit=7500)).pictures
    assert found["splits"]["test"]["pictures"] == 1000
    assert found["quality"]["flickr"]["captions_per_picture"] > 4.99

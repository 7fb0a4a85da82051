"""Which caption a picture comes with, how it looks, and that both depend on its number only."""

from itertools import islice

import numpy as np
import pytest

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.picture_batches import (
    caption_batches,
    collate_pictures,
    picture_batches,
)
from tgp_multimodal.data.pipeline import Stream, open_stream
from tgp_multimodal.data.prepared import PictureSplit, write_pictures
from tgp_multimodal.data.records import Pair
from tgp_multimodal.data.scene_check import read
from tgp_multimodal.data.scene_language import BACKGROUNDS, COLOURS, SHAPES
from tgp_multimodal.data.scenes import Endless, Mix

SAID = ("a red circle", "one round thing", "something to the left", "a disc")


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(["a red circle", "a blue square", *SAID], 300)


@pytest.fixture(scope="module")
def pictures():
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    captions = [(f"a {'red circle' if i % 2 else 'blue square'} {i}",) for i in range(20)]
    return PictureSplit(pixels, captions, np.zeros(20, np.uint8), ("scenes",))


@pytest.fixture(scope="module")
def described():
    """Eighty pictures of noise in two streams; each has four captions, one of which says left."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    captions = [tuple(f"{said} {i}" for said in SAID) for i in range(80)]
    return PictureSplit(pixels, captions, np.arange(80, dtype=np.uint8) % 2, ("photos", "icons"))


def equal(first, second):
    return all(
        np.array_equal(a, b)
        for name in first
        for a, b in zip(first[name], second[name], strict=True)
    )


def examples(split, tokenizer, count=100, weights=None, **options):
    """So many pictures (Y, X, C), and the text of the caption that each came with."""
    shares = weights or {"photos": 0.5, "icons": 0.5}
    batches = picture_batches(split, tokenizer, shares, 64, 20, 0, **options)
    found = []
    for batch in (batches[i] for i in range(count // 20)):
        for pixels, ids, mask in zip(*batch, strict=True):
            found.append((pixels.transpose(1, 2, 0), tokenizer.decode(ids[mask])))
    return found


def index_of(split, caption):
    return next(i for i, some in enumerate(split.captions) if caption in some)


def test_every_caption_of_a_picture_is_drawn_about_as_often(described, tokenizer):
    found = examples(described, tokenizer, 400)
    for pixels, caption in found:
        assert np.array_equal(pixels, described.pixels[index_of(described, caption)])
    counts = np.array([sum(c.startswith(said) for _, c in found) for said in SAID])
    assert counts.sum() == 400
    assert (np.abs(counts - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)).all()


def test_each_epoch_has_each_picture_once_and_draws_anew(described, tokenizer):
    found = [c for _, c in examples(described, tokenizer, 120, {"photos": 1.0})]
    epochs = [found[start : start + 40] for start in range(0, 120, 40)]
    for epoch in epochs:
        assert sorted(index_of(described, c) for c in epoch) == list(range(0, 80, 2))
    assert len(set(epochs[0]) & set(epochs[1])) < 25  # of 40 pictures with 4 captions


def test_streams_draw_independently(described, tokenizer):
    """Equal numbers in two streams must not mean that both say it in the same words."""
    common = described._replace(captions=[SAID] * 80)
    photos, icons = (
        [c for _, c in examples(common, tokenizer, 100, {name: 1.0})]
        for name in ("photos", "icons")
    )
    assert 0.1 < np.mean([a == b for a, b in zip(photos, icons, strict=True)]) < 0.45


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("start", [1, 7])
def test_looks_and_captions_begin_anywhere(described, tokenizer, start, threads):
    def batches(start, threads):
        options = {"flips": {"photos": 0.5}, "crops": {"photos": 0.6, "icons": 0.9}}
        options["greys"] = {"photos": 0.4}
        shares = {"photos": 0.7, "icons": 0.3}
        made = {"pictures": picture_batches(described, tokenizer, shares, 12, 4, 0, **options)}
        made["captions"] = caption_batches(described, tokenizer, shares, 8, 0, 128)
        return Stream(made, threads).batches(start)

    whole = list(islice(batches(0, 1), 12))
    rest = list(islice(batches(start, threads), 12 - start))
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_flips_have_their_share_and_spare_captions_that_say_left(described, tokenizer):
    found = examples(described, tokenizer, 400, flips={"photos": 0.5})
    flipped = []
    for pixels, caption in found:
        index = index_of(described, caption)
        original, is_photo = described.pixels[index], index % 2 == 0
        mirrored = np.array_equal(pixels, original[:, ::-1])
        assert mirrored != np.array_equal(pixels, original)
        if is_photo and "left" not in caption:
            flipped.append(mirrored)
        else:
            assert not mirrored
    assert abs(np.mean(flipped) - 0.5) < 4 * 0.5 / np.sqrt(len(flipped))


@pytest.mark.parametrize(
    ("caption", "sided"),
    [
        ("the man on the Right", True),
        ("a left-handed cup", True),
        ("rightmost", True),
        ("upright", False),
        ("a cleft", False),
        ("a bright day", False),
    ],
)
def test_only_the_words_left_and_right_keep_a_picture_as_it_is(
    described, tokenizer, caption, sided
):
    said = described._replace(captions=[(caption,)] * 80)
    found = examples(said, tokenizer, 20, flips={"photos": 1.0, "icons": 1.0})
    originals = {p.tobytes() for p in said.pixels}
    assert all((p.tobytes() in originals) == sided for p, _ in found)


def test_crops_show_a_part_between_the_smallest_and_the_whole(tokenizer):
    """On a ramp from left to right, what is seen is a ramp between two columns of it."""
    ramp = np.broadcast_to(np.arange(0, 128, 2, dtype=np.uint8)[None, :, None], (64, 64, 3))
    pixels = np.broadcast_to(ramp, (80, 64, 64, 3))
    split = PictureSplit(pixels, [("a ramp",)] * 80, np.zeros(80, np.uint8), ("photos",))
    found = examples(split, tokenizer, 400, {"photos": 1.0}, crops={"photos": 0.5})
    spans = np.array([(int(p[32, -4, 0]) - int(p[32, 3, 0])) / 114 for p, _ in found])
    assert 0.45 < spans.min() < 0.55
    assert 0.95 < spans.max() < 1.05
    assert abs(spans.mean() - 0.75) < 0.04  # uniform between the two
    middles = np.array([p[32, 32, 0] for p, _ in found])
    assert middles.min() < 50
    assert middles.max() > 78


def is_grey(pixels):
    return bool((pixels[..., :1] == pixels).all())


def test_greys_have_their_share_and_spare_captions_that_name_a_colour(described, tokenizer):
    """Half of the captions name a colour; the brightness stays as it was."""
    said = ("a thing", "a Reddish thing")
    split = described._replace(captions=[said] * 80)
    found = examples(split, tokenizer, 400, {"photos": 1.0}, greys={"photos": 0.5})
    plain = examples(split, tokenizer, 400, {"photos": 1.0})
    greyed = []
    for (pixels, caption), (original, same) in zip(found, plain, strict=True):
        assert caption == same
        if caption == said[0]:
            greyed.append(is_grey(pixels))
        if is_grey(pixels):
            assert caption == said[0]
            brightness = original @ np.array([0.299, 0.587, 0.114])
            assert np.abs(pixels[..., 0] - brightness).max() <= 1
        else:
            assert np.array_equal(pixels, original)
    assert abs(np.mean(greyed) - 0.5) < 4 * 0.5 / np.sqrt(len(greyed))


def test_only_captions_that_are_true_without_colours_lose_them(described, tokenizer):
    named = ("a GREEN field", "golden leaves", "colourful kites", "a scarlet ibis")
    for caption in (*named, "a tired man", "a black dog on a white floor", "an image of tanks"):
        said = described._replace(captions=[(caption,)] * 80)
        found = examples(said, tokenizer, 20, greys={"photos": 1.0, "icons": 1.0})
        assert all(is_grey(p) != (caption in named) for p, _ in found), caption


def test_drawn_scenes_lose_their_colours_where_none_is_named(described, tokenizer):
    options = {"drawn": {"photos": {"colours_named": 0.5}}, "weights": {"photos": 1.0}}
    plain = examples(described, tokenizer, 60, **options)
    found = examples(described, tokenizer, 60, **options, greys={"photos": 1.0})
    changed = [not np.array_equal(a, b) for (a, _), (b, _) in zip(plain, found, strict=True)]
    for (pixels, caption), changes in zip(found, changed, strict=True):
        assert not changes or is_grey(pixels)
        named = any(word in caption for word in COLOURS)
        assert named or is_grey(pixels)
        assert not (named and changes)
    assert 5 < sum(changed) < 55


def test_held_out_pictures_are_seen_as_they_are(tokenizer, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    pairs = [Pair(picture, f"number {i}", "photos", "") for i, picture in enumerate(pixels)]
    write_pictures(tmp_path / "pictures", {"train": pairs, "validation": pairs}, [])

    def first(split, **looks):
        settings = {"weights": {"photos": 1.0}, "longest": 12, "batch": 8, **looks}
        stream = open_stream(tmp_path, split, tokenizer, None, settings, seed=0)
        return next(stream.batches())

    looks = {"flips": {"photos": 1.0}, "crops": {"photos": 0.5}, "greys": {"photos": 1.0}}
    assert equal(first("validation"), first("validation", **looks))
    assert not equal(first("train"), first("train", **looks))


def test_options_that_are_off_leave_the_others_as_they_are(described, tokenizer):
    """The caption does not depend on flips, nor the flip on crops."""
    plain = examples(described, tokenizer)
    flipped = examples(described, tokenizer, flips={"photos": 0.5, "icons": 0.5})
    assert [c for _, c in plain] == [c for _, c in flipped]
    whole = examples(described, tokenizer, crops={"photos": 1.0, "icons": 1.0})
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(plain, whole, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"flips": {"photo": 0.5}},
            r"pictures\.flips must .* photos, icons\. Got photo instead\. Did you mean photos\?",
        ),
        ({"flips": {"photos": 1.5}}, r"flips must be from 0 to 1\. Got 1\.5 for 'photos' instead"),
        ({"greys": {"icons": -1}}, r"greys must be from 0 to 1\. Got -1 for 'icons' instead"),
        ({"crops": {"icons": 0}}, r"crops must be above 0 and up to 1\. Got 0 for 'icons' instead"),
        (
            {"crops": {"icons": 0.9}, "drawn": {"icons": {}}},
            r"streams of crops must be stored pictures\. Got 'icons', whose scenes are drawn",
        ),
    ],
)
def test_looks_that_make_no_sense_are_refused(described, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        examples(described, tokenizer, **options)


def test_captions_are_cut_padded_and_masked(tokenizer):
    pixels = [np.zeros((4, 4, 3), np.uint8)] * 2
    batch = collate_pictures(pixels, [[0, 11, 12], [0]], tokenizer.pad)
    assert batch.pixels_BCYX.shape == (2, 3, 4, 4)
    assert batch.token_BL.shape == (2, 8)
    assert batch.mask_BL.sum(1).tolist() == [3, 1]
    assert (batch.token_BL[~batch.mask_BL] == tokenizer.pad).all()


def drawn_batches(tokenizer, seed=0, shard=(0, 1), **shares):
    stored = PictureSplit(
        np.zeros((6, 32, 32, 3), np.uint8),
        [("a blue square",)] * 6,
        np.zeros(6, np.uint8),
        ("scenes",),
    )
    drawn = {"scenes": shares}
    made = picture_batches(stored, tokenizer, {"scenes": 1.0}, 12, 4, seed, shard, drawn)
    return Stream({"pictures": made}).batches


def test_drawn_scenes_do_not_repeat_and_begin_anywhere(tokenizer):
    batches = drawn_batches(tokenizer)
    whole = list(islice(batches(), 12))
    rest = list(islice(batches(5), 7))
    assert all(equal(a, b) for a, b in zip(whole[5:], rest, strict=True))
    pixels = np.concatenate([b["pictures"].pixels_BCYX for b in whole])
    assert len({p.tobytes() for p in pixels}) == len(pixels) == 48
    other = next(drawn_batches(tokenizer, seed=1)())
    assert not equal(whole[0], other)


def test_drawn_scenes_follow_their_shares(tokenizer):
    batches = islice(drawn_batches(tokenizer, single=1.0, two=0.0, background_named=0.0)(), 10)
    for batch in batches:
        for pixels_CYX in batch["pictures"].pixels_BCYX:
            assert len(read(pixels_CYX.transpose(1, 2, 0)).things) == 1


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (
            {"singel": 0.5},
            r"among single, two, colours_named, background_named, .*usual\. Got singel",
        ),
        ({"single": 0.8, "two": 0.4}, r"single \+ two at most 1\. Got .*0\.8"),
        ({"colours_named": -0.1}, r"between 0 and 1"),
    ],
)
def test_shares_of_drawn_scenes_are_checked(tokenizer, shares, message):
    with pytest.raises(ValueError, match=message):
        drawn_batches(tokenizer, **shares)


def caption_pairs(tokenizer, batches):
    pairs = []
    for rows in (b["captions"] for b in batches):
        sides = [
            [tokenizer.decode(ids[mask]) for ids, mask in zip(*side, strict=True)]
            for side in (rows[:2], rows[2:])
        ]
        pairs += zip(*sides, strict=True)
    return pairs


def captions(tokenizer, split, **settings):
    made = caption_batches(split, tokenizer, {"scenes": 1.0}, 8, 0, 128, **settings)
    return Stream({"captions": made}).batches


def test_two_captions_of_a_drawn_scene_say_the_same_in_other_words(pictures, tokenizer):
    pictures = pictures._replace(pixels=np.zeros((20, 32, 32, 3), np.uint8))
    drawn = {"scenes": {"single": 1.0, "two": 0.0}}
    pairs = caption_pairs(tokenizer, list(islice(captions(tokenizer, pictures, drawn=drawn)(), 6)))
    assert len(set(pairs)) > 40
    assert sum(a != b for a, b in pairs) > len(pairs) / 4
    for a, b in pairs:
        for word in (*SHAPES, *COLOURS, *BACKGROUNDS):
            assert (word in a) == (word in b)
    assert pairs[3][0] == Endless(0, 32, Mix(single=1.0, two=0.0))[3].caption


def test_a_stored_caption_stands_for_two_each_without_some_of_its_ids(pictures, tokenizer):
    def inside(part, whole):
        rest = iter(whole)
        return all(letter in rest for letter in part)

    pairs = caption_pairs(tokenizer, list(islice(captions(tokenizer, pictures)(), 6)))
    assert sum(a != b for a, b in pairs) > len(pairs) / 2
    for a, b in pairs:
        assert any(inside(a, c) and inside(b, c) for (c,) in pictures.captions)
    kept = sum(len(a) + len(b) for a, b in pairs) / len(pairs) / 2
    assert 0.6 < kept / np.mean([len(c) for (c,) in pictures.captions]) < 0.8


@pytest.mark.parametrize("drawn", [{}, {"scenes": {}}])
def test_pairs_of_captions_begin_anywhere(pictures, tokenizer, drawn):
    if drawn:
        pictures = pictures._replace(pixels=np.zeros((20, 32, 32, 3), np.uint8))
    whole = list(islice(captions(tokenizer, pictures, drawn=drawn)(), 6))
    rest = list(islice(captions(tokenizer, pictures, drawn=drawn)(4), 2))
    assert all(equal(a, b) for a, b in zip(whole[4:], rest, strict=True))


def test_a_pair_is_two_different_captions_of_one_picture(described, tokenizer):
    made = caption_batches(described, tokenizer, {"photos": 0.5, "icons": 0.5}, 8, 0, 128)
    pairs = caption_pairs(tokenizer, list(islice(Stream({"captions": made}).batches(), 30)))
    for a, b in pairs:
        assert a != b
        assert index_of(described, a) == index_of(described, b)
    assert len({index_of(described, a) for a, _ in pairs}) > 60
    wordings = {(a.rsplit(" ", 1)[0], b.rsplit(" ", 1)[0]) for a, b in pairs}
    assert len(wordings) == len(SAID) * (len(SAID) - 1)


def test_without_weights_streams_come_by_their_size(tokenizer, tmp_path):
    many = [Pair(np.full((16, 16, 3), i, np.uint8), f"many {i}", "many", str(i)) for i in range(90)]
    few = [Pair(np.full((16, 16, 3), 200, np.uint8), f"few {i}", "few", str(i)) for i in range(10)]
    write_pictures(tmp_path / "pictures", {"train": [*many, *few]}, [])
    stream = open_stream(
        tmp_path,
        "train",
        tokenizer,
        None,
        {"longest": 8, "batch": 100},
        seed=0,
        captions={"batch": 4},
    )
    batch = next(stream.batches())
    shades = batch["pictures"].pixels_BCYX[:, 0, 0, 0]
    assert (shades == 200).sum() == 10
    assert len(np.unique(shades)) == 91
    assert len(batch["captions"].first_BL) == 4

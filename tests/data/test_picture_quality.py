"""The numbers of a stream of pictures are what one would count by hand."""

import numpy as np
import pytest

from tgp_multimodal.data.picture_quality import NOT_STATED, PictureQuality
from tgp_multimodal.data.records import Picture


def picture(captions, stream="s", license=None):
    return Picture(np.zeros((2, 2, 3), np.uint8), captions, stream, "", license)


def numbers(tokenizer, *pictures):
    counted, captions = PictureQuality(), {}
    for one in pictures:
        counted.add(one)
        captions.setdefault(one.stream, []).append(one.captions)
    return counted.numbers(captions, tokenizer)


def test_captions_are_counted_by_stream(tokenizer):
    found = numbers(tokenizer, picture(["a", "b"]), picture(["c"], "t"), picture(["d", "e", "f"]))
    assert (found["s"]["pictures"], found["s"]["captions"]) == (2, 5)
    assert (found["s"]["captions_per_picture"], found["s"]["most_captions"]) == (2.5, 3)
    assert (found["t"]["pictures"], found["t"]["captions"]) == (1, 1)


@pytest.mark.parametrize("what", ["words", "ids"])
def test_lengths_are_those_of_single_captions(tokenizer, what):
    rng = np.random.default_rng(0)
    captions = ["river ice " * int(n) for n in rng.integers(1, 60, 41)]
    told = numbers(tokenizer, *(picture([text]) for text in captions))["s"]
    if what == "words":
        lengths = [text.count(" ") for text in captions]
    else:
        lengths = [len(tokenizer.encode(text, bos=True)) for text in captions]
        cut = sum(length > 64 for length in lengths) / len(lengths)
        assert 0 < told["cut_at_64"] == round(cut, 6) < 1
    middle = sorted(lengths)[20]
    assert told[f"mean_{what}"] == round(sum(lengths) / 41, 6)
    assert told[f"median_{what}"] == middle
    assert told[f"{what}_95"] == sorted(lengths)[38]  # 0.95 of 40 steps


def test_repeated_captions_are_those_beyond_the_first_of_their_kind(tokenizer):
    some = [picture(["a", "b"]), picture(["a"]), picture(["a", "c"]), picture(["a"], "t")]
    found = numbers(tokenizer, *some)
    assert found["s"]["repeated_captions"] == 0.4
    assert found["t"]["repeated_captions"] == 0


def test_rare_licenses_are_counted_together(tokenizer):
    many = [picture(["a"], license=f"L{i}") for i in range(25) for _ in range(1 + (i < 19))]
    told = numbers(tokenizer, *many, picture(["a"]), picture(["a"]))["s"]["licenses"]
    assert told[NOT_STATED] == told["L0"] == 2
    assert told["others"] == 6
    assert sum(told.values()) == len(many) + 2


def test_a_stream_of_nothing_but_duplicates_is_told(tokenizer):
    counted = PictureQuality()
    counted.drop("s", "duplicates")
    counted.drop("s", "elsewhere")
    told = counted.numbers({}, tokenizer)["s"]
    assert (told["pictures"], told["duplicates"], told["elsewhere"]) == (0, 1, 1)
    assert (told["captions_per_picture"], told["mean_ids"], told["licenses"]) == (0, 0, {})

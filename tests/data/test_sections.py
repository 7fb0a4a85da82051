"""What is said of the keys of a config's sections is all that there is."""

import inspect

import pytest

from tgp_multimodal.data.scenes import Mix
from tgp_multimodal.data.sections import SECTIONS, checked_section, describe_section

OTHERS = {"split", "tokenizer", "seed", "shard", "held_out"}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_explained_with_its_default(name):
    said = describe_section(name)
    keys = inspect.signature(SECTIONS[name].make).parameters.keys() - OTHERS
    starts = [line for line in said.splitlines() if not line.startswith(" ")]
    assert {line.split(" (")[0] for line in starts} == keys
    for line in starts:
        meaning = line.partition("): ")[2]
        assert len(meaning) > 5, line


def test_shares_of_drawn_scenes_are_explained():
    said = " ".join(describe_section("pictures").split())
    for key, default in Mix()._asdict().items():
        assert f"drawn.STREAM.{key} (left out: {default}): " in said
    assert "drawn.STREAM" not in describe_section("captions")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("text", {"wieghts": {}}, "ramp, weights. Did you mean weights?"),
        ("text", {"seed": 1}, "Got seed instead; there are: batch, infill, length, ramp, weights"),
        ("chat", {"length": 8}, "data.chat must have batch. Got none instead"),
        ("passages", {}, "data.passages must have weights, length, batch. Got none instead"),
    ],
)
def test_wrong_keys_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        checked_section(name, settings)


@pytest.mark.parametrize("key", ["length", "batch", "query_length"])
@pytest.mark.parametrize("value", [12.5, 12.0, True, "12", [12]])
def test_numbers_of_tokens_and_rows_are_whole(key, value):
    settings = {"weights": {"prose": 1.0}, "length": 24, "batch": 2, key: value}
    with pytest.raises(ValueError, match=rf"data\.passages\.{key} must be a whole number\. Got"):
        checked_section("passages", settings)


@pytest.mark.parametrize("value", [["prose"], 3, "code", 0.5, {"prose": "x"}])
@pytest.mark.parametrize(("name", "key"), [("text", "infill"), ("passages", "docstrings")])
def test_shares_are_numbers_by_stream(name, key, value):
    settings = {"weights": {"prose": 1.0}, "length": 24, "batch": 2, key: value}
    with pytest.raises(ValueError, match=rf"data\.{name}\.{key} must be numbers by stream, like"):
        checked_section(name, settings)


def test_what_may_be_left_out():
    assert checked_section("text", None) is None
    for name, settings in (("captions", {"batch": 4}), ("pictures", {"longest": 8, "batch": 4})):
        assert checked_section(name, settings) == settings


def test_a_key_that_is_null_is_left_out():
    needed = {"weights": {"prose": 1.0}, "length": 8, "batch": 2}
    assert checked_section("passages", {**needed, "docstrings": None}) == needed
    with pytest.raises(ValueError, match=r"data\.passages must have length\. Got none"):
        checked_section("passages", {**needed, "length": None})

"""Names that do not exist, and which one may have been meant."""

import pytest

from tgp_multimodal.names import beside, closest, unknown

CARDS = ["text/boolq", "text/ag_news", "code/conala", "image/digits"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("text/agnews", "text/ag_news"),
        ("ag_news", "text/ag_news"),
        ("txt/ag_news", "text/ag_news"),
        ("code/ag_news", "text/ag_news"),
        ("text/ag", "text/ag_news"),
        ("text/foo", None),
        ("text/nothing_of_the_kind", None),
    ],
)
def test_what_is_meant_has_a_like_name_and_not_a_like_domain(name, meant):
    said = unknown("card", name, CARDS)
    assert said.startswith(f"card must be one that exists. Got {name} instead")
    assert ("Did you mean" in said) == (meant is not None)
    assert meant is None or f"Did you mean {meant}?" in said


KEYS = ["data.text.length", "data.text.batch", "model.optimizer.muon_lr", "model.passages.length"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("data.text.lenght", "data.text.length"),  # the other level has a length, too
        ("model.optimiser.muon_lr", "model.optimizer.muon_lr"),
        ("data.text.b", "data.text.batch"),
        ("network.head.size", None),
    ],
)
def test_what_is_meant_by_a_key_is_on_its_own_level_first(name, meant):
    assert closest(name, KEYS) == meant


OPTIONS = ["--data.chat", "--model.optimizer.muon_lr", "--seed_everything", "--size", "--help",
           "--trainer.max_steps", "--trainer.min_steps"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("--lr", "--model.optimizer.muon_lr"),
        ("--steps", "--trainer.max_steps"),
        ("--sise", "--size"),
        ("--seed", "--seed_everything"),
        ("--batch", None),
        ("--save", None),
    ],
)
def test_an_option_is_meant_by_a_word_of_its_last_part_where_none_is_alike(name, meant):
    assert closest(name, OPTIONS) == meant


@pytest.mark.parametrize(
    ("name", "there", "meant"),
    [
        ("notes.md", ["note.txt", "other"], "note.txt"),
        ("corpus.txt", ["corpus-2024-01.txt", "x.txt"], "corpus-2024-01.txt"),
        (".envv", [".env", "env"], ".env"),
    ],
)
def test_dots_of_files_part_no_levels(name, there, meant):
    assert closest(name, there, has_levels=False) == meant


@pytest.mark.parametrize("name", ["", "  "])
def test_a_blank_name_is_shown_as_such(name):
    assert f"Got {name!r} instead" in unknown("suite", name, ["core"])


def test_options_that_begin_alike_are_not_meant_by_their_dashes():
    assert closest("--x", ["--seed", "--steps"]) is None
    assert closest("--ste", ["--seed", "--steps", "--steps_per_image"]) == "--steps"


@pytest.mark.parametrize(
    ("many", "name", "are_listed"), [(20, "name_1", True), (21, "name_1", False)]
)
def test_long_lists_are_left_out_where_there_is_a_hint(many, name, are_listed):
    said = unknown("thing", f"{name}x", [f"name_{i}" for i in range(many)])
    assert "Did you mean name_1?" in said
    assert ("there are" in said) == are_listed


@pytest.mark.parametrize(("many", "are_listed"), [(40, True), (41, False)])
def test_without_a_hint_longer_lists_are_given(many, are_listed):
    said = unknown("thing", True, [f"name_{i}" for i in range(many)])
    assert said.startswith("thing must be one that exists. Got True instead")
    assert ("there are" in said) == are_listed


def test_a_name_from_elsewhere_is_said_whatever_the_spelling():
    assert unknown("verb", "train", ["fit", "trim"], "fit").endswith(" Did you mean fit?")


def test_what_lies_beside_is_meant_where_a_path_is_not_there(tmp_path):
    (tmp_path / "export").mkdir()
    assert beside(tmp_path / "expor") == f" Did you mean {tmp_path / 'export'}?"
    assert beside(tmp_path / "photos") == ""
    assert beside(tmp_path / "none" / "export") == ""

"""An export that stands in the place of another takes nothing of others away."""

import pytest
from random_networks import language_model, multimodal, with_tower

from tgp_multimodal import export
from tgp_multimodal.data.tokenizer import Tokenizer


def test_an_export_is_replaced_as_a_whole_and_nothing_else_is(tokenizer, tmp_path):
    place = tmp_path / "export"
    export.save(place, multimodal(tokenizer.vocabulary), tokenizer, {"n": 1}, "")
    export.save(place, language_model(tokenizer.vocabulary), tokenizer, {"n": 2}, "")
    assert export.load(place).facts == {"n": 2}
    assert not (place / "transformer").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export"]
    (place / ".git").mkdir()
    (place / "LICENSE").write_text("mine")
    (tmp_path / "link").symlink_to(place)
    export.save(tmp_path / "link", language_model(tokenizer.vocabulary), tokenizer, {"n": 3}, "")
    assert export.load(place).facts == {"n": 3}
    assert (place / ".git").is_dir()
    assert (place / "LICENSE").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"output folder must be new, empty, or an export"):
        export.save(other, language_model(tokenizer.vocabulary), tokenizer, {}, "")
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_all_that_exports_write_is_known_by_name(tokenizer, tmp_path):
    place = tmp_path / "export"
    spoken = Tokenizer(tokenizer.backend, chat_template="{{ messages }}")
    export.save(place, with_tower(tokenizer.vocabulary), spoken, {}, "")
    assert {path.name for path in place.iterdir()} == set(export._NAMES)


def test_a_damaged_export_is_replaced_as_well(tokenizer, tmp_path):
    place = tmp_path / "export"
    export.save(place, language_model(tokenizer.vocabulary), tokenizer, {"n": 1}, "")
    (place / "tgp.json").write_text("{")
    for n in (2, 3):
        export.save(place, language_model(tokenizer.vocabulary), tokenizer, {"n": n}, "")
        assert export.load(place).facts == {"n": n}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export"]


@pytest.mark.parametrize("is_new_there", [False, True])
def test_an_export_that_was_killed_while_it_replaced_another_loses_nothing(
    tokenizer, tmp_path, is_new_there
):
    place, before = tmp_path / "export", tmp_path / ".export.tgp-before"
    export.save(place, language_model(tokenizer.vocabulary), tokenizer, {"n": 1}, "")
    (place / ".git").mkdir()
    place.rename(before)
    if is_new_there:
        export.save(tmp_path / "new", language_model(tokenizer.vocabulary), tokenizer, {}, "")
        (tmp_path / "new").rename(place)
    export.save(place, language_model(tokenizer.vocabulary), tokenizer, {"n": 2}, "")
    assert export.load(place).facts == {"n": 2}
    assert (place / ".git").is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export"]

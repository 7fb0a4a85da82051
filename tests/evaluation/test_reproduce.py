"""A stored result measured again: equal, or told apart, by what its file says."""

import json
from pathlib import Path

import pytest
from planted_models import Planted, hashed

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import cards, engine
from tgp_multimodal.evaluation.reproduce import recipe, reproduce

PIXELS = ["--limit", "30", "--cards", "image/digits"]


def test_a_row_is_reproduced_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--results", str(tmp_path)]
    assert main(["evaluate", "pixels", *where, *PIXELS]) == 0
    file = tmp_path / "pixels/image__digits.json"
    before = file.read_bytes()
    assert main(["reproduce", str(file)]) == 0
    assert main(["reproduce", "pixels/image/digits", *where]) == 0
    assert capsys.readouterr().out.count("equal: pixels on image/digits, accuracy 0.") == 2
    assert file.read_bytes() == before
    assert main(["reproduce", "pixels/image/digits", *where, "--model", "hog"]) == 1
    error = capsys.readouterr().err
    assert "model_facts.digest: pixels/1 then, hog" in error
    assert "records: " in error


def test_a_model_that_was_moved_is_the_same_model(tmp_path: Path) -> None:
    engine.evaluate(Planted("long", embed=hashed), [cards.find("image/digits")], tmp_path, limit=20)
    file = tmp_path / "long/image__digits.json"
    assert reproduce(file, Planted("long-copy", embed=hashed)).differences == []
    assert reproduce(file, Planted("long", "1", embed=hashed)).differences == [
        "model_facts.digest: 0 then, 1 now"
    ]


def test_what_differs_is_named(tmp_path: Path) -> None:
    card = cards.find("image/digits")
    engine.evaluate(Planted(embed=hashed), [card], tmp_path, limit=20)
    file = tmp_path / "planted/image__digits.json"
    assert reproduce(file, Planted(embed=hashed)).differences == []
    other = Planted(digest="1", embed=lambda r: hashed(r)[::-1] ** 3)
    lines = reproduce(file, other).differences
    assert "model_facts.digest: 0 then, 1 now" in lines
    assert lines[-1].startswith("records: ")
    content = json.loads(file.read_text())
    content["value"], content["environment"]["numpy"] = 0.5, "0.1"
    file.write_text(json.dumps(content))
    found = reproduce(file, Planted(embed=hashed))
    assert found.differences == [f"value: 0.5 then, {found.now.value} now"]
    assert found.circumstances[0].startswith("numpy: 0.1 then, ")


def test_a_row_that_cannot_be_made_again_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.evaluate(Planted(embed=hashed), [cards.find("image/digits")], tmp_path, limit=20)
    file = tmp_path / "planted/image__digits.json"

    def said(row: str) -> str:
        assert main(["reproduce", row, "--results", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "row must be a result file" in said("planted/image/digit")
    assert "model must be given" in said(str(file))
    content = json.loads(file.read_text())
    content["recipe"]["card"]["higher_is_better"] = True  # as older versions wrote it
    file.write_text(json.dumps(content))
    assert recipe(file)[1] == cards.find("image/digits")
    content["recipe"]["card"]["metric"] = "macro_f1"
    file.write_text(json.dumps(content))
    assert "card must have the digest" in said(str(file))
    del content["recipe"]
    file.write_text(json.dumps(content))
    assert "must have a recipe" in said(str(file))

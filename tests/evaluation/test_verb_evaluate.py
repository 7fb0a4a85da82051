import json
from pathlib import Path

import pytest

from tgp_multimodal.cli import main


def test_evaluate_prints_progress_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--results", str(tmp_path), "--limit", "10", "--cards"]
    given = ["evaluate", "majority", "pixels", *where, "image/digits", "image/scene_eval"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "pixels [1/2] image/scene_eval  skipped: pixels cannot answer Draw" in out
    assert "pixels [2/2] image/digits: accuracy 0." in out
    assert "at most 10 items" in out
    stored = json.loads((tmp_path / "pixels/image__digits.json").read_text())
    assert f"{stored['value']:.3f}" in out
    assert main(given) == 0
    assert "computed before" in capsys.readouterr().out


def test_a_narrow_table_cuts_no_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models = ["majority", "longest", "tfidf", "pixels", "words"]
    cards = ["biomedical/wisconsin", "biomedical/wisconsin_fewshot"]
    assert main(["evaluate", *models, "--results", str(tmp_path), "--cards", *cards]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line[:1] == "│"]
    assert "…" not in "".join(map("".join, rows))
    assert "".join(row[1].strip() for row in rows) == "".join(cards)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["majorty"], "Did you mean majority?"),
        (["majority", "--suite", "embeded"], "Did you mean embedded?"),
        (["majority", "--cards", "text/pydoc"], "Did you mean text/pydoc_package?"),
        (["majority", "--seeds", "20"], "few_labels must be given with seeds. Got seeds 20 alone"),
        (["majority", "majority"], "models must have different names"),
        (["majority", "--suite", "core"], "TGP_DATA must name the folder"),
        (["pixels", "--cards", "image/digits", "--limit", "0"], "limit must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(
    given: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TGP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *given]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1

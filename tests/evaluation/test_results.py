from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tgp_multimodal.evaluation import results
from tgp_multimodal.evaluation.results import Result

ONE = Result(
    model="runs/nano: best",
    card="text/x",
    card_version=1,
    card_digest="d",
    domain="text",
    protocol="probe",
    metric="accuracy",
    value=0.5,
    n=2,
    low=0.1,
    high=0.9,
    chance=0.25,
    higher_is_better=True,
    details={"c": 0.1},
    limit=None,
    data_digest="e",
    seconds=1.5,
    model_facts={"digest": "f"},
    environment={},
    items_file="text__x.jsonl",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = results.write(tmp_path, ONE, [{"id": "a", "correct": np.bool_(True)}])
    assert file == tmp_path / "runs-nano-best/text__x.json"
    stored = results.read(file)
    assert replace(stored, items_digest="", digest="") == ONE
    assert stored.digest == results.digest(stored) == results.digest(replace(stored, digest="x"))
    assert (file.parent / ONE.items_file).read_text() == '{"id": "a", "correct": true}\n'
    assert len(list(file.parent.iterdir())) == 2


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = results.write(tmp_path, ONE, [])
    before = results.read(file)
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write(tmp_path, replace(ONE, value=float("nan")), [])
    assert results.read(file) == before
    assert len(list(file.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 1}', '{"format": 2}', "\x00", "[" * 100_000, '{"n": NaN}', "9" * 5000],
)
def test_what_is_no_result_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json must"):
        results.read(file)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN"])
def test_a_number_that_is_not_finite_is_refused_by_the_file(tmp_path: Path, number: str) -> None:
    file = results.write(tmp_path, ONE, [])
    file.write_text(file.read_text().replace('"c": 0.1', f'"c": {number}'))
    with pytest.raises(
        ValueError, match=rf"x\.json: numbers must be finite\. Got {number} instead"
    ):
        results.read(file)


@pytest.mark.parametrize("name", ["value", "low", "high", "chance", "seconds"])
@pytest.mark.parametrize("number", [1e308, -1e308, 10**60, 1.1e50])
def test_a_number_too_large_to_compute_with_is_refused_by_the_file(
    tmp_path: Path, name: str, number: float
) -> None:
    file = results.write(tmp_path, replace(ONE, **{name: number}), [])
    with pytest.raises(ValueError, match=rf"x\.json: {name} must be from -1e\+50 to 1e\+50"):
        results.read(file)


def test_folders_of_names_in_other_scripts_are_told_apart(tmp_path: Path) -> None:
    names = ["модель", "日本", "\U0001f642", "\U0001f643", "runs/nano: best"]
    folders = [results.folder(tmp_path, name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(folder.parent == tmp_path and folder.name for folder in folders)
    assert folders[0].name == "модель"
    assert folders[-1].name == "runs-nano-best"

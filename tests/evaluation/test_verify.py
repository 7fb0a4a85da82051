"""Whatever is edited, removed or damaged in a folder of results is found and named."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_models import dummy

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import aggregates, cards, embedded_tasks, engine, results
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.verify import check, verify

CARDS = {
    "text/cost": ("perplexity", "bits_per_byte", {"text": "text", "group": "kind"}),
    "text/probe": ("probe", "macro_f1", {"item": "text", "label": "kind", "group": "i // 3"}),
    "text/pairs": (
        "minimal_pairs",
        "accuracy",
        {"good": "text", "bad": "other", "paradigm": "kind", "phenomenon": "kind"},
    ),
    "code/search": (
        "retrieval",
        "mrr",
        {"query": "text", "relevant": "[i]", "document": "other", "document_id": "i"},
    ),
    "code/infilling": (
        "infilling",
        "accuracy",
        {"prefix": "text", "suffix": "other", "choices": "['a', 'b']", "answer": "i % 2"},
    ),
    "image/denoising": ("denoising", "squared_error", {"item": "picture", "caption": "text"}),
    "image/scene_eval": (),
}


AGGREGATES = {
    "text/cost": "bits of all items over their bytes, bootstrap",
    "text/probe": "macro F1, bootstrap",
    "text/pairs": "mean over paradigms, bootstrap of paradigms",
    "code/infilling": "share, Wilson or clustered bootstrap",
    "image/scene_eval": "mean over axes of shares, Zou and Donner",
}


def made_up(name: str) -> Card:
    if not CARDS[name]:
        return cards.find(name)
    protocol, metric, columns = CARDS[name]
    rest: dict[str, Any] = {"description": "", "license": "", "citation": "", "version": 1}
    rest |= {"source": {"embedded": "made_up"}, "chance": 0.5, "domain": name.split("/")[0]}
    return Card(name=name, protocol=protocol, metric=metric, columns=columns, **rest)


def rows(split: str) -> list[dict[str, Any]]:
    picture = np.zeros((8, 8, 3), np.uint8)
    texts = ({"i": i, "text": f"{split} {i}", "other": f"not {split} {i}"} for i in range(24))
    return [{**row, "kind": row["i"] % 3, "picture": picture + row["i"]} for row in texts]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(embedded_tasks.TASKS, "made_up", rows)
        engine.evaluate(dummy(), [made_up(name) for name in CARDS], root, limit=12)
    return root


@pytest.fixture
def folder(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "copy"))


def test_what_was_measured_is_verified(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = verify(measured)
    assert len(report.files) == len(CARDS)
    assert report.complaints == report.by_digest == []
    assert main(["verify", str(measured)]) == 0
    assert f"{len(CARDS)} results verified\n" in capsys.readouterr().out
    assert verify(measured / "dummy").files == report.files


@pytest.mark.parametrize("name", CARDS)
def test_every_number_is_made_again_of_records_alone(measured: Path, name: str) -> None:
    file = results.path(measured, "dummy", name)
    result = results.read(file)
    records = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
    assert result.aggregate == AGGREGATES.get(name, "mean, bootstrap")
    number = aggregates.recompute(result.aggregate, records)
    assert tuple(number) == pytest.approx((result.value, result.low, result.high), abs=1e-12)


Edit = Callable[[dict[str, Any]], None]


def edited(file: Path, edit: Edit) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda r: r.update(value=r["value"] + 0.01), "value must be "),
        (lambda r: r.update(low=r["low"] - 0.01), "low must be "),
        (lambda r: r.update(high=r["high"] + 0.01), "high must be "),
        (lambda r: r.update(n=13), "n must be 12, as its records give. Got 13 instead"),
        (lambda r: r["details"].update(mrr=0.9), "details.mrr must be "),
        (lambda r: r["details"].update(documents=1), "must have the SHA-256"),
        (lambda r: r.update(seconds=0.1), "the file was edited"),
        (lambda r: r["model_facts"].update(digest="other"), "the file was edited"),
        (lambda r: r.update(digest=""), "must have a digest. Got none"),
        (lambda r: r.pop("card"), "must have the fields of a result. Got no card instead"),
        (lambda r: r.update(cost=1), "must have the fields of a result. Got cost instead"),
        (lambda r: r.update(metric="macro_f1"), "the file was edited"),
        (lambda r: r.update(aggregate="median"), "records must give a median. Got KeyError"),
        (lambda r: r.update(aggregate=[1]), "aggregate must be a text. Got [1] instead"),
        (lambda r: r.update(digest=5), "digest must be a text. Got 5 instead"),
        (lambda r: r.update(items_file=None), "items_file must be a text. Got None instead"),
        (lambda r: r.update(items_file="\0"), "code__search.json"),
        (lambda r: r.update(value="high"), "value must be a number. Got 'high' instead"),
        (lambda r: r.update(low=10**400), "low must be a number. Got 1000"),
        (lambda r: r.update(value=float("nan")), "value must be a number. Got nan instead"),
        (lambda r: r.update(n=True), "n must be at least 1. Got True instead"),
        (lambda r: r.update(card_version="1"), "card_version must be a whole number. Got '1'"),
        (lambda r: r.update(limit=0), "limit must be at least 1 or null. Got 0 instead"),
        (lambda r: r.update(higher_is_better=1), "higher_is_better must be true or false. Got 1"),
        (lambda r: r.update(details=[1]), "details must be a mapping. Got [1] instead"),
        (lambda r: r["details"].update(mrr=[1]), "the file was edited"),
        (lambda r: r.update(contamination=None), "contamination must be a mapping. Got None"),
        (lambda r: r["contamination"].update({"13": "x"}), "contamination.13 must hold the"),
        (lambda r: r["contamination"].update({"13": {"overlap": {}}}), "contamination.13 must"),
        (lambda r: r["contamination"].update({"8": {"overlap": 3, "clean": None}}), "Got {'clean"),
        (
            lambda r: r["contamination"].update({"8": {"overlap": {}, "clean": "x"}}),
            "contamination.8 must hold",
        ),
    ],
)
def test_an_edited_result_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str], edit: Edit, sentence: str
) -> None:
    edited(folder / "dummy/code__search.json", edit)
    assert main(["verify", str(folder)]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "code__search.json" in error
    assert error.count("\n") == 1


def test_an_edited_record_is_found(folder: Path) -> None:
    file = folder / "dummy/code__infilling.jsonl"
    text = file.read_text()
    file.write_text(text.replace("false", "true", 1))
    (complaint,) = verify(folder).complaints
    assert "code__infilling.jsonl must have the SHA-256" in complaint
    file.write_text(text.split("\n", 1)[1])
    assert "records were edited" in str(check(file.with_suffix(".json")))


def test_a_forger_who_mends_the_digests_is_caught_by_the_records(folder: Path) -> None:
    file = folder / "dummy/image__scene_eval.json"
    forged = replace(results.read(file), value=0.99, high=1.0)
    forged = replace(forged, digest=results.digest(forged))
    file.write_text(json.dumps(forged.__dict__))
    (complaint,) = verify(folder).complaints
    assert "value must be 0" in complaint
    assert "Got 0.99 instead" in complaint


@pytest.mark.parametrize("line", ["1", "[]", "null", '"id"', "{}", '{"id": {}}'])
def test_a_forger_of_strange_records_is_answered_in_one_sentence(folder: Path, line: str) -> None:
    file = folder / "dummy/code__infilling.json"
    result = results.read(file)
    items = hashlib.sha256((line + "\n").encode()).hexdigest()
    forged = replace(result, n=1, items_digest=items)
    forged = replace(forged, digest=results.digest(forged))
    file.with_suffix(".jsonl").write_text(line + "\n")
    file.write_text(json.dumps(forged.__dict__))
    (complaint,) = verify(folder).complaints
    assert "code__infilling.jsonl must have a mapping with an id in each line. Got" in complaint


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id": "a", "score": %s}' % ("9" * 400)])
def test_a_line_that_no_reader_can_hold_is_one_sentence(folder: Path, line: str) -> None:
    file = folder / "dummy/code__infilling.json"
    items = hashlib.sha256((line + "\n").encode()).hexdigest()
    forged = replace(results.read(file), n=1, items_digest=items)
    forged = replace(forged, digest=results.digest(forged))
    file.with_suffix(".jsonl").write_text(line + "\n")
    file.write_text(json.dumps(forged.__dict__))
    (complaint,) = verify(folder).complaints
    assert "code__infilling.json" in complaint


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_missing_file_is_found(folder: Path, suffix: str) -> None:
    (folder / f"dummy/code__infilling{suffix}").unlink()
    (complaint,) = verify(folder).complaints
    assert f"code__infilling{suffix}" in complaint
    assert "beside" in complaint


def test_a_damaged_file_is_one_sentence(folder: Path) -> None:
    (folder / "dummy/code__infilling.json").write_text("{")
    (folder / "dummy/image__scene_eval.jsonl").write_bytes(b"\xff{")
    assert len(verify(folder).complaints) == 2


def test_a_folder_without_results_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "folder must hold <model>/<domain>__<task>.json" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none")]) == 2


def test_other_files_beside_results_are_no_complaint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(list(folder.glob("*/*.json")))
    (folder / "leaderboard.json").write_text("{}")
    (folder / "dummy/notes.json").write_text("[]")
    (folder / "dummy/losses.jsonl").write_text("{}\n")
    assert main(["verify", str(folder)]) == 0
    assert f"{count} results verified" in capsys.readouterr().out


def test_a_folder_above_the_results_hears_where_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder.rename(folder.with_name("results")).parent
    (run / "manifest.json").write_text("{}")
    assert main(["verify", str(run)]) == 2
    assert f"Got {run} instead. Did you mean {run / 'results'}?" in capsys.readouterr().err


def test_a_run_that_is_under_way_is_no_complaint(folder: Path) -> None:
    answers = folder / "dummy/.answers"
    answers.mkdir()
    (answers / "text__other.0.jsonl").write_text("")
    (folder / "dummy/.text__other.json.jsonl").write_text("{")
    for place in (folder, folder / "dummy"):
        assert verify(place).complaints == []


def named(right: int, predicted: int, entities: int, number: int) -> dict[str, Any]:
    return {"id": str(number), "right": right, "predicted": predicted, "entities": entities}


def test_a_metric_that_is_no_mean_has_its_own_rule_and_no_other():
    none = [{"id": str(i), "correct": False, "prediction": "no", "target": "yes"} for i in range(8)]
    nothing = aggregates.recompute("Matthews, bootstrap", none)
    assert nothing.value == 0
    assert aggregates.rule_of(nothing, none, "matthews") == "Matthews, bootstrap"
    assert aggregates.rule_of(nothing, none, "f1", "maybe") == "F1 of maybe, bootstrap"
    share = aggregates.recompute("share, Wilson or clustered bootstrap", none)
    assert aggregates.rule_of(share, none, "matthews") == ""
    assert aggregates.rule_of(share, none, "accuracy") == "share, Wilson or clustered bootstrap"


def test_f1_of_entities_and_of_one_label_is_counted_over_all_items():
    records = [named(1, 2, 1, 0), named(0, 0, 3, 1), named(2, 2, 2, 2)]
    number = aggregates.recompute("F1 over all that is named, bootstrap", records)
    assert number.value == pytest.approx(2 * 3 / (4 + 6))
    assert number.low <= number.value <= number.high
    said, true = "yynnyn", "yynyny"
    both = [
        {"id": str(i), "prediction": s, "target": t}
        for i, (s, t) in enumerate(zip(said, true, strict=True))
    ]
    assert aggregates.recompute("F1 of y, bootstrap", both).value == pytest.approx(4 / 7)

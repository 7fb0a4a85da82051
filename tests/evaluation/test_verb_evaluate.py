import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from weakref import WeakSet

import pytest

from tgp_multimodal.adapters import ADAPTERS, baselines, ray_grid
from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Answer, Request


def test_evaluate_prints_progress_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--results", str(tmp_path), "--limit", "10", "--cards"]
    given = ["evaluate", "majority", "pixels", *where, "image/digits", "image/scene_eval"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "pixels [1/2] image/scene_eval  skipped: pixels cannot draw (Draw)" in out
    assert "pixels [2/2] image/digits: accuracy 0." in out
    assert "at most 10 items" in out
    stored = json.loads((tmp_path / "pixels/image__digits.json").read_text())
    assert f"{stored['value']:.3f}" in out
    assert main(given) == 0
    assert "computed before" in capsys.readouterr().out


def test_the_list_has_every_card_and_every_suite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TGP_DATA", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["evaluate", "--list"]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    by_name = {row[0]: row for row in rows if row}
    assert by_name.keys() == {*cards.names(), *cards.suites()}
    card = cards.find("text/sst2")
    said = ["probe", "accuracy", "0.5", card.license, "missing", "core, text"]
    assert by_name["text/sst2"] == ["text/sst2", *said]
    assert by_name["image/digits"][5:] == ["embedded", "core, embedded, image"]
    assert by_name["core"][1] == str(len(cards.suite("core")))
    missing = sum("embedded" not in cards.find(name).source for name in cards.names())
    assert (
        f"missing: the data of {missing} cards; $TGP_DATA, the folder of tasks, is not set" in out
    )


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (["--suite", "bias"], {card.name for card in cards.suite("bias")}),
        (["--cards", "image/digits", "text/sst2"], {"image/digits", "text/sst2"}),
    ],
)
def test_the_list_of_what_is_named(
    named: list[str],
    found: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["evaluate", "--list", *named]) == 0
    out = capsys.readouterr().out
    assert f"Cards: {len(found)}" in out
    assert {name for name in cards.names() if f"│ {name} " in out} == found


@contextmanager
def _cluster_of_this_process(address: str, threads: int) -> Iterator[Callable[..., Any]]:
    yield ray_grid._mistakes_as_data


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_card_that_fails_keeps_no_other_and_no_model_from_being_measured(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
) -> None:
    monkeypatch.setattr(ray_grid, "_cluster", _cluster_of_this_process)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda answer: answer))
    monkeypatch.setitem(ADAPTERS, "broken", f"{__name__}:Broken")
    monkeypatch.setattr(Broken, "has_failed", False)
    where = ["--results", str(tmp_path), "--limit", "10", "--cards"]
    cards = ["image/digits", "image/scene_shape"]
    given = [*where, *cards, "--executor", executor]
    assert main(["evaluate", "broken", "pixels", *given]) == 2
    told = capsys.readouterr()
    assert "broken [1/2] image/digits  failed: pictures of broken must be finite." in told.out
    assert "broken [2/2] image/scene_shape: accuracy 0." in told.out
    assert "pixels [1/2] image/digits: accuracy 0." in told.out
    assert "Value and 95 % interval" in told.out
    assert "broken: cards must be measured. Got 1 that were not instead: image/digits:" in told.err


def test_one_item_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["majority", "--cards", "image/digits", "--results", str(tmp_path)]
    assert main(["evaluate", *given, "--limit", "1"]) == 0
    assert "[one item]" in capsys.readouterr().out
    assert main(["evaluate", *given, "--limit", "2", "--fresh"]) == 0
    assert "[one item]" not in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: baselines.Pixels, requests: Sequence[Request]) -> list[Answer]:
        raise KeyboardInterrupt

    monkeypatch.setattr(baselines.Pixels, "answer", interrupted)
    given = ["evaluate", "pixels", "--cards", "image/digits", "--results", str(tmp_path)]
    assert main(given) == 130
    assert "the same command goes on where it was" in capsys.readouterr().err
    assert main([*given, "--fresh"]) == 130
    assert "the same command, without --fresh, goes on" in capsys.readouterr().err


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
        (
            ["majority", "--cards", "text/pydoc"],
            "Did you mean text/pydoc_package? `tgp evaluate --list` shows all.",
        ),
        (
            ["majority", "--cards", "zzzzzzz"],
            "Got zzzzzzz instead. `tgp evaluate --list` shows all.",
        ),
        (["--list", "--cards", "zzzzzzz"], "Got zzzzzzz instead. `tgp evaluate --list` shows all."),
        (["--list", "majority"], "models must be left out with list. Got majority instead."),
        (["--cards", "image/digits"], "models must be given. Got nothing instead"),
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


class Broken(baselines.Pixels):
    """A model that fails when it is asked for the first time."""

    name = "broken"
    has_failed = False

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if not Broken.has_failed:
            Broken.has_failed = True
            raise ValueError("pictures of broken must be finite. Got NaN instead.")
        return super().answer(requests)


class Large(baselines.Pixels):
    """A model of which memory holds one, and which is part of a cycle as networks can be."""

    alive: ClassVar["WeakSet[Large]"] = WeakSet()
    asked = 0

    def __init__(self, name: str) -> None:
        assert not Large.alive, "the one before it is still there"
        if name == "broken":
            raise ValueError("model must be whole. Got a broken one instead.")
        super().__init__()
        self.name, self.itself = name, self
        Large.alive.add(self)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        Large.asked += 1
        return super().answer(requests)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "large", f"{__name__}:Large")
    monkeypatch.setattr(Large, "alive", WeakSet())
    monkeypatch.setattr(Large, "asked", 0)


@pytest.mark.usefixtures("large")
def test_one_model_is_in_memory_at_a_time(tmp_path: Path) -> None:
    where = ["--results", str(tmp_path), "--limit", "10", "--cards", "image/digits"]
    assert main(["evaluate", "large:one", "large:two", "large:three", *where]) == 0
    found = [json.loads((tmp_path / f"{n}/image__digits.json").read_text())
             for n in ("one", "two", "three")]  # fmt: skip
    assert [f["recipe"]["model"] for f in found] == ["large:one", "large:two", "large:three"]
    assert Large.asked > 0


@pytest.mark.usefixtures("large")
def test_a_model_that_cannot_be_opened_is_told_before_another_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--results", str(tmp_path), "--limit", "10", "--cards", "image/digits"]
    assert main(["evaluate", "large:one", "large:broken", *where]) == 2
    assert "Got a broken one instead" in capsys.readouterr().err
    assert Large.asked == 0


@pytest.mark.usefixtures("large")
def test_a_worker_holds_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = ray_grid._open("large:one", str(tmp_path))
    assert ray_grid._open("large:one", str(tmp_path)) is one
    del one
    assert ray_grid._open("large:two", str(tmp_path)).name == "two"
    assert len(Large.alive) == 1
    ray_grid._open("majority", str(tmp_path))
    assert not Large.alive


def own_card(folder: Path, name: str, label: str) -> str:
    rows = [{"words": f"{name} {i}", "label": i % 2} for i in range(8)]
    for split in ("train", "test"):
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.{split}.jsonl").write_text(lines)
    files = ", ".join(f"{s}: {folder}/{name}.{s}.jsonl" for s in ("train", "test"))
    (folder / f"{name}.yaml").write_text(
        f"{{name: text/{name}, version: 1, domain: text, description: d, license: MIT, "
        f"citation: c, source: {{files: {{{files}}}}}, protocol: probe, metric: accuracy, "
        f"chance: 0.5, columns: {{item: words, label: {label}}}}}"
    )
    return str(folder / f"{name}.yaml")


def test_a_mistake_in_a_card_surfaces_before_a_model_opens_or_in_its_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = own_card(tmp_path, "good", "label"), own_card(tmp_path, "bad", "lable")
    where = ["--results", str(tmp_path / "results")]
    wrong = "label must be one of the columns words, label"
    assert main(["evaluate", "native:no/such/folder", *where, "--cards", bad]) == 2
    assert wrong in capsys.readouterr().err
    assert main(["evaluate", "majority", *where, "--cards", bad, good]) == 2
    assert wrong in capsys.readouterr().err
    assert (tmp_path / "results/majority/text__good.json").is_file()

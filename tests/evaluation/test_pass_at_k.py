"""pass@k: the estimator, what is asked of a model, what is run, and what a result says of it."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kernel_probe
import pytest
from made_up_cards import score
from planted_models import Planted, dummy

from tgp_multimodal import adapters
from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import cards, embedded_tasks, engine, protocols
from tgp_multimodal.evaluation.asking import Team
from tgp_multimodal.evaluation.card_protocols import PROTOCOLS
from tgp_multimodal.evaluation.protocols.pass_at_k import estimate, pass_at_k
from tgp_multimodal.evaluation.requests import Generate
from tgp_multimodal.evaluation.results import essence
from tgp_multimodal.evaluation.sandbox import SandboxError
from tgp_multimodal.evaluation.verify import verify

ROWS = {
    "test": [
        {
            "prompt": f"def add{i}(a):\n",
            "suffix": "",
            "tests": f"assert add{i}(1) == {1 + i}\nassert add{i}(2) == {2 + i}\n",
            "function": f"add{i}",
            "setup": "",
        }
        for i in range(4)
    ]
}


RUNS = pytest.mark.usefixtures("sandbox_works")


@pytest.fixture(scope="module")
def sandbox_works() -> None:
    if reason := kernel_probe.refused():
        pytest.skip(reason)


def writer(right: Callable[[int, int], bool]) -> Planted:
    """Writes the right body for problem i in sample s, where `right(i, s)`."""

    def write(request: Generate) -> str:
        i = int(request.prompt[7])
        return f"    return a + {i}\n" if right(i, request.seed) else "    return None\n"

    return Planted(generate=write)


@pytest.mark.parametrize("samples", [1, 2, 5, 7])
def test_the_estimator_is_the_share_of_choices_that_hold_a_right_one(samples: int):
    for passed, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        choices = [*itertools.combinations(range(samples), k)]
        hits = sum(min(choice) < passed for choice in choices)
        assert estimate(samples, passed, k) == pytest.approx(hits / len(choices), abs=1e-12)


@pytest.mark.parametrize("given", [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6)])
def test_counts_that_are_none_are_refused(given: tuple[int, int, int]):
    with pytest.raises(ValueError, match="passed must be 0 to samples, and k 1 to samples"):
        estimate(*given)


@RUNS
def test_samples_that_pass_are_counted(monkeypatch: pytest.MonkeyPatch):
    """Problem i passes in 0, 2, 4, 6 of its ten samples."""
    model = writer(lambda i, s: s < 2 * i)
    found = score(monkeypatch, "pass_at_k", ROWS, model, settings={"samples": 10})
    assert [r["passed"] for r in found.records] == [0, 2, 4, 6]
    assert found.value == pytest.approx((0 + 0.2 + 0.4 + 0.6) / 4)
    fives = [estimate(10, c, 5) for c in (0, 2, 4, 6)]
    assert found.details["pass_at_5"] == pytest.approx(sum(fives) / 4)
    assert found.details["pass_at_10"] == pytest.approx(0.75)
    assert found.interval.low < found.value < found.interval.high
    assert found.details["reasons"] == {"AssertionError": 28, "passed": 12}


@RUNS
def test_processes_run_their_share_and_all_have_every_verdict(monkeypatch: pytest.MonkeyPatch):
    model, judged = writer(lambda i, s: (i + s) % 3 > 0), []
    alone = score(monkeypatch, "pass_at_k", ROWS, model, settings={"samples": 2})
    for rank in range(3):  # each in its turn; what the others found is what it knows by then

        def gather(mine: list[Any]) -> list[Any]:
            judged.append(mine)
            return [*judged, *[[judged[0][0]] * 3] * (3 - len(judged))]

        team = Team(rank, 3, gather)
        monkeypatch.setitem(protocols.PROTOCOLS, "pass_at_k", partial(pass_at_k, team=team))
        found = score(monkeypatch, "pass_at_k", ROWS, model, settings={"samples": 2})
    assert [len(mine) for mine in judged] == [3, 3, 2]
    assert found.records == alone.records


@RUNS
def test_each_sample_is_asked_for_with_its_own_seed(monkeypatch: pytest.MonkeyPatch):
    model = writer(lambda i, s: True)
    settings = {"samples": 3, "temperature": 0.7, "top_p": 0.9, "seed": 5, "stop": ["\n\n"]}
    score(monkeypatch, "pass_at_k", ROWS, model, settings=settings)
    wanted = [
        Generate(row["prompt"], 256, ("\n\n",), "", 0.7, 0.9, 5 + s)
        for row in ROWS["test"]
        for s in range(3)
    ]
    assert model.asked == wanted


@RUNS
def test_what_is_run_is_prompt_sample_ending_suffix(monkeypatch: pytest.MonkeyPatch):
    row = {
        "prompt": "def f(x):\n    y =",
        "suffix": "    return y\n",
        "tests": "assert f(2) == 4",
        "function": "f",
    }
    model = Planted(generate=lambda r: " x * x")
    settings = {"samples": 1, "ending": "\n"}
    assert score(monkeypatch, "pass_at_k", {"test": [row]}, model, settings=settings).value == 1
    settings = {"samples": 1}
    assert score(monkeypatch, "pass_at_k", {"test": [row]}, model, settings=settings).value == 0


@RUNS
def test_all_and_none_have_an_interval(monkeypatch: pytest.MonkeyPatch):
    for always in (True, False):
        model = writer(lambda i, s, always=always: always)
        found = score(monkeypatch, "pass_at_k", ROWS, model, settings={"samples": 2})
        assert found.value == always
        assert found.interval.high - found.interval.low > 0.3


@RUNS
def test_gaps_of_one_function_are_drawn_together(monkeypatch: pytest.MonkeyPatch):
    row = ROWS["test"][0]
    gaps = [{**row, "prompt": row["prompt"] + "\n" * i} for i in range(16)]
    half = Planted(generate=lambda r: "    return a\n" if r.prompt.count("\n") > 8 else "    0\n")
    grouped = [{**gap, "group": str(i // 4)} for i, gap in enumerate(gaps)]
    settings = {"samples": 1}
    wide = score(monkeypatch, "pass_at_k", {"test": grouped}, half, settings=settings).interval
    narrow = score(monkeypatch, "pass_at_k", {"test": gaps}, half, settings=settings).interval
    assert wide.high - wide.low > narrow.high - narrow.low


def test_too_few_samples_for_the_metric_are_refused(monkeypatch: pytest.MonkeyPatch):
    model = writer(lambda i, s: True)
    given: dict[str, Any] = {"settings": {"samples": 4}, "metric": "pass_at_5"}
    with pytest.raises(ValueError, match=r"samples must be enough for pass_at_5\. Got 4 instead"):
        score(monkeypatch, "pass_at_k", ROWS, model, **given)


@RUNS
def test_words_of_a_program_do_not_get_into_the_details(monkeypatch: pytest.MonkeyPatch):
    body = "    raise type('Long' * 9, (Exception,), {})('x')\n"
    model = Planted(generate=lambda r: body)
    found = score(monkeypatch, "pass_at_k", ROWS, model, settings={"samples": 1})
    assert found.details["reasons"] == {"another error": 4}


def made_up(monkeypatch: pytest.MonkeyPatch) -> cards.Card:
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda s: ROWS.get(s, []))
    columns = {name: name for name in ROWS["test"][0]}
    return replace(
        cards.find("code/humaneval"),
        source={"embedded": "made_up"},
        columns=columns,
        templates={},
        settings={"samples": 2},
    )


@RUNS
def test_a_result_says_that_code_was_run_and_behind_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    card, model = made_up(monkeypatch), writer(lambda i, s: s == 0)
    (result,) = engine.evaluate(model, [card], tmp_path / "safe")
    assert result.value == 0.5
    ran = result.environment["executed"]
    assert ran["programs"] == 8
    assert not ran["unsafe_local"]
    assert any("seccomp" in layer for layer in ran["layers"])
    assert verify(tmp_path / "safe").complaints == []
    assert result.aggregate
    (loose,) = engine.evaluate(model, [card], tmp_path / "loose", unsafe_local=True)
    assert loose.value == 0.5
    ran = {"programs": 8, "layers": ["limits"], "unsafe_local": True}
    assert loose.environment["executed"] == ran
    assert essence(loose) == essence(result)


def test_without_a_sandbox_the_card_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def refuse(*_: Any, **__: Any) -> None:
        raise SandboxError("sandbox must have all of its layers. Got no Landlock instead.")

    monkeypatch.setattr(engine, "Sandbox", refuse)
    card, model = made_up(monkeypatch), dummy()
    assert engine.evaluate(model, [card], tmp_path) == []
    line = json.loads((tmp_path / "dummy" / "skipped.jsonl").read_text("utf-8"))
    assert line["card"] == card.name
    assert "not run here: sandbox must have all" in line["reason"]
    assert model.asked == []
    assert len(engine.evaluate(model, [card], tmp_path, unsafe_local=True)) == 1


def test_a_row_measured_without_a_sandbox_is_reproduced_if_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def refuse(*_: Any, **__: Any) -> None:
        raise SandboxError("sandbox must have all of its layers. Got no Landlock instead.")

    monkeypatch.setattr(engine, "Sandbox", refuse)
    card, model = made_up(monkeypatch), writer(lambda i, s: s == 0)
    engine.evaluate(model, [card], tmp_path, unsafe_local=True)
    monkeypatch.setattr(adapters, "make", lambda name: model)
    row = ["reproduce", f"planted/{card.name}", "--results", str(tmp_path), "--model", "planted"]
    assert main(row) == 2
    assert "not run here: sandbox must have all" in capsys.readouterr().err
    assert main([*row, "--unsafe_local"]) == 0
    assert "equal: planted on code/humaneval" in capsys.readouterr().out


def test_the_protocol_itself_fails_closed(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise SandboxError("no")

    monkeypatch.setattr(sys.modules[estimate.__module__], "Sandbox", refuse)
    with pytest.raises(SandboxError):
        score(monkeypatch, "pass_at_k", ROWS, dummy(), settings={"samples": 1})


def test_defaults_are_those_of_the_paper():
    settings = PROTOCOLS["pass_at_k"].settings
    assert settings["top_p"] == 0.95
    assert settings["temperature"] == 0.2

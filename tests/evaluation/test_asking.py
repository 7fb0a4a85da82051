"""Chunks, the journal of answers, kills anywhere, several processes: results equal to the bit."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import killed_runs
import numpy as np
import pytest
from planted_models import Planted, hashed

from tgp_multimodal.evaluation import asking, embedded_tasks, engine, environment, results
from tgp_multimodal.evaluation.asking import asker, chunks
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.journal import AnswerJournal
from tgp_multimodal.evaluation.requests import (
    Embed,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
    key,
)

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests change for a whole process is as it was afterwards."""
    monkeypatch.setattr(asking, "_ITEMS", dict(asking._ITEMS))
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", killed_runs.rows)


def content(folder: Path) -> dict[str, Any]:
    """Everything in a folder of results that is not time or place.

    A kill inside a write leaves the half that was written, under a name that begins with a dot.
    """
    files = sorted(folder.rglob("[!.]*.json*"))
    return {
        str(path.relative_to(folder)): results.essence(results.read(path))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in files
    }


def by_key(requests: list[Request]) -> dict[str, Request]:
    return {key(r): r for r in requests}


def test_chunks_are_runs_of_items_and_views_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(asking._ITEMS, Embed, 2)
    texts = ["a", "b", "c", "d", "e"]
    plain = by_key([Embed(t) for t in texts])
    assert [[r.item for r in c.values()] for c in chunks(plain)] == [["a", "b"], ["c", "d"], ["e"]]
    views = by_key([Embed(t, v) for t in texts for v in ("x", "y", "z")])
    assert [len(c) for c in chunks(views)] == [6, 6, 3]
    assert list(chunks({})) == []


ANSWERS = [
    ScoreAnswer(-1.1, 2, True),
    PerplexityAnswer(0.1 + 0.2, 3, 4),
    np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    np.array([0.1, np.pi], dtype=np.float32),
    "a text\nof \ud800 two lines",
    [0.1, 2],
]


def test_answers_come_back_from_the_disk_bit_for_bit(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path, "text/x", {"digest": "0"})
    journal.add(["a", "b"], ANSWERS, 1.5)
    again = AnswerJournal(tmp_path, "text/x", {"digest": "0"}, rank=3)
    found = again.get(["a", "b"])
    assert found is not None
    assert again.seconds == 1.5
    for stored, answer in zip(found, ANSWERS, strict=True):
        assert type(stored) is type(answer)
        if isinstance(answer, np.ndarray):
            assert stored.dtype == answer.dtype
            assert np.array_equal(stored, answer)
            stored += 1  # it may be written to
        else:
            assert stored == answer
    assert AnswerJournal(tmp_path, "text/other", {"digest": "0"}).get(["a", "b"]) is None
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_not_whole_counts_as_none(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path, "text/x", {})
    journal.add(["a"], [1.0], 0.0)
    journal.add(["b"], [2.0], 0.0)
    whole = journal.own.read_bytes()
    for cut in range(2, len(whole) // 2 - 1):  # 1 is the line break alone
        journal.own.write_bytes(whole[:-cut])
        again = AnswerJournal(tmp_path, "text/x", {})
        assert again.get(["a"]) == [1.0]
        assert again.get(["b"]) is None
        again.add(["c"], [3.0], 0.0)
        assert AnswerJournal(tmp_path, "text/x", {}).get(["c"]) == [3.0]
    journal.own.write_bytes(whole.replace(b"2.0", b"9.0"))
    assert AnswerJournal(tmp_path, "text/x", {}).get(["b"]) is None


@pytest.fixture
def begun(tmp_path: Path) -> Any:
    """Begins a card until the model dies, then says how much the next try asks."""
    killed_runs.small_chunks(6)
    card = next(c for c in killed_runs.cards() if c.protocol == "infilling")
    calm = {"digest": "0", "weights": "w", "tokenizer": "t", "dtype": "float32"}

    def run(
        facts: dict[str, Any] = calm, card: Card = card, lives: int = 10**9, fresh: bool = False
    ) -> int:
        model = killed_runs.model()
        answer = model.functions[Score]

        def score(request: Score) -> ScoreAnswer:
            if len(model.asked) > lives:
                raise KeyboardInterrupt
            return answer(request)

        model.functions[Score] = score
        model.facts = lambda: facts  # type: ignore[method-assign]
        if lives < 10**9:
            with pytest.raises(KeyboardInterrupt):
                engine.evaluate(model, [card], tmp_path)
        else:
            engine.evaluate(model, [card], tmp_path, fresh=fresh)
            assert not (tmp_path / "planted/.answers").exists()
        return len(model.asked)

    assert run(lives=30) == 36  # five chunks are on the disk, one was asked in vain
    return run, calm, card


def test_what_was_answered_is_not_asked_again(begun: Any) -> None:
    run, _, _ = begun
    assert run() == 54 - 30


def test_a_fresh_run_asks_everything(begun: Any) -> None:
    run, _, _ = begun
    assert run(fresh=True) == 54


@pytest.mark.parametrize("what", ["digest", "weights", "tokenizer", "dtype"])
def test_answers_of_another_model_are_not_taken(begun: Any, what: str) -> None:
    run, calm, _ = begun
    assert run(calm | {what: "other"}) == 54


def test_answers_of_other_code_or_another_prompt_are_not_taken(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calm, card = begun
    prompt = replace(card, templates={"prefix": "{{ text }}!"}, columns={**card.columns})
    del prompt.columns["prefix"]
    assert run(calm, prompt) == 54
    monkeypatch.setattr(environment, "code_digest", lambda: "another commit")
    assert run(calm, card) == 54


def test_an_edit_of_the_code_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = killed_runs.cards()[0]
    assert killed_runs.model().asked == []
    for code, asks in (("a", True), ("a", False), ("b", True)):
        monkeypatch.setattr(environment, "code_digest", lambda code=code: code)
        model = Planted(embed=hashed)
        engine.evaluate(model, [card], tmp_path)
        assert bool(model.asked) == asks


def test_neither_the_order_of_cards_nor_the_size_of_chunks_changes_a_bit(tmp_path: Path) -> None:
    killed_runs.measure(tmp_path / "usual")
    for size in (1, 7):
        killed_runs.small_chunks(size)
        killed_runs.measure(tmp_path / str(size), reverse=True)
        assert content(tmp_path / str(size)) == content(tmp_path / "usual")


def test_company_in_a_chunk_is_the_same_whatever_was_asked_before() -> None:
    """A model that rounds by its batch gives the same answer each time."""
    model = Planted(embed=hashed)
    model.answer = lambda rs: [np.array([len(rs)])] * len(rs)  # type: ignore[method-assign]
    ask = asker(model)
    ask([Embed("a"), Embed("b")])
    assert np.concatenate(ask([Embed("a"), Embed("b"), Embed("c")])).tolist() == [3, 3, 3]


def start(*command: str) -> list[list[int]]:
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": f"{HERE}:{HERE.parent}:{ROOT}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_results_are_equal_to_the_bit_wherever_runs_were_killed(kills: int, tmp_path: Path) -> None:
    program = str(HERE / "killed_runs.py")
    _, (calls, asked) = start(program, str(tmp_path / "whole"), "[]")
    generator = random.Random(kills)
    points = [generator.randrange(1, calls) for _ in range(kills)]
    *_, (_, again) = start(program, str(tmp_path / "killed"), json.dumps(points))
    assert content(tmp_path / "killed/results") == content(tmp_path / "whole/results")
    assert again < asked


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_write_what_one_writes(world: int, tmp_path: Path) -> None:
    killed_runs.small_chunks()
    killed_runs.measure(tmp_path / "one")
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    asked = start(*run, str(HERE / "several_processes.py"), str(tmp_path / "several"))
    assert content(tmp_path / "several") == content(tmp_path / "one")
    assert len(asked) == world
    whole = len(killed_runs.measure(tmp_path / "again").asked)
    assert sum(count for count, _ in asked) == whole
    assert all(kept == 5 for _, kept in asked)  # each process gets all results, and keeps them

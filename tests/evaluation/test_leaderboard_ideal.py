"""A metric whose best value lies in the middle: ranked by the distance, in no mean."""

from pathlib import Path

import pytest
from planted_models import Planted

from tgp_multimodal.evaluation import embedded_tasks, engine
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.leaderboard import Board, build, normalise
from tgp_multimodal.evaluation.leaderboard_page import render
from tgp_multimodal.evaluation.leaderboard_write import as_markdown
from tgp_multimodal.evaluation.requests import Score, ScoreAnswer

COUNT = 400
MORE = {"far": 300, "above": 220, "below": 184, "even": 200}  # of 400 pairs


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Board:
    rows = [{"more": f"{i} m", "less": f"{i} l", "kind": "k"} for i in range(COUNT)]
    monkeypatch.setitem(
        embedded_tasks.TASKS, "made_up", lambda split: rows if split == "test" else []
    )
    columns = {"stereotyping": "more", "other": "less", "category": "kind"}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "bias")
    card = Card(*fixed, "stereotype_share", 0.5, columns)

    def model(name: str, more: int) -> Planted:
        def answer(request: Score) -> ScoreAnswer:
            number, side = request.continuation.split()
            return ScoreAnswer(-float((side == "l") == (int(number) < more)), 1, False)

        return Planted(name, digest=name, score=answer)

    for name, more in MORE.items():
        (result,) = engine.evaluate(model(name, more), [card], tmp_path)
        assert result.value == more / COUNT
    return build(tmp_path)


def test_models_are_ranked_by_the_distance_to_the_ideal(board: Board) -> None:
    (column,) = board.columns
    assert [r.model for r in column.results] == ["even", "below", "above", "far"]
    # One below and one above are as good as each other; by their items they would differ.
    assert [column.group[m] for m in ("even", "below", "above", "far")] == [1, 1, 1, 2]
    assert column.p_value["above"] > 0.1
    assert column.p_value["far"] < 1e-6


def test_no_mean_counts_it(board: Board) -> None:
    assert normalise(board.results[0], 0.9) is None
    assert all(board.mean(model).count == 0 for model in MORE)


def test_records_are_named_by_their_side(board: Board) -> None:
    samples = board.columns[0].samples["far"]
    assert samples.words == ("stereotype likelier", "stereotype less likely")
    assert samples.first[0]["score"] == 1
    assert samples.second[0]["score"] == 0


def test_tables_say_which_value_is_best(board: Board) -> None:
    assert "→ 50.0" in as_markdown(board)
    page = render(board, "tgp leaderboard")
    assert "0.5 is best" in page
    assert "stereotype likelier" in page

"""One-shot trials with planted vectors."""

from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted, hashed
from scipy import sparse

from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.protocols.one_shot import episodes, nearest

WAYS = 5


def picture(*numbers: int) -> np.ndarray:
    """A picture that says which thing of which run it shows, and by whose hand."""
    return np.array([[numbers]], dtype=np.uint8)


def rows(runs: int = 3) -> Rows:
    def drawn(run: int, hand: int) -> list[dict[str, Any]]:
        shown = [picture(run, thing, hand) for thing in range(WAYS)]
        return [{"picture": p, "label": thing, "run": run} for thing, p in enumerate(shown)]

    background = [
        {"picture": picture(0, thing, hand), "label": thing, "run": 0}
        for thing in range(30)
        for hand in range(4)
    ]
    supports, queries = ([r for n in range(runs) for r in drawn(n, hand)] for hand in (200, 201))
    return {"train": background, "corpus": supports, "test": queries}


def sees(request: Any) -> np.ndarray:
    """Knows the thing and nothing else."""
    return np.eye(32)[request.item[0, 0, 1]] + 1e-3


class Views(Planted):
    """Two views, of which the second sees."""

    def views(self, modality: str) -> tuple[str, ...]:
        assert modality == "image"
        return ("blind", "seeing")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    return lambda rows, model, **said: score(monkeypatch, "one_shot", rows, model, **said)


def test_who_sees_errs_never_and_who_does_not_errs_mostly(run: Any) -> None:
    found = run(rows(), Planted(embed=sees))
    assert found.value == 0
    assert found.details["accuracy"] == 1
    assert found.interval.low == 0
    assert found.interval.high > 0.2  # three runs say little
    blind = run(rows(8), Planted(embed=hashed))
    assert 0.5 < blind.value <= 1
    assert blind.details["runs"] == 8


def test_supports_of_other_runs_are_not_looked_at(run: Any) -> None:
    """Things of the other runs are nearer: the run of the query must not matter less than that."""

    def confused(request: Any) -> np.ndarray:
        run_number, thing, hand = request.item[0, 0]
        shift = 1 if hand == 201 else 0
        return np.eye(32)[thing] + 5 * np.eye(32)[20 + (run_number + shift) % 3]

    assert run(rows(), Planted(embed=confused)).value == 0


def test_the_view_is_chosen_on_background_pictures(run: Any) -> None:
    model = Views(embed=lambda r: sees(r) if r.view == "seeing" else hashed(r))
    found = run(rows(), model)
    assert found.details["view"] == "seeing"
    assert found.details["views"]["seeing"] == 0
    assert found.details["views"]["blind"] > 0.8
    assert found.value == 0
    shown = {r.item.tobytes() for r in model.asked if r.view == "blind"}
    assert not shown & {r["picture"].tobytes() for r in (*rows()["corpus"], *rows()["test"])}


def test_features_are_standardised_by_the_background(run: Any) -> None:
    """One coordinate is large, the same for all things and different from hand to hand."""

    def loud(request: Any) -> np.ndarray:
        hand = int(request.item[0, 0, 2])
        return np.concatenate([1e-3 * sees(request), [1e6 + hand]])

    assert run(rows(), Planted(embed=loud)).value < 0.2


def test_sparse_features_and_no_background(run: Any) -> None:
    model = Planted(embed=lambda r: sparse.csr_matrix(sees(r)))
    assert run({**rows(), "train": []}, model).value == 0
    assert run({**rows(), "train": []}, Views(embed=sees)).details["accuracy"] == 1


def test_a_run_without_supports_is_one_sentence(run: Any) -> None:
    made = rows()
    made["corpus"] = [r for r in made["corpus"] if r["run"] != 2]
    with pytest.raises(ValueError, match=r"run of a query must have supports\. Got 2 without"):
        run(made, Planted(embed=sees))


def test_nearest_by_hand_and_ties_go_to_the_first() -> None:
    supports = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    assert nearest(np.array([[3.0, 1.0], [0.1, 9.0], [1.0, 1.0]]), supports).tolist() == [0, 1, 0]


def test_episodes_are_of_different_things_by_two_pictures_each() -> None:
    labels = [thing for thing in range(30) for _ in range(3)] + ["alone"]
    drawn = list(episodes(labels))
    assert len(drawn) == 20
    for episode in drawn:
        assert len(episode.supports) == 20
        things = [labels[i] for i in episode.supports]
        assert things == [labels[i] for i in episode.queries]
        assert len(set(things)) == 20
        assert "alone" not in things
        assert not set(episode.supports) & set(episode.queries)
    assert drawn == list(episodes(labels))
    assert drawn[0] != drawn[1]


def test_models_that_read_only_text_are_told_so() -> None:
    model = Planted(embed=sees)
    model.embeds = frozenset({"text"})
    assert model.can(cards.find("image/omniglot_oneshot")) == "cannot embed image"

"""The speed case of probes: both sides start each fit from the one before, and solve the same."""

import pytest
from benchmark_modules import opened

probe = opened("speed/probe.py")


@pytest.fixture(scope="module")
def sides():
    features_ND, label_N = probe.problem(items=120, features=6, classes=3)
    return probe._ours(features_ND, label_N), probe._theirs(features_ND, label_N)


def test_the_peer_starts_from_the_solution_before(sides, monkeypatch):
    fit, started = probe.LogisticRegression.fit, []

    def watched(model, *given):
        started.append(model.warm_start and hasattr(model, "coef_"))
        return fit(model, *given)

    monkeypatch.setattr(probe.LogisticRegression, "fit", watched)
    sides[1]()
    assert started == [False] + [True] * (len(probe.DECADES) - 1)


def test_each_fit_of_a_path_keeps_its_own_weights(sides):
    ours, theirs = (side() for side in sides)
    found = [other() for other in theirs]
    assert [mine() for mine in ours] == pytest.approx(found, rel=1e-3)
    assert len(set(found)) == len(probe.DECADES)
    assert probe.objective_excess(ours, theirs) <= 1e-4

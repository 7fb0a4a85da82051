"""The clock of the speed suite: turns, ratios, and the refusal of different work."""

import json
import math
from itertools import count

import pytest
from benchmark_modules import opened

harness = opened("speed/harness.py")
Contest, DifferentWorkError, Side = harness.Contest, harness.DifferentWorkError, harness.Side


class World:
    """Two sides whose seconds are given, a clock that they move, and the order they ran in."""

    def __init__(self, ours, peer, outputs=(1.0, 1.0)):
        self.now = 0.0
        self.order = []
        self.sides = [
            Side(name, "float32", self._run(name, seconds, output))
            for name, seconds, output in zip(("ours", "peer"), (ours, peer), outputs, strict=True)
        ]

    def _run(self, name, seconds, output):
        number = count()

        def run():
            self.order.append(name)
            self.now += seconds[next(number)]
            return output

        return run

    def contest(self, tolerance=0.0):
        return Contest("work", *self.sides, lambda a, b: abs(a - b), tolerance, {"shape": 3})

    def measure(self, rounds, warm_up=1, tolerance=0.0):
        return harness.measure(self.contest(tolerance), rounds, warm_up, lambda: self.now)


def test_sides_take_turns():
    world = World([1.0] * 5, [1.0] * 5)
    world.measure(rounds=3, warm_up=2)
    assert world.order == ["ours", "peer"] * 5


def test_a_figure_is_the_median_of_the_ratios_and_their_ends():
    # The warm-up, 100 s and 50 s, counts for nothing but the two first calls.
    figure = World([100, 1, 2, 4], [50, 2, 6, 4]).measure(rounds=3)
    assert (figure.ratio, figure.low, figure.high) == (2.0, 1.0, 3.0)
    assert (figure.seconds_ours, figure.seconds_peer) == (2, 4)
    assert (figure.first_ours, figure.first_peer) == (100, 50)
    assert figure.rounds == 3


def test_the_median_is_of_ratios_and_not_the_ratio_of_medians():
    figure = World([0, 1, 10, 100], [0, 10, 1, 100]).measure(rounds=3)
    assert figure.ratio == 1.0
    assert World([0, 1, 4, 2], [0, 8, 4, 6]).measure(rounds=3).ratio == 3.0


@pytest.mark.parametrize("outputs", [(1.0, 1.5), (1.0, math.nan), (1.0, math.inf)])
def test_different_outputs_are_refused_before_anything_is_timed(outputs):
    world = World([1] * 9, [1] * 9, outputs)
    with pytest.raises(DifferentWorkError, match=r"work: .* at most 0.1. Got (0.5|nan|inf)"):
        world.measure(rounds=3, tolerance=0.1)
    assert world.order == ["ours", "peer"]


def test_rounding_is_not_refused():
    figure = World([1] * 9, [1] * 9, (1.0, 1.25)).measure(rounds=2, tolerance=0.5)
    assert figure.difference == 0.25


@pytest.mark.parametrize("arguments", [{"rounds": 0}, {"rounds": 1, "warm_up": 0}])
def test_no_round_and_no_check_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must be at least 1\. Got 0 instead"):
        World([1], [1]).measure(**arguments)


def test_a_line_of_the_file_says_what_was_measured_and_how(tmp_path):
    world = World([1] * 9, [2] * 9)
    figure = world.measure(rounds=2)
    for _ in range(2):
        path = tmp_path / "new" / "figures.jsonl"
        harness.append(path, "case", world.contest(), figure, {"threads": 1})
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == second
    assert (first["case"], first["work"], first["ratio"], first["threads"]) == (
        "case",
        "work",
        2,
        1,
    )
    assert first["peer"] == {"name": "peer", "precision": "float32"}
    assert first["facts"] == {"shape": 3}


def test_a_row_of_the_table_holds_the_ratio():
    world = World([1] * 9, [2] * 9)
    row = harness.row(world.contest(), world.measure(rounds=2))
    assert "2.00x" in row
    assert len(row) == len(harness.heading())

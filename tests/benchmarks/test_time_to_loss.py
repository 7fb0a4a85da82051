"""Ratios of times to a loss: a side that did not reach it has none."""

from benchmark_modules import opened

time_to_loss = opened("speed/time_to_loss.py")
BAR, _ratios = time_to_loss.BAR, time_to_loss._ratios


def test_a_seed_that_missed_the_loss_is_left_out_and_counted():
    seconds = {"recipe": [100.0, 120.0, 90.0], "ours": [20.0, 30.0, 1.0]}
    reached = {"recipe": [True, True, True], "ours": [True, True, False]}
    assert _ratios(seconds, reached, "ours") == (
        f"4.50x (4.00 - 5.00), 2 seeds, 1 left out, where one missed {BAR}"
    )
    assert _ratios(seconds, {**reached, "ours": [True] * 3}, "ours").endswith(", 3 seeds")
    assert "no seed" in _ratios(seconds, {**reached, "recipe": [False] * 3}, "ours")

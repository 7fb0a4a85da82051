import math

import pytest
import torch
from torch import nn

from tgp_multimodal.training.guard import SpikeGuard


def weights_with(*gradients):
    found = []
    for gradient in gradients:
        weight = nn.Parameter(torch.zeros(len(gradient)))
        weight.grad = torch.tensor(gradient)
        found.append(weight)
    return found


def test_a_sound_gradient_is_clipped_as_torch_clips():
    ours, theirs = weights_with([3.0, 0.0], [4.0]), weights_with([3.0, 0.0], [4.0])
    norm = SpikeGuard().clip(ours, 1.0)
    assert norm == nn.utils.clip_grad_norm_(theirs, 1.0) == 5
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    small = weights_with([0.3])
    SpikeGuard().clip(small, 1.0)
    assert small[0].grad.item() == pytest.approx(0.3)
    SpikeGuard().clip(unclipped := weights_with([30.0]), None)
    assert unclipped[0].grad.item() == 30


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_skipped_from_the_first_step_on(bad):
    guard, weights = SpikeGuard(), weights_with([1.0, bad], [2.0])
    guard.clip(weights, 1.0)
    assert all((w.grad == 0).all() for w in weights)
    assert guard.broken.in_a_row == guard.broken.in_all == 1
    guard.clip(weights_with([1.0]), 1.0)
    assert (guard.broken.in_a_row, guard.broken.in_all) == (0, 1)


def test_a_spike_is_skipped_once_the_usual_norm_is_known():
    guard = SpikeGuard(factor=10)
    early = weights_with([500.0])
    guard.clip(early, None)
    assert early[0].grad.item() == 500
    for _ in range(300):
        guard.clip(weights_with([1.0]), None)
    assert guard.states[""][0] == pytest.approx(0, abs=0.05)
    large, spike = weights_with([8.0]), weights_with([12.0])
    guard.clip(large, None)
    guard.clip(spike, None)
    assert large[0].grad.item() == 8
    assert spike[0].grad.item() == 0
    assert guard.states[""][0] == pytest.approx(0, abs=0.1)  # a spike does not become the usual
    lenient = SpikeGuard(factor=0)
    lenient.states = {"": guard.states[""].clone()}
    lenient.clip(passed := weights_with([1e6]), None)
    assert passed[0].grad.item() == 1e6


def test_steps_of_other_streams_have_a_usual_norm_of_their_own():
    """Every fourth step has a norm that would be a spike among the others."""
    guard = SpikeGuard(factor=10)
    for step in range(200):
        weights = weights_with([1.0 if step % 4 else 40.0])
        guard.clip(weights, None, "text" if step % 4 else "text+captions")
        assert weights[0].grad.item() > 0
    guard.clip(weights_with([40.0]), None, "text")
    assert guard.broken == ("text", 1, 40, 1)
    for norm in (50.0, 500.0):
        guard.clip(weights_with([norm * 10]), None, "text+captions")
        guard.clip(weights_with([1.0]), None, "text")
    assert guard.broken == ("text+captions", 2, 5000, 3)  # a sound step of text changes nothing


def test_states_of_a_checkpoint_are_taken_over_but_for_broken_steps_in_a_row():
    guard, saved = SpikeGuard(factor=10), SpikeGuard(factor=10)
    for norm in (*[1.0] * 30, 100.0, 100.0):
        saved.clip(weights_with([norm]), None, "text")
    guard.load(saved.states)
    assert saved.broken == ("text", 2, 100, 2)
    assert guard.broken == ("text", 0, 100, 2)
    guard.clip(spike := weights_with([100.0]), None, "text")
    assert spike[0].grad.item() == 0
    guard.load(torch.tensor([0.0, 30.0, 1.0, 7.0]))  # of an older version
    guard.clip(weights_with([100.0]), None, "text")
    assert guard.broken.in_all == 7


def test_steps_without_a_gradient_do_not_become_the_usual():
    guard = SpikeGuard(factor=10)
    for step in range(100):
        weights = weights_with([0.0 if step in (3, 9, 40, 41, 42) else 1.0])
        guard.clip(weights, None)
    assert guard.broken == ("", 0, 0, 0)
    assert weights[0].grad.item() == 1


def test_a_factor_that_would_skip_the_usual_is_refused():
    with pytest.raises(ValueError, match=r"spike_factor must be 0 or above 1. Got 0.5 instead"):
        SpikeGuard(0.5)

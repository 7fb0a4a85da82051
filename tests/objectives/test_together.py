import pytest
import torch

from tgp_multimodal.objectives.base import Loss, Objective
from tgp_multimodal.objectives.together import Together


class Times(Objective):
    """The batch times a number, and what it was told."""

    def __init__(self, factor):
        self.factor = factor

    def loss(self, network, batch, progress, seed):
        value = self.factor * batch
        return Loss(value, {"value": value.detach(), "seed": torch.tensor(seed)})

    def flops(self, network, batch):
        return self.factor


def test_the_losses_add_up_by_weight_and_the_parts_keep_their_names():
    both = Together({"draw": Times(2), "match": Times(3)}, {"match": 0.5})
    x = torch.tensor(4.0, requires_grad=True)
    loss = both.loss(None, x, 0.5, 7)
    loss.value.backward()
    assert (loss.value.item(), x.grad.item()) == (14, 3.5)
    assert {name: float(part) for name, part in loss.parts.items()} == {
        "draw/value": 8, "draw/seed": 7, "match/value": 12, "match/seed": 7,
    }  # fmt: skip
    assert both.flops(None, x) == 5


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"objectives must name at least one. Got none instead"):
        Together({})
    with pytest.raises(ValueError, match=r"weights must name objectives \(a\). Got \['b'\]"):
        Together({"a": Times(1)}, {"b": 1.0})

import pytest
import torch
import torch.nn.functional as F

from tgp_multimodal.objectives import cross_entropy
from tgp_multimodal.objectives.cross_entropy import weighted_nats


def whole(state, table, target, weight, squares):
    logits = state @ table.T
    partition = logits.logsumexp(dim=-1)
    nats = F.cross_entropy(logits, target, reduction="none")
    return (weight * nats + squares * partition.square()).sum(), nats


def inputs(positions=23, width=6, vocabulary=11):
    generator = torch.Generator().manual_seed(3)
    state = torch.randn(positions, width, generator=generator)
    table = torch.randn(vocabulary, width, generator=generator)
    target = torch.randint(vocabulary, (positions,), generator=generator)
    weight, squares = torch.rand(2, positions, generator=generator)
    return state.requires_grad_(), table.requires_grad_(), target, weight, squares


@pytest.mark.parametrize("cells", [1, 40, 11 * 23, 2**20])
def test_value_and_gradients_are_those_of_all_logits_at_once(cells, monkeypatch):
    monkeypatch.setattr(cross_entropy, "_CELLS_CPU", cells)
    state, table, *rest = inputs()
    found = []
    for function in (weighted_nats, whole):
        total, nats = function(state, table, *rest)
        gradients = torch.autograd.grad(3 * total, (state, table))
        found.append((total, nats, *gradients))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_form_for_a_compiler_gives_the_same(monkeypatch):
    monkeypatch.setattr(cross_entropy, "_compiled", lambda: cross_entropy._for_compiler)
    state, table, *rest = inputs()
    found = []
    for is_compiled in (False, True):
        total, nats = weighted_nats(state, table, *rest, is_compiled=is_compiled)
        found.append((total, nats, *torch.autograd.grad(total, (state, table))))
    for plain, _for_compiler in zip(*found, strict=True):
        torch.testing.assert_close(_for_compiler, plain, rtol=1e-5, atol=1e-6)


def test_a_frozen_table_and_no_gradient_at_all():
    state, table, *rest = inputs()
    total, nats = weighted_nats(state, table.detach(), *rest)
    total.backward()
    assert table.grad is None
    assert not nats.requires_grad
    with torch.no_grad():
        again, _ = weighted_nats(state, table, *rest)
    assert again.item() == total.item()
    assert not again.requires_grad


def test_without_gradient_none_is_computed(monkeypatch):
    learns, pieces = [], cross_entropy._in_place
    monkeypatch.setattr(
        cross_entropy, "_in_place", lambda *given: learns.append(given[-1]) or pieces(*given)
    )
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            weighted_nats(*inputs())
    assert learns == [True, False, False]


def test_no_position_is_a_loss_of_nothing():
    state, table, *rest = inputs(positions=0)
    total, nats = weighted_nats(state, table, *rest)
    total.backward()
    assert total.item() == 0
    assert nats.shape == (0,)
    assert (table.grad == 0).all()


def test_autocast_rounds_the_products_and_not_the_softmax():
    state, table, *rest = inputs(positions=400, width=64, vocabulary=300)
    exact, _ = weighted_nats(state, table, *rest)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, nats = weighted_nats(state, table, *rest)
    rounded.backward()
    assert nats.dtype == state.grad.dtype == table.grad.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-3)
    assert rounded.item() != exact.item()

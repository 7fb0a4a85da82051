import math

import pytest
import torch
from random_networks import with_tower
from torch import nn

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.training.module import TrainingModule
from tgp_multimodal.training.optim import (
    MuonAdamW,
    OptimizerSettings,
    orthogonal,
    parameter_groups,
    trapezoid,
)


def weights_and_gradients(shapes, steps):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(s, generator=generator) for s in shapes]
    gradients = [[torch.randn(s, generator=generator) for s in shapes] for _ in range(steps)]
    return start, gradients


def run(make, start, gradients):
    weights = [nn.Parameter(w.clone()) for w in start]
    optimizer = make(weights)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return weights


def test_the_matrix_rule_is_that_of_torch():
    start, gradients = weights_and_gradients([(24, 16), (16, 24), (16, 16), (24, 16)], 4)
    group = {"lr": 0.02, "rule": "muon"}
    ours = run(
        lambda w: MuonAdamW(
            [{"params": w, **group}], iterations=5, row_decay=0, dtype=torch.bfloat16
        ),
        start,
        gradients,
    )
    stock = run(lambda w: torch.optim.Muon(w, lr=0.02, weight_decay=0.0), start, gradients)
    for mine, theirs in zip(ours, stock, strict=True):
        assert torch.allclose(
            mine, theirs, atol=2e-3
        )  # batched products round otherwise in bfloat16


def test_rows_are_brought_to_one_size():
    """As the paper's algorithm, a matrix and a step at a time; NorMuon, arXiv:2510.05491."""
    start, gradients = weights_and_gradients([(24, 16), (16, 24), (24, 16)], 4)
    group = {"lr": 0.02, "rule": "muon"}
    found = run(lambda w: MuonAdamW([{"params": w, **group}], row_decay=0.9), start, gradients)
    for place, (weight, mine) in enumerate(zip(start, found, strict=True)):
        is_wide = weight.shape[0] < weight.shape[1]
        momentum, mean_R = torch.zeros_like(weight), torch.zeros(24)
        for step in gradients:
            momentum = 0.95 * momentum + 0.05 * step[place]
            update = orthogonal(
                (0.95 * momentum + 0.05 * step[place])[None], 4, torch.float32
            ).squeeze(0)
            rows_RC = update.T if is_wide else update
            mean_R = 0.9 * mean_R + 0.1 * rows_RC.pow(2).mean(1)
            even_RC = rows_RC / mean_R.sqrt()[:, None]
            even_RC *= rows_RC.norm() / even_RC.norm()
            rate = 0.02 * max(1, weight.shape[0] / weight.shape[1]) ** 0.5
            weight = weight - rate * (even_RC.T if is_wide else even_RC)
        torch.testing.assert_close(mine.data, weight)


def test_a_row_that_had_no_gradient_yet_is_no_obstacle():
    start, gradients = weights_and_gradients([(24, 16)], 3)
    for step in gradients[:2]:
        step[0][:] = 0
    gradients[2][0][5:] = 0
    (found,) = run(lambda w: MuonAdamW([{"params": w, "rule": "muon"}]), start, gradients)
    assert torch.equal(found[5:], start[0][5:])
    assert torch.isfinite(found).all()
    assert not torch.equal(found, start[0])


def test_the_other_rule_is_that_of_torch():
    start, gradients = weights_and_gradients([(24, 16), (7,)], 5)
    group = {"lr": 0.01, "rule": "adamw"}
    ours = run(lambda w: MuonAdamW([{"params": w, **group}], betas=(0.9, 0.95)), start, gradients)
    stock = run(
        lambda w: torch.optim.AdamW(w, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0),
        start,
        gradients,
    )
    for mine, theirs in zip(ours, stock, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_weight_that_is_learned_from_now_and_then_is_corrected_for_its_own_steps():
    start, gradients = weights_and_gradients([(7,), (5, 4), (7,)], 9)
    group = {"lr": 0.01, "rule": "adamw"}

    def rarely(make):
        weights = [nn.Parameter(w.clone()) for w in start]
        optimizer = make(weights)
        for number, step in enumerate(gradients):
            for index, (weight, gradient) in enumerate(zip(weights, step, strict=True)):
                is_due = index != 1 or number % 4 == 0
                weight.grad = gradient.clone() if is_due else None
            optimizer.step()
        return weights

    ours = rarely(lambda w: MuonAdamW([{"params": w, **group}], betas=(0.9, 0.95)))
    stock = rarely(lambda w: torch.optim.AdamW(w, 0.01, (0.9, 0.95), weight_decay=0.0))
    for mine, theirs in zip(ours, stock, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 32, 16), (2, 16, 48), (1, 8, 8)])
def test_orthogonal_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrices, 5, torch.float32))
    assert values.min() > 0.3
    assert values.max() < 1.3


@pytest.mark.parametrize(("iterations", "smallest"), [(3, 0.01), (4, 0.003), (5, 0.003)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_of_every_size_land_near_one(iterations, smallest, dtype):
    flat, one_alone = torch.ones(25), torch.full((25,), 1.1 * smallest)
    one_alone[0] = 1.0
    sloping = torch.logspace(math.log10(2 * smallest), 0, 25)
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(3, 25, 25, generator=generator))[0]
    matrices = turn * torch.stack([flat, one_alone, sloping])[:, None]
    found = torch.linalg.svdvals(orthogonal(matrices, iterations, dtype))
    assert found.min() > 0.6
    assert found.max() < 1.35


@pytest.mark.parametrize("rank", [2, 24])
@pytest.mark.parametrize("shape", [(3, 24, 96), (2, 120, 24), (1, 24, 24), (2, 1, 9)])
def test_iterations_on_small_products_equal_those_on_the_matrices(shape, rank):
    generator = torch.Generator().manual_seed(2)
    left = torch.randn(shape[0], shape[1], rank, generator=generator)
    matrices = left @ torch.randn(shape[0], rank, shape[2], generator=generator)
    for iterations in (1, 3, 4, 5):
        ours = orthogonal(matrices, iterations, torch.float32)
        plain = orthogonal(matrices, iterations, torch.float64)  # goes the plain way
        assert torch.allclose(ours, plain, atol=1e-4), (shape, rank, iterations)


def test_weight_decay_acts_only_along_the_update():
    weights = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    weights.grad = torch.tensor([[1.0, -1.0]])
    optimizer = MuonAdamW([{"params": [weights], "lr": 0.1, "rule": "adamw"}], weight_decay=0.5)
    optimizer.step()
    assert weights[0].tolist() == pytest.approx([1 - 0.05 - 0.1, 1 + 0.1], abs=1e-5)


def test_gains_and_biases_do_not_decay():
    gain = nn.Parameter(torch.tensor([1.0, 1.0]))
    gain.grad = torch.tensor([1.0, -1.0])
    MuonAdamW([{"params": [gain], "lr": 0.1, "rule": "adamw"}], weight_decay=0.5).step()
    assert gain.tolist() == pytest.approx([0.9, 1.1], abs=1e-5)


def test_every_weight_is_in_one_group_and_matrices_of_blocks_are_muons():
    network = Multimodal(
        TextTransformer(40, 32, 2, 48, 2, 1), DiffusionHead(32, 32, 2, 2, patch=4, size=8)
    )
    groups = {g["name"]: g for g in parameter_groups(network, 0.02, 0.003, 0.01)}
    grouped = [id(p) for g in groups.values() for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())
    muon = {id(p) for p in groups["muon"]["params"]}
    names = {n for n, p in network.named_parameters() if id(p) in muon}
    assert "text.layers.0.self_attn.q_proj.weight" in names
    assert "head.blocks.1.attention.img_qkv_proj.weight" in names
    assert not any("modulation" in n or "norm" in n or "embed" in n for n in names)
    assert [p.shape for p in groups["embedding"]["params"]] == [(40, 32)]


def test_the_text_transformer_may_have_rates_of_its_own():
    network = Multimodal(
        TextTransformer(40, 32, 2, 48, 2, 1), DiffusionHead(32, 32, 2, 2, patch=4, size=8)
    )
    plain = parameter_groups(network, 0.02, 0.003, 0.01)
    found = parameter_groups(network, 0.02, 0.003, 0.01, text_rate=0.1)
    rate = {id(p): g["lr"] for g in plain for p in g["params"]}
    own = {id(p): g["lr"] for g in found for p in g["params"]}
    text = {id(p) for p in network.text.parameters()}
    assert own == pytest.approx({i: r * (0.1 if i in text else 1) for i, r in rate.items()})
    assert sum(len(g["params"]) for g in found) == len(rate)
    assert {g["name"] for g in found} - {g["name"] for g in plain} == {
        "text_muon", "text_embedding", "text_rest",
    }  # fmt: skip


def test_the_tower_s_matrices_are_muons_and_its_scalars_do_not_decay():
    network = with_tower()
    groups = {g["name"]: g for g in parameter_groups(network, 0.02, 0.003, 0.01)}
    place = {id(p): name for name, g in groups.items() for p in g["params"]}
    found = {n.removeprefix("tower."): place[id(p)] for n, p in network.named_parameters()}
    assert len(found) == sum(len(g["params"]) for g in groups.values())
    block = "visual.transformer.resblocks.1."
    assert found[block + "attn.in_proj_weight"] == "muon_stacked"
    for name in ("attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"):
        assert found[block + name] == "muon"
    for name in ("conv1.weight", "class_embedding", "positional_embedding", "proj"):
        assert found["visual." + name] == "rest"
    assert found[block + "attn.in_proj_bias"] == "rest"
    optimizer = MuonAdamW(groups.values(), weight_decay=0.1)
    scalars = [g for g in optimizer.param_groups if g["weight_decay"] == 0]
    assert [p for g in scalars for p in g["params"]] == [
        network.tower.logit_scale, network.tower.logit_bias,
    ]  # fmt: skip


def test_stacked_matrices_move_as_they_would_apart():
    start, gradients = weights_and_gradients([(24, 8), (24, 8)], 3)
    group = {"lr": 0.02, "rule": "muon"}
    stacked = run(lambda w: MuonAdamW([{"params": w, "pieces": 3, **group}]), start, gradients)
    apart = run(
        lambda w: MuonAdamW([{"params": w, **group}]),
        [piece for w in start for piece in w.chunk(3)],
        [[piece for g in step for piece in g.chunk(3)] for step in gradients],
    )
    torch.testing.assert_close(torch.cat(stacked), torch.cat(apart))


def test_the_state_survives_a_round_trip():
    start, gradients = weights_and_gradients([(16, 8), (4,)], 6)

    def groups(w):
        return [
            {"params": w[:1], "lr": 0.02, "rule": "muon"},
            {"params": w[1:], "lr": 0.01, "rule": "adamw"},
        ]

    whole = run(lambda w: MuonAdamW(groups(w)), start, gradients)
    weights = [nn.Parameter(w.clone()) for w in start]
    optimizer = MuonAdamW(groups(weights))
    for index, step in enumerate(gradients):
        if index == 3:
            state = optimizer.state_dict()
            optimizer = MuonAdamW(groups(weights))
            optimizer.load_state_dict(state)
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, weights, strict=True))


def test_rates_and_rules_are_those_of_the_run_and_not_of_the_checkpoint():
    start, gradients = weights_and_gradients([(16, 8), (4,)], 2)
    weights = [nn.Parameter(w.clone()) for w in start]

    def optimizer(rate, decay, rule):
        first = {"params": weights[:1], "lr": rate, "peak_lr": rate, "rule": rule}
        last = {"params": weights[1:], "lr": 0.5, "peak_lr": 0.5, "weight_decay": 0.0}
        return MuonAdamW([first, last], weight_decay=decay)

    def steps(made):
        for step in gradients:
            for weight, gradient in zip(weights, step, strict=True):
                weight.grad = gradient.clone()
            made.step()
        return made.state_dict()

    other = optimizer(0.01, 0.2, "adamw")
    other.load_state_dict(steps(optimizer(0.02, 0.1, "muon")))
    found = [(g["peak_lr"], g["weight_decay"], g["rule"]) for g in other.param_groups]
    assert found == [(0.01, 0.2, "adamw"), (0.5, 0.0, "adamw")]
    ages = [other.state[w].get("step", 0) for w in weights]
    steps(other)  # AdamW begins where Muon was, and goes on where it was itself
    assert ages == [0, 2]
    assert [other.state[w]["step"] for w in weights] == [2, 4]


def test_the_schedule_is_a_trapezoid():
    assert trapezoid(0.0, 0.1, 0.5) == 0
    assert trapezoid(0.05, 0.1, 0.5) == pytest.approx(0.5)
    assert trapezoid(0.3, 0.1, 0.5) == 1
    assert trapezoid(0.75, 0.1, 0.5) == pytest.approx(0.5)
    assert trapezoid(1.0, 0.1, 0.5) == 0
    assert trapezoid(0.0, 0.0, 0.0) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 40}, r"decay must be a share between 0 and 1\. Got 40 instead"),
        ({"warmup": -0.1}, r"warmup must be a share between 0 and 1\. Got -0\.1 instead"),
        ({"muon_lr": -0.02}, r"muon_lr must be at least 0\. Got -0\.02 instead"),
        ({"text_rate": math.nan}, r"text_rate must be at least 0\. Got nan instead"),
        ({"iterations": 0}, r"iterations must be at least 1\. Got 0 instead"),
        ({"row_decay": 1.0}, r"row_decay must be at least 0 and below 1\. Got 1\.0 instead"),
        ({"spikes": 0}, r"spikes must be at least 1\. Got 0 instead"),
        ({"momentum": (0.85, 1.0)}, r"momentum must be at least 0 and below 1\. Got \(0\.85, 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**settings)


def test_a_module_without_objectives_or_with_a_wrong_average_is_refused():
    network = with_tower()
    with pytest.raises(ValueError, match=r"objectives must name at least one\. Got none"):
        TrainingModule(network, {})
    with pytest.raises(ValueError, match=r"ema must be between 0 and 1\. Got 1\.5 instead"):
        TrainingModule(network, {"pictures": FlowMatching()}, ema=1.5)

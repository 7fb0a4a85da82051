import math

import numpy as np
import pytest
import torch

from tgp_multimodal.data.records import TextRows
from tgp_multimodal.models.networks import LanguageModel
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives import language
from tgp_multimodal.objectives.language import HybridLanguage

BOS, EOS, MASK, PREFIX = 0, 1, 3, 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = LanguageModel(TextTransformer(40, 32, 2, 48, 2, 1, context=64))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def rows(batch=8, length=33, seed=0, infill=None):
    generator = np.random.default_rng(seed)
    token_BL = generator.integers(10, 40, (batch, length))
    token_BL[:, 0] = BOS
    token_BL[:, 12], token_BL[:, 13] = EOS, BOS
    position = np.concatenate((np.arange(13), np.arange(length - 13)))
    return TextRows(
        torch.from_numpy(token_BL),
        torch.from_numpy(np.tile(position, (batch, 1))),
        torch.from_numpy(np.zeros(batch, bool) if infill is None else infill),
        torch.arange(batch),
    )


def test_shares_of_masked_rows_follow_the_schedule_and_not_the_batching():
    objective = HybridLanguage(masked_rows=(0.25, 0.5))
    batch = rows(batch=2000, length=16)
    early = objective.draw_rows(batch, 0.0, 7).is_causal_B
    late = objective.draw_rows(batch, 1.0, 7).is_causal_B
    assert abs(1 - early.float().mean() - 0.25) < 0.03
    assert abs(1 - late.float().mean() - 0.5) < 0.03
    assert not (late & ~early).any()  # a row that is masked early is masked late
    half = TextRows(*(x[1000:] for x in batch))
    assert (objective.draw_rows(half, 0.0, 7).is_causal_B == early[1000:]).all()


def test_a_hidden_token_is_scored_one_position_before_it_and_is_not_in_the_input():
    objective = HybridLanguage(masked_rows=(1.0, 1.0), mask_rate=(0.3, 0.3))
    batch = rows(batch=400)
    drawn = objective.draw_rows(batch, 0.0, 1)
    target_BL = batch.token_BL[:, 1:]
    changed_BL = drawn.input_BL != batch.token_BL[:, :-1]
    assert not drawn.is_causal_B.any()
    # What was changed at k + 1 is scored at k; what is scored may by design be kept one time in
    # ten.
    assert drawn.scored_BL[:, :-1][changed_BL[:, 1:]].all()
    assert not drawn.scored_BL[:, -1].any()
    masked = (drawn.input_BL[:, 1:] == MASK)[drawn.scored_BL[:, :-1]].float().mean()
    assert abs(masked - 0.8) < 0.03
    assert (target_BL[drawn.scored_BL] >= 10).all()  # specials are never hidden
    rate = drawn.scored_BL.float().mean() / (target_BL[:, :-1] >= 10).float().mean()
    assert 0.2 < rate < 0.36


def test_hidden_tokens_come_in_spans():
    objective = HybridLanguage(masked_rows=(1.0, 1.0), mask_rate=(0.15, 0.15), longest_span=3)
    scored = objective.draw_rows(rows(batch=400), 0.0, 1).scored_BL.numpy()
    neighbours = (scored[:, 1:] & scored[:, :-1]).sum() / scored.sum()
    assert neighbours > 0.35  # 0.14 if each were drawn alone


@pytest.mark.parametrize("longest", [1, 3, 10])
@pytest.mark.parametrize("rate", [0.0, 0.15, 0.5, 0.9, 1.0])
def test_the_share_that_is_hidden_is_the_one_that_is_said(longest, rate):
    plain_L = np.ones(100_000, dtype=bool)
    hidden_L = language._spans(plain_L, rate, longest, np.random.default_rng(0))
    assert hidden_L[1:].mean() == pytest.approx(rate, abs=0.01 if 0 < rate < 1 else 0)


def test_infilling_rows_are_always_causal():
    infill = np.arange(8) % 2 == 0
    drawn = HybridLanguage(masked_rows=(1.0, 1.0)).draw_rows(rows(infill=infill), 0.0, 0)
    assert drawn.is_causal_B.tolist() == infill.tolist()


def test_the_start_of_another_document_is_not_scored():
    drawn = HybridLanguage(masked_rows=(0.0, 0.0)).draw_rows(rows(), 0.0, 0)
    assert not drawn.scored_BL[:, 12].any()  # input EOS, target BOS
    assert drawn.scored_BL[:, 11].all()  # target EOS
    assert drawn.scored_BL.sum() == 8 * 31


def test_whether_a_piece_is_infilled_is_not_scored():
    batch = rows()
    batch.token_BL[:, 1] = PREFIX
    drawn = HybridLanguage(masked_rows=(0.0, 0.0)).draw_rows(batch, 0.0, 0)
    assert not drawn.scored_BL[:, 0].any()
    assert drawn.scored_BL.sum() == 8 * 30


def test_the_loss_is_the_mean_negative_log_likelihood(network):
    batch = rows()
    loss = HybridLanguage(masked_rows=(0.0, 0.0), z_loss=0.0).loss(network, batch, 0.0, 0)
    drawn = HybridLanguage(masked_rows=(0.0, 0.0)).draw_rows(batch, 0.0, 0)
    states = network.text(batch.token_BL[:, :-1], batch.position_BL[:, :-1])
    logits = network.text.logits(states)[drawn.scored_BL].log_softmax(-1)
    target = batch.token_BL[:, 1:][drawn.scored_BL]
    expected = -logits.gather(-1, target[:, None]).mean()
    assert torch.allclose(loss.value, expected, atol=1e-5)
    assert loss.parts["causal_nats_per_token"] == loss.value.detach()


def test_what_was_drawn_before_gives_the_loss_of_the_batch(network):
    batch, objective = rows(), HybridLanguage(masked_rows=(0.5, 0.5))
    drawn = objective.prepare_batch(batch, 0.3, 5)
    assert 0 < drawn.causal_share < 1
    one, other = (objective.loss(network, b, 0.3, 5) for b in (batch, drawn))
    assert one.value.item() == other.value.item()
    assert one.parts == other.parts
    assert objective.flops(network, drawn) == objective.flops(network, batch)


@pytest.mark.parametrize("infill", [None, "some"])
def test_held_out_numbers_do_not_depend_on_the_share_of_masked_rows(network, infill):
    batch = rows()
    if infill:
        batch = batch._replace(infill_B=batch.row_B % 3 == 0)
    few, many, none = (
        HybridLanguage(masked_rows=(0.0, share)).held_out(network, batch, 7)
        for share in (0.06, 0.5, 0.0)
    )
    assert set(few) == {"value", "causal_nats_per_token", "masked_nats_per_token"}
    assert set(none) == {"value", "causal_nats_per_token"}
    for name in ("causal_nats_per_token", "masked_nats_per_token"):
        assert few[name] == many[name]
    assert none["causal_nats_per_token"] == few["causal_nats_per_token"]
    assert few["masked_nats_per_token"] != few["causal_nats_per_token"]


def test_the_held_out_value_is_the_loss_with_that_share_in_the_mean(network):
    batch = rows()
    found = HybridLanguage(masked_rows=(0.0, 0.25), z_loss=0.0).held_out(network, batch, 0)
    causal, masked = found["causal_nats_per_token"], found["masked_nats_per_token"]
    assert abs(causal - masked) > 0.01
    assert found["value"].item() == pytest.approx(float(0.75 * causal + 0.25 * masked), abs=1e-5)


def test_fresh_zero_initialised_networks_start_near_the_uniform_loss():
    network = LanguageModel(TextTransformer(40, 32, 2, 48, 2, 1))
    value = HybridLanguage(z_loss=0.0).loss(network, rows(), 0.0, 0).value
    assert abs(value.item() - math.log(40)) < 0.2


def test_every_weight_gets_a_gradient_from_both_kinds_of_rows(network):
    for share in (0.0, 1.0):
        network.zero_grad()
        HybridLanguage(masked_rows=(share, share)).loss(network, rows(), 0.0, 0).value.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_order_of_rows_does_not_matter(network):
    batch, objective = rows(), HybridLanguage(masked_rows=(0.5, 0.5))
    flipped = TextRows(*(x.flip(0) for x in batch))
    one, other = (objective.loss(network, b, 0.3, 5).value for b in (batch, flipped))
    assert torch.allclose(one, other, atol=1e-5)


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match="masked_rows must be two shares between 0 and 1"):
        HybridLanguage(masked_rows=(0.2, 1.5))

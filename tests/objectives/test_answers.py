"""Answers alone are learned from; packing changes nothing."""

import math

import numpy as np
import pytest
import torch
from random_networks import language_model
from torch.nn.functional import cross_entropy

from tgp_multimodal.data.records import ChatRows
from tgp_multimodal.objectives.answers import AnswerLanguage


def row(parts, length=24):
    """One packed row of (ids, answer from there on)."""
    token_L, position_L = np.full(length, 2), np.zeros(length, np.int64)
    is_answer_L = np.zeros(length, bool)
    start = 0
    for ids, begin in parts:
        end = start + len(ids)
        token_L[start:end], position_L[start:end] = ids, np.arange(len(ids))
        is_answer_L[start + begin : end] = True
        start = end
    return token_L, position_L, is_answer_L


def batch(*rows):
    token_BL, position_BL, is_answer_BL = (np.stack(part) for part in zip(*rows, strict=True))
    bytes_BL = np.where(token_BL < 10, 0, token_BL % 5 + 1)
    return ChatRows(*map(torch.from_numpy, (token_BL, position_BL, is_answer_BL, bytes_BL)))


@pytest.fixture(scope="module")
def network():
    return language_model(40)


@pytest.fixture
def talks():
    generator = np.random.default_rng(0)
    return [([0, 8, *generator.integers(10, 40, n), 1], 4) for n in (6, 9, 4)]


def expected(network, talks):
    """Nats of each answer token, one conversation at a time, and the bytes of all answers."""
    nats, size = [], 0
    for ids, begin in talks:
        token_BL = torch.tensor([ids])
        logits = network.text.logits(network.text(token_BL))[0]
        nats += cross_entropy(logits[begin - 1 : -1], token_BL[0, begin:], reduction="none")
        size += sum(i % 5 + 1 for i in ids[begin:] if i >= 10)
    return torch.stack(nats), size


@torch.no_grad()
def test_the_loss_is_that_of_the_answers_one_by_one(network, talks):
    nats_N, size = expected(network, talks)
    packed = batch(row(talks[:2]), row(talks[2:]))
    loss = AnswerLanguage(z_loss=0.0).loss(network, packed, 0.0, 0)
    assert loss.value.item() == pytest.approx(nats_N.mean().item(), rel=1e-5)
    assert loss.parts["answer_nats_per_token"].item() == pytest.approx(loss.value.item())
    bits = nats_N.sum().item() / size / math.log(2)
    assert loss.parts["answer_bits_per_byte"].item() == pytest.approx(bits, rel=1e-5)


def test_no_gradient_comes_from_a_question_or_from_padding(network, talks):
    objective, packed = AnswerLanguage(), batch(row(talks[:1]))
    drawn = objective.prepare_batch(packed, 0.0, 0)
    begin, end = talks[0][1], len(talks[0][0])
    assert drawn.scored_N.tolist() == list(range(begin - 1, end - 1))
    assert drawn.weight_N.sum().item() == pytest.approx(1)
    changed = packed.token_BL.clone()
    changed[0, end:] = 11  # padding
    other = objective.loss(network, packed._replace(token_BL=changed), 0.0, 0)
    assert torch.equal(other.value, objective.loss(network, packed, 0.0, 0).value)


def test_drawn_or_not_is_the_same_and_learning_lowers_it(talks):
    network = language_model(40).requires_grad_(True)
    objective, packed = AnswerLanguage(), batch(row(talks, length=40))
    first = objective.loss(network, packed, 0.0, 0).value
    assert torch.equal(
        first, objective.loss(network, objective.prepare_batch(packed, 0, 0), 0, 0).value
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        objective.loss(network, packed, 0.0, 0).value.backward()
        optimizer.step()
    assert objective.loss(network, packed, 0.0, 0).value < 0.9 * first
    assert objective.flops(network, packed) > 0


def test_a_batch_without_an_answer_is_no_number_but_zero(network):
    packed = batch(row([([0, 8, 12, 13], 4)]))
    loss = AnswerLanguage().loss(network, packed, 0.0, 0)
    assert loss.value == 0
    assert loss.parts["answer_bits_per_byte"] == 0

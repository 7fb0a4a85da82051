import math
from types import SimpleNamespace

import pytest
import torch

from tgp_multimodal.data.batches import padded
from tgp_multimodal.data.records import PassageRows
from tgp_multimodal.inference import text as inference
from tgp_multimodal.models.networks import LanguageModel
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.passage_contrast import PassageContrast, mean_states


def batch(pairs=4, length=8):
    generator = torch.Generator().manual_seed(1)
    sides = []
    for width in (length - 2, length):  # of the two sides
        token_BL = torch.randint(10, 40, (pairs, width), generator=generator)
        ends_B1 = torch.randint(3, width, (pairs, 1), generator=generator)
        sides += [token_BL, torch.arange(width) < ends_B1]
    return PassageRows(*sides)


def rows(pairs):
    """Ids of each passage without padding, first ones before second ones."""
    sides = (pairs[:2], pairs[2:])
    return [ids[mask].tolist() for side in sides for ids, mask in zip(*side, strict=True)]


def network():
    torch.manual_seed(0)
    model = LanguageModel(TextTransformer(40, 32, 2, 48, 2, 1))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def seen_as(vectors):
    """A network whose state of each passage is given, those of first ones before second ones."""
    halves = iter(torch.tensor(vectors).chunk(2))

    def text(token_BL, is_causal, mask_BL):
        return next(halves)[:, None].expand(-1, token_BL.shape[1], -1)

    return SimpleNamespace(text=text)


def test_pairs_that_agree_cost_nothing_and_swapped_ones_a_lot():
    eye = torch.eye(4).tolist()
    agreed = PassageContrast(0.05).loss(seen_as(eye + eye), batch(), 0.0, 0)
    assert agreed.value < 1e-6
    assert agreed.parts["found"] == 1
    swapped = PassageContrast(0.05).loss(seen_as(eye + eye[::-1]), batch(), 0.0, 0)
    assert swapped.value == pytest.approx(20, rel=1e-3)  # a cosine of 1 over 0.05
    alike = PassageContrast(0.05).loss(seen_as([eye[0]] * 8), batch(), 0.0, 0)
    assert alike.value == pytest.approx(math.log(4))


@pytest.mark.parametrize(("row", "same_as"), [(5, 4), (1, 0), (5, 0), (1, 4)])
def test_pairs_with_a_text_in_common_are_not_contrasted(row, same_as):
    """Rows 0 to 3 are first texts, 4 to 7 their partners; pairs 0 and 1 come to share a text."""
    pairs, states = batch(), torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    ids = rows(pairs)
    ids[row], states[row] = ids[same_as], states[same_as]
    sides = ids[:4], ids[4:]
    shared = PassageRows(*(torch.tensor(x) for side in sides for x in padded(side, 2)))
    found = PassageContrast(0.5).loss(seen_as(states.tolist()), shared, 0.0, 0)
    unit = torch.nn.functional.normalize(states, dim=1)
    score = unit[:4] @ unit[4:].T / 0.5
    score[0, 1] = score[1, 0] = -torch.inf
    there, back = (x.log_softmax(1).diagonal().mean() for x in (score, score.T))
    assert found.value == pytest.approx(float(-(there + back) / 2), rel=1e-5)


def test_near_cosines_are_told_apart_in_bfloat16_too():
    """Steps of bfloat16 between 0.5 and 1 are 0.004, which the temperature makes 0.08."""
    angles = torch.linspace(0, 0.03, 8)
    vectors = torch.stack((angles.cos(), angles.sin()), dim=1).tolist()
    exact = PassageContrast(0.05).loss(seen_as(vectors), batch(), 0.0, 0).value
    with torch.autocast("cpu", torch.bfloat16):
        found = PassageContrast(0.05).loss(seen_as(vectors), batch(), 0.0, 0).value
    assert found == pytest.approx(float(exact), abs=1e-6)


def test_padding_and_the_size_of_a_vector_do_not_count():
    pairs, model = batch(), network()
    first = PassageContrast().loss(model, pairs, 0.0, 0).value
    other = [
        x
        for ids, mask in (pairs[:2], pairs[2:])
        for x in (torch.where(mask, ids, 39 - ids % 10), mask)
    ]
    again = PassageContrast().loss(model, PassageRows(*other), 0.0, 0).value
    assert torch.allclose(first, again, atol=1e-5)


def test_every_weight_of_the_text_transformer_gets_a_gradient():
    model = network()
    PassageContrast().loss(model, batch(), 0.0, 0).value.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@torch.no_grad()
def test_the_vector_is_that_of_inference():
    model, pairs = network().eval(), batch()
    ids = rows(pairs)
    tokenizer = SimpleNamespace(pad=2, encode_batch=lambda texts, bos: [ids[int(t)] for t in texts])
    there = inference.embed(model.text, tokenizer, [str(i) for i in range(len(ids))])
    here = torch.cat([mean_states(model, *pairs[:2]), mean_states(model, *pairs[2:])])
    assert torch.allclose(here, torch.from_numpy(there), atol=1e-5)


@torch.no_grad()
def test_causal_vectors_are_means_of_the_states_that_the_head_reads():
    model, pairs = network().eval(), batch()
    here = mean_states(model, *pairs[:2], is_causal=True)
    for row, ids in enumerate(rows(pairs)[:4]):
        found = model.text(torch.tensor([ids]))[0].mean(dim=0)
        assert torch.allclose(here[row], found, atol=1e-5)
    looked_around = PassageContrast().loss(model, pairs, 0.0, 0).value
    looked_back = PassageContrast(is_causal=True).loss(model, pairs, 0.0, 0).value
    assert abs(looked_around - looked_back) > 1e-3


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be above 0. Got 0 instead"):
        PassageContrast(0)

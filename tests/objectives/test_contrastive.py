"""Contrast of pictures and captions, against open_clip's own losses and against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from random_networks import dual_encoder, language_model, with_tower
from taking_turns import of_two

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.objectives.contrastive import (
    ImageTextContrast,
    sigmoid_nats,
    softmax_nats,
)
from tgp_multimodal.objectives.equal_rows import equal_rows, whole_ids

FORMS = pytest.mark.parametrize("form", ["sigmoid", "softmax"])


def batch(captions, length=9):
    """Random pictures; equal names have equal captions."""
    pixels, token, mask = [], [], []
    for index, name in enumerate(captions):
        drawn = torch.Generator().manual_seed(index)
        pixels.append(torch.randint(0, 256, (3, 16, 16), generator=drawn, dtype=torch.uint8))
        drawn = torch.Generator().manual_seed(100 + ord(name))
        token.append(torch.randint(10, 300, (length,), generator=drawn))
        mask.append(torch.arange(length) < 3 + ord(name) % 5)
    return CaptionedImages(torch.stack(pixels), torch.stack(token), torch.stack(mask))


def vectors(pairs=6, width=8):
    generator = torch.Generator().manual_seed(0)
    sides = (torch.randn(pairs, width, generator=generator) for _ in range(2))
    return [F.normalize(side, dim=-1) for side in sides]


def test_the_losses_are_open_clips():
    picture, text = vectors()
    scale, bias = torch.tensor(7.0), torch.tensor(-3.0)
    logits, nothing = scale * picture @ text.T + bias, torch.zeros(6, 6, dtype=torch.bool)
    stock = SigLipLoss()(picture, text, scale, bias)
    torch.testing.assert_close(sigmoid_nats(logits, nothing), stock)
    torch.testing.assert_close(softmax_nats(logits, nothing), ClipLoss()(picture, text, scale))


@FORMS
@torch.no_grad()
def test_an_equal_caption_counts_neither_for_nor_against(form):
    names = "abcab"
    network, data = dual_encoder(), batch(names)
    found = ImageTextContrast(form).loss(network, data, 0.0, 0).value
    text = [_mean(network, data, row) for row in range(5)]
    picture = network.tower(data.pixels_BCYX / 127.5 - 1)
    cosine = torch.tensor(
        [[F.cosine_similarity(p, t, dim=0).item() for t in text] for p in picture],
        dtype=torch.float64,
    )
    logit = (math.exp(network.tower.logit_scale) * cosine + float(network.tower.logit_bias)).numpy()
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if names[j] != names[i]]
        if form == "sigmoid":
            total += math.log1p(math.exp(-logit[i, i]))
            total += sum(math.log1p(math.exp(logit[i, j])) for j in others)
        else:
            for line in (logit[i], logit[:, i]):
                total += math.log(sum(math.exp(line[j] - line[i]) for j in [i, *others])) / 2
    assert float(found) == pytest.approx(total / 5, rel=1e-4)


def _mean(network, data, row):
    ids = data.token_BL[row, data.mask_BL[row]]
    return network.text(ids[None], is_causal=False)[0].mean(dim=0)


def test_pairs_that_agree_cost_nothing_and_swapped_ones_a_lot():
    eye = torch.eye(4)
    found = {}
    for name, order in (("agreed", [0, 1, 2, 3]), ("swapped", [1, 0, 3, 2])):
        network = SimpleNamespace(
            text=lambda token, is_causal, mask_BL: eye[:, None].expand(-1, 9, -1),
            tower=_seen_as(eye[order]),
        )
        found[name] = ImageTextContrast("softmax").loss(network, batch("abcd"), 0.0, 0)
    assert found["agreed"].value < 1e-6
    assert found["swapped"].value == pytest.approx(20, rel=1e-3)
    assert (found["agreed"].parts["found"], found["swapped"].parts["found"]) == (1, 0)


def _seen_as(vector_BD):
    class Tower(SimpleNamespace):
        def __call__(self, pixels):
            return vector_BD

    return Tower(logits=lambda picture, text: 20 * picture @ text.T, scale=lambda: torch.ones(()))


@FORMS
def test_padding_does_not_count(form):
    network, data = dual_encoder(), batch("abca")
    other = data._replace(token_BL=data.token_BL.where(data.mask_BL, 7))
    longer = CaptionedImages(
        data.pixels_BCYX, F.pad(data.token_BL, (0, 4)), F.pad(data.mask_BL, (0, 4))
    )
    value = ImageTextContrast(form).loss(network, data, 0.0, 0).value
    for same in (other, longer):
        again = ImageTextContrast(form).loss(network, same, 0.0, 0).value
        torch.testing.assert_close(again, value, atol=1e-5, rtol=0)


def test_every_weight_gets_a_gradient_and_the_text_only_where_asked():
    for train_text in (True, False):
        network = dual_encoder().requires_grad_(True)
        ImageTextContrast(train_text=train_text).loss(
            network, batch("abca"), 0.0, 0
        ).value.backward()
        assert all(
            p.grad is not None and p.grad.abs().sum() > 0 for p in network.tower.parameters()
        )
        assert all((p.grad is not None) == train_text for p in network.text.parameters())


@FORMS
def test_two_processes_find_the_loss_and_the_gradient_of_one(form, monkeypatch):
    data, objective = batch("abcabd"), ImageTextContrast(form)
    network = dual_encoder().requires_grad_(True)
    alone = objective.loss(network, data, 0.0, 0)
    alone.value.backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    halves = [CaptionedImages(*(x[rank::2] for x in data)) for rank in (0, 1)]
    halves[1] = CaptionedImages(*(x[..., :8] if x.ndim == 2 else x for x in halves[1]))  # shorter
    values, gradients = of_two(objective, network, halves, monkeypatch)
    torch.testing.assert_close(values, [alone.value.detach()] * 2)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_equal_captions_are_told_by_their_tokens():
    data = batch("abcab")
    expected = torch.eye(5, dtype=torch.bool)
    for i, j in ((0, 3), (3, 0), (1, 4), (4, 1)):
        expected[i, j] = True
    ids_PL = whole_ids(data.token_BL, data.mask_BL)
    assert torch.equal(equal_rows(ids_PL, ids_PL), expected)
    shorter = data.mask_BL.clone()
    shorter[3] = torch.arange(9) < data.mask_BL[3].sum() - 1  # the beginning of the same caption
    ids_PL = whole_ids(data.token_BL, shorter)
    assert not equal_rows(ids_PL, ids_PL)[0, 3]


def test_what_cannot_be_contrasted_is_named():
    with pytest.raises(ValueError, match=r"form must be one of sigmoid, softmax. Got cosine"):
        ImageTextContrast("cosine")
    with pytest.raises(ValueError, match=r"must have a tower .* Got a LanguageModel without"):
        ImageTextContrast().loss(language_model(), batch("ab"), 0.0, 0)


def test_operations_follow_the_batch_and_the_parts_that_learn():
    network, few, many = with_tower(), batch("ab"), batch("abcd")
    assert ImageTextContrast().flops(network, many) == 2 * ImageTextContrast().flops(network, few)
    frozen = ImageTextContrast(train_text=False)
    assert 0 < frozen.flops(network, few) < ImageTextContrast().flops(network, few)

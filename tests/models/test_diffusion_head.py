"""The diffusion head is diffusers' PRX transformer."""

import pytest
import torch
from random_networks import diffusion_head, randomise

from tgp_multimodal.models.diffusion_head import DiffusionHead

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def head():
    return diffusion_head()


@pytest.fixture(scope="module")
def stock(head):
    from diffusers import PRXTransformer2DModel

    model = PRXTransformer2DModel(
        in_channels=3,
        patch_size=head.patch,
        context_in_dim=head.text_width,
        hidden_size=head.width,
        mlp_ratio=head.feed_forward_ratio,
        num_heads=head.heads,
        depth=head.depth,
        axes_dim=[head.head_size // 2] * 2,
    ).eval()
    model.load_state_dict(head.state_dict())  # strict: the same names and shapes
    return model


def inputs(batch, rows=16, columns=16, length=7):
    generator = torch.Generator().manual_seed(batch)
    pixels = torch.randn(batch, 3, rows, columns, generator=generator)
    time_B = torch.linspace(0.02, 1.0, batch) if batch > 1 else torch.tensor([0.7])
    text_BLD = torch.randn(batch, length, 64, generator=generator)
    mask_BL = torch.arange(length) < torch.tensor([length, 1, 4, 2])[:batch, None]
    return pixels, time_B, text_BLD, mask_BL


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
@torch.no_grad()
def test_equals_prx(head, stock, batch, size):
    pixels, time_B, text_BLD, mask_BL = inputs(batch, *size)
    theirs = stock(pixels, time_B, text_BLD, mask_BL, return_dict=False)[0]
    assert theirs.abs().max() > 1
    assert (head(pixels, time_B, text_BLD, mask_BL) - theirs).abs().max() <= TOLERANCE


@torch.no_grad()
def test_equals_prx_without_a_mask(head, stock):
    pixels, time_B, text_BLD, _ = inputs(4)
    theirs = stock(pixels, time_B, text_BLD, return_dict=False)[0]
    assert (head(pixels, time_B, text_BLD) - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("is_masked", [True, False])
def test_gradients_equal_those_of_prx(head, stock, is_masked):
    pixels, time_B, text_BLD, mask_BL = inputs(4, 8, 24)
    texts = [text_BLD.clone().requires_grad_() for _ in range(2)]
    mask_BL = mask_BL if is_masked else None
    mine = head(pixels, time_B, texts[0], mask_BL)
    theirs = stock(pixels, time_B, texts[1], mask_BL, return_dict=False)[0]
    assert (mine - theirs).abs().max() <= TOLERANCE
    for network, out, text in ((head, mine, texts[0]), (stock, theirs, texts[1])):
        network.zero_grad()
        out.sin().sum().backward()
        assert text.grad is not None
    expected = dict(stock.named_parameters())
    pairs = {name: (p.grad, expected[name].grad) for name, p in head.named_parameters()}
    for name, (ours, stocks) in {**pairs, "text": (texts[0].grad, texts[1].grad)}.items():
        assert (ours - stocks).abs().max() <= 3e-5 * stocks.abs().max(), name


def test_frozen_norms_and_one_caption_for_all_pictures(monkeypatch):
    head = diffusion_head()
    pixels, time_B, text_BLD, _ = inputs(4)
    for name, weight in head.named_parameters():
        weight.requires_grad_("norm_" not in name)

    def gradients():
        head.zero_grad()
        one_caption = text_BLD[:1].clone().requires_grad_()
        head(pixels, time_B, one_caption.expand(4, -1, -1)).sin().sum().backward()
        return {name: p.grad for name, p in head.named_parameters()} | {"text": one_caption.grad}

    by_hand = gradients()
    for part in ("layers", "diffusion_head"):
        monkeypatch.setattr(f"tgp_multimodal.models.{part}.uses_manual_backward", lambda x: False)
    for name, formula in gradients().items():
        if formula is None:
            assert by_hand[name] is None, name
        else:
            assert (by_hand[name] - formula).abs().max() <= 3e-5 * formula.abs().max(), name


def test_gradients_by_hand_in_bfloat16_are_those_of_the_formula(head, monkeypatch):
    pixels, time_B, text_BLD, mask_BL = inputs(4)

    def gradient():
        head.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = head(pixels, time_B, text_BLD, mask_BL)
        out.float().sin().sum().backward()
        return {name: p.grad.clone() for name, p in head.named_parameters()}

    by_hand = gradient()
    for part in ("layers", "diffusion_head"):
        monkeypatch.setattr(f"tgp_multimodal.models.{part}.uses_manual_backward", lambda x: False)
    for name, formula in gradient().items():
        assert (by_hand[name] - formula).norm() <= 0.02 * formula.norm(), name


@torch.no_grad()
def test_masked_text_is_looked_at_by_nobody(head):
    pixels, time_B, text_BLD, mask_BL = inputs(4)
    other_BLD = torch.where(mask_BL[:, :, None], text_BLD, text_BLD + 1)
    first = head(pixels, time_B, text_BLD, mask_BL)
    assert torch.equal(first, head(pixels, time_B, other_BLD, mask_BL))
    assert (first - head(pixels, time_B, text_BLD + 1, mask_BL)).abs().max() > 1e-3


@torch.no_grad()
def test_pictures_of_a_batch_do_not_meet(head):
    pixels, time_B, text_BLD, mask_BL = inputs(4)
    together = head(pixels, time_B, text_BLD, mask_BL)
    for i in range(4):
        own = slice(i, i + 1)
        alone = head(pixels[own], time_B[own], text_BLD[own], mask_BL[own])
        torch.testing.assert_close(together[own], alone, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_patches_are_cut_and_put_back(head):
    pixels = torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    patch_BPD = head.to_patches(pixels)
    assert patch_BPD.shape == (2, 6, 48)
    # Patch 4 is the second of the second row: rows 4-7, columns 4-7, channel by channel.
    assert torch.equal(patch_BPD[0, 4], pixels[0, :, 4:8, 4:8].flatten())
    assert torch.equal(head.to_pixels(patch_BPD, (8, 12)), pixels)


@torch.no_grad()
def test_states_end_in_the_picture(head):
    pixels, time_B, text_BLD, mask_BL = inputs(2)
    text = head.text_keys_values(text_BLD)
    first, _ = head.states(pixels, time_B, text, mask_BL, 0)
    torch.testing.assert_close(first, head.img_in(head.to_patches(pixels)))
    last, time_BD = head.states(pixels, time_B, text, mask_BL, head.depth)
    whole = head(pixels, time_B, text_BLD, mask_BL)
    torch.testing.assert_close(head.to_pixels(head.final_layer(last, time_BD), (16, 16)), whole)


@torch.no_grad()
def test_fresh_head_draws_grey():
    head = DiffusionHead(64, 48, 2, 3, 2.0, 4, 16)
    pixels, time_B, text_BLD, mask_BL = inputs(2)
    assert head(pixels, time_B, text_BLD, mask_BL).abs().max() == 0


def test_every_weight_gets_gradient():
    head = randomise(DiffusionHead(64, 48, 2, 3, 2.0, 4, 16))
    pixels, time_B, text_BLD, mask_BL = inputs(4)
    head(pixels, time_B, text_BLD, mask_BL).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_sizes_that_do_not_divide_are_refused(head):
    with pytest.raises(ValueError, match=r"heads of DiffusionHead must be at least 1\. Got 0"):
        DiffusionHead(64, 48, 2, 0)
    with pytest.raises(ValueError, match=r"depth of DiffusionHead must be at least 1\. Got -6"):
        DiffusionHead(depth=-6)
    with pytest.raises(ValueError, match=r"feed_forward_ratio must give at least one unit"):
        DiffusionHead(feed_forward_ratio=0.001)
    with pytest.raises(ValueError, match=r"width / heads must be a multiple of 4\. Got"):
        DiffusionHead(64, 54, 2, 3)
    with pytest.raises(
        ValueError, match=r"size must be a multiple of patch\. Got size=30, patch=4"
    ):
        DiffusionHead(64, 48, 2, 3, patch=4, size=30)
    with pytest.raises(ValueError, match=r"picture size must be a multiple of patch=4\. Got 10 x"):
        head.to_patches(torch.zeros(1, 3, 10, 16))

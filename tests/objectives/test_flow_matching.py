from types import SimpleNamespace

import pytest
import torch

from tgp_multimodal.data.records import CaptionedImages
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.objectives.together import Together


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = Multimodal(
        TextTransformer(40, 32, 1, 48, 2, 1), DiffusionHead(32, 32, 2, 2, patch=4, size=8)
    )
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def batch(count=6):
    generator = torch.Generator().manual_seed(3)
    token_BL = torch.randint(10, 40, (count, 8), generator=generator)
    token_BL[:, 0] = 0
    mask_BL = torch.arange(8) < torch.randint(2, 8, (count, 1), generator=generator)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return CaptionedImages(pixels, token_BL, mask_BL)


def test_a_head_that_knows_the_picture_has_no_loss():
    pictures = batch()
    data = pictures.pixels_BCYX.float() / 127.5 - 1
    head = SimpleNamespace(text_keys_values=lambda text: [], denoise=lambda x, t, text, mask: data)
    oracle = SimpleNamespace(text=lambda token, mask_BL: token, head=head)
    assert FlowMatching().loss(oracle, pictures, 0.0, 0).value == 0


def test_every_weight_gets_a_gradient(network):
    FlowMatching(caption_drop=0.0).loss(network, batch(), 0.0, 0).value.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_text_can_be_left_out_of_the_training(network):
    FlowMatching(train_text=False).loss(network, batch(), 0.0, 0).value.backward()
    assert all(p.grad is None for p in network.text.parameters())
    assert all(p.grad is not None for p in network.head.parameters())


def test_equal_seeds_draw_equal_noise_and_others_do_not(network):
    values = [FlowMatching().loss(network, batch(), 0.0, seed).value.item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_dropped_captions_look_like_the_null_prompt_to_the_head(network):
    pictures = batch(400)
    generator = torch.Generator().manual_seed(0)
    mask_BL = FlowMatching(caption_drop=0.3).drop_captions(pictures.mask_BL, generator)
    null_B = mask_BL.sum(1) == 1
    assert abs(null_B.float().mean() - 0.3) < 0.07
    assert mask_BL[:, 0].all()
    assert (mask_BL[~null_B] == pictures.mask_BL[~null_B]).all()
    states = network.text(pictures.token_BL[:3], mask_BL=mask_BL[:3])[:, :1]
    alone = network.text(torch.zeros(3, 1, dtype=torch.int64))
    assert torch.allclose(states, alone, atol=1e-6)


def test_the_loss_is_the_velocity_error_down_to_its_floor():
    pictures = batch()
    data = pictures.pixels_BCYX.float() / 127.5 - 1
    head = SimpleNamespace(
        text_keys_values=lambda text: [], denoise=lambda x, t, text, mask: data + 0.5
    )
    oracle = SimpleNamespace(text=lambda token, mask_BL: token, head=head)
    flat = FlowMatching(weight_floor=1.0).loss(oracle, pictures, 0.0, 0).value
    assert flat == pytest.approx(0.25)  # every time weighs the same
    objective = FlowMatching(weight_floor=0.05)
    generator = torch.Generator().manual_seed(0)
    objective.drop_captions(pictures.mask_BL, generator)
    time_B = objective.times(len(data), generator)
    steep = objective.loss(oracle, pictures, 0.0, 0).value
    assert steep == pytest.approx((0.25 / time_B.clamp_min(0.05) ** 2).mean().item(), rel=1e-5)


def test_times_are_mostly_in_the_middle():
    time_B = FlowMatching(time_mean=0.0).times(5000, torch.Generator().manual_seed(0))
    assert ((time_B > 0) & (time_B < 1)).all()
    middle = ((time_B > 0.25) & (time_B < 0.75)).float().mean()
    assert 0.68 < middle < 0.75  # 0.9 x 0.728 + 0.1 x 0.5
    noisy_B = FlowMatching(time_mean=1.0).times(5000, torch.Generator().manual_seed(0))
    assert noisy_B.median() > 0.7


def test_repeats_draw_more_noise_for_the_same_pictures():
    """The noise is what is seen once the picture's share is taken from it."""
    pictures, seen = batch(), []
    data = pictures.pixels_BCYX.float() / 127.5 - 1

    def denoise(noisy_BCYX, time_B, text, mask_BL):
        share_B111 = time_B[:, None, None, None]
        noise = (noisy_BCYX - (1 - share_B111) * data.repeat(8, 1, 1, 1)) / share_B111
        seen.append((noise.unflatten(0, (8, 6)), time_B, mask_BL))
        return data.repeat(8, 1, 1, 1)

    head = SimpleNamespace(text_keys_values=lambda text: [], denoise=denoise)
    oracle = SimpleNamespace(text=lambda token, mask_BL: token, head=head)
    objective = FlowMatching(caption_drop=0.0, repeats=8)
    assert objective.loss(oracle, pictures, 0.0, 0).value == 0
    ((noise, time_B, mask_BL),) = seen
    assert noise.mean().abs() < 0.05
    assert noise.std() == pytest.approx(1, abs=0.05)
    flat = noise.reshape(48, -1)
    assert (torch.corrcoef(flat) - torch.eye(48)).abs().max() < 0.4  # each draw is another one
    assert len(time_B.unique()) == 48
    assert torch.equal(mask_BL, pictures.mask_BL.repeat(8, 1))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"repeats must be at least 1. Got 0 instead"):
        FlowMatching(repeats=0)
    with pytest.raises(ValueError, match=r"caption_drop must be at least 0 and below 1"):
        FlowMatching(caption_drop=1.0)
    with pytest.raises(ValueError, match=r"weight_floor must be above 0 and at most 1. Got 0"):
        FlowMatching(weight_floor=0)


def test_held_out_errors_are_those_of_fixed_times_and_the_same_noise(network):
    objective, pictures = FlowMatching(), batch()
    with torch.no_grad():
        found = objective.held_out(network, pictures, 7)
        again = FlowMatching(time_mean=-2.0, weight_floor=1.0).held_out(network, pictures, 7)
        other = objective.held_out(network, pictures, 8)
    fixed = [found[f"pixel_error_at_{time}"] for time in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert torch.allclose(torch.stack(fixed).mean(), found["fixed_pixel_error"])
    assert again["fixed_pixel_error"] == found["fixed_pixel_error"] != other["fixed_pixel_error"]
    assert again["pixel_error"] != found["pixel_error"]


def test_a_head_that_reads_captions_saves_and_one_that_does_not_saves_nothing(network):
    pictures = batch()
    data = pictures.pixels_BCYX.float() / 127.5 - 1

    def saves(denoise):
        head = SimpleNamespace(text_keys_values=lambda text: [], denoise=denoise)
        oracle = SimpleNamespace(text=lambda token, mask_BL: token, head=head)
        return FlowMatching().held_out(oracle, pictures, 0)["caption_saves"].item()

    reads = saves(lambda x, t, text, mask: data + (0.1 if mask[:, 1].all() else 0.2))
    assert reads == pytest.approx(0.75, abs=1e-5)
    assert saves(lambda x, t, text, mask: data + 0.1) == 0


def test_guidance_is_learned_where_it_comes_to_rest():
    """A head of two numbers, one for each prompt, trained to its fixed point."""
    pictures = batch(400)
    captioned = torch.tensor(0.0, requires_grad=True)
    null = torch.tensor(0.0, requires_grad=True)
    shade = pictures.pixels_BCYX.float() / 127.5 - 1
    mean = shade.mean().item()

    def denoise(x, t, text, mask):
        return torch.where(mask[:, 1], captioned, null)[:, None, None, None].expand_as(x)

    head = SimpleNamespace(text_keys_values=lambda text: [], denoise=denoise)
    network = SimpleNamespace(text=lambda token, mask_BL: token, head=head)
    objective = FlowMatching(caption_drop=0.0, guidance=3.0, weight_floor=1.0)
    with torch.no_grad():
        null.fill_(mean - 0.1)  # what it would learn of pictures that are darker without a caption
    optimizer = torch.optim.SGD([captioned], lr=0.3)
    for seed in range(60):
        optimizer.zero_grad()
        objective.loss(network, pictures, 0.0, seed).value.backward()
        optimizer.step()
    assert captioned.item() == pytest.approx(null.item() + 3 * 0.1, abs=2e-3)


def test_guidance_below_one_is_refused():
    with pytest.raises(ValueError, match=r"guidance must be at least 1\. Got 0.5 instead\."):
        FlowMatching(guidance=0.5)


def test_several_objectives_of_one_stream_log_what_each_logs(network):
    own = FlowMatching().held_out(network, batch(), 3)
    both = Together({"draw": FlowMatching()}).held_out(network, batch(), 3)
    assert both.keys() == {f"draw/{name}" for name in own}
    assert both["draw/fixed_pixel_error"] == own["fixed_pixel_error"]

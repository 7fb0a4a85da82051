"""The formulas give what torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tgp_multimodal.data.records import CaptionedImages, PassageRows, TextRows
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.flops import head_flops, text_flops, tower_flops
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.contrastive import ImageTextContrast
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.objectives.language import HybridLanguage
from tgp_multimodal.objectives.passage_contrast import PassageContrast
from tgp_multimodal.objectives.picture_contrast import PictureContrast


def counted(run):
    # The counter does not know the fused attention of the processor, which the tower takes.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def network():
    text = TextTransformer(90, 48, 3, 80, 4, 2)
    tower = ImageTower(48, 64, 2, 4, 2.5, 4, 16)
    return Multimodal(text, DiffusionHead(48, 64, 2, 4, 2.5, 4, 16), tower)


def test_of_the_text_transformer():
    text = network().text
    token_BL = torch.zeros(5, 17, dtype=torch.long)
    assert counted(lambda: text(token_BL)) == text_flops(text, 5, 17)
    assert counted(lambda: text.logits(text(token_BL)[:, :3])) == text_flops(text, 5, 17, 15)


def test_of_the_head():
    head = network().head
    pixels = torch.zeros(3, 3, 16, 24)
    run = lambda: head(pixels, torch.ones(3), torch.zeros(3, 7, 48))  # noqa: E731
    assert counted(run) == head_flops(head, 3, 16, 24, 7)


def test_noises_of_one_picture_share_the_work_for_its_caption():
    head = network().head
    text_BLD, mask_BL = torch.zeros(2, 7, 48), torch.ones(6, 7, dtype=torch.bool)

    def run() -> None:
        text = [
            (k.repeat(3, 1, 1, 1), v.repeat(3, 1, 1, 1)) for k, v in head.text_keys_values(text_BLD)
        ]
        head.denoise(torch.zeros(6, 3, 16, 24), torch.ones(6), text, mask_BL)

    assert counted(run) == head_flops(head, 6, 16, 24, 7, captions=2)


def test_of_the_tower():
    tower = network().tower
    assert counted(lambda: tower(torch.zeros(3, 3, 16, 16))) == tower_flops(tower, 3)


@pytest.mark.parametrize("train_text", [True, False])
def test_of_a_step_of_each_objective(train_text):
    token_BL = torch.randint(10, 90, (6, 9))
    pixels = torch.zeros(6, 3, 16, 16, dtype=torch.uint8)
    pictures = CaptionedImages(pixels, token_BL, torch.ones(6, 9, dtype=torch.bool))
    rows = TextRows(token_BL, torch.arange(9).expand(6, 9), torch.ones(6).bool(), torch.arange(6))
    mask_BL = torch.ones(6, 9, dtype=torch.bool)
    passages = PassageRows(token_BL[:, :4], mask_BL[:, :4], token_BL, mask_BL)
    flow = FlowMatching(repeats=2, train_text=train_text)
    contrast = ImageTextContrast(train_text=train_text)
    for objective, batch in (
        (HybridLanguage(), rows), (flow, pictures), (PassageContrast(), passages),
        (contrast, pictures), (PictureContrast(), pictures),
    ):  # fmt: skip
        model = network()
        run = lambda: objective.loss(model, batch, 0.0, 0).value.backward()  # noqa: B023, E731
        # A first layer needs no gradient of its input, and the two scores of a contrast are small.
        assert objective.flops(model, batch) == pytest.approx(counted(run), rel=0.06)

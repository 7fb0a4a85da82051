"""A fresh diffusion head looks at neighbouring patches."""

import torch

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.layers import rotate_neighbours
from tgp_multimodal.models.local_start import offset, patterns


def weights_of_a_patch(head, block, number, row, column):
    """What patch (row, column) of an 8 x 8 grid looks at, on average over contents, (8, 8)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 64, head.width, generator=generator)
    x = torch.nn.functional.layer_norm(x, (head.width,))
    x = x + block.modulation.lin.bias[: head.width]
    parts = block.attention.img_qkv_proj(x).view(64, 64, 3, head.heads, -1)
    query, key, _ = parts.transpose(1, 3).unbind(2)
    tables = head.rotary((8 * head.patch, 8 * head.patch), x.device)
    query = rotate_neighbours(block.attention.norm_q(query), *tables)
    key = rotate_neighbours(block.attention.norm_k(key), *tables)
    logits = query[:, number, row * 8 + column, None] @ key[:, number].mT / head.head_size**0.5
    return logits.softmax(-1).mean((0, 1)).view(8, 8)


@torch.no_grad()
def test_each_head_begins_at_its_own_neighbour():
    torch.manual_seed(0)
    head = DiffusionHead(64, 128, 3, 2, patch=4, size=32)
    for depth, block in enumerate(head.blocks):
        for number in range(2):
            seen = weights_of_a_patch(head, block, number, 4, 3)
            down, right = offset(2 * depth + number)
            assert divmod(int(seen.argmax()), 8) == (4 + down, 3 + right)
            # A ring of neighbours gets what would be a seventh if all were seen alike.
            near = seen[3 + down : 6 + down, 2 + right : 5 + right].sum()
            assert near > 0.55


def test_the_kernel_of_a_pattern_peaks_at_its_offset():
    theta, size = 10000.0, 32
    query_K, key_K = patterns(size, theta, 1, -2)
    position = torch.arange(-3, 4)
    rows, columns = position.repeat_interleave(7), position.repeat(7)
    turn = theta ** (-torch.arange(0, size // 2, 2) / (size // 2))
    angle = torch.cat((rows[:, None] * turn, columns[:, None] * turn), dim=-1)
    score = rotate_neighbours(key_K.expand(49, size), angle.cos(), angle.sin()) @ query_K
    assert (rows[score.argmax()], columns[score.argmax()]) == (1, -2)


@torch.no_grad()
def test_the_constant_changes_nothing_but_queries_and_keys():
    head = DiffusionHead(64, 48, 1, 3, 2.0, 4, 16)
    weight = head.blocks[0].attention.img_qkv_proj.weight
    assert weight[2 * 48 :].sum(dim=1).abs().max() < 1e-5
    assert weight[: 2 * 48].sum(dim=1).abs().max() > 1

import warnings

import pytest
import torch

from tgp_multimodal.models.block_attention import visible_blocks
from tgp_multimodal.models.text_transformer import TextTransformer, visible

LENGTH = 384


def positions(starts):
    """One row for each list of places at which documents start."""
    rows = []
    for row in starts:
        ends = [*row[1:], LENGTH]
        pieces = [torch.arange(end - start) for start, end in zip(row, ends, strict=True)]
        rows.append(torch.cat(pieces))
    return torch.stack(rows)


ROWS = positions([[0], [0, 128, 300], [0, 5, 6], [0, 250]])


@pytest.mark.parametrize("is_causal", [True, False, torch.tensor([True, False, True, False])])
def test_blocks_hold_every_pair_that_is_visible_and_the_rule_says_the_same(is_causal):
    blocks = visible_blocks(ROWS, is_causal)
    dense = visible(ROWS, is_causal, None)
    index = torch.arange(LENGTH)
    for row in range(len(ROWS)):
        ruled = blocks.mask_mod(torch.tensor(row), torch.tensor(0), index[:, None], index)
        assert torch.equal(ruled, dense[row])
    kept = blocks.to_dense()[:, 0].bool()
    held = dense.unflatten(1, (-1, 128)).unflatten(3, (-1, 128)).any(dim=4).any(dim=2)
    assert torch.equal(kept, held)  # no block too many, none too few


def network():
    torch.manual_seed(0)
    text = TextTransformer(40, 32, 2, 48, 2, 1, context=LENGTH)
    for weight in text.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return text


def test_states_are_those_of_one_truth_value_for_each_pair():
    text, token_BL = network().requires_grad_(False), torch.randint(40, ROWS.shape)
    is_causal_B = torch.tensor([True, False, True, False])
    dense = text(token_BL, ROWS, is_causal_B)
    text.make_block_mask = visible_blocks
    with warnings.catch_warnings():  # without a compiler the kernel is slow, and says so
        warnings.simplefilter("ignore")
        blockwise = text(token_BL, ROWS, is_causal_B)
    torch.testing.assert_close(blockwise, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compiled_blocks_have_the_gradients_of_plain_ones():
    text = network().cuda()
    rows, token_BL = ROWS.cuda(), torch.randint(40, ROWS.shape, device="cuda")
    is_causal_B = torch.tensor([True, False, True, False], device="cuda")
    found = []
    for blocks in (None, visible_blocks):
        if blocks is not None:
            text.make_block_mask = blocks
            for layer in text.layers:
                layer.compile()
        text.zero_grad()
        states = text(token_BL, rows, is_causal_B)
        states.square().mean().backward()
        found.append([states.detach(), *(weight.grad.clone() for weight in text.parameters())])
    for dense, blockwise in zip(*found, strict=True):
        torch.testing.assert_close(
            blockwise, dense, rtol=1e-2, atol=1e-3 * float(dense.abs().max())
        )


def test_short_rows_padded_ones_and_those_that_nobody_learns_from_have_no_blocks():
    def refuse(*_):
        raise AssertionError

    text = TextTransformer(40, 32, 1, 48, 4, 2, context=LENGTH)
    text.make_block_mask = refuse
    token_BL = torch.randint(40, ROWS.shape)
    text(token_BL[:, :200])
    text(token_BL, mask_BL=torch.ones_like(token_BL, dtype=torch.bool))
    with torch.no_grad():
        text(token_BL)
    with pytest.raises(AssertionError):
        text(token_BL)

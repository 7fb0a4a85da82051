"""The text transformer is Qwen3, causal and bidirectional, and keeps packed documents apart."""

import pytest
import torch
from random_networks import randomise, text_transformer

from tgp_multimodal.models.text_transformer import TextTransformer, visible

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def text():
    return text_transformer()


@pytest.fixture(scope="module")
def stock(text):
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=text.vocabulary,
        hidden_size=text.width,
        intermediate_size=text.feed_forward,
        num_hidden_layers=text.depth,
        num_attention_heads=text.heads,
        num_key_value_heads=text.key_value_heads,
        head_dim=text.head_size,
        max_position_embeddings=text.context,
        rms_norm_eps=1e-6,
        rope_theta=text.rope_theta,
    )
    model = Qwen3Model(config).eval()
    model.load_state_dict(text.state_dict())  # strict: the same names and shapes
    return model


def rows(count=3, length=12, seed=0):
    return torch.randint(10, 320, (count, length), generator=torch.Generator().manual_seed(seed))


def masks(lengths, length=12):
    return torch.arange(length) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("lengths", [[12, 12, 12], [12, 5, 1]])
@torch.no_grad()
def test_equals_qwen3(text, stock, is_causal, lengths):
    token_BL, mask_BL = rows(), masks(lengths)
    theirs = stock(token_BL, attention_mask=mask_BL.long(), is_causal=is_causal).last_hidden_state
    ours = text(token_BL, is_causal=is_causal, mask_BL=mask_BL)
    assert theirs[mask_BL].abs().max() > 1
    assert (ours - theirs)[mask_BL].abs().max() <= TOLERANCE


@torch.no_grad()
def test_the_two_modes_differ_and_follow_the_row(text):
    token_BL = rows(2)
    causal, both_sides = text(token_BL), text(token_BL, is_causal=False)
    assert (causal - both_sides).abs().max() > 0.1
    mixed = text(token_BL, is_causal=torch.tensor([False, True]))
    torch.testing.assert_close(mixed[0], both_sides[0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(mixed[1], causal[1], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_padding_is_looked_at_by_nobody(text):
    token_BL, mask_BL = rows(), masks([12, 5, 1])
    other_BL = torch.where(mask_BL, token_BL, (token_BL + 7) % 320)
    for is_causal in (True, False):
        first = text(token_BL, is_causal=is_causal, mask_BL=mask_BL)
        second = text(other_BL, is_causal=is_causal, mask_BL=mask_BL)
        assert torch.equal(first[mask_BL], second[mask_BL])
        assert first.isfinite().all()


@pytest.mark.parametrize("is_causal", [True, False])
@torch.no_grad()
def test_packed_documents_are_isolated(text, is_causal):
    lengths = [4, 1, 7]
    position_BL = torch.cat([torch.arange(n) for n in lengths])[None]
    token_BL = rows(1)
    packed = text(token_BL, position_BL, is_causal)
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        alone = text(token_BL[:, own], is_causal=is_causal)
        torch.testing.assert_close(packed[:, own], alone, atol=TOLERANCE, rtol=0)
        changed_BL = token_BL.clone()
        changed_BL[:, own] = (changed_BL[:, own] + 1) % 320
        moved = (text(changed_BL, position_BL, is_causal) - packed).abs().amax(-1)[0]
        assert (moved[own] > 0.01).all()
        moved[own] = 0
        assert moved.max() == 0  # not a bit of any other document
        start += length


@torch.no_grad()
def test_depth_stops_early(text):
    token_BL = rows()
    shallow = text(token_BL, depth=0)
    torch.testing.assert_close(shallow, text.norm(text.embed_tokens(token_BL)))
    assert torch.equal(text(token_BL, depth=2), text(token_BL))
    assert (text(token_BL, depth=1) - text(token_BL)).abs().max() > 0.1


@torch.no_grad()
def test_logits_are_the_transposed_table(text):
    state = text(rows())
    expected = torch.einsum("bld,vd->blv", state, text.embed_tokens.weight)
    torch.testing.assert_close(text.logits(state), expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_fresh_layers_are_the_identity():
    text = TextTransformer(320, 64, 2, 96, 4, 2)
    token_BL = rows()
    torch.testing.assert_close(text(token_BL), text.norm(text.embed_tokens(token_BL)))


def test_visible_by_hand():
    position_BL = torch.tensor([[0, 1, 0, 1]])
    mask_BL = torch.tensor([[True, True, True, False]])
    causal = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    both_sides = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert visible(position_BL, True, mask_BL)[0].int().tolist() == causal
    assert visible(position_BL, False, mask_BL)[0].int().tolist() == both_sides


def test_every_weight_gets_gradient():
    text = randomise(TextTransformer(320, 64, 2, 96, 4, 2))
    text.logits(text(rows())).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in text.parameters())


@pytest.mark.parametrize("shape", [(64, 3, 1), (64, 4, 3), (60, 20, 4)])
def test_sizes_that_do_not_divide_are_refused(shape):
    width, heads, key_value_heads = shape
    with pytest.raises(ValueError, match=r"width must be .* Got width=.* instead\."):
        TextTransformer(320, width, 2, 96, heads, key_value_heads)

"""Writing: greedy, sampled, streamed, stopped, in batches of any size."""

import copy

import numpy as np
import pytest
import torch
from random_networks import text_transformer

from tgp_multimodal.inference import writing
from tgp_multimodal.inference.code_blocks import Block, end_of_block
from tgp_multimodal.inference.sampling import Sampling, sample_tokens

PROMPTS = ["The river", "def add(a, b):\n", "", "a set holds each item once", "x"]


@pytest.fixture(scope="module")
def network(tokenizer):
    text = text_transformer(tokenizer.vocabulary, context=64)
    with torch.no_grad():  # else each token would be its own most probable successor
        text.embed_tokens.weight *= 0.03
    return text


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [writing.plain_prompt(tokenizer, p, 64) for p in PROMPTS]


@torch.no_grad()
def by_hand(network, tokenizer, ids, count):
    """Greedy writing by a full forward pass per token."""
    ids, new = list(ids), []
    for _ in range(count):
        logits = network.logits(network(torch.tensor([ids])))[0, -1]
        logits[sorted(tokenizer.special - {tokenizer.eos})] = -torch.inf
        token = int(logits.argmax())
        if token == tokenizer.eos:
            break
        ids.append(token)
        new.append(token)
    return tokenizer.decode(new)


def test_greedy_equals_full_passes(network, tokenizer, prompts):
    written = writing.generate(network, tokenizer, prompts, Sampling(max_tokens=15))
    assert written == [by_hand(network, tokenizer, p, 15) for p in prompts]
    assert len(set(written)) > 1


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_greedy_equals_transformers(network, tokenizer, prompts, penalty):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tgp_multimodal import stock_export

    settings = stock_export.qwen3(network, tokenizer, "Qwen3ForCausalLM", True)
    model = Qwen3ForCausalLM(Qwen3Config(**settings)).eval()
    model.model.load_state_dict(network.state_dict())
    model.tie_weights()
    sampling = Sampling(max_tokens=20, repetition_penalty=penalty)
    written = writing.generate(network, tokenizer, prompts, sampling)
    for prompt, ours in zip(prompts, written, strict=True):
        new = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=20,
            repetition_penalty=penalty,
            suppress_tokens=tokenizer.unwritable(network.vocabulary),
        )[0, len(prompt) :]
        assert ours == tokenizer.decode(int(i) for i in new if i != tokenizer.eos)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_change_nothing(network, tokenizer, prompts, temperature):
    sampling = Sampling(max_tokens=12, temperature=temperature, top_p=0.9, seed=5)
    whole = writing.generate(network, tokenizer, prompts, sampling)
    for size in (1, 2, 7):
        assert writing.generate(network, tokenizer, prompts, sampling, size) == whole
    for index, prompt in enumerate(prompts):
        own = sampling._replace(seed=sampling.seed + index)
        assert writing.generate(network, tokenizer, [prompt], own) == [whole[index]]


def test_seeds(network, tokenizer, prompts):
    sampling = Sampling(max_tokens=12, temperature=1.0)
    first, second, other = (
        writing.generate(network, tokenizer, prompts[:1], sampling._replace(seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_draws_follow_the_distribution():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0, -torch.inf]])
    generator = torch.Generator().manual_seed(0)
    draw = [int(sample_tokens(logits, Sampling(temperature=0.7), [generator])) for _ in range(4000)]
    share = np.bincount(draw, minlength=5) / len(draw)
    expected = (logits / 0.7).softmax(-1)[0].numpy()
    np.testing.assert_allclose(share, expected, atol=0.03)
    assert share[4] == 0


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(1e-50, {1}), (0.5, {1}), (0.7, {1, 2}), (0.95, {0, 1, 2})]
)
def test_nucleus(top_p, allowed):
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])  # shares .09 .64 .24 .03
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=1.0, top_p=top_p)
    drawn = {int(sample_tokens(logits, sampling, [generator])) for _ in range(500)}
    assert drawn == allowed


@pytest.mark.parametrize(("top_k", "allowed"), [(1, {1}), (2, {1, 2}), (3, {0, 1, 2}), (9, None)])
def test_the_most_probable_few(top_k, allowed):
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=1.0, top_k=top_k)
    drawn = {int(sample_tokens(logits, sampling, [generator])) for _ in range(500)}
    assert drawn == (allowed or {0, 1, 2, 3})


def test_the_nucleus_is_of_what_the_most_probable_few_leave():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])  # of the best two: 0.73 and 0.27
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=1.0, top_k=2, top_p=0.7)
    assert {int(sample_tokens(logits, sampling, [generator])) for _ in range(300)} == {1}


def test_rows_that_end_early_leave_the_others_alone(network, tokenizer, prompts, monkeypatch):
    """Stops end rows at different times, so that rows are dropped on the way."""
    kept, keep = [], writing._Decoder.keep
    monkeypatch.setattr(
        writing._Decoder, "keep", lambda d, rows: kept.append(rows) or keep(d, rows)
    )
    whole = writing.generate(network, tokenizer, prompts, Sampling(max_tokens=40))
    stops = tuple({text[n : n + 2] for n, text in zip((2, 9, 15, 30), whole, strict=False)})
    sampling = Sampling(max_tokens=40, stop=stops, repetition_penalty=1.1)
    together = writing.generate(network, tokenizer, prompts, sampling)
    alone = [writing.generate(network, tokenizer, [p], sampling)[0] for p in prompts]
    assert together == alone
    assert kept
    assert len({len(text) for text in together}) > 1


def test_equal_prompts_are_read_once_and_drawn_apart(network, tokenizer, prompts):
    sampling = Sampling(max_tokens=15, temperature=1.0, seed=3)
    many = writing.generate(network, tokenizer, [prompts[1]] * 4, sampling)
    alone = [
        writing.generate(network, tokenizer, [prompts[1]], sampling._replace(seed=3 + i))[0]
        for i in range(4)
    ]
    assert many == alone
    assert len(set(many)) > 1


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_twenty_samples_are_the_same_in_any_batch(network, tokenizer, prompts, top_p):
    sampling = Sampling(max_tokens=25, temperature=0.9, top_p=top_p, seed=11)
    whole = writing.generate(network, tokenizer, [prompts[3]] * 20, sampling)
    for batch in (1, 3, 20):
        assert writing.generate(network, tokenizer, [prompts[3]] * 20, sampling, batch) == whole
    assert len(set(whole)) == 20


def test_rows_of_one_batch_may_end_each_in_its_own_way(network, tokenizer, prompts):
    own = [
        Sampling(20, 0.9, seed=4),
        Sampling(7, 0.9, seed=4),
        Sampling(20, 0.9, seed=5, stop=("e",)),
        Sampling(20, 0.9, seed=6, block=Block(4, True)),
    ]
    asked = [writing.GenerationRequest(prompts[i % 2], one) for i, one in enumerate(own)]
    writer = writing.BatchGenerator(network, tokenizer, asked)
    while writer.step():
        pass
    for (prompt, sampling), row in zip(asked, writer.rows, strict=True):
        alone = writing.generate(network, tokenizer, [prompt], sampling)
        assert [row.text()] == alone
        assert row.finish_reason == ("length" if len(row.ids) == sampling.max_tokens else "stop")
    assert len(writer.rows[1].ids) == 7


def test_a_row_that_ended_is_read_beyond_the_context_and_harms_none(network, tokenizer, prompts):
    """Three of four go on, so the long one stays, and would stand behind the context's end."""
    long = writing.plain_prompt(tokenizer, "The river and the stone. " * 9, 62)
    asked = [writing.GenerationRequest(long, Sampling(2, 0.9, seed=1))]
    asked += [writing.GenerationRequest(prompts[i], Sampling(40, 0.9, seed=i)) for i in range(3)]
    writer = writing.BatchGenerator(network, tokenizer, asked)
    while writer.step():
        pass
    for (prompt, sampling), row in zip(asked, writer.rows, strict=True):
        assert [row.text()] == writing.generate(network, tokenizer, [prompt], sampling)


def test_changed_weights_are_seen(network, tokenizer, prompts):
    network = copy.deepcopy(network)
    before = writing.generate(network, tokenizer, prompts[:1], Sampling(max_tokens=8))
    with torch.no_grad():
        network.layers[0].mlp.down_proj.weight.mul_(-3.0)
    after = writing.generate(network, tokenizer, prompts[:1], Sampling(max_tokens=8))
    assert after == [by_hand(network, tokenizer, prompts[0], 8)]
    assert after != before


def test_a_stream_holds_back_the_beginning_of_a_stop_string(network, tokenizer, prompts):
    for prompt in prompts:
        (whole,) = writing.generate(network, tokenizer, [prompt], Sampling(max_tokens=30))
        for length in (3, 8, 12):
            sampling = Sampling(max_tokens=30, stop=(whole[:length],))
            assert "".join(writing.stream(network, tokenizer, prompt, sampling)) == ""


def test_stop_strings_end_the_text(network, tokenizer, prompts):
    whole = writing.generate(network, tokenizer, prompts, Sampling(max_tokens=30))
    for prompt, text in zip(prompts, whole, strict=True):
        stop = text[len(text) // 2 :][:3]
        sampling = Sampling(max_tokens=30, stop=(stop, "never written"))
        written = writing.generate(network, tokenizer, [prompt], sampling)
        assert written == [text[: text.index(stop)]]
        pieces = list(writing.stream(network, tokenizer, prompt, sampling))
        assert "".join(pieces) == written[0]


def test_a_stop_string_may_have_its_accents_apart(tokenizer):
    row = writing.GeneratedText(tokenizer, Sampling(max_tokens=30, stop=("e\u0301",)))
    for token in tokenizer.encode("un café noir"):
        row.add(token)
    assert (row.text(), row.finish_reason) == ("un caf", "stop")


def test_special_tokens_are_never_written(tokenizer):
    network = text_transformer(tokenizer.vocabulary + 7)
    with torch.no_grad():  # a network that wants nothing but what is no text
        network.embed_tokens.weight[tokenizer.unwritable(network.vocabulary)] *= 50
    asked = writing.GenerationRequest([tokenizer.bos], Sampling(max_tokens=20))
    writer = writing.BatchGenerator(network, tokenizer, [asked])
    while writer.step():
        pass
    new = writer.rows[0].ids
    assert len(new) == 20
    assert not set(new) & set(tokenizer.unwritable(network.vocabulary))


def test_writing_ends_at_eos(network, tokenizer, prompts):
    eager = text_transformer(tokenizer.vocabulary)
    with torch.no_grad():
        state = eager(torch.tensor([prompts[0]]))[0, -1]
        eager.embed_tokens.weight[tokenizer.eos] = state  # now the most similar one
    written = writing.generate(eager, tokenizer, prompts[:1], Sampling(max_tokens=9))
    assert written == [""]
    assert list(writing.stream(eager, tokenizer, prompts[0], Sampling(max_tokens=9))) == [""]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pieces_of_a_stream_make_the_text(network, tokenizer, prompts, temperature):
    for seed, prompt in enumerate(prompts):
        sampling = Sampling(max_tokens=30, temperature=temperature, seed=seed)
        pieces = list(writing.stream(network, tokenizer, prompt, sampling))
        assert "".join(pieces) == writing.generate(network, tokenizer, [prompt], sampling)[0]
        assert len(pieces) > 1


def test_a_stream_shows_no_half_characters(tokenizer):
    row = writing.GeneratedText(tokenizer, Sampling())
    ids = tokenizer.encode("\U0001f468")  # four bytes, four tokens here
    assert len(ids) == 4
    for token in ids[:3]:
        row.add(token)
        assert row.text().rstrip("\ufffd") == ""
    row.add(ids[3])
    assert row.text() == "\U0001f468"


def test_prompts_are_cut_on_the_left_and_keep_bos(network, tokenizer):
    long = "a set holds each item once. " * 20
    ids = writing.prompt_ids(network, tokenizer, long, None, 20)
    assert len(ids) == network.context - 20
    assert ids[0] == tokenizer.bos
    assert ids[1:] == tokenizer.encode(long)[-(len(ids) - 1) :]
    filled = writing.prompt_ids(network, tokenizer, long, long, 20)
    assert len(filled) == network.context - 20
    assert filled[-1] == tokenizer.middle
    assert writing.plain_prompt(tokenizer, long, 1) == [tokenizer.bos]


@pytest.mark.parametrize("count", [0, -1, 57, 64])
def test_token_counts_that_leave_no_prompt_are_refused(network, tokenizer, count):
    with pytest.raises(ValueError, match=rf"max_tokens must be between 1 and 56 .* Got {count} in"):
        writing.prompt_ids(network, tokenizer, "x", None, count)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -1.0}, r"temperature must be at least 0\. Got -1\.0 instead\."),
        ({"top_p": 0.0}, r"top_p must be above 0 and at most 1\. Got 0\.0 instead\."),
        ({"top_p": 1.5}, r"top_p must be above 0 and at most 1\. Got 1\.5 instead\."),
        ({"stop": ("",)}, r"stop must hold no empty string\."),
        ({"stop": ("\ud83d",)}, r"stop must hold valid Unicode\. Got \['.ud83d'\] instead"),
        ({"temperature": float("nan")}, r"temperature must be at least 0\. Got nan instead\."),
        ({"seed": 2**63}, r"seed must be between -4611686018427387904 and 4611686018427387904\."),
        ({"top_k": -1}, r"top_k must be at least 0\. Got -1 instead\."),
        (
            {"repetition_penalty": 0.0},
            r"repetition_penalty must be between 0\.001 and 1000\. Got 0\.0",
        ),
        ({"repetition_penalty": 1e-50}, r"repetition_penalty must be between 0\.001 and 1000\."),
        (
            {"temperature": 1e-40},
            r"temperature must be 0, or between 1e-06 and 10000\. Got 1e-40 in",
        ),
        (
            {"temperature": float("inf")},
            r"temperature must be 0, or between 1e-06 and 10000\. Got inf",
        ),
    ],
)
def test_settings_out_of_range_are_refused(network, tokenizer, prompts, setting, message):
    with pytest.raises(ValueError, match=message):
        writing.generate(network, tokenizer, prompts, Sampling(**setting))
    with pytest.raises(ValueError, match=message):
        next(writing.stream(network, tokenizer, prompts[0], Sampling(**setting)))


def test_code_ends_with_its_block_and_so_does_its_stream(network, tokenizer):
    """Written line breaks and letters are random here: many texts, most of which end early."""
    breaking = copy.deepcopy(network)
    with torch.no_grad():  # more line breaks than chance gives
        (newline,) = tokenizer.encode("\n")
        breaking.embed_tokens.weight[newline] *= 8
    prompt = writing.plain_prompt(tokenizer, "def f(x):\n    y =", 64)
    sampling = Sampling(max_tokens=30, temperature=1.5, block=Block(4, False))
    free = writing.generate(breaking, tokenizer, [prompt] * 12, sampling._replace(block=None))
    bound = writing.generate(breaking, tokenizer, [prompt] * 12, sampling)
    for seed, (whole, cut) in enumerate(zip(free, bound, strict=True)):
        end = end_of_block(Block(4, False), whole)
        assert cut == (whole if end is None else whole[:end])
        pieces = writing.stream(breaking, tokenizer, prompt, sampling._replace(seed=seed))
        assert "".join(pieces) == cut
    assert free != bound


def test_the_only_candidate_is_written_whatever_is_drawn(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, **_: self.zero_())
    logits_BV = torch.full((1, 8), -torch.inf)
    logits_BV[0, 5] = 1.0
    token_B = sample_tokens(logits_BV, Sampling(temperature=0.2), [torch.Generator()])
    assert token_B.tolist() == [5]

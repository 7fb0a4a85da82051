"""Compiled steps give what the network gives, and the compiler is asked twice at most."""

import pytest
import torch
from random_networks import randomise, text_transformer

from tgp_multimodal.inference import compiled, products, writing
from tgp_multimodal.inference.fused import fused
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.models.text_transformer import TextTransformer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script_method.*:DeprecationWarning",  # torch 2.11 compiles through it
)

PROMPTS = ["The river", "def add(a, b):\n", "", "a set holds each item once", "x", "x"]


@pytest.fixture
def without_compiler():
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture(autouse=True)
def intel(monkeypatch):
    monkeypatch.setattr(products, "_is_intel", lambda: True)


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (4, 1)])
@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_states_are_those_of_the_network(shape, rows):
    text = TextTransformer(320, 64, 3, 96, *shape, context=64, rope_theta=500.0)
    randomise(text)
    text.compiles_steps = True
    token_BL = torch.randint(0, 320, (rows, 20), generator=torch.Generator().manual_seed(1))
    padding_B = torch.tensor([2, 0, 3])[:rows]
    cache = text.new_cache(rows, 20, padding_B)
    steps = compiled.compiled(text).steps(cache)
    found = torch.stack([steps.read(token_B) for token_B in token_BL.T], dim=1)
    assert cache.length == 20
    for token_L, padding, state_LD in zip(token_BL, padding_B.tolist(), found, strict=True):
        expected_LD = text(token_L[None, padding:], is_causal=True)[0]
        torch.testing.assert_close(state_LD[padding:], expected_LD, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize(("rows", "maker"), [(1, "Intel"), (3, "Intel"), (3, "AMD")])
@torch.inference_mode()
def test_bfloat16_is_as_near_as_without_compiling(rows, maker, monkeypatch):
    monkeypatch.setattr(products, "_is_intel", lambda: maker == "Intel")
    wide, narrow = text_transformer(320), text_transformer(320).to(torch.bfloat16)
    narrow.compiles_steps = True
    token_BL = torch.randint(0, 320, (rows, 20), generator=torch.Generator().manual_seed(1))
    steps = compiled.compiled(narrow).steps(narrow.new_cache(rows, 20))
    ours = torch.stack([steps.read(token_B) for token_B in token_BL.T], dim=1)
    cache = narrow.new_cache(rows, 20)
    theirs = [fused(narrow).states(token_BL[:, i : i + 1], cache=cache) for i in range(20)]
    truth = wide(token_BL, is_causal=True)
    error, usual = (
        float((x.float() - truth).square().mean().sqrt()) for x in (ours, torch.cat(theirs, 1))
    )
    assert ours.dtype == torch.bfloat16
    assert error < 1.1 * usual < 0.1


@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_texts_are_the_same_and_two_forms_are_enough(tokenizer):
    text = text_transformer(tokenizer.vocabulary, context=64)
    with torch.no_grad():  # else each token would be its own most probable successor
        text.embed_tokens.weight *= 0.03
    prompts = [writing.plain_prompt(tokenizer, p, 64) for p in PROMPTS]
    batches = [prompts, prompts[:1], prompts[4:], prompts[1:4], [prompts[3]] * 4]
    settings = Sampling(max_tokens=15, repetition_penalty=1.2)
    expected = [writing.generate(text, tokenizer, batch, settings) for batch in batches]
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters["stats"]
    two_forms = counters["unique_graphs"] + 2
    compiled.compile_steps(text)
    assert counters["unique_graphs"] == two_forms
    assert [writing.generate(text, tokenizer, batch, settings) for batch in batches] == expected
    with torch.no_grad():
        text.norm.weight *= 0.9  # weights are arranged again, first by whoever writes
    writing.generate(text, tokenizer, batches[0], settings)
    writing.generate(text, tokenizer, batches[1], settings)
    compiled.compile_steps(text_transformer(tokenizer.vocabulary, context=64))
    assert counters["unique_graphs"] == two_forms


def test_networks_do_not_share_the_few_forms_of_a_function():
    networks = [TextTransformer(320, 64, depth, 96, 4, 2, context=64) for depth in (1, 2, 1)]
    for text in networks:
        text.compiles_steps = True
    first, second, like_first = (compiled.compiled(text).step for text in networks)
    assert first is like_first
    assert first is not second


@torch.no_grad()
def test_more_rows_than_are_worth_it_go_the_usual_way(tokenizer, monkeypatch):
    text = text_transformer(tokenizer.vocabulary, context=64)
    text.compiles_steps = True
    known = compiled.compiled(text)
    assert known is compiled.compiled(text)
    assert known.steps(text.new_cache(known.most_rows, 20)) is not None
    assert known.steps(text.new_cache(known.most_rows + 1, 20)) is None
    prompt = text.new_cache(1, 20)
    assert known.steps(prompt.with_shared_prefix(2, 20)) is None


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1), (torch.bfloat16, 16)])
@torch.no_grad()
def test_where_mkl_is_slow_several_rows_are_worth_it_in_bfloat16(dtype, most, monkeypatch):
    monkeypatch.setattr(products, "_is_intel", lambda: False)
    monkeypatch.setattr(products, "_packed", torch.Tensor.contiguous)  # for want of AVX-512 none is
    text = text_transformer(320, context=64).to(dtype)
    text.compiles_steps = True
    assert compiled.compiled(text).most_rows == most
    monkeypatch.setattr(compiled, "SMALL", 100)
    text.norm.weight += 1  # weights are arranged again
    assert compiled.compiled(text).most_rows == 1


def test_a_missing_compiler_is_named(tokenizer, monkeypatch):
    def fail(*_args):
        raise torch._dynamo.exc.BackendCompilerFailed(fail, ValueError("no g++ here"), None)

    text = text_transformer(tokenizer.vocabulary, context=64)
    monkeypatch.setattr(compiled, "_compiled", lambda _kind: fail)
    with pytest.raises(ValueError, match=r"a C\+\+ compiler that works, .*no g\+\+ here"):
        compiled.compile_steps(text)
    assert not text.compiles_steps


def test_who_does_not_want_to_wait_gets_what_there_was(tokenizer, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    text = text_transformer(tokenizer.vocabulary, context=64)
    monkeypatch.setattr(compiled, "_compiled", lambda _kind: stop)
    with pytest.raises(KeyboardInterrupt):
        compiled.compile_steps(text)
    assert not text.compiles_steps


def test_another_device_is_refused():
    with pytest.raises(ValueError, match=r"a network on a CPU\. Got meta"):
        compiled.compile_steps(text_transformer(320).to("meta"))

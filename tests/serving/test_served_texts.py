"""Completions and conversations, asked by OpenAI's own client: the numbers of the Python side."""

import numpy as np
import openai
import pytest
from servers import NAME, serving, tiny_model

from tgp_multimodal.data.chat_template import encode
from tgp_multimodal.inference import text, writing
from tgp_multimodal.inference.code_blocks import enclosing_block
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.inference.writing import BatchGenerator

CODE = "def f(x):\n    y = x\n"
BEYOND = "Naïve café, 東京 \U0001f468"


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer)


@pytest.fixture(scope="module")
def running(model):
    with serving(model) as found:
        yield found


@pytest.fixture(scope="module")
def complete(running):
    def ask(prompt, **settings):
        return running.client.completions.create(model=NAME, prompt=prompt, **settings)

    return ask


def test_samples_are_those_of_the_python_interface(complete, model):
    found = complete("The river", n=3, seed=5, max_tokens=9, temperature=0.05, top_p=0.8)
    sampling = Sampling(9, 0.05, 0.8, seed=5)
    assert [c.text for c in found.choices] == model.samples("The river", None, 3, sampling)
    assert [c.index for c in found.choices] == [0, 1, 2]
    assert {c.finish_reason for c in found.choices} <= {"length", "stop"}
    read = len(model.tokenizer.encode("The river", bos=True))
    assert found.usage.prompt_tokens == read
    assert found.usage.total_tokens == read + found.usage.completion_tokens
    assert (found.object, found.model) == ("text_completion", NAME)


def test_settings_of_ours_go_through(complete, model):
    extra = {"top_k": 5, "repetition_penalty": 1.4, "stop_at_dedent": True}
    found = complete(CODE, n=4, seed=1, max_tokens=20, temperature=0.2, extra_body=extra)
    sampling = Sampling(20, 0.2, 1.0, (), 1, 5, 1.4, enclosing_block(CODE))
    expected = model.samples(CODE, None, 4, sampling)
    assert [c.text for c in found.choices] == expected
    assert [c.finish_reason for c in found.choices if not c.text] == ["stop"] * expected.count("")


def test_without_a_seed_each_request_is_another(complete):
    assert len({complete("x", max_tokens=12).choices[0].text for _ in range(3)}) > 1


def test_gaps_are_filled(complete, model):
    for suffix in ("return x", ""):
        found = complete(CODE, suffix=suffix, seed=2, max_tokens=8, temperature=0.7)
        expected = model.fill(CODE, suffix, 8, 0.7, 1.0, seed=2)
        assert found.choices[0].text == expected
    filled = complete(CODE, suffix="return x", max_tokens=8, temperature=0).choices[0].text
    assert filled == model.fill(CODE, "return x", 8, temperature=0)
    assert filled != model.write(CODE, 8, temperature=0)


def test_several_prompts_and_prompts_of_ids(complete, model):
    prompts = ["a", "The river froze", ""]
    found = complete(prompts, n=2, seed=3, max_tokens=6)
    expected = [t for p in prompts for t in model.samples(p, None, 2, Sampling(6, 1.0, seed=3))]
    assert [c.text for c in found.choices] == expected
    ids = [model.tokenizer.encode(p) for p in prompts]
    assert [c.text for c in complete(ids, n=2, seed=3, max_tokens=6).choices] == expected
    assert complete(ids[1], seed=3, max_tokens=6).choices[0].text == expected[2]


def test_stop_strings(complete, model):
    whole = model.write("The river", 20, 1.0, 1.0, seed=4)
    stop = whole[5:7]
    found = complete("The river", seed=4, max_tokens=20, stop=[stop, "never"]).choices[0]
    assert found.text == whole[: whole.index(stop)]
    assert found.finish_reason == "stop"
    assert complete("The river", seed=4, max_tokens=20, stop=stop).choices[0].text == found.text


def test_a_stream_that_breaks_says_so(running, monkeypatch):
    step, count = BatchGenerator.step, []

    def broken(self):
        count.append(1)
        if len(count) == 4:
            raise RuntimeError("no memory")
        return step(self)

    monkeypatch.setattr(BatchGenerator, "step", broken)
    settings = {"model": NAME, "prompt": "a", "max_tokens": 30, "temperature": 1.0, "seed": 3}
    with pytest.raises(openai.APIError, match=r"request must be answered\. Got a RuntimeError"):
        list(running.client.completions.create(**settings, stream=True))


def test_an_echo_waits_until_there_is_room(model):
    settings = {"model": NAME, "prompt": "a", "echo": True, "stream": True}
    with serving(model, waiting=0) as full, pytest.raises(openai.InternalServerError) as caught:
        full.client.completions.create(**settings)
    assert caught.value.status_code == 503


def test_options_of_a_stream_are_refused_without_one(complete):
    with pytest.raises(openai.UnprocessableEntityError, match="stream_options with stream: true"):
        complete("The river", stream_options={"include_usage": True})


def test_streams_hold_the_same_texts(complete, model):
    settings = {"n": 3, "seed": 6, "max_tokens": 15, "stop": ["zz"]}
    whole = complete("The river", **settings)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = complete("The river", **settings, **options)
    texts, reasons = {}, {}
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] = texts.get(choice.index, "") + choice.text
        reasons[choice.index] = choice.finish_reason
    assert [texts[i] for i in range(3)] == [c.text for c in whole.choices]
    assert [reasons[i] for i in range(3)] == [c.finish_reason for c in whole.choices]
    assert len(chunks) > 10
    assert (last.choices, last.usage) == ([], whole.usage)
    echoed = complete("The river", echo=True, max_tokens=3, seed=1, stream=True)
    alone = model.write("The river", 3, 1.0, 1.0, seed=1)
    assert "".join(c.choices[0].text for c in echoed) == "The river" + alone


def test_log_probabilities_of_an_echo_are_the_scores(complete, model):
    contexts = ["The river", "", BEYOND]
    wholes = [f"{c} froze {BEYOND}" for c in contexts]
    found = complete(wholes, echo=True, logprobs=2, max_tokens=0).choices
    for context, whole, choice in zip(contexts, wholes, found, strict=True):
        assert choice.text == whole
        table = choice.logprobs
        (expected,) = text.perplexity(model.network.text, model.tokenizer, [whole])
        assert sum(table.token_logprobs) == pytest.approx(expected.nats, abs=1e-4)
        ids = model.tokenizer.encode(whole)
        places = [len(model.tokenizer.decode(ids[:i]).rstrip("\ufffd")) for i in range(len(ids))]
        assert table.text_offset == places
        own = sum(
            nats
            for nats, place in zip(table.token_logprobs, places, strict=True)
            if place >= len(context)
        )
        assert own == pytest.approx(model.score(context, whole[len(context) :]), abs=1e-4)
        for nats, best in zip(table.token_logprobs, table.top_logprobs, strict=True):
            first, *_ = values = list(best.values())
            assert len(values) <= 3  # the token's own is one of them
            assert first >= nats


def test_offsets_fit_the_text_that_comes_with_them(complete):
    decomposed = "cafe\u0301 au lait"
    choice = complete(prompt=decomposed, echo=True, logprobs=0, max_tokens=4, seed=1).choices[0]
    found = choice.logprobs
    for token, begin in zip(found.tokens, found.text_offset, strict=True):
        assert choice.text[begin:].startswith(token) or "\ufffd" in token


def test_log_probabilities_of_what_was_written(complete, model):
    found = complete("The river", logprobs=0, max_tokens=8, seed=1)
    table = found.choices[0].logprobs
    for token, place in zip(table.tokens, table.text_offset, strict=True):
        assert "\ufffd" in token or found.choices[0].text[place:].startswith(token)
    whole = complete("The river", logprobs=0, max_tokens=8, seed=1, echo=True).choices[0].logprobs
    count = len(table.tokens)
    np.testing.assert_allclose(whole.token_logprobs[-count:], table.token_logprobs, atol=1e-5)
    assert [o - len("The river") for o in whole.text_offset[-count:]] == table.text_offset
    greedy = complete("The river", logprobs=1, max_tokens=8, temperature=0).choices[0].logprobs
    specials = {f"<|{name}|>" for name in ("bos", "eos", "pad", "mask")}
    for nats, best in zip(greedy.token_logprobs, greedy.top_logprobs, strict=True):
        (name, most), *_ = best.items()
        assert nats == pytest.approx(most, abs=1e-5) or name in specials or "<|" in name
    for logprobs in (0, 1):
        table = complete("The river", logprobs=logprobs, max_tokens=8, seed=1).choices[0].logprobs
        rows = [*zip(table.tokens, table.token_logprobs, table.top_logprobs, strict=True)]
        assert all(best[token] >= nats for token, nats, best in rows)
        assert all(list(best.values()) == sorted(best.values(), reverse=True) for *_, best in rows)


def test_the_eos_that_ends_a_text_has_a_probability(complete, model):
    found = complete("x", n=32, seed=0, max_tokens=60, logprobs=0, echo=True)
    ended = [choice for choice in found.choices if choice.finish_reason == "stop"]
    assert ended
    for choice in found.choices:
        is_ended = choice.finish_reason == "stop"
        assert (choice.logprobs.tokens[-1] == "<|eos|>") == is_ended
        assert choice.logprobs.text_offset[-1] <= len(choice.text)
    ids = model.tokenizer.encode("x y")
    (asked,) = complete([[*ids, model.tokenizer.eos]], max_tokens=0, logprobs=0, echo=True).choices
    assert len(asked.logprobs.tokens) == len(ids) + 1
    (cut,) = complete("x", max_tokens=60, seed=0, stop=list("aeiou "), logprobs=0).choices
    assert all(place < max(1, len(cut.text)) for place in cut.logprobs.text_offset)


def test_ids_that_begin_with_bos_are_given_no_second_one(complete, model):
    ids = model.tokenizer.encode("The river froze")
    settings = {"max_tokens": 1, "seed": 1, "logprobs": 1, "echo": True}
    plain, begun = (complete([row], **settings) for row in (ids, [model.tokenizer.bos, *ids]))
    assert plain.usage == begun.usage
    one, two = plain.choices[0].logprobs, begun.choices[0].logprobs
    assert plain.choices[0].text == begun.choices[0].text
    # Clients count what they sent: the BOS has a place, of which nothing is known.
    assert two.tokens == ["<|bos|>", *one.tokens]
    assert two.token_logprobs == [None, *one.token_logprobs]
    assert two.top_logprobs == [None, *one.top_logprobs]


def test_equal_prompts_without_a_seed_get_texts_of_their_own(complete):
    texts = [c.text for c in complete(["a"] * 4, max_tokens=12).choices]
    assert len(set(texts)) > 1
    texts = [c.text for c in complete(["a"] * 4, max_tokens=12, seed=3).choices]
    assert len(set(texts)) == 1


def test_parts_of_a_message_are_one_text(running):
    parts = [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]
    found = [
        running.client.chat.completions.create(
            model=NAME, messages=messages, seed=1, max_tokens=8
        ).choices[0].message.content
        for messages in (
            [{"role": "system", "content": "Go."}, {"role": "user", "content": "Hi there"}],
            [{"role": "developer", "content": "Go."}, {"role": "user", "content": parts}],
        )
    ]  # fmt: skip
    assert found[0] == found[1]


def test_a_conversation_is_answered(running, model):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    ids = encode(model.tokenizer, messages, True).ids
    network = model.network.text
    sampling = Sampling(10, 0.05, seed=7)
    expected = writing.generate(network, model.tokenizer, [ids] * 2, sampling)
    settings = {"model": NAME, "messages": messages, "n": 2, "seed": 7, "temperature": 0.05}
    found = running.client.chat.completions.create(**settings, max_completion_tokens=10)
    assert [c.message.content for c in found.choices] == expected
    assert found.choices[0].message.role == "assistant"
    assert found.usage.prompt_tokens == len(ids)
    texts, roles = ["", ""], [None, None]
    for chunk in running.client.chat.completions.create(**settings, max_tokens=10, stream=True):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] = roles[choice.index] or choice.delta.role
    assert texts == expected
    assert roles == ["assistant"] * 2
    empty = [*running.client.chat.completions.create(
        **settings, max_tokens=10, stop=[text[:1] for text in expected], stream=True
    )]  # fmt: skip
    assert [c.choices[0].delta.role for c in empty] == ["assistant"] * 2
    free = running.client.chat.completions.create(model=NAME, messages=messages, temperature=0)
    assert free.usage.total_tokens <= network.context


def test_an_answer_goes_back_as_the_next_turn(running, model):
    messages = [{"role": "user", "content": "Hi"}]
    settings = {"model": NAME, "messages": messages, "seed": 7, "max_tokens": 4}
    answer = running.client.chat.completions.create(**settings)
    messages.append(answer.choices[0].message)
    messages.append({"role": "user", "content": "Why?"})
    found = running.client.chat.completions.create(**settings)
    turns = ["Hi", answer.choices[0].message.content, "Why?"]
    roles = ["user", "assistant", "user"]
    plain = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]
    assert found.usage.prompt_tokens == len(encode(model.tokenizer, plain, True).ids)

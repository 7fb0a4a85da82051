"""The prompt of an answer fits the context, at the cost of the oldest turns."""

import pytest
import torch
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.data.chat_template import TEMPLATE, encode
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import chat
from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.model_card import model_card

SYSTEM = {"role": "system", "content": "Be kind."}


def turn(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"Question {number}?"},
        {"role": "assistant", "content": f"Answer {number}."},
    ]


@pytest.fixture(scope="module")
def chatty(tokenizer) -> Tokenizer:
    return Tokenizer(tokenizer.backend, TEMPLATE)


@pytest.fixture(scope="module")
def text(tokenizer):
    return language_model(tokenizer.vocabulary).text  # reads 64 tokens


def test_a_short_conversation_is_kept(text, chatty):
    messages = [SYSTEM, *turn(1)[:1]]
    found = chat.prompt(text, chatty, messages, 8)
    assert found == chat.Prompt(encode(chatty, messages, True).ids, 0, messages)


@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_the_oldest_turns_go_first_and_no_more_than_needed(text, chatty, system):
    turns = [*turn(1), *turn(2), *turn(3), *turn(4), {"role": "user", "content": "Last?"}]
    ids, dropped, left = chat.prompt(text, chatty, [*system, *turns], 16)
    assert dropped > 0
    assert dropped % 2 == 0
    assert ids == encode(chatty, [*system, *turns[dropped:]], True).ids
    assert left == [*system, *turns[dropped:]]
    assert len(ids) <= 48
    assert len(encode(chatty, [*system, *turns[dropped - 2 :]], True).ids) > 48


def test_the_assistants_own_message_is_none_to_answer(text, chatty):
    with pytest.raises(ValueError, match=r"last message must be one to answer"):
        chat.prompt(text, chatty, turn(1), 8)


def test_what_can_not_fit_is_refused(text, chatty):
    with pytest.raises(ValueError, match=r"last message must have room in 56 tokens .* Got \d+"):
        chat.prompt(text, chatty, [{"role": "user", "content": "xyzzy " * 40}], 8)
    with pytest.raises(ValueError, match=r"max_tokens must be between 1 and 56"):
        chat.prompt(text, chatty, turn(1)[:1], 60)


@pytest.fixture(scope="module")
def model(tokenizer, chatty):
    return Model(language_model(tokenizer.vocabulary), chatty, "digest")


def test_an_answer_is_what_transformers_generates(model, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export.save(tmp_path / "export", model.network, model.tokenizer, {}, "")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "export")
    messages = [SYSTEM, *turn(1)[:1]]
    asked = theirs.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = stock.generate(**asked, max_new_tokens=10, do_sample=False)[0]
    expected = theirs.decode(ids[asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert model.chat(messages, max_tokens=10, temperature=0) == expected
    assert expected


def test_an_answer_ends_where_the_turn_ends(model, monkeypatch):
    """A network that writes one letter, the end of its turn, and goes on."""
    one, other = model.tokenizer.encode("x"), model.tokenizer.encode("y")
    ids = iter([*one, model.tokenizer.eos, *other, *other])
    name = "tgp_multimodal.inference.writing.sample_tokens"
    monkeypatch.setattr(name, lambda *_: torch.tensor([next(ids)]))
    assert model.chat(turn(1)[:1], max_tokens=8) == "x"


def test_an_answer_is_the_sum_of_its_pieces_and_follows_its_seed(model):
    messages = turn(1)[:1]
    drawn = {seed: model.chat(messages, 12, temperature=2.0, seed=seed) for seed in range(4)}
    assert len(set(drawn.values())) > 1
    sampling = Sampling(12, 2.0, 0.95, seed=3)
    assert "".join(model.stream_chat(messages, sampling)) == drawn[3]


def test_a_model_that_was_not_taught_is_refused(tokenizer):
    plain = Model(language_model(tokenizer.vocabulary), tokenizer, "digest")
    with pytest.raises(ValueError, match=r"tokenizer must hold a chat template, .*chat\.yaml"):
        plain.chat(turn(1)[:1], 8)


def test_the_card_says_whether_a_model_was_taught(model, tokenizer):
    assert "model.chat(" in model_card(model.network, model.tokenizer, {})
    assert "follow instructions" not in model_card(model.network, model.tokenizer, {})
    assert "model.chat(" not in model_card(model.network, tokenizer, {})

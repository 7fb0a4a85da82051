"""The prompt of an answer fits the context, at the cost of the oldest turns."""

import pytest
from random_networks import language_model

from tgp_multimodal.data.chat_template import TEMPLATE, encode
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import chat

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
    assert found == chat.Prompt(encode(chatty, messages, True).ids, 0)


@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_the_oldest_turns_go_first_and_no_more_than_needed(text, chatty, system):
    turns = [*turn(1), *turn(2), *turn(3), *turn(4), {"role": "user", "content": "Last?"}]
    ids, dropped = chat.prompt(text, chatty, [*system, *turns], 16)
    assert dropped > 0
    assert dropped % 2 == 0
    assert ids == encode(chatty, [*system, *turns[dropped:]], True).ids
    assert len(ids) <= 48
    assert len(encode(chatty, [*system, *turns[dropped - 2 :]], True).ids) > 48


def test_what_can_not_fit_is_refused(text, chatty):
    with pytest.raises(ValueError, match=r"last message must have room in 56 tokens .* Got \d+"):
        chat.prompt(text, chatty, [{"role": "user", "content": "xyzzy " * 40}], 8)
    with pytest.raises(ValueError, match=r"max_tokens must be between 1 and 56"):
        chat.prompt(text, chatty, turn(1)[:1], 60)

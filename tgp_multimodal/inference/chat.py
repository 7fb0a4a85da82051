"""Conversations: the prompt of an answer, short enough for the context.

The text of a conversation is `data.chat_template`'s; here is what depends on the network.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tgp_multimodal.data.chat_template import Message, check, encode
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.writing import room_for_prompt
from tgp_multimodal.models.text_transformer import TextTransformer


class Prompt(NamedTuple):
    """What stands before an answer.

    Attributes:
        ids: at most the context less the tokens of the answer.
        dropped: how many of the oldest messages are not in it.
        messages: those that are.
    """

    ids: list[int]
    dropped: int
    messages: list[Message]


def prompt(
    text: TextTransformer, tokenizer: Tokenizer, messages: Sequence[Message], max_tokens: int
) -> Prompt:
    """The prompt of the next answer; where it is too long, without its oldest turns.

    A turn is a user's message and all up to the next one. System messages in front stay.

    Args:
        text: the network.
        tokenizer: its tokenizer, with a chat template.
        messages: the oldest first; the last one is what is answered.
        max_tokens: new tokens that must fit.

    Raises:
        ValueError: as `data.chat_template.encode`, the last message is the assistant's own, or the
            last turn alone is too long.
    """
    room = room_for_prompt(text, max_tokens)
    check(messages)
    if messages[-1]["role"] == "assistant":
        raise ValueError("last message must be one to answer. Got the assistant's instead.")
    kept = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
    turns = [i for i, m in enumerate(messages) if m["role"] == "user" and i > kept]
    for start in (kept, *turns):
        left = [*messages[:kept], *messages[start:]]
        ids = encode(tokenizer, left, add_generation_prompt=True).ids
        if len(ids) <= room:
            return Prompt(ids, start - kept, left)
    raise ValueError(
        f"last message must have room in {room} tokens (the context of {text.context} less "
        f"max_tokens), the system's with it. Got {len(ids)} tokens instead."
    )

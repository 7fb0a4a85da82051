"""Log-probabilities of tokens as /v1/completions writes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.token_scores import TokenScore


class Tables:
    """What ids spell.

    Args:
        tokenizer: whose ids they are.
        byte_length_V: how many bytes of text each id stands for.
    """

    def __init__(self, tokenizer: Tokenizer, byte_length_V: np.ndarray) -> None:
        self.tokenizer, self.byte_length_V = tokenizer, byte_length_V

    def spelled(self, token: int) -> str:
        """Text of one id; the name of a special one."""
        if token in self.tokenizer.special:
            return str(self.tokenizer.backend.id_to_token(token))
        return self.tokenizer.decode([token])

    def offsets(self, ids: Sequence[int]) -> list[int]:
        """Where each token begins in the text of all, in characters.

        A token that begins within a character begins where the character does.
        """
        content = self.tokenizer.decode(ids).encode()
        begins = np.frombuffer(content, np.uint8) & 0xC0 != 0x80
        before = np.concatenate(([0], begins.cumsum()))  # characters begun before each byte
        place, found = 0, []
        for token in ids:
            at = min(place, len(content))
            is_within = at < len(content) and not begins[at]
            found.append(int(before[at]) - int(is_within))
            place += int(self.byte_length_V[token])
        return found


def described(
    tables: Tables, ids: Sequence[int], scores: Sequence[TokenScore], length: int
) -> dict[str, Any]:
    """The `logprobs` of a choice.

    Args:
        tables: what ids spell.
        ids: of the tokens.
        scores: one for each.
        length: of the text that is shown; tokens that begin behind it were cut off.
    """
    offsets = tables.offsets(ids)
    shown = [i for i, offset in enumerate(offsets) if offset < length]
    return {
        "tokens": [tables.spelled(ids[i]) for i in shown],
        "token_logprobs": [scores[i].nats for i in shown],
        "top_logprobs": [
            {tables.spelled(token): nats for token, nats in reversed(scores[i].best)} for i in shown
        ],
        "text_offset": [offsets[i] for i in shown],
    }

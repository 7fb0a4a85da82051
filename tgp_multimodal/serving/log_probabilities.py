"""Log-probabilities of tokens as /v1/completions writes them."""

from codecs import getincrementaldecoder
from collections.abc import Sequence
from itertools import count
from typing import Any

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.token_scores import TokenScore

# In the alphabet of byte-level BPE a visible character of Latin-1 stands for its own byte, and the
# other bytes map, in order, to the characters from 256 on.
_VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_HIDDEN = sorted(set(range(256)) - set(_VISIBLE))
_BYTE = {chr(byte): byte for byte in _VISIBLE} | dict(
    zip(map(chr, count(256)), _HIDDEN, strict=False)
)


def completion_logprobs(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    scores: Sequence[TokenScore | None],
    length: int | None,
) -> dict[str, Any]:
    """The `logprobs` of a choice; a token's own is always among its alternatives.

    Args:
        tokenizer: whose ids they are.
        ids: of the tokens.
        scores: one for each; None for a token without context.
        length: characters of text to show, where more was generated; None shows all.
    """
    begins = offsets(tokenizer, ids)
    shown = [i for i, begin in enumerate(begins) if length is None or begin < length]
    found = [(ids[i], scores[i]) for i in shown]
    return {
        "tokens": [_spelled(tokenizer, token) for token, _ in found],
        "token_logprobs": [None if score is None else score.nats for _, score in found],
        "top_logprobs": [
            None if score is None else _named(tokenizer, score, token) for token, score in found
        ],
        "text_offset": [begins[i] for i in shown],
    }


def offsets(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """Where each token begins in the text of all, in characters.

    A token that begins within a character begins where the character does.
    """
    decoder, place, found = getincrementaldecoder("utf-8")("replace"), 0, []
    for token in ids:
        name = "" if token in tokenizer.special else tokenizer.backend.id_to_token(token) or ""
        content = bytes(_BYTE[character] for character in name)
        is_broken = decoder.getstate()[0] and content and content[0] & 0xC0 != 0x80
        found.append(place + bool(is_broken))  # an incomplete character becomes U+FFFD
        place += len(decoder.decode(content))
    return found


def _spelled(tokenizer: Tokenizer, token: int) -> str:
    """Text of one id; the name of a special one."""
    if token in tokenizer.special:
        return str(tokenizer.backend.id_to_token(token))
    return tokenizer.decode([token])


def _named(tokenizer: Tokenizer, score: TokenScore, own: int) -> dict[str, float]:
    """Alternatives and the token itself by what they spell; of equal spellings the best.

    Best first; the token itself comes last where it is none of the best.
    """
    found: dict[str, float] = {}
    for token, nats in (*score.top_tokens, (own, score.nats)):
        found.setdefault(_spelled(tokenizer, token), nats)
    return found

"""What a network has no room for: how much of a text is not read, and a warning that says so."""

import warnings
from collections.abc import Sequence

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.writing import prompt_ids
from tgp_multimodal.models.text_transformer import TextTransformer

_INFILLING = 4  # BOS, prefix, suffix, middle


def of_prompt(
    text: TextTransformer, tokenizer: Tokenizer, prompt: str, suffix: str | None, max_tokens: int
) -> int:
    """Tokens of a prompt and its suffix that the context has no room for.

    Raises:
        ValueError: `max_tokens` is out of range.
    """
    read = len(prompt_ids(text, tokenizer, prompt, suffix, max_tokens))
    special = 1 if suffix is None else _INFILLING
    return len(tokenizer.encode(prompt)) + len(tokenizer.encode(suffix or "")) + special - read


def of_context(text: TextTransformer, tokenizer: Tokenizer, context: str, continuation: str) -> int:
    """Tokens of a context that are not read where its continuation is scored."""
    if _is_short(text, context + continuation):
        return 0
    before = len(tokenizer.encode(context))
    scored = len(tokenizer.encode(context + continuation)) - before
    # BOS is read, and the last scored token is not; a long continuation is scored in windows.
    return max(0, before + min(scored, text.context) - text.context)


def of_text(text: TextTransformer, tokenizer: Tokenizer, one: str) -> int:
    """Tokens of a text, BOS counted, that the context has no room for."""
    if _is_short(text, one):
        return 0
    return max(0, 1 + len(tokenizer.encode(one)) - text.context)


def warn_of_prompt(unread: int, suffix: str | None = None, name: str = "prompt") -> None:
    """Warns the caller of the caller where something is not read."""
    if unread:
        tokens = "token" if unread == 1 else f"{unread:,} tokens"
        which = f"first {tokens}" if suffix is None else f"{tokens} farthest from the gap"
        are = "is" if unread == 1 else "are"
        _tell(f"{name} is too long for the network: its {which} {are} not read")


def warn_of_texts(text: TextTransformer, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Likewise, of texts whose ends are not read."""
    long = [one for one in texts if of_text(text, tokenizer, one)]
    if long:
        _tell(
            f"{len(long)} of {len(texts)} texts are longer than the context of {text.context} "
            f"tokens and lose their ends; the first is {long[0][:40]!r}..."
        )


def _is_short(text: TextTransformer, one: str) -> bool:
    """A token is a byte at least."""
    return len(one.encode("utf-8", "surrogatepass")) < text.context


def _tell(message: str) -> None:
    warnings.warn(message, stacklevel=4)

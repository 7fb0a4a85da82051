"""Conversations as one text, by a Jinja template, and as ids.

A message is `{"role": ..., "content": ...}`, as OpenAI's interface and `transformers` have it. The
template is rendered as `apply_chat_template` of `transformers` renders it: in a sandbox, with
`trim_blocks`, `lstrip_blocks`, and the tag `{% generation %}` around what the model writes.

Ours costs no new ids: `TEMPLATE` marks the roles with the special tokens that every tokenizer of
ours has held from its first day, and ends each message with EOS, at which every client stops.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tgp_multimodal.data.tokenizer import BOS, EOS, MASK, PAD, SPECIALS, Tokenizer

ROLES = ("system", "user", "assistant")
TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}
            {{- message['content'] | trim + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- message['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
"""
_NAMED = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "mask_token": MASK}
_OPENS, _CLOSES = "generation_opens", "generation_closes"
_NONCHARACTERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # Unicode keeps them free for such marks
_SPECIAL = re.compile("|".join(map(re.escape, SPECIALS)))

Message = Mapping[str, str]


class Turns(NamedTuple):
    """A conversation as ids.

    Attributes:
        ids: of the whole, BOS in front.
        is_answer: True where an id is the model's to write: its messages, their ends included.
    """

    ids: list[int]
    is_answer: list[bool]


def check(messages: Sequence[Message]) -> None:
    """Refuses what is no conversation.

    Raises:
        ValueError: there is no message, or one without a known role and a text.
    """
    if isinstance(messages, str) or not messages:
        raise ValueError(f"messages must be a list of at least one. Got {messages!r} instead.")
    for message in messages:
        if not isinstance(message, Mapping):
            raise ValueError(f"message must have a role and a content. Got {message!r} instead.")
        if (role := message.get("role")) not in ROLES:
            listed = ", ".join(ROLES)
            raise ValueError(f"role of a message must be one of {listed}. Got {role!r} instead.")
        if not isinstance(content := message.get("content"), str):
            raise ValueError(f"content of a message must be a text. Got {content!r} instead.")


def render(
    messages: Sequence[Message],
    template: str = TEMPLATE,
    add_generation_prompt: bool = True,
    specials: Mapping[str, str] = _NAMED,
) -> str:
    """The conversation as one text, to the character as `transformers` renders it.

    Args:
        messages: the oldest first.
        template: Jinja.
        add_generation_prompt: end with the mark behind which the model answers.
        specials: special tokens that the template may name, `bos_token` for example.

    Raises:
        ValueError: as `check`, or the template cannot be rendered with these messages.
    """
    return _rendered(messages, template, add_generation_prompt, specials, "", "")


def encode(
    tokenizer: Tokenizer, messages: Sequence[Message], add_generation_prompt: bool = False
) -> Turns:
    """The conversation as ids, by the template of the tokenizer.

    The ids are those of `apply_chat_template`, but for special tokens that a message spells out:
    they are plain text here, so that no message can forge another one. An answer starts a token of
    its own, as it does when the model writes it.

    Raises:
        ValueError: as `render`, or the tokenizer holds no template.
    """
    check(messages)
    if tokenizer.chat_template is None:
        raise ValueError("tokenizer must hold a chat template. Got one without instead.")
    whole = "".join(message["content"] for message in messages)
    guard, opens, closes = [c for c in _NONCHARACTERS if c not in whole][:3]
    guarded = [
        {**m, "content": _SPECIAL.sub(lambda found: guard.join(found[0]), m["content"])}
        for m in messages
    ]
    text = _rendered(guarded, tokenizer.chat_template, add_generation_prompt, _NAMED, opens, closes)
    ids: list[int] = []
    is_answer: list[bool] = []
    is_open = False
    for piece in re.split(f"({_SPECIAL.pattern}|{opens}|{closes})", text):
        if piece in (opens, closes):
            is_open = piece == opens
            continue
        special = tokenizer.backend.token_to_id(piece) if piece in SPECIALS else None
        new = [special] if special is not None else tokenizer.encode(piece.replace(guard, ""))
        ids += new
        is_answer += [is_open] * len(new)
    return Turns(ids, is_answer)


class _Generation(Extension):
    """`{% generation %}`, as `transformers` has it: its body, between two marks."""

    tags = {"generation"}  # noqa: RUF012  (as its base class has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        marks = (nodes.Output([nodes.Name(n, "load")], lineno=line) for n in (_OPENS, _CLOSES))
        return [next(marks), *body, next(marks)]


def _rendered(
    messages: Sequence[Message],
    template: str,
    add_generation_prompt: bool,
    specials: Mapping[str, str],
    opens: str,
    closes: str,
) -> str:
    check(messages)
    try:
        return _compiled(template).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **{_OPENS: opens, _CLOSES: closes},
            **specials,
        )
    except (TemplateError, TypeError, KeyError) as error:
        raise ValueError(
            f"chat template must be one that renders these messages. Got {error} instead."
        ) from error


@lru_cache
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def _json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own filter escapes what HTML would misread."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)

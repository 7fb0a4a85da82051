"""Raw data to conversations: tables with messages, or with a question and an answer in each row.

A question that is itself a transcript, `User: ...` and `Assistant: ...` in turn, becomes its turns.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from tgp_multimodal.data import rows
from tgp_multimodal.data.chat_template import Message, check
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import (
    Source,
    count,
    find,
    licenses,
    parse,
    size,
    state_of,
    stated,
    stream_of,
    valid_text,
)

_KINDS = "tables (.parquet, .jsonl, .jsonl.gz, .jsonl.zst, .csv)"
_SPEAKERS = {"User": "user", "Assistant": "assistant"}
_TURN = re.compile(r"^(User|Assistant):[ \t]*", re.MULTILINE)


class Conversation(NamedTuple):
    """Messages, at least one of which is the assistant's.

    Attributes:
        messages: the oldest first.
        stream: which mixture it belongs to.
        name: where it came from.
    """

    messages: tuple[Message, ...]
    stream: str
    name: str

    @property
    def question(self) -> str:
        """The first message that is no system's."""
        return next((m["content"] for m in self.messages if m["role"] != "system"), "")

    @property
    def text(self) -> str:
        """What was said, a line for each message; what a tokenizer is trained on."""
        return "\n".join(m["content"] for m in self.messages)


class Columns(NamedTuple):
    """Columns of tables: of messages where there is such a one, or else of question and answer."""

    messages: str = "messages"
    prompt: str = "prompt"
    response: str = "response"


def conversations(spec: str, columns: Columns | None = None) -> Source:
    """Conversations of a table, or of a folder or pattern of such.

    Args:
        spec: `path` or `stream=path`.
        columns: where they stand; left out: those that `Columns` names.

    Raises:
        ValueError: there is nothing of that kind.
    """
    chosen = columns or Columns()
    stream, place = parse(spec)
    files = find(place, rows.is_table, "chat", _KINDS)
    stream = stream or stream_of(place)

    def read() -> Iterator[Conversation | Bad]:
        for file in files:
            yield from table_conversations(partial(rows.read, file), str(file), chosen, stream)

    return Source(
        place,
        stream,
        read,
        count(files),
        size(files),
        stated(licenses(files)),
        state=state_of(files, " ".join(chosen)),
    )


def table_conversations(
    read: Callable[[rows.Choose], Iterator[rows.Row | Bad]],
    where: str,
    columns: Columns,
    stream: str,
) -> Iterator[Conversation | Bad]:
    """Conversations of a table, which `read` opens."""

    def choose(there: Sequence[str]) -> list[str]:
        if columns.messages in there:
            return [columns.messages]
        pair = (("prompt_column", columns.prompt), ("response_column", columns.response))
        return [rows.column(option, name, there, where) for option, name in pair]

    for row in read(choose):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            messages = _messages(row[1], columns)
            yield Conversation(messages, stream, f"{where}:{row[0]}")
        except ValueError as error:
            yield Bad(where, row[0], str(error))


def _messages(values: Mapping[str, Any], columns: Columns) -> tuple[Message, ...]:
    if columns.messages in values:
        found = values[columns.messages]
        if not isinstance(found, list):
            raise ValueError(
                f"{columns.messages} must be a list. Got a {type(found).__name__} instead"
            )
        check(found)
        if not any(m["role"] == "assistant" for m in found):
            raise ValueError("no message is the assistant's")
        return tuple(_message(m["role"], valid_text(m["content"])) for m in found)
    question, answer = (valid_text(values[name], name) for name in columns[1:])
    return (*turns(question), _message("assistant", answer))


def turns(question: str) -> list[Message]:
    """The messages of a transcript that ends with the user; of any other text a single one."""
    _, *parts = _TURN.split(question)
    speakers, texts = parts[::2], [text.strip() for text in parts[1::2]]
    alternate = all(a != b for a, b in pairwise(speakers))
    is_whole = bool(parts) and _TURN.match(question) is not None and all(texts)
    if not is_whole or not alternate or speakers[-1] != "User" or len(speakers) < 2:
        return [_message("user", question)]
    return [_message(_SPEAKERS[s], text) for s, text in zip(speakers, texts, strict=True)]


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content.strip()}

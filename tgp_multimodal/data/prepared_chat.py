"""Prepared conversations: ids with their marks, and which of them are the model's to write.

The folder is that of text (`prepared.py`) with one file more for each split, `<split>.answers.npy`.

Shape letters: T tokens of a split.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data.arrays import ArrayFile, open_array
from tgp_multimodal.data.chat_template import TEMPLATE, Message, encode, render
from tgp_multimodal.data.conversations import Conversation
from tgp_multimodal.data.prepared import Writer, checked
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.sources import Source
from tgp_multimodal.data.tokenizer import Tokenizer


class ChatSplit(NamedTuple):
    """Conversation number i is `token_T[offsets[i] : offsets[i + 1]]`, BOS and all marks included.

    Attributes:
        token_T: ids.
        is_answer_T: True where an id is the model's to write.
        offsets: where each conversation starts, and the end.
        stream: of each conversation, its index in `streams`.
        streams: names.
    """

    token_T: np.ndarray
    is_answer_T: np.ndarray
    offsets: np.ndarray
    stream: np.ndarray
    streams: tuple[str, ...]


def chat_texts(source: Source, tokenizer: Tokenizer) -> Source:
    """The source, in which a conversation that the template refuses is a bad row."""
    template = tokenizer.chat_template
    if template in (None, TEMPLATE):  # which refuses none that `conversations` lets pass
        return source

    def read() -> Iterator[Any]:
        for item in source.read():
            if isinstance(item, Conversation):
                try:
                    render(item.messages, template, False)
                except ValueError as error:
                    where, _, row = item.name.rpartition(":")
                    yield Bad(where, row, str(error))
                    continue
            yield item

    return source._replace(read=read)


class ChatWriter(Writer):
    """Tokenizes conversations into a folder, splits in any order; use it as a context manager.

    Args:
        folder: where to.
        tokenizer: what with; it holds the template.
    """

    kind = "chat"

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        super().__init__(folder)
        self.tokenizer = tokenizer
        self.tokens: dict[str, ArrayFile] = {}
        self.answers: dict[str, ArrayFile] = {}
        self.offsets: dict[str, array] = {}
        self.sizes: dict[str, dict[str, int]] = {}

    def __enter__(self) -> "ChatWriter":
        return self

    def add(self, split: str, conversation: Conversation) -> None:
        """Appends one conversation to a split."""
        if split not in self.tokens:
            self._open(split)
        turns = encode(self.tokenizer, conversation.messages)
        is_answer = np.array(turns.is_answer)
        self.tokens[split].append(np.array(turns.ids))
        self.answers[split].append(is_answer)
        self.offsets[split].append(self.tokens[split].rows)
        self.stream[split].append(self._index(conversation.stream))
        sizes = self.sizes[split]
        sizes["answer_tokens"] += int(is_answer.sum())
        sizes["bytes"] += _bytes(conversation.messages)

    def finish(self, sources: list[dict[str, Any]]) -> dict[str, Any]:
        """Writes what is left, and the manifest, which it returns.

        Raises:
            ValueError: the template says of nothing that it is the model's to write.
        """
        if self.sizes and not any(size["answer_tokens"] for size in self.sizes.values()):
            raise ValueError(
                "chat template must have {% generation %} around what the model writes. Got one"
                " without instead."
            )
        sizes = {
            split: {"conversations": len(self.stream[split]), "tokens": file.rows}
            | self.sizes[split]
            for split, file in self.tokens.items()
        }
        self.files.close()
        for split, offsets in self.offsets.items():
            np.save(self.folder / f"{split}.offsets.npy", np.array(offsets, dtype=np.int64))
        return self._finish(sizes, {"tokenizer": self.tokenizer.digest, "sources": sources})

    def _open(self, split: str) -> None:
        dtype = np.uint16 if self.tokenizer.vocabulary <= 2**16 else np.uint32
        self.tokens[split] = ArrayFile(self.folder / f"{split}.tokens.npy", dtype)
        self.answers[split] = ArrayFile(self.folder / f"{split}.answers.npy", np.bool_)
        for file in (self.tokens[split], self.answers[split]):
            self.files.callback(file.close)
        self.offsets[split], self.stream[split] = array("q", [0]), array("B")
        self.sizes[split] = {"answer_tokens": 0, "bytes": 0}


def open_chat(folder: Path, split: str) -> ChatSplit:
    """Memory-maps the conversations of one split.

    Raises:
        ValueError: the folder holds no such split, no conversations, or files that fit not the
            manifest.
    """
    found = checked(folder, split, "chat")
    sizes = found["splits"][split]
    return ChatSplit(
        open_array(folder / f"{split}.tokens.npy", sizes["tokens"], "r"),
        open_array(folder / f"{split}.answers.npy", sizes["tokens"], "r"),
        open_array(folder / f"{split}.offsets.npy", sizes["conversations"] + 1),
        open_array(folder / f"{split}.streams.npy", sizes["conversations"]),
        tuple(found["streams"]),
    )


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(m["content"].encode()) for m in messages)

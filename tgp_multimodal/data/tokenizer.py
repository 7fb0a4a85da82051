"""Byte-level BPE: any text in, ids out, and back.

The file on disk is a stock `Qwen2Tokenizer` whose post-processor puts one BOS in front, so that the
empty prompt is one token and every stock client reads text as we do. That class composes characters
(Unicode NFC) whatever its file says, so we do too: what comes back is the NFC form of what went in.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from tgp_multimodal.data.json_files import read_object

BOS, EOS, PAD, MASK = "<|bos|>", "<|eos|>", "<|pad|>", "<|mask|>"
PREFIX, SUFFIX, MIDDLE = "<|prefix|>", "<|suffix|>", "<|middle|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS = (BOS, EOS, PAD, MASK, PREFIX, SUFFIX, MIDDLE, SYSTEM, USER, ASSISTANT)

_CHAT = "chat_template.jinja"

# Contractions, words with one leading space, digits one by one, runs of marks, white space: the
# split of Qwen2's tokenizer, so that the stock class, which sets this very pattern when it loads,
# cuts text exactly where we cut it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class WordIds(NamedTuple):
    """A sentence of words as ids.

    Attributes:
        ids: of the sentence.
        spans: of each word, where its ids begin and end.
    """

    ids: list[int]
    spans: list[tuple[int, int]]


class Tokenizer:
    """Text to ids and back.

    Args:
        backend: what does the work.
        chat_template: how a conversation becomes one text, in Jinja (`chat_template.py`); None for
            the tokenizer of a model that was not taught to answer. No id depends on it.

    Attributes:
        bos, eos, pad, mask, prefix, suffix, middle: ids of the special tokens.
        byte_length_V: how many bytes of text each id stands for, (V,); 0 for specials.
    """

    def __init__(self, backend: Backend, chat_template: str | None = None) -> None:
        # `transformers` leaves them in the file of whoever last truncated or padded with it.
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.chat_template = backend, chat_template
        ids: list[int] = []
        for name in SPECIALS:
            if (found := backend.token_to_id(name)) is None:
                there = ", ".join(SPECIALS)
                raise ValueError(f"tokenizer must hold {there}. Got one without {name} instead.")
            ids.append(found)
        self.bos, self.eos, self.pad, self.mask, self.prefix, self.suffix, self.middle = ids[:7]
        self.special = frozenset(ids)

    @property
    def vocabulary(self) -> int:
        """Number of ids, V."""
        return self.backend.get_vocab_size()

    @property
    def byte_length_V(self) -> np.ndarray:  # noqa: N802  (V is a shape)
        names = [self.backend.id_to_token(i) or "" for i in range(self.vocabulary)]
        # In the byte-level alphabet one character of a token's name is one byte of text.
        return np.array([0 if i in self.special else len(name) for i, name in enumerate(names)])

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the ids."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @cached_property
    def is_cut_as_ours(self) -> bool:
        """Whether it composes and cuts text as our own tokenizers do."""
        settings = json.loads(self.backend.to_str())
        # Text with an added token in it is cut there too, unless the token is special.
        added = all(token["special"] for token in settings["added_tokens"])
        return added and all(settings[k] == v for k, v in own_settings().items())

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Ids of a text.

        Special tokens spelled out in it are plain text, so that no document can forge a boundary
        (the stock class does likewise when called with `split_special_tokens=True`).
        """
        return self.encode_batch([text], bos)[0]

    def encode_batch(self, texts: Sequence[str], bos: bool = False) -> list[list[int]]:
        """`encode` of many texts at once, over all cores.

        Raises:
            ValueError: a text is no Unicode, for it holds half of a surrogate pair.
        """
        start = [self.bos] if bos else []
        try:
            encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            raise ValueError(
                f"text must be valid Unicode. Got {_no_unicode(texts)} instead."
            ) from error
        return [start + e.ids for e in encodings]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[WordIds]:
        """Ids of each sentence, its words joined by one space, and which of them are each word's.

        Words are not encoded one by one: some tokenizations depend on what stands before. The
        space in front belongs to a word's first id where the tokenizer joins the two ("␣cat"),
        and is an id of its own where it does not (before a digit): it is then no part of the word.

        Raises:
            ValueError: a word is no Unicode, or there is nothing to read in it.
        """
        texts = [" ".join(words) for words in sentences]
        if blank := [words for words in sentences if not all(w.strip() for w in words)]:
            raise ValueError(f"words must not be blank. Got {list(blank[0])} instead.")
        try:
            encodings = self.backend.encode_batch(texts, add_special_tokens=False)
        except TypeError as error:
            raise ValueError(
                f"text must be valid Unicode. Got {_no_unicode(texts)} instead."
            ) from error
        found = []
        for words, encoding in zip(sentences, encodings, strict=True):
            ends = [end for _, end in encoding.offsets]
            begins = accumulate((len(w) + 1 for w in words), initial=0)
            spans = [
                (bisect_right(ends, begin), bisect_right(ends, begin + len(word)))
                for begin, word in zip(begins, words, strict=False)
            ]
            found.append(WordIds(encoding.ids, spans))
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, specials left out; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def unwritable(self, ids: int) -> list[int]:
        """Of the ids below `ids`, those never to generate: specials except EOS, and unused ids."""
        return [*sorted(self.special - {self.eos}), *range(self.vocabulary, ids)]

    def save(self, folder: Path, longest: int = 1024) -> None:
        """Writes the files that `transformers.AutoTokenizer` loads as a `Qwen2Tokenizer`.

        Args:
            folder: gets them.
            longest: most ids of a text, of a network's context; where stock tokenizers truncate.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self.backend.to_str(pretty=False), encoding="utf-8")
        settings = {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": PAD,
            "mask_token": MASK,
            "unk_token": None,
            "additional_special_tokens": list(SPECIALS[4:]),
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": False,
            "model_max_length": longest,
            "padding_side": "right",
        }
        (folder / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2), encoding="utf-8"
        )
        (folder / _CHAT).unlink(missing_ok=True)
        if self.chat_template is not None:
            (folder / _CHAT).write_text(self.chat_template, encoding="utf-8")


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learns a byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909).

    Args:
        texts: read once.
        vocabulary: number of ids, specials and all 256 bytes included; fewer where the texts hold
            not that many different pairs.

    Raises:
        ValueError: `vocabulary` is too small for the specials and the bytes, or there is no text.
    """
    floor = len(SPECIALS) + 256
    if vocabulary < floor:
        parts = f"256 bytes and {len(SPECIALS)} specials"
        raise ValueError(
            f"vocabulary must be at least {floor} ({parts}). Got {vocabulary} instead."
        )
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _splitter()
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    filled = (text for text in texts if text)
    first = next(filled, None)
    if first is None:
        raise ValueError("texts must hold at least one that is not empty. Got none instead.")
    backend.train_from_iterator(chain([first], filled), trainer)
    bos = backend.token_to_id(BOS)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
    )
    backend.encode_special_tokens = True
    return Tokenizer(backend)


def load(folder: Path) -> Tokenizer:
    """Opens what `save` wrote.

    Raises:
        ValueError: there is no tokenizer, or one that is broken or lacks our special tokens.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"tokenizer must be a folder with a tokenizer.json. Got {folder} instead.")
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises nothing finer
        message = f"tokenizer must be a whole tokenizer.json. Got {path} ({error}) instead."
        raise ValueError(message) from None
    backend.encode_special_tokens = True
    return Tokenizer(backend, _chat_template(folder))


def _chat_template(folder: Path) -> str | None:
    """Where `transformers` looks: a file of its own, or else a key of the settings."""
    if (folder / _CHAT).is_file():
        return (folder / _CHAT).read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = read_object(path) if path.is_file() else {}
    return settings.get("chat_template")


def own_settings() -> dict[str, Any]:
    """How a tokenizer of ours composes and cuts text, as its file says it."""
    backend = Backend(models.BPE())
    backend.normalizer, backend.pre_tokenizer = normalizers.NFC(), _splitter()
    found = json.loads(backend.to_str())
    return {name: found[name] for name in ("normalizer", "pre_tokenizer")}


def _splitter() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    return pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def _no_unicode(texts: Sequence[Any]) -> str:
    for text in texts:
        if not isinstance(text, str):
            return repr(text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"{text[error.start]!r} at character {error.start}"
    return "something else"


def move_space(context: str, continuation: str) -> tuple[str, str]:
    """White space at the end of a context belongs to its continuation, as in lm-eval."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation

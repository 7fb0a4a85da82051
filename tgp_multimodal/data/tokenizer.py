"""Byte-level BPE: any bytes in, ids out, and back.

The file on disk is a stock `Qwen2Tokenizer` whose post-processor puts one BOS in front, so that the empty prompt is one token and every
stock client reads text as we do.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

BOS, EOS, PAD, MASK = "<|bos|>", "<|eos|>", "<|pad|>", "<|mask|>"
PREFIX, SUFFIX, MIDDLE = "<|prefix|>", "<|suffix|>", "<|middle|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS = (BOS, EOS, PAD, MASK, PREFIX, SUFFIX, MIDDLE, SYSTEM, USER, ASSISTANT)

# Contractions, words with one leading space, digits one by one, runs of marks, white space: the split of Qwen2's tokenizer, so that the
# stock class, which sets this very pattern when it loads, cuts text exactly where we cut it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Text to ids and back.

    Attributes:
        bos, eos, pad, mask, prefix, suffix, middle: ids of the special tokens.
        byte_length_V: how many bytes of text each id stands for, (V,); 0 for specials.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        ids = [backend.token_to_id(name) for name in SPECIALS]
        if None in ids:
            missing = SPECIALS[ids.index(None)]
            raise ValueError(f"tokenizer must hold the special tokens {SPECIALS}. Got none named {missing} instead.")
        self.bos, self.eos, self.pad, self.mask, self.prefix, self.suffix, self.middle = ids[:7]
        self.special = frozenset(ids)

    @property
    def vocabulary(self) -> int:
        """Number of ids, V."""
        return self.backend.get_vocab_size()

    @property
    def byte_length_V(self) -> np.ndarray:
        names = [self.backend.id_to_token(i) for i in range(self.vocabulary)]
        # In the byte-level alphabet one character of a token's name is one byte of text.
        return np.array([0 if i in self.special else len(name) for i, name in enumerate(names)])

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the ids."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Ids of a text. Special tokens spelled out in it are plain text, so that no document can forge a boundary."""
        return self.encode_batch([text], bos)[0]

    def encode_batch(self, texts: Sequence[str], bos: bool = False) -> list[list[int]]:
        """`encode` of many texts at once, over all cores."""
        start = [self.bos] if bos else []
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [start + e.ids for e in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, specials left out; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` loads as a `Qwen2Tokenizer`."""
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
            "model_max_length": 1024,
            "padding_side": "right",
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learns a byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909) of `vocabulary` ids, specials and all 256 bytes included.

    Raises:
        ValueError: `vocabulary` is too small for the specials and the bytes, or there is no text.
    """
    floor = len(SPECIALS) + 256
    if vocabulary < floor:
        raise ValueError(f"vocabulary must be at least {floor} (256 bytes and {len(SPECIALS)} specials). Got {vocabulary} instead.")
    backend = Backend(models.BPE())
    backend.pre_tokenizer = _splitter()
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    bos = backend.token_to_id(BOS)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
    )
    backend.encode_special_tokens = True
    return Tokenizer(backend)


def load(folder: Path) -> Tokenizer:
    """Opens what `save` wrote.

    Raises:
        ValueError: there is no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"tokenizer must be a folder with a tokenizer.json. Got {folder} instead.")
    backend = Backend.from_file(str(path))
    backend.encode_special_tokens = True
    return Tokenizer(backend)


def _splitter() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])







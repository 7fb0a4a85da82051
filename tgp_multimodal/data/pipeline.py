"""The deterministic stream of batches: what each step of a run learns from.

Its whole state is the number of the next step.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tgp_multimodal.data.batches import grain, passage_batches, text_batches
from tgp_multimodal.data.packed_chat import chat_batches
from tgp_multimodal.data.picture_batches import caption_batches, picture_batches
from tgp_multimodal.data.prepared import PictureSplit, open_pictures, open_text
from tgp_multimodal.data.prepared_chat import open_chat
from tgp_multimodal.data.sections import checked_section
from tgp_multimodal.data.tokenizer import Tokenizer

_TRAINING_ONLY = ("flips", "crops", "greys")  # settings of pictures


class Stream:
    """Batches of several streams at once, as one dict per step, from any step on.

    Args:
        datasets: stream name -> batches by number.
        threads: reading threads of each stream; 0 reads in the calling thread.
        every: stream name -> its period: it is in the dict at every n-th step, from step 0 on; 1 if
            not given. No batch is made and then discarded, and none is skipped.
    """

    def __init__(
        self,
        datasets: Mapping[str, "grain.MapDataset[Any]"],
        threads: int = 1,
        every: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.datasets, self.threads = dict(datasets), threads
        self.every = {name: every.get(name, 1) for name in datasets}

    def batches(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """What step number `start` and all that follow need; equal numbers give equal batches."""
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=4 * self.threads)
        iterators = {}
        for name, dataset in self.datasets.items():
            iterators[name] = iter(dataset.to_iter_dataset(options))
            iterators[name].set_state({"next_index": -(-start // self.every[name])})
        for step in count(start):
            due = (name for name, apart in self.every.items() if step % apart == 0)
            yield {name: next(iterators[name]) for name in due}


def open_stream(
    folder: Path,
    split: str,
    tokenizer: Tokenizer,
    text: Mapping[str, Any] | None,
    pictures: Mapping[str, Any] | None,
    seed: int,
    shard: tuple[int, int] = (0, 1),
    threads: int = 1,
    passages: Mapping[str, Any] | None = None,
    captions: Mapping[str, Any] | None = None,
    chat: Mapping[str, Any] | None = None,
    every: Mapping[str, int] = MappingProxyType({}),
) -> Stream:
    """The stream of a run.

    Args:
        folder: a prepared set.
        split: train, validation or test.
        tokenizer: the set's own.
        text: keyword arguments of `text_batches`; None for no text.
        pictures: keyword arguments of `picture_batches`; None for no pictures. Without weights
            every stream has a share by its size. What changes pictures (`flips`, `crops`, `greys`)
            holds for training alone; scenes that are `drawn` are of the same mixture in every
            split, and those of validation are no scenes of training.
        seed: decides everything that is drawn.
        shard: number of this process, and of how many.
        threads: reading threads of each stream.
        passages: keyword arguments of `passage_batches`; None for no passages.
        captions: keyword arguments of `caption_batches`, whose streams are those of `pictures`;
            None for no pairs of captions.
        chat: keyword arguments of `chat_batches`; None for no conversations.
        every: stream name -> how many steps apart it comes; see `Stream`.

    Raises:
        ValueError: there is no stream, captions without pictures, or an argument that a function
            does not have or lacks.
    """
    datasets: dict[str, Any] = {}
    text = checked_section("text", text)
    pictures = checked_section("pictures", pictures)
    passages = checked_section("passages", passages)
    captions = checked_section("captions", captions)
    chat = checked_section("chat", chat)
    if text is not None:
        found = open_text(folder / "text", split)
        if split != "train":  # what is held out is measured at the length of the run's end
            text = {k: v for k, v in text.items() if k != "ramp"}
        text = {"infill": {}} | text
        datasets["text"] = text_batches(found, tokenizer, **text, seed=seed, shard=shard)
    if pictures is not None:
        seen = open_pictures(folder / "pictures", split)
        pictures = dict[str, Any](weights=_pictures_per_stream(seen)) | _for_split(pictures, split)
        common: dict[str, Any] = {"seed": seed, "shard": shard, "held_out": split != "train"}
        datasets["pictures"] = picture_batches(seen, tokenizer, **pictures, **common)
        if captions is not None:
            shared = {k: v for k, v in pictures.items() if k in ("weights", "drawn")}
            datasets["captions"] = caption_batches(
                seen, tokenizer, **{**shared, **captions}, **common
            )
    elif captions is not None:
        raise ValueError("captions must come with pictures. Got captions without them instead.")
    if passages is not None:
        read = open_text(folder / "text", split)
        datasets["passages"] = passage_batches(read, tokenizer, **passages, seed=seed, shard=shard)
    if chat is not None:
        held = open_chat(folder / "chat", split)
        datasets["chat"] = chat_batches(held, tokenizer, **chat, seed=seed, shard=shard)
    if not datasets:
        kinds = "text, pictures, passages, captions or chat"
        raise ValueError(f"streams must be {kinds}. Got none instead.")
    return Stream(datasets, threads, every)


def _for_split(settings: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Settings of pictures for a split: what is held out is seen as it is."""
    return {k: v for k, v in settings.items() if split == "train" or k not in _TRAINING_ONLY}


def _pictures_per_stream(split: PictureSplit) -> dict[str, float]:
    """Number of pictures of each stream."""
    count_S = np.bincount(split.stream, minlength=len(split.streams))
    return {name: float(n) for name, n in zip(split.streams, count_S, strict=True)}

"""Prepared data: tokenized documents and resized pictures in memory-mapped files, and a manifest.

A prepared folder holds, for each split it has (train, validation, test), by kind:

    all       manifest.json           kind, sizes, sources, tokenizer digest, content digest
              <split>.streams.npy     uint8, index of each item's stream in manifest["streams"]
    text      <split>.tokens.npy      uint16 or uint32, all documents in a row, no specials
              <split>.offsets.npy     int64, where each document starts, and the end
              ngrams.npy              uint64, 13-grams of the training text (`contamination.py`)
    pictures  <split>.pixels.npy      uint8, (N, Y, X, 3)
              <split>.captions.json   of N pictures: a string, or a list of two or more
    chat      as text, and
              <split>.answers.npy     bool, as `prepared_chat.py` describes it

Writers hold a few megabytes at a time, whatever the corpus, beside the captions of all pictures. A
folder with a manifest is whole: the manifest is the last thing that is written and the first that
is taken away.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data.arrays import ArrayFile, open_array
from tgp_multimodal.data.fast_encoding import FastEncoder
from tgp_multimodal.data.journal import Journal
from tgp_multimodal.data.json_files import read_format, read_json
from tgp_multimodal.data.records import Document, Pair, Picture
from tgp_multimodal.data.tokenizer import Tokenizer

FORMAT = 1
MANIFEST = "manifest.json"

_CHUNK = 512  # documents that are tokenized at once, or fewer where they are long
_CHUNK_CHARACTERS = 4_000_000
_MOST_STREAMS = 256


class TextSplit(NamedTuple):
    """Tokenized documents: number i is `tokens[offsets[i] : offsets[i + 1]]`.

    Its stream is `streams[stream[i]]`, and `name` says which split it is.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    stream: np.ndarray
    streams: tuple[str, ...]
    name: str = "train"


class TooLittleError(ValueError):
    """A split holds too little of a stream for one item of what is read from it."""

    def __init__(self, split: TextSplit, stream: str, wanted: str, got: str = "none") -> None:
        if split.name == "train":
            super().__init__(f"stream {stream!r} must hold {wanted}. Got {got} instead.")
            return
        of = f"{split.name} of stream {stream!r} must hold {wanted}. Got {got} instead"
        super().__init__(f"{of}: a larger --validation_share of `tgp prepare` gives it more.")


class PictureSplit(NamedTuple):
    """Pictures (N, Y, X, 3), the captions of each, all different, and the stream of each."""

    pixels: np.ndarray
    captions: list[tuple[str, ...]]
    stream: np.ndarray
    streams: tuple[str, ...]


class Writer:
    """What all writers share: open files, the names of the streams, the manifest."""

    kind: str

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        self.folder = folder
        self.streams: list[str] = []
        self.stream: dict[str, array] = {}  # split -> stream of each item
        self.files = ExitStack()

    def _index(self, stream: str) -> int:
        if stream not in self.streams:
            if len(self.streams) == _MOST_STREAMS:
                message = (
                    f"streams must be at most {_MOST_STREAMS}. Got one more, {stream!r}, instead."
                )
                raise ValueError(message)
            self.streams.append(stream)
        return self.streams.index(stream)

    def _finish(self, sizes: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        self.files.close()
        for split, stream in self.stream.items():
            np.save(self.folder / f"{split}.streams.npy", np.array(stream, dtype=np.uint8))
        content = {"kind": self.kind, "streams": self.streams, "splits": sizes, **facts}
        return _write_manifest(self.folder, content)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.files.close()


class TextWriter(Writer):
    """Tokenizes documents into a folder, splits in any order; use it as a context manager.

    Args:
        folder: where to.
        tokenizer: what with.
        journals: folder for the token counts of documents, from which a run with the same documents
            resumes after a kill; without it nothing is resumed.
    """

    kind = "text"

    def __init__(self, folder: Path, tokenizer: Tokenizer, journals: Path | None = None) -> None:
        super().__init__(folder)
        self.tokenizer, self.encoder, self.journals = tokenizer, FastEncoder(tokenizer), journals
        self.journal: dict[str, Journal] = {}
        self.dtype = np.uint16 if tokenizer.vocabulary <= 2**16 else np.uint32
        self.waiting: dict[str, list[Document]] = {}
        self.characters: dict[str, int] = {}  # of those that wait
        self.tokens: dict[str, ArrayFile] = {}
        self.offsets: dict[str, array] = {}
        self.bytes: dict[str, int] = {}

    def __enter__(self) -> "TextWriter":
        return self

    def add(self, split: str, document: Document) -> None:
        """Appends one document to a split."""
        if split not in self.tokens:
            keep = self.journals is not None
            file = ArrayFile(self.folder / f"{split}.tokens.npy", self.dtype, keep=keep)
            self.files.callback(file.close)
            if self.journals is not None:
                self.journal[split] = Journal(self.journals / f"{split}.lengths")
                self.files.callback(self.journal[split].close)
            self.tokens[split] = file
            self.waiting[split], self.characters[split], self.bytes[split] = [], 0, 0
            self.offsets[split], self.stream[split] = array("q", [0]), array("B")
        self.waiting[split].append(document)
        self.characters[split] += len(document.text)
        full = self.characters[split] >= _CHUNK_CHARACTERS
        if full or len(self.waiting[split]) == _CHUNK:
            self._flush(split)

    def lengths(self) -> dict[str, np.ndarray]:
        """Tokens of each document so far, of all splits, by stream."""
        for split in self.tokens:
            self._flush(split)
        length_D = np.concatenate([np.diff(np.array(o)) for o in self.offsets.values()])
        stream_D = np.concatenate([np.array(self.stream[split]) for split in self.offsets])
        return {name: length_D[stream_D == i] for i, name in enumerate(self.streams)}

    def finish(
        self, sources: list[dict[str, Any]], facts: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Writes what is left, and the manifest, with other facts in it, which it returns."""
        for split in self.tokens:
            self._flush(split)
        sizes = {
            split: {
                "documents": len(self.stream[split]),
                "tokens": file.rows,
                "bytes": self.bytes[split],
            }
            for split, file in self.tokens.items()
        }
        self.files.close()
        for split, offsets in self.offsets.items():
            np.save(self.folder / f"{split}.offsets.npy", np.array(offsets, dtype=np.int64))
        own = {"tokenizer": self.tokenizer.digest, "sources": sources}
        return self._finish(sizes, own | (facts or {}))

    def _flush(self, split: str) -> None:
        documents = self.waiting[split]
        lengths = self._encode(split, [d.text for d in documents])
        self.offsets[split].extend((self.offsets[split][-1] + np.cumsum(lengths)).tolist())
        self.stream[split].extend(self._index(d.stream) for d in documents)
        self.bytes[split] += sum(len(d.text.encode()) for d in documents)
        documents.clear()
        self.characters[split] = 0

    def _encode(self, split: str, texts: list[str]) -> np.ndarray:
        """Writes the tokens of some texts, or finds them written, and returns their numbers."""
        journal, file = self.journal.get(split), self.tokens[split]
        known = journal.take(len(texts)) if journal else None
        if known is not None:
            file.skip(int(known.sum()))
            return known
        ids = self.encoder.encode_batch(texts)
        for some in ids:
            file.append(some)
        lengths = np.array([len(some) for some in ids], dtype=np.int64)
        if journal:
            file.sync()
            journal.add(lengths)
        return lengths


class PictureWriter(Writer):
    """Stores pictures, all of one size, in a folder; use it as a context manager."""

    kind = "pictures"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shape: tuple[int, ...] = ()
        self.pixels: dict[str, ArrayFile] = {}
        self.captions: dict[str, list[Sequence[str]]] = {}

    def __enter__(self) -> "PictureWriter":
        return self

    def add(self, split: str, picture: Picture) -> None:
        """Appends one picture to a split; its captions are written by `finish`, as they are then.

        Raises:
            ValueError: it is not as large as the first one.
        """
        self.shape = self.shape or picture.pixels_YXC.shape
        if picture.pixels_YXC.shape != self.shape:
            raise ValueError(
                f"pictures must all be as the first one, {self.shape}. "
                f"Got {picture.pixels_YXC.shape} in {picture.name} instead."
            )
        if split not in self.pixels:
            self.pixels[split] = ArrayFile(
                self.folder / f"{split}.pixels.npy", np.uint8, self.shape
            )
            self.files.callback(self.pixels[split].close)
            self.captions[split], self.stream[split] = [], array("B")
        self.pixels[split].append(picture.pixels_YXC[None])
        self.captions[split].append(picture.captions)
        self.stream[split].append(self._index(picture.stream))

    def described(self) -> dict[str, list[Sequence[str]]]:
        """Captions of each picture so far, of all splits, by stream."""
        found: dict[str, list[Sequence[str]]] = {name: [] for name in self.streams}
        for split, captions in self.captions.items():
            for stream, some in zip(self.stream[split], captions, strict=True):
                found[self.streams[stream]].append(some)
        return found

    def finish(
        self, sources: list[dict[str, Any]], facts: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Writes what is left, and the manifest, with other facts in it, which it returns."""
        for split, captions in self.captions.items():
            with (self.folder / f"{split}.captions.json").open("w", encoding="utf-8") as file:
                for number, some in enumerate(captions):
                    file.write(",\n" if number else "[")
                    file.write(json.dumps(some[0] if len(some) == 1 else list(some)))
                file.write("]\n")
        sizes = {
            split: {"pictures": file.rows, "rows": file.row[0], "columns": file.row[1]}
            for split, file in self.pixels.items()
        }
        return self._finish(sizes, {"sources": sources} | (facts or {}))


def write_text(
    folder: Path,
    splits: dict[str, Iterable[Document]],
    tokenizer: Tokenizer,
    sources: list[dict[str, Any]],
) -> dict[str, Any]:
    """Tokenizes the documents of every split into `folder` and returns the manifest.

    Raises:
        ValueError: a split has no document.
    """
    with TextWriter(folder, tokenizer) as writer:
        for split, documents in splits.items():
            for document in documents:
                writer.add(split, document)
            if split not in writer.tokens:
                raise ValueError(f"{split} split must hold a document or more. Got none instead.")
        return writer.finish(sources)


def write_pictures(
    folder: Path, splits: dict[str, Iterable[Pair]], sources: list[dict[str, Any]]
) -> dict[str, Any]:
    """Stores pictures with one caption each, all of one size, in `folder`; returns the manifest.

    Raises:
        ValueError: a split has no picture, or pictures differ in size.
    """
    with PictureWriter(folder) as writer:
        for split, pairs in splits.items():
            for pair in pairs:
                writer.add(split, pair.picture())
            if split not in writer.pixels:
                raise ValueError(f"{split} split must hold a picture or more. Got none instead.")
        return writer.finish(sources)


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        ValueError: the folder was not prepared, or by another format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"data folder must be one that `tgp prepare` wrote (with a {MANIFEST}). "
            f"Got {folder} instead."
        )
    return read_format(path, "manifest", FORMAT)


def open_text(folder: Path, split: str) -> TextSplit:
    """Memory-maps the documents of one split.

    Raises:
        ValueError: the folder holds no such split, no text, or files that fit not the manifest.
    """
    found = checked(folder, split, "text")
    return TextSplit(
        open_array(folder / f"{split}.tokens.npy", found["splits"][split]["tokens"], "r"),
        open_array(folder / f"{split}.offsets.npy", found["splits"][split]["documents"] + 1),
        open_array(folder / f"{split}.streams.npy", found["splits"][split]["documents"]),
        tuple(found["streams"]),
        split,
    )


def open_pictures(folder: Path, split: str) -> PictureSplit:
    """Memory-maps the pictures of one split.

    Raises:
        ValueError: the folder holds no such split, no pictures, or files that fit not the manifest.
    """
    found = checked(folder, split, "pictures")
    count = found["splits"][split]["pictures"]
    path = folder / f"{split}.captions.json"
    written = read_json(path)
    captions = [(some,) if isinstance(some, str) else tuple(some) for some in written]
    if len(captions) != count:
        wanted = f"{path} must hold {count:,} rows, as its manifest says"
        raise ValueError(f"{wanted}. Got {len(captions):,} instead.")
    return PictureSplit(
        open_array(folder / f"{split}.pixels.npy", count, "r"),
        captions,
        open_array(folder / f"{split}.streams.npy", count),
        tuple(found["streams"]),
    )


def checked(folder: Path, split: str, kind: str) -> dict[str, Any]:
    """The manifest of a folder that must hold this split of this kind.

    Raises:
        ValueError: it does not.
    """
    found = manifest(folder)
    if found["kind"] != kind:
        raise ValueError(f"data folder must hold {kind}. Got {found['kind']} in {folder} instead.")
    if split not in found["splits"]:
        there = ", ".join(found["splits"])
        raise ValueError(f"split must be one of {there}. Got {split!r} instead.")
    return found


def _write_manifest(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for split in content["splits"]:
        for path in sorted(folder.glob(f"{split}.*")):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    content = {"format": FORMAT, **content, "digest": digest.hexdigest()}
    temporary = folder / f"{MANIFEST}.partial"
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(folder / MANIFEST)
    return content

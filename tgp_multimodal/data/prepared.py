"""Prepared data: tokenized documents and resized pictures in memory-mapped files, with a manifest that says what they are.

A prepared folder holds, for each split it has (train, validation, test):

    manifest.json                     kind, sizes, sources, tokenizer digest, content digest
    <split>.tokens.npy                uint16 or uint32, all documents one after another, no specials       (kind "text")
    <split>.offsets.npy               int64, where each document starts, and the end                       (kind "text")
    <split>.streams.npy               uint8, index of each document's stream in manifest["streams"]        (both kinds)
    <split>.pixels.npy                uint8, (N, Y, X, 3)                                                  (kind "pictures")
    <split>.captions.json             N strings                                                            (kind "pictures")
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data.records import Document, Pair
from tgp_multimodal.data.tokenizer import Tokenizer

FORMAT = 1
_CHUNK = 512


class TextSplit(NamedTuple):
    """Tokenized documents: document i is `tokens[offsets[i] : offsets[i + 1]]`, of stream `streams[stream[i]]`."""

    tokens: np.ndarray
    offsets: np.ndarray
    stream: np.ndarray
    streams: tuple[str, ...]


class PictureSplit(NamedTuple):
    """Pictures (N, Y, X, 3), their captions, and the stream of each."""

    pixels: np.ndarray
    captions: list[str]
    stream: np.ndarray
    streams: tuple[str, ...]


def write_text(
    folder: Path, splits: dict[str, Iterable[Document]], tokenizer: Tokenizer, sources: list[dict[str, Any]]
) -> dict[str, Any]:
    """Tokenizes the documents of every split into `folder` and returns the manifest.

    Raises:
        ValueError: a split has no document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    streams: list[str] = []
    sizes = {name: _write_text_split(folder, name, documents, tokenizer, streams) for name, documents in splits.items()}
    return _write_manifest(
        folder,
        {"kind": "text", "streams": streams, "splits": sizes, "tokenizer": tokenizer.digest, "sources": sources},
    )


def _write_text_split(
    folder: Path, split: str, documents: Iterable[Document], tokenizer: Tokenizer, streams: list[str]
) -> dict[str, int]:
    dtype = np.uint16 if tokenizer.vocabulary <= 2**16 else np.uint32
    parts: list[np.ndarray] = []
    lengths: list[int] = []
    stream: list[int] = []
    size = 0
    for chunk in _chunks(documents):
        ids = tokenizer.encode_batch([d.text for d in chunk])
        parts.extend(np.asarray(row, dtype=dtype) for row in ids)
        lengths.extend(len(row) for row in ids)
        stream.extend(_index(streams, d.stream) for d in chunk)
        size += sum(len(d.text.encode("utf-8", "replace")) for d in chunk)
    if not lengths:
        raise ValueError(f"{split} split must hold at least one document. Got none instead.")
    np.save(folder / f"{split}.tokens.npy", np.concatenate(parts))
    np.save(folder / f"{split}.offsets.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    np.save(folder / f"{split}.streams.npy", np.asarray(stream, dtype=np.uint8))
    return {"documents": len(lengths), "tokens": int(sum(lengths)), "bytes": size}


def write_pictures(
    folder: Path, splits: dict[str, Iterable[Pair]], sources: list[dict[str, Any]]
) -> dict[str, Any]:
    """Stores the pictures of every split, all of one size, in `folder` and returns the manifest.

    Raises:
        ValueError: a split has no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    streams: list[str] = []
    sizes: dict[str, dict[str, int]] = {}
    for split, pairs in splits.items():
        kept = list(pairs)
        if not kept:
            raise ValueError(f"{split} split must hold at least one picture. Got none instead.")
        pixels = np.stack([p.pixels_YXC for p in kept])
        np.save(folder / f"{split}.pixels.npy", pixels)
        np.save(folder / f"{split}.streams.npy", np.asarray([_index(streams, p.stream) for p in kept], dtype=np.uint8))
        (folder / f"{split}.captions.json").write_text(json.dumps([p.caption for p in kept]), encoding="utf-8")
        sizes[split] = {"pictures": len(kept), "rows": pixels.shape[1], "columns": pixels.shape[2]}
    return _write_manifest(
        folder, {"kind": "pictures", "streams": streams, "splits": sizes, "sources": sources}
    )


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        ValueError: the folder was not prepared, or by another format.
    """
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise ValueError(f"data folder must be one that `tgp prepare` wrote (with a manifest.json). Got {folder} instead.")
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("format") != FORMAT:
        raise ValueError(f"manifest format must be {FORMAT}. Got {found.get('format')} in {path} instead.")
    return found


def open_text(folder: Path, split: str) -> TextSplit:
    """Memory-maps the documents of one split."""
    streams = _checked(folder, split, "text")
    return TextSplit(
        np.load(folder / f"{split}.tokens.npy", mmap_mode="r"),
        np.load(folder / f"{split}.offsets.npy"),
        np.load(folder / f"{split}.streams.npy"),
        streams,
    )


def open_pictures(folder: Path, split: str) -> PictureSplit:
    """Memory-maps the pictures of one split."""
    streams = _checked(folder, split, "pictures")
    return PictureSplit(
        np.load(folder / f"{split}.pixels.npy", mmap_mode="r"),
        json.loads((folder / f"{split}.captions.json").read_text(encoding="utf-8")),
        np.load(folder / f"{split}.streams.npy"),
        streams,
    )


def _checked(folder: Path, split: str, kind: str) -> tuple[str, ...]:
    found = manifest(folder)
    if found["kind"] != kind:
        raise ValueError(f"data folder must hold {kind}. Got {found['kind']} in {folder} instead.")
    if split not in found["splits"]:
        raise ValueError(f"split must be one of {', '.join(found['splits'])}. Got {split!r} instead.")
    return tuple(found["streams"])


def _write_manifest(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix == ".npy" or p.name.endswith("captions.json")):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    content = {"format": FORMAT, **content, "digest": digest.hexdigest()}
    # Written last and renamed into place, so that a folder with a manifest is a folder that is whole.
    temporary = folder / "manifest.json.partial"
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(folder / "manifest.json")
    return content


def _index(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _chunks(items: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk

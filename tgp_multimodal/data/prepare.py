"""Sources to one prepared set: a tokenizer, tokenized documents, resized pictures.

    <output>/tokenizer/  text/  pictures/     as `tokenizer.py` and `prepared.py` describe
    <output>/quarantine.jsonl                 bad rows, if there are any

Copies of earlier documents are left out (`duplicates.py`), what is kept is described by numbers
(`quality.py`), and the training text leaves an index of its 13-grams (`contamination.py`).

The split of a document is a hash of its text, that of a picture one of its pixels: it stays when
other data are added, and no picture stands on both sides with two captions.
"""

import hashlib
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tgp_multimodal.data import contamination
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.contamination import IndexWriter
from tgp_multimodal.data.duplicates import NEAR, NearDuplicates, Seen
from tgp_multimodal.data.picture_sources import Captioned, decoded
from tgp_multimodal.data.prepared import PictureWriter, TextWriter
from tgp_multimodal.data.quality import Quality
from tgp_multimodal.data.quarantine import ALLOWED, Quarantine, Tally
from tgp_multimodal.data.records import Document
from tgp_multimodal.data.sources import Source
from tgp_multimodal.data.staging import staged
from tgp_multimodal.data.tokenizer import Tokenizer

T = TypeVar("T")
Progress = Callable[[str, int, int | None], None]  # what is done, how much, of how much

QUARANTINE = "quarantine.jsonl"

_SAMPLE = 4096  # bytes of text per id of the vocabulary that the tokenizer is trained on
_TICK = 32  # rows between two reports of progress


class Settings(NamedTuple):
    """How to prepare.

    Attributes:
        vocabulary: ids of a tokenizer that is trained.
        size: rows and columns of the pictures.
        validation_share: of the documents and of the pictures.
        allow_bad: largest share of bad rows of each source.
        limit: rows of each source that are read; None reads all.
        workers: threads that decode pictures; 0 takes one for each core.
        keep_duplicates: keep documents, and captioned pictures, that were there before.
        near_duplicates: whether to keep or drop documents that are nearly one that was before.
        near_threshold: the Jaccard similarity from which they are.
        ngrams: write the index of 13-grams.
    """

    vocabulary: int = 4096
    size: int = 32
    validation_share: float = 0.02
    allow_bad: float = ALLOWED
    limit: int | None = None
    workers: int = 0
    keep_duplicates: bool = False
    near_duplicates: str = "drop"
    near_threshold: float = NEAR
    ngrams: bool = True


class Prepared(NamedTuple):
    """What was made.

    Attributes:
        folder: where it lies.
        tokenizer: the one that the text was cut with.
        text: manifest of the documents; None if there were no sources of text.
        pictures: manifest of the pictures; None if there were no sources of pictures.
        tallies: counts of each source, text first.
    """

    folder: Path
    tokenizer: Tokenizer
    text: dict[str, Any] | None
    pictures: dict[str, Any] | None
    tallies: list[Tally]


class Keyed(NamedTuple):
    """An item on its way to a split.

    Attributes:
        split: the split, where that is fixed.
        unit: its hash, from 0 to 1, which decides otherwise.
        stream: its stream.
        item: whatever it is.
    """

    split: str | None
    unit: float
    stream: str
    item: Any


def prepare(
    output: Path,
    text: Sequence[Source],
    pictures: Sequence[Source],
    settings: Settings | None = None,
    tokenizer: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Makes a prepared set of all sources.

    Args:
        output: folder of the set.
        text: sources of `Document`.
        pictures: sources of `Captioned` or `Pair`.
        settings: how.
        tokenizer: folder of one to use; one is trained on the text (or the captions) without it.
        overwrite: replace a set that `output` holds.
        progress: is told how far the work is.

    Raises:
        ValueError: a setting is wrong, `output` is taken, or the data are as `Quarantine.keep`,
            `sources` or `picture_sources` refuse them.
    """
    chosen = settings or Settings()
    _check(chosen, text, pictures)
    drops = chosen.near_duplicates == "drop"
    near = NearDuplicates(chosen.near_threshold) if drops else None
    with staged(output, tokenizer, overwrite) as staging:
        work = _Work(staging, chosen, progress or (lambda what, done, total: None), near)
        found = work.tokenizer(tokenizer, text, pictures)
        with Quarantine(output / QUARANTINE, chosen.allow_bad) as quarantine:
            written = work.text(text, found, quarantine) if text else None
            seen = work.pictures(pictures, quarantine) if pictures else None
    return Prepared(output, found, written, seen, work.tallies)


def split(items: Iterable[Keyed], share: float, halve: Callable[[Any], Any]) -> Iterator[Any]:
    """Gives each item its split, and validation at least one of every stream if that is possible.

    As long as a stream has none in validation, its item with the smallest hash is held back, which
    is the one that a larger share would take first. The only item of a stream is halved.

    Yields:
        Pairs of a split's name and an item.
    """
    held: dict[str, Keyed] = {}
    total: Counter[str] = Counter()
    validated: set[str] = set()
    for keyed in items:
        stream = keyed.stream
        total[stream] += 1
        if keyed.split is not None or share == 0:
            if keyed.split == "validation":
                validated.add(stream)
            yield keyed.split or "train", keyed.item
        elif keyed.unit < share:
            validated.add(stream)
            yield "validation", keyed.item
        elif stream in validated:
            yield "train", keyed.item
        else:
            both = sorted([keyed, *filter(None, [held.get(stream)])], key=lambda k: k.unit)
            held[stream] = both[0]
            yield from (("train", other.item) for other in both[1:])
    for stream, keyed in held.items():
        if total[stream] == 1:
            yield from halve(keyed.item)
        else:
            yield "train" if stream in validated else "validation", keyed.item


class _Work:
    """One run: where it writes, how, and what it counted."""

    def __init__(
        self, folder: Path, settings: Settings, progress: Progress, near: NearDuplicates | None
    ) -> None:
        self.folder, self.settings, self.progress = folder, settings, progress
        self.tallies: list[Tally] = []
        self.near = near

    def tokenizer(
        self, given: Path | None, text: Sequence[Source], pictures: Sequence[Source]
    ) -> Tokenizer:
        if given is not None:
            found = tokenizers.load(given)
        else:
            with Quarantine(self.folder.parent / QUARANTINE, self.settings.allow_bad) as quarantine:
                sample = self._sample(
                    self._documents(text, quarantine, "choosing from", [], Quality())
                    if text
                    else self._captions(pictures, quarantine)
                )
            self.progress("training the tokenizer", 0, None)
            found = tokenizers.train(sample, self.settings.vocabulary)
            self.progress("training the tokenizer", 1, 1)
            self.tallies.clear()
        found.save(self.folder / "tokenizer")
        return found

    def text(
        self, sources: Sequence[Source], tokenizer: Tokenizer, quarantine: Quarantine
    ) -> dict[str, Any]:
        facts: list[dict[str, Any]] = []
        share = self.settings.validation_share
        quality = Quality()
        index = IndexWriter(self.folder / "ngrams") if self.settings.ngrams else None
        with TextWriter(self.folder / "text", tokenizer) as writer:
            documents = self._documents(sources, quarantine, "tokenizing", facts, quality)
            for name, document in split(documents, share, partial(_halved, share=share)):
                writer.add(name, document)
                quality.add(document)
                if index is not None and name == "train":
                    index.add(document.text)
            more: dict[str, Any] = {"quality": quality.numbers(writer.lengths())}
            if index is not None:
                more["ngrams"] = index.finish(self.folder / "text" / contamination.FILE)
            return writer.finish(facts, more)

    def pictures(self, sources: Sequence[Source], quarantine: Quarantine) -> dict[str, Any]:
        facts: list[dict[str, Any]] = []
        with PictureWriter(self.folder / "pictures") as writer:
            rows = self._pairs(sources, quarantine, facts)
            for name, pairs in split(rows, self.settings.validation_share, _whole):
                for pair in pairs:
                    writer.add(name, pair)
            return writer.finish(facts)

    def _sample(self, items: Iterable[Keyed]) -> list[str]:
        """Texts of training, the same whatever their order: those of the smallest hashes."""
        heap: list[tuple[float, str]] = []
        room = _SAMPLE * self.settings.vocabulary
        for keyed in items:
            if (keyed.split or "train") != "train":
                continue
            if keyed.split is None and keyed.unit < self.settings.validation_share:
                continue
            text = keyed.item.text
            heapq.heappush(heap, (-keyed.unit, text))
            room -= len(text)
            while room < 0 and len(heap) > 1:
                room += len(heapq.heappop(heap)[1])
        return [text for _, text in sorted(heap)]

    def _documents(
        self,
        sources: Sequence[Source],
        quarantine: Quarantine,
        verb: str,
        facts: list[Any],
        quality: Quality,
    ) -> Iterator[Keyed]:
        seen = Seen(self.settings.keep_duplicates)
        for source in sources:
            tally = self._tally(source, "document")
            rows = islice(source.read(), self.settings.limit)
            read = duplicates = near = 0
            for document in self._told(source, quarantine.keep(tally, rows), verb, tally):
                raw = document.text.encode()
                read += len(raw)
                digest = hashlib.sha256(raw).digest()
                if seen.before(digest):
                    duplicates += 1
                    quality.drop(document.stream, "exact")
                elif self.near is not None and self.near.before(digest, document.text):
                    near += 1
                    quality.drop(document.stream, "near")
                else:
                    yield Keyed(source.split, _unit(digest), document.stream, document)
            facts.append(_fact(source, tally, duplicates, read) | {"near_duplicates": near})

    def _pairs(
        self, sources: Sequence[Source], quarantine: Quarantine, facts: list[Any]
    ) -> Iterator[Keyed]:
        seen = Seen(self.settings.keep_duplicates)
        workers = self.settings.workers or os.cpu_count() or 1
        for source in sources:
            tally = self._tally(source, "picture")
            raw = islice(source.read(), self.settings.limit)
            rows = quarantine.keep(tally, decoded(raw, self.settings.size, workers))
            duplicates = 0
            for pairs in self._told(source, rows, "resizing", tally):
                digest = hashlib.sha256(pairs[0].pixels_YXC.tobytes()).digest()
                new = [p for p in pairs if not seen.before(digest + p.caption.encode())]
                duplicates += len(pairs) - len(new)
                if new:
                    yield Keyed(source.split, _unit(digest), new[0].stream, new)
            facts.append(_fact(source, tally, duplicates, source.bytes))

    def _captions(self, sources: Sequence[Source], quarantine: Quarantine) -> Iterator[Keyed]:
        for source in sources:
            tally = self._tally(source, "picture")
            rows = quarantine.keep(tally, islice(source.read(), self.settings.limit))
            for item in self._told(source, rows, "choosing from", tally):
                captions = item.captions if isinstance(item, Captioned) else (item.caption,)
                for caption in captions:
                    digest = hashlib.sha256(caption.encode()).digest()
                    yield Keyed(source.split or "train", _unit(digest), "", _text(caption))

    def _tally(self, source: Source, what: str) -> Tally:
        self.tallies.append(Tally(source.name, what))
        return self.tallies[-1]

    def _told(self, source: Source, rows: Iterable[T], verb: str, tally: Tally) -> Iterator[T]:
        """Passes rows on and says now and then how many there were."""
        label, limit = f"{verb} {Path(source.name).name}", self.settings.limit
        total = min(source.rows, limit or source.rows) if source.rows else limit
        for row in rows:
            if tally.rows % _TICK == 0:
                self.progress(label, tally.rows, total)
            yield row
        self.progress(label, tally.rows, tally.rows)


def _text(text: str) -> Document:
    return Document(text, "", "")


def _unit(digest: bytes) -> float:
    return int.from_bytes(digest[:8], "big") / 2**64


def _whole(item: T) -> Iterator[tuple[str, T]]:
    yield "train", item


def _halved(document: Document, share: float) -> Iterator[tuple[str, Document]]:
    """Cuts the only document there is at a line's end, so that its tail can be validation."""
    text = document.text
    cut = int(len(text) * (1 - share))
    cut = max(text.rfind("\n", 0, cut), text.rfind(" ", 0, cut) if "\n" not in text else -1) + 1
    if not text[:cut].strip() or not text[cut:].strip():
        yield "train", document
        return
    yield "train", document._replace(text=text[:cut])
    yield "validation", document._replace(text=text[cut:])


def _fact(source: Source, tally: Tally, duplicates: int, size: int) -> dict[str, Any]:
    return {
        "name": source.name,
        "stream": source.stream,
        "license": source.license,
        "rows": tally.rows,
        "bad": tally.bad,
        "duplicates": duplicates,
        "bytes": size,
    }


def _check(settings: Settings, text: Sequence[Source], pictures: Sequence[Source]) -> None:
    if not text and not pictures:
        raise ValueError("sources must be text, pictures or both. Got none instead.")
    if not 0 <= settings.validation_share <= 0.5:
        wrong = settings.validation_share
        raise ValueError(f"validation_share must be from 0 to 0.5. Got {wrong} instead.")
    if settings.near_duplicates not in ("keep", "drop"):
        given = settings.near_duplicates
        raise ValueError(f"near_duplicates must be keep or drop. Got {given} instead.")
    for name, least in (("size", 8), ("limit", 1), ("workers", 0)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}. Got {value} instead.")

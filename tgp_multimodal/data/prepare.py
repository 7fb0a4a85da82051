"""Sources to one prepared set: a tokenizer, tokenized documents, resized pictures.

    <output>/tokenizer/  text/  pictures/  chat/     as `tokenizer.py` and `prepared.py` describe
    <output>/quarantine.jsonl                        bad rows, if there are any

A run that was stopped is taken up by the next one that does the same (`staging.same_work`): its
tokenizer is used, its tokens and 13-grams are kept. Everything else, pictures above all, is done
again and in the same order.

Copies of earlier documents are left out (`duplicates.py`), what is kept is described by numbers
(`quality.py`), and the training text leaves an index of its 13-grams (`contamination.py`).

The split of a document is a hash of its text, that of a picture one of its pixels, unless the data
hold it back themselves: it stays when other data are added. A picture is stored once, with all the
captions that it comes with, and stands in one split only, the one it came with first. The split of
a conversation is a hash of its first question.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tgp_multimodal.data import contamination
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.chat_template import TEMPLATE
from tgp_multimodal.data.contamination import IndexWriter
from tgp_multimodal.data.duplicates import NEAR, Album, NearDuplicates, Seen
from tgp_multimodal.data.picture_quality import PictureQuality
from tgp_multimodal.data.picture_sources import Captioned, decoded
from tgp_multimodal.data.prepared import PictureWriter, TextWriter
from tgp_multimodal.data.prepared_chat import ChatWriter, rendered
from tgp_multimodal.data.quality import Quality
from tgp_multimodal.data.quarantine import ALLOWED, Quarantine, Tally
from tgp_multimodal.data.records import Document
from tgp_multimodal.data.sources import Source
from tgp_multimodal.data.splits import Keyed, halved, smallest, split, undivided
from tgp_multimodal.data.staging import leave_out, same_work, staged
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
        chat: manifest of the conversations; None if there were no sources of such.
    """

    folder: Path
    tokenizer: Tokenizer
    text: dict[str, Any] | None
    pictures: dict[str, Any] | None
    tallies: list[Tally]
    chat: dict[str, Any] | None = None


def prepare(
    output: Path,
    text: Sequence[Source],
    pictures: Sequence[Source],
    settings: Settings | None = None,
    tokenizer: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    chat: Sequence[Source] = (),
) -> Prepared:
    """Makes a prepared set of all sources.

    Args:
        output: folder of the set.
        text: sources of `Document`.
        pictures: sources of `Captioned` or `Pair`.
        settings: how.
        tokenizer: folder of one to use; without it one is trained on the text and the captions.
        overwrite: replace a set that `output` holds.
        progress: is told how far the work is.
        chat: sources of `Conversation`; the tokenizer of the set then holds a chat template.

    Raises:
        ValueError: a setting is wrong, `output` is taken, or the data are as `Quarantine.keep`,
            `sources` or `picture_sources` refuse them.
    """
    chosen = settings or Settings()
    _check(chosen, (*text, *pictures, *chat))
    drops = chosen.near_duplicates == "drop"
    near = NearDuplicates(chosen.near_threshold) if drops else None
    learned = () if tokenizer is not None else (*pictures, *chat)  # as the tokenizer is from them
    same = same_work(chosen._replace(workers=0)._asdict(), text, learned, tokenizer)
    with staged(output, tokenizer, overwrite, same) as staging:
        work = _Work(staging, chosen, progress or (lambda what, done, total: None), near)
        leave_out(staging, {"text": text, "pictures": pictures, "chat": chat})
        work.journals = None if same is None else staging / "journals"
        found = work.tokenizer(tokenizer, text, pictures, chat)
        with Quarantine(output / QUARANTINE, chosen.allow_bad) as quarantine:
            written = work.text(text, found, quarantine) if text else None
            seen = work.pictures(pictures, found, quarantine) if pictures else None
            said = work.chat(chat, found, quarantine) if chat else None
    return Prepared(output, found, written, seen, work.tallies, said)


class _Work:
    """One run: where it writes, how, and what it counted."""

    def __init__(
        self, folder: Path, settings: Settings, progress: Progress, near: NearDuplicates | None
    ) -> None:
        self.folder, self.settings, self.progress = folder, settings, progress
        self.tallies: list[Tally] = []
        self.near = near
        self.labels: dict[str, str] = {}  # of progress, and the source of each
        self.journals: Path | None = None  # where a stopped run finds what it did

    def tokenizer(
        self,
        given: Path | None,
        text: Sequence[Source],
        pictures: Sequence[Source],
        chat: Sequence[Source],
    ) -> Tokenizer:
        found = self._tokenizer(given, text, pictures, chat)
        if chat and found.chat_template is None:
            found = Tokenizer(found.backend, TEMPLATE)
            found.save(self.folder / "tokenizer")
        return found

    def _tokenizer(
        self,
        given: Path | None,
        text: Sequence[Source],
        pictures: Sequence[Source],
        chat: Sequence[Source],
    ) -> Tokenizer:
        folder, judged = self.folder / "tokenizer", self.folder / "judged.npz"
        if given is not None:
            found = tokenizers.load(given)
            found.save(folder)
            return found
        if folder.is_dir():
            if self.near is not None:
                self.near.load(judged)
            return tokenizers.load(folder)
        with Quarantine(self.folder.parent / QUARANTINE, self.settings.allow_bad) as quarantine:
            documents = self._documents(text, quarantine, "choosing from", [], Quality())
            sample = [*self._sample(documents), *self._sample(self._captions(pictures, quarantine))]
            sample += self._sample(self._conversations(chat, quarantine, "choosing from", []))
        self.progress("training the tokenizer", 0, None)
        found = tokenizers.train(sample, self.settings.vocabulary)
        self.progress("training the tokenizer", 1, 1)
        self.tallies.clear()
        if self.near is not None:
            self.near.save(judged)
        partial = self.folder / "tokenizer.partial"
        found.save(partial)
        partial.replace(folder)  # says that all of this is done
        return found

    def text(
        self, sources: Sequence[Source], tokenizer: Tokenizer, quarantine: Quarantine
    ) -> dict[str, Any]:
        facts: list[dict[str, Any]] = []
        share = self.settings.validation_share
        quality = Quality()
        index = IndexWriter(self.folder / "ngrams") if self.settings.ngrams else None
        if self.journals is not None:
            self.journals.mkdir(exist_ok=True)
        with TextWriter(self.folder / "text", tokenizer, self.journals) as writer:
            if index is not None:
                writer.files.callback(index.close)
            documents = self._documents(sources, quarantine, "tokenizing", facts, quality)
            for name, document in split(documents, share, partial(halved, share=share)):
                writer.add(name, document)
                quality.add(document)
                if index is not None and name == "train":
                    index.add(document.text)
            more: dict[str, Any] = {"quality": quality.numbers(writer.lengths())}
            if index is not None:
                self.progress("merging the index", 0, None)
                more["ngrams"] = index.finish(self.folder / "text" / contamination.FILE)
                self.progress("merging the index", 1, 1)
            return writer.finish(facts, more)

    def pictures(
        self, sources: Sequence[Source], tokenizer: Tokenizer, quarantine: Quarantine
    ) -> dict[str, Any]:
        facts: list[dict[str, Any]] = []
        quality = PictureQuality()
        shutil.rmtree(self.folder / "pictures", ignore_errors=True)  # of a run that was stopped
        with PictureWriter(self.folder / "pictures") as writer:
            rows = self._pictures(sources, quarantine, facts, quality)
            for name, picture in split(rows, self.settings.validation_share, undivided):
                writer.add(name, picture)
                quality.add(picture)
            return writer.finish(facts, {"quality": quality.numbers(writer.described(), tokenizer)})

    def chat(
        self, sources: Sequence[Source], tokenizer: Tokenizer, quarantine: Quarantine
    ) -> dict[str, Any]:
        facts: list[dict[str, Any]] = []
        shutil.rmtree(self.folder / "chat", ignore_errors=True)  # of a run that was stopped
        with ChatWriter(self.folder / "chat", tokenizer) as writer:
            told = [rendered(source, tokenizer) for source in sources]
            rows = self._conversations(told, quarantine, "tokenizing", facts)
            for name, conversation in split(rows, self.settings.validation_share, undivided):
                writer.add(name, conversation)
            return writer.finish(facts)

    def _sample(self, items: Iterable[Keyed]) -> list[str]:
        """Texts of training for the tokenizer."""
        share = self.settings.validation_share
        texts = (
            (keyed.unit, keyed.item.text)
            for keyed in items
            if (keyed.split or "train") == "train"
            and not (keyed.split is None and keyed.unit < share)
        )
        return smallest(texts, _SAMPLE * self.settings.vocabulary)

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

    def _pictures(
        self,
        sources: Sequence[Source],
        quarantine: Quarantine,
        facts: list[Any],
        quality: PictureQuality,
    ) -> Iterator[Keyed]:
        album = Album(self.settings.keep_duplicates)
        workers = self.settings.workers or os.cpu_count() or 1
        for source in sources:
            tally = self._tally(source, "picture")
            raw = islice(source.read(), self.settings.limit)
            rows = quarantine.keep(tally, decoded(raw, self.settings.size, workers))
            duplicates = 0
            stated = source.license if isinstance(source.license, str) else None
            for picture in self._told(source, rows, "resizing", tally):
                digest = hashlib.sha256(picture.pixels_YXC.tobytes()).digest()
                held = source.split or picture.split
                there = album.before(digest, held, picture.captions)
                if there is not None:
                    duplicates += 1
                    quality.drop(picture.stream, there)
                else:
                    item = picture._replace(license=picture.license or stated)
                    yield Keyed(held, _unit(digest), picture.stream, item)
            facts.append(_fact(source, tally, duplicates, source.bytes))

    def _conversations(
        self, sources: Sequence[Source], quarantine: Quarantine, verb: str, facts: list[Any]
    ) -> Iterator[Keyed]:
        seen = Seen(self.settings.keep_duplicates)
        for source in sources:
            tally = self._tally(source, "conversation")
            rows = quarantine.keep(tally, islice(source.read(), self.settings.limit))
            duplicates = 0
            for item in self._told(source, rows, verb, tally):
                if seen.before(repr(item.messages).encode()):
                    duplicates += 1
                    continue
                unit = _unit(hashlib.sha256(item.question.encode()).digest())
                yield Keyed(source.split, unit, item.stream, item)
            facts.append(_fact(source, tally, duplicates, source.bytes))

    def _captions(self, sources: Sequence[Source], quarantine: Quarantine) -> Iterator[Keyed]:
        for source in sources:
            tally = self._tally(source, "picture")
            rows = quarantine.keep(tally, islice(source.read(), self.settings.limit))
            for item in self._told(source, rows, "choosing from", tally):
                several = isinstance(item, Captioned)
                held = source.split or (item.split if several else None) or "train"
                for caption in item.captions if several else (item.caption,):
                    digest = hashlib.sha256(caption.encode()).digest()
                    yield Keyed(held, _unit(digest), "", _text(caption))

    def _tally(self, source: Source, what: str) -> Tally:
        self.tallies.append(Tally(source.name, what))
        return self.tallies[-1]

    def _told(self, source: Source, rows: Iterable[T], verb: str, tally: Tally) -> Iterator[T]:
        """Passes rows on and says now and then how many there were."""
        label, limit = f"{verb} {Path(source.name).name}", self.settings.limit
        if self.labels.setdefault(label, source.name) != source.name:
            label = f"{verb} {source.name}"  # two files of one name have a bar each
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


def _check(settings: Settings, sources: Sequence[Source]) -> None:
    if not sources:
        raise ValueError("sources must be text, pictures or chat. Got none instead.")
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

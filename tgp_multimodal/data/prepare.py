"""Sources to one prepared set: a tokenizer, tokenized documents, resized pictures.

    <output>/tokenizer/  text/  pictures/  chat/     as `tokenizer.py` and `prepared.py` describe
    <output>/quarantine.jsonl                        bad rows, if there are any

An interrupted run is resumed by the next one with the same inputs (`staging.work_identity`): its
tokenizer, tokens and 13-grams are reused. Everything else, pictures above all, is done again, in
the same order.

Copies of earlier documents are left out (`duplicates.py`), what is kept is described by numbers
(`quality.py`), and the training text leaves an index of its 13-grams (`contamination.py`).

The split of a document is a hash of its text, that of a picture one of its file, unless the data
hold it back themselves: it stays when other data are added. A picture is stored once, with all the
captions that it comes with, and stands in one split only, the one it came with first. The split of
a conversation is a hash of its first question.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tgp_multimodal.data import contamination
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.chat_template import TEMPLATE
from tgp_multimodal.data.contamination import IndexWriter
from tgp_multimodal.data.duplicates import NearDuplicates
from tgp_multimodal.data.intake import Intake
from tgp_multimodal.data.picture_quality import PictureQuality
from tgp_multimodal.data.prepare_settings import Progress, Settings
from tgp_multimodal.data.prepared import PictureWriter, TextWriter
from tgp_multimodal.data.prepared_chat import ChatWriter, chat_texts
from tgp_multimodal.data.quality import Quality
from tgp_multimodal.data.quarantine import Quarantine, Tally
from tgp_multimodal.data.sources import Source
from tgp_multimodal.data.splits import Keyed, cut_tail, smallest, split
from tgp_multimodal.data.staging import leave_out, staged, work_identity
from tgp_multimodal.data.tokenizer import Tokenizer

QUARANTINE = "quarantine.jsonl"

_SAMPLE = 4096  # characters of text per id of the vocabulary that the tokenizer is trained on


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
    if not (*text, *pictures, *chat):
        raise ValueError("sources must be text, pictures or chat. Got none instead.")
    chosen.check()
    drops = chosen.near_duplicates == "drop"
    near = NearDuplicates(chosen.near_threshold) if drops else None
    learned = () if tokenizer is not None else (*pictures, *chat)  # as the tokenizer is from them
    identity = work_identity(chosen._replace(workers=0)._asdict(), text, learned, tokenizer)
    with staged(output, tokenizer, overwrite, identity) as staging:
        work = _Work(staging, chosen, progress or (lambda what, done, total: None), near)
        leave_out(staging, {"text": text, "pictures": pictures, "chat": chat})
        work.journals = None if identity is None else staging / "journals"
        found = work.tokenizer(tokenizer, text, pictures, chat)
        with Quarantine(output / QUARANTINE, chosen.allow_bad) as quarantine:
            intake = work.intake(quarantine, "tokenizing")
            written = work.text(text, found, intake) if text else None
            seen = work.pictures(pictures, found, intake) if pictures else None
            said = work.chat(chat, found, intake) if chat else None
    return Prepared(output, found, written, seen, intake.tallies, said)


class _Work:
    """One run: where it writes, and how."""

    def __init__(
        self, folder: Path, settings: Settings, progress: Progress, near: NearDuplicates | None
    ) -> None:
        self.folder, self.settings, self.progress = folder, settings, progress
        self.near = near
        self.journals: Path | None = None  # where a stopped run finds what it did

    def intake(self, quarantine: Quarantine, verb: str) -> Intake:
        return Intake(self.settings, quarantine, self.progress, verb, self.near)

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
            intake = self.intake(quarantine, "choosing from")
            sample = self._sample(intake.documents(text))
            sample += self._sample(intake.captions(pictures))
            sample += self._sample(intake.conversations(chat))
        self.progress("training the tokenizer", 0, None)
        found = tokenizers.train(sample, self.settings.vocabulary)
        self.progress("training the tokenizer", 1, 1)
        if self.near is not None:
            self.near.save(judged)
        partial = self.folder / "tokenizer.partial"
        found.save(partial)
        partial.replace(folder)  # says that all of this is done
        return found

    def text(
        self, sources: Sequence[Source], tokenizer: Tokenizer, intake: Intake
    ) -> dict[str, Any]:
        share = self.settings.validation_share
        quality = Quality()
        index = IndexWriter(self.folder / "ngrams") if self.settings.ngrams else None
        if self.journals is not None:
            self.journals.mkdir(exist_ok=True)
        with TextWriter(self.folder / "text", tokenizer, self.journals) as writer:
            if index is not None:
                writer.files.callback(index.close)
            documents = intake.documents(sources, quality.drop)
            for name, document in split(documents, share, cut_tail, lambda d: len(d.text)):
                writer.add(name, document)
                quality.add(document)
                if index is not None and name == "train":
                    index.add(document.text)
            more: dict[str, Any] = {"quality": quality.numbers(writer.lengths())}
            if index is not None:
                self.progress("merging the index", 0, None)
                more["ngrams"] = index.finish(self.folder / "text" / contamination.FILE)
                self.progress("merging the index", 1, 1)
            return writer.finish(intake.facts["document"], more)

    def pictures(
        self, sources: Sequence[Source], tokenizer: Tokenizer, intake: Intake
    ) -> dict[str, Any]:
        quality = PictureQuality()
        shutil.rmtree(self.folder / "pictures", ignore_errors=True)  # of a run that was stopped
        with PictureWriter(self.folder / "pictures") as writer:
            rows = intake.pictures(sources, quality.drop)
            for name, picture in split(rows, self.settings.validation_share):
                writer.add(name, picture)
                quality.add(picture)
            more = {"quality": quality.numbers(writer.described(), tokenizer)}
            return writer.finish(intake.facts["picture"], more)

    def chat(
        self, sources: Sequence[Source], tokenizer: Tokenizer, intake: Intake
    ) -> dict[str, Any]:
        shutil.rmtree(self.folder / "chat", ignore_errors=True)  # of a run that was stopped
        with ChatWriter(self.folder / "chat", tokenizer) as writer:
            told = [chat_texts(source, tokenizer) for source in sources]
            rows = intake.conversations(told)
            for name, conversation in split(rows, self.settings.validation_share):
                writer.add(name, conversation)
            return writer.finish(intake.facts["conversation"])

    def _sample(self, items: Iterable[Keyed]) -> list[str]:
        """Texts of training for the tokenizer."""
        spare: list[tuple[float, str]] = []  # fallback: the text whose hash is nearest to training

        def texts() -> Iterator[tuple[float, str]]:
            nonlocal spare
            for keyed in items:
                if keyed.split is None and keyed.unit < self.settings.validation_share:
                    spare = [max([*spare, (keyed.unit, keyed.item.text)])]
                elif keyed.split in (None, "train"):
                    yield keyed.unit, keyed.item.text

        return smallest(texts(), _SAMPLE * self.settings.vocabulary) or [t for _, t in spare]

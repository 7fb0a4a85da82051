"""One pass over sources: what is read, less bad rows and copies, with what decides its split."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from tgp_multimodal.data.duplicates import ExactDuplicates, NearDuplicates, PictureDuplicates
from tgp_multimodal.data.picture_rows import Captioned
from tgp_multimodal.data.picture_sources import decoded
from tgp_multimodal.data.prepare_settings import Progress, Settings
from tgp_multimodal.data.quarantine import Quarantine, Tally
from tgp_multimodal.data.records import Document
from tgp_multimodal.data.sources import Source, short_name
from tgp_multimodal.data.splits import Keyed

T = TypeVar("T")
Drop = Callable[[str, Any], None]  # is told the stream of a copy, and of what kind it is

_TICK = 32  # rows between two reports of progress


def _forget(stream: str, kind: str) -> None:
    """For a pass that counts no copies."""


class Intake:
    """Reads sources in their order; a generator of it is to be read to its end before the next.

    Args:
        settings: how.
        quarantine: takes bad rows.
        progress: is told how many rows were read.
        verb: what happens to text and conversations, for the progress.
        near: drops documents that are nearly copies; None to keep them.

    Attributes:
        tallies: counts of rows, one for each source, in the order of reading.
        facts: what the manifest says of each source, by what it gives: document, picture or
            conversation.
    """

    def __init__(
        self,
        settings: Settings,
        quarantine: Quarantine,
        progress: Progress,
        verb: str,
        near: NearDuplicates | None,
    ) -> None:
        self.settings, self.quarantine, self.progress = settings, quarantine, progress
        self.verb, self.near = verb, near
        self.tallies: list[Tally] = []
        self.facts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._labels: dict[str, str] = {}  # of progress, and the source of each

    def documents(self, sources: Sequence[Source], drop: Drop = _forget) -> Iterator[Keyed]:
        """Documents that are no copies; their split is a hash of their text."""
        seen = ExactDuplicates(self.settings.keep_duplicates)
        for source in sources:
            tally = self._tally(source, "document")
            rows = self.quarantine.keep(tally, self._rows(source))
            read = duplicates = near = 0
            for document in self._told(source, rows, self.verb, tally):
                raw = document.text.encode()
                read += len(raw)
                digest = hashlib.sha256(raw).digest()
                if seen.before(digest):
                    duplicates += 1
                    drop(document.stream, "exact")
                elif self.near is not None and self.near.before(digest, document.text):
                    near += 1
                    drop(document.stream, "near")
                else:
                    yield Keyed(source.split, _unit(digest), document.stream, document)
            self.facts[tally.what].append(
                _fact(source, tally, duplicates, read) | {"near_duplicates": near}
            )

    def pictures(self, sources: Sequence[Source], drop: Drop = _forget) -> Iterator[Keyed]:
        """Pictures in the size of the settings, each once; their split is a hash of their file."""
        album = PictureDuplicates(self.settings.keep_duplicates)
        workers = self.settings.workers or os.cpu_count() or 1
        for source in sources:
            tally = self._tally(source, "picture")
            raw = decoded(self._rows(source), self.settings.size, workers)
            duplicates = 0
            stated = source.license if isinstance(source.license, str) else None
            for picture in self._told(source, self.quarantine.keep(tally, raw), "resizing", tally):
                digest = hashlib.sha256(picture.pixels_YXC.tobytes()).digest()
                held = source.split or picture.split
                there = album.before(digest, held, picture.captions)
                if there is not None:
                    duplicates += 1
                    drop(picture.stream, there)
                else:
                    item = picture._replace(license=picture.license or stated)
                    yield Keyed(held, _unit(picture.key or digest), picture.stream, item)
            self.facts[tally.what].append(_fact(source, tally, duplicates, source.bytes))

    def conversations(self, sources: Sequence[Source]) -> Iterator[Keyed]:
        """Conversations, each once; their split is a hash of the first question."""
        seen = ExactDuplicates(self.settings.keep_duplicates)
        for source in sources:
            tally = self._tally(source, "conversation")
            rows = self.quarantine.keep(tally, self._rows(source))
            duplicates = 0
            for item in self._told(source, rows, self.verb, tally):
                if seen.before(repr(item.messages).encode()):
                    duplicates += 1
                    continue
                unit = _unit(hashlib.sha256(item.question.encode()).digest())
                yield Keyed(source.split, unit, item.stream, item)
            self.facts[tally.what].append(_fact(source, tally, duplicates, source.bytes))

    def captions(self, sources: Sequence[Source]) -> Iterator[Keyed]:
        """Captions of pictures as documents, without a look at the pictures."""
        for source in sources:
            tally = self._tally(source, "picture")
            rows = self.quarantine.keep(tally, self._rows(source))
            for item in self._told(source, rows, self.verb, tally):
                several = isinstance(item, Captioned)
                held = source.split or (item.split if several else None) or "train"
                for caption in item.captions if several else (item.caption,):
                    unit = _unit(hashlib.sha256(caption.encode()).digest())
                    yield Keyed(held, unit, "", Document(caption, "", ""))

    def _rows(self, source: Source) -> Iterator[Any]:
        return islice(source.read(), self.settings.limit)

    def _tally(self, source: Source, what: str) -> Tally:
        self.tallies.append(Tally(source.name, what))
        return self.tallies[-1]

    def _told(self, source: Source, rows: Iterable[T], verb: str, tally: Tally) -> Iterator[T]:
        """Passes rows on and says now and then how many there were."""
        label, limit = f"{verb} {short_name(source.name)}", self.settings.limit
        if self._labels.setdefault(label, source.name) != source.name:
            label = f"{verb} {source.name}"  # two files of one name have a bar each
        total = min(source.rows, limit or source.rows) if source.rows else limit
        for row in rows:
            if tally.rows % _TICK == 0:
                self.progress(label, tally.rows, total)
            yield row
        self.progress(label, tally.rows, tally.rows)


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

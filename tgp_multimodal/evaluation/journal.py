"""A model's answers, written to disk as they come, so that a killed run asks for none twice.

One file for each card and process, `<results>/<model>/.answers/<domain>__<task>.<rank>.jsonl`,
removed when the card's result is written. A line holds a chunk of answers, the digest of everything
that determines them, and a checksum, so that a line cut short by a kill is ignored. Answers are
determined by the requests, the model (weights, tokenizer, dtype, device: its facts) and the code;
of the card only its requests matter.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from tgp_multimodal.evaluation import environment
from tgp_multimodal.evaluation.requests import Answer, PerplexityAnswer, ScoreAnswer

_FOLDER = ".answers"
_CLASSES = {c.__name__: c for c in (ScoreAnswer, PerplexityAnswer)}


class AnswerJournal:
    """What was answered for one card; any process reads all, each writes its own file.

    Args:
        folder: of the model's results.
        card: name of the card.
        facts: of the model.
        rank: number of this process.
        fresh: what was answered before is not read, and what this process wrote is removed.
    """

    def __init__(
        self,
        folder: Path,
        card: str,
        facts: dict[str, Any],
        rank: int = 0,
        fresh: bool = False,
    ) -> None:
        self.folder, self.stem = folder / _FOLDER, card.replace("/", "__")
        self.own = self.folder / f"{self.stem}.{rank}.jsonl"
        if fresh:
            self.own.unlink(missing_ok=True)
        files = [] if fresh else self._files()
        self.known = {name: (found, took) for file in files for name, found, took in _lines(file)}
        self.seconds = 0.0  # that the answers took which `get` has given
        self.decided_by = json.dumps([facts, environment.code_digest()], default=str)

    def get(self, requests: Sequence[str]) -> list[Answer] | None:
        """The answers to requests with these keys, or None."""
        name = self._name(requests)
        if name not in self.known:
            return None
        answers, seconds = self.known[name]
        self.seconds += seconds
        return [_decode(a) for a in answers]

    def add(self, requests: Sequence[str], answers: Sequence[Answer], seconds: float) -> None:
        """Appends the answers to requests with these keys and flushes them to the disk.

        Args:
            requests: their keys.
            answers: in their order.
            seconds: that the answers took.
        """
        content = json.dumps([self._name(requests), [_encode(a) for a in answers], seconds])
        with self._open() as stream:
            # Begins with a line break, since a kill may have cut the last line short.
            stream.write(f"\n{_check_sum(content)} {content}\n")
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Takes the card's files away, those of all processes."""
        for file in self._files():
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: other cards of the model are under way
            self.folder.rmdir()

    def _open(self) -> TextIO:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Who finished the model's last card a moment ago may have removed the folder just now.
            with suppress(FileNotFoundError):
                return self.own.open("a", encoding="utf-8")

    def _name(self, requests: Sequence[str]) -> str:
        return hashlib.sha256("|".join([self.decided_by, *requests]).encode()).hexdigest()

    def _files(self) -> list[Path]:
        own = re.compile(re.escape(self.stem) + r"\.\d+\.jsonl")
        return sorted(p for p in self.folder.glob("*.jsonl") if own.fullmatch(p.name))


def _lines(file: Path) -> list[tuple[str, list[Any], float]]:
    """Name, answers and seconds of the chunks of a file, without those that are not whole."""
    found = []
    for line in file.read_bytes().split(b"\n"):
        check_sum, _, content = line.decode("utf-8", "replace").partition(" ")
        if content and check_sum == _check_sum(content):
            name, answers, seconds = json.loads(content)
            found.append((name, answers, seconds))
    return found


def _check_sum(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]


def _encode(answer: Answer) -> Any:
    if isinstance(answer, ScoreAnswer | PerplexityAnswer):
        return {"class": type(answer).__name__, "fields": asdict(answer)}
    if isinstance(answer, np.ndarray):
        raw = base64.b64encode(np.ascontiguousarray(answer).tobytes()).decode()
        return {"array": raw, "dtype": str(answer.dtype), "shape": answer.shape}
    return answer


def _decode(stored: Any) -> Answer:
    if isinstance(stored, dict) and "array" in stored:
        raw = np.frombuffer(base64.b64decode(stored["array"]), dtype=stored["dtype"])
        return raw.reshape(stored["shape"]).copy()
    if isinstance(stored, dict) and "class" in stored:
        return _CLASSES[stored["class"]](**stored["fields"])
    return stored

"""A program that measures made-up cards with a planted model, and dies where it is told to.

    python killed_runs.py FOLDER '[700, 40]'

Each number is a run in a process of its own that kills itself (SIGKILL) after so many calls of
Python functions, wherever that is: between two answers, in a write, in a rename. The last run is
not killed. Prints how many calls that one made and how many requests it asked.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from planted_models import Planted, hashed

from tgp_multimodal.evaluation import asking, embedded_tasks, engine
from tgp_multimodal.evaluation.asking import ALONE, Team
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import (
    Denoise,
    Embed,
    Perplexity,
    PerplexityAnswer,
    Score,
    ScoreAnswer,
)

_CARDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "text/probe": ("probe", "accuracy", {"item": "text", "label": "kind"}),
    "text/cost": ("perplexity", "bits_per_byte", {"text": "text"}),
    "code/search": (
        "retrieval",
        "mrr",
        {"query": "text", "relevant": "[i]", "document": "other", "document_id": "i"},
    ),
    "code/infilling": (
        "infilling",
        "accuracy",
        {"prefix": "text", "suffix": "other", "choices": "['a', 'b', 'c']", "answer": "kind"},
    ),
    "image/denoising": ("denoising", "squared_error", {"item": "picture", "caption": "text"}),
}


def rows(split: str) -> list[dict[str, Any]]:
    """Texts and grey pictures, of three kinds in turn."""
    found = ({"i": i, "text": f"{split} {i}", "other": f"no {split} {i}"} for i in range(18))
    picture = np.zeros((16, 16, 3), np.uint8)
    return [{**row, "kind": row["i"] % 3, "picture": picture + row["i"]} for row in found]


def cards() -> list[Card]:
    """Five cards of five protocols, all of the rows above."""
    embedded_tasks.TASKS["made_up"] = rows
    rest: dict[str, Any] = {"description": "", "license": "", "citation": "", "version": 1}
    rest |= {"source": {"embedded": "made_up"}, "chance": 0.0}
    return [
        Card(name=n, domain=n.split("/")[0], protocol=p, metric=m, columns=c, **rest)
        for n, (p, m, c) in _CARDS.items()
    ]


def model(digest: str = "0") -> Planted:
    """Its answers are functions of their requests, whatever the batch."""
    return Planted(
        digest=digest,
        embed=hashed,
        score=lambda r: ScoreAnswer(-float(np.abs(hashed(r)[0])), 1, False),
        perplexity=lambda r: PerplexityAnswer(float(np.abs(hashed(r)[1])), 9, 1),
        denoise=lambda r: np.abs(hashed(r, 9)),
    )


def small_chunks(size: int = 5) -> None:
    """Makes chunks of so many items, for cards that are small themselves."""
    asking._ITEMS.update(dict.fromkeys((Score, Embed, Perplexity, Denoise), size))


def measure(folder: Path, reverse: bool = False, team: Team = ALONE) -> Planted:
    """All cards, in this order or the other."""
    made = model()
    engine.evaluate(made, cards()[:: -1 if reverse else 1], folder, team=team)
    return made


def _die_after(calls: int) -> list[int]:
    count = [0]

    def hook(frame: Any, event: str, argument: Any) -> None:
        count[0] += event == "call"
        if count[0] == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(hook)
    return count


def _run(folder: Path, calls: int) -> None:
    count = _die_after(calls)
    asked = len(measure(folder).asked)
    sys.setprofile(None)
    print(json.dumps([count[0], asked]), flush=True)


if __name__ == "__main__":
    small_chunks()
    _run(Path(sys.argv[1]) / "warm", -1)  # what is computed once in a process is computed now
    for calls in [*json.loads(sys.argv[2]), -1]:
        if (child := os.fork()) == 0:
            _run(Path(sys.argv[1]) / "results", calls)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), status

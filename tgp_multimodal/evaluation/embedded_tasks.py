"""Rows of the cards that need no download, from `data.embedded`, `data.scenes` and scikit-learn.

Each function takes a split and gives all rows of it, always the same ones on the same installation.
Test rows are from files that pretraining on the embedded corpus never trains on (its test split,
and where that is small its validation split, which pretraining reads only to report a loss), and
share no 13 words in a row with those that it does (`embedded_copies`).
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from sklearn.datasets import load_breast_cancer

from tgp_multimodal.data import embedded
from tgp_multimodal.data.embedded import Function
from tgp_multimodal.data.records import Document
from tgp_multimodal.evaluation import embedded_pictures
from tgp_multimodal.evaluation.embedded_code import documents, infilling_rows, queries
from tgp_multimodal.evaluation.embedded_copies import unseen

Row: TypeAlias = dict[str, Any]

PACKAGES = (
    "stdlib",
    "numpy",
    "sklearn",
    "torch",
    "transformers",
    "lightning",
    "networkx",
    "sympy",
)
_PER_CLASS = {"train": 60, "validation": 20, "test": 50}
# Names that give a package away, of all packages alike.
_GIVEAWAYS = re.compile(
    r"\b(python|numpy|np|scipy|sp|scikit-learn|scikit|sklearn|pytorch|torch|transformers"
    r"|hugging ?face|hf|lightning|networkx|nx|sympy|matplotlib|plt|pandas|pd)\b",
    re.IGNORECASE,
)
_MASK = "___"
_CLIP = 240  # characters of a docstring that are shown


def pydoc_package(split: str) -> list[Row]:
    """Docstrings and the package that each is from, equally many of each package."""
    if split not in _PER_CLASS:
        return []
    found: dict[str, list[Row]] = defaultdict(list)
    seen: set[str] = set()
    for document in _by_hash(_pydoc_pool(split)):
        package = _package(document)
        text = _GIVEAWAYS.sub(_MASK, document.text)[:_CLIP]
        if package in PACKAGES and _squeezed(document.text) not in seen:
            seen.add(_squeezed(document.text))
            found[package].append({"text": text, "package": package, "name": document.name})
    most = min(_PER_CLASS[split], *(len(found[p]) for p in PACKAGES))
    return [row for p in PACKAGES for row in found[p][:most]]


def prose(split: str) -> list[Row]:
    """Docstrings; those of one class or module are one group."""
    return [
        {"text": d.text[:1000], "group": d.name.rpartition(".")[0] or d.name}
        for d in _by_hash(_unseen_prose(split))
    ]


def code(split: str) -> list[Row]:
    """Source files: whole in training, else a window of each from a top-level definition on."""
    if split not in embedded.SPLITS:
        return []
    files = _by_hash(embedded.code(split))
    if split == "train":
        return [{"text": d.text} for d in files]
    return [{"text": text} for text in unseen(map(_window, files), str)]


def functions(split: str) -> list[Row]:
    """Docstring queries ("test") and the bodies to be found ("corpus")."""
    if split not in ("test", "corpus"):
        return []
    found = [*_functions("test"), *_functions("validation")]
    return queries(_unseen_functions("test"), found) if split == "test" else documents(found)


def gaps(split: str) -> list[Row]:
    """Functions with some lines taken out, and four candidates for the gap."""
    if split not in ("validation", "test"):
        return []
    return infilling_rows(_unseen_functions(split), _functions(split))


def continuations(split: str) -> list[Row]:
    """The first half of a docstring, and four second halves of docstrings of one package."""
    if split == "test":
        return _continuations([*_unseen_prose("validation"), *_unseen_prose("test")])
    return []


def wisconsin(split: str) -> list[Row]:
    """Breast-cancer records (Street, Wolberg & Mangasarian 1993) put into words.

    Words are fifths of the training records' values.
    """
    bunch = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    parts = {"train": order[:200], "validation": order[200:269], "test": order[269:]}
    bounds = np.quantile(bunch.data[parts["train"]], [0.2, 0.4, 0.6, 0.8], axis=0)
    names = [str(n) for n in bunch.feature_names]
    rows = []
    for index in parts.get(split, ()):
        values = bunch.data[index]
        levels = (values > bounds).sum(axis=0)
        words = {n: _level(n, int(i)) for n, i in zip(names, levels, strict=True)}
        rows.append(
            {
                "text": "; ".join(
                    f"{n} {words[f'mean {n}']} ({values[names.index(f'mean {n}')]:.2g})"
                    for n in (*_SHORT, "fractal dimension")
                ),
                "short": ", ".join(f"{n} {words[f'worst {n}']}" for n in _SHORT),
                "label": str(bunch.target_names[bunch.target[index]]),
                "answer": int(1 - bunch.target[index]),  # 0 benign, 1 malignant
            }
        )
    return rows


TASKS: dict[str, Callable[[str], list[Row]]] = {
    "pydoc_package": pydoc_package,
    "prose": prose,
    "code": code,
    "functions": functions,
    "gaps": gaps,
    "continuations": continuations,
    "wisconsin": wisconsin,
    "digits": embedded_pictures.digits,
    "scene_attributes": embedded_pictures.scene_attributes,
    "scene_prompts": embedded_pictures.scene_prompts,
    "held_out_things": embedded_pictures.held_out_things,
    "captioned_scenes": embedded_pictures.captioned_scenes,
}

_SHORT = ("radius", "texture", "smoothness", "concavity", "concave points")
_SIZED = ("radius", "perimeter", "area", "concave points")


def _level(name: str, level: int) -> str:
    small, large = ("small", "large") if name.endswith(_SIZED) else ("low", "high")
    return (f"very {small}", small, "medium", large, f"very {large}")[level]


@lru_cache(maxsize=4)
def _prose(split: str) -> tuple[Document, ...]:
    return tuple(embedded.prose(split)) if split in embedded.SPLITS else ()


@lru_cache(maxsize=4)
def _unseen_prose(split: str) -> list[Document]:
    """Of the training split, which is all seen, everything."""
    return list(_prose(split)) if split == "train" else unseen(_prose(split), lambda d: d.text)


@lru_cache(maxsize=1)
def _some_prose() -> tuple[Document, ...]:
    """Enough of the training prose for a probe, in half the time of all of it."""
    return tuple(embedded.prose("train", share=0.5))


@lru_cache(maxsize=4)
def _functions(split: str) -> tuple[Function, ...]:
    return tuple(embedded.functions(split))


@lru_cache(maxsize=2)
def _unseen_functions(split: str) -> list[Function]:
    return unseen(_functions(split), lambda f: f.source)


def _pydoc_pool(split: str) -> list[Document]:
    """Documents of a split of the task: train and validation from training files, by file."""
    if split == "test":
        return [*_unseen_prose("validation"), *_unseen_prose("test")]
    documents = [d for d in _some_prose() if d.name.startswith("docstring:")]
    is_validation = [_share(d.name.rpartition(".")[0]) < 0.2 for d in documents]
    return [
        d for d, v in zip(documents, is_validation, strict=True) if v == (split == "validation")
    ]


def _package(document: Document) -> str:
    top = document.name.partition(":")[2].partition(".")[0]
    known = [p for p in embedded.LICENSES if p != "stdlib"]
    return top if top in known else "stdlib"


def _continuations(documents: list[Document]) -> list[Row]:
    halves: dict[str, list[tuple[Document, str, str]]] = defaultdict(list)
    for document in _by_hash(documents):
        cut = document.text.rfind(" ", 0, min(len(document.text) // 2, 200))
        head = document.text[:cut].rstrip()
        tail = document.text[cut:].strip()[:80].rpartition(" ")[0].strip()
        if len(head) >= 80 and len(tail) >= 40:
            halves[_package(document)].append((document, head, tail))
    rows = []
    for found in halves.values():
        for index, (document, head, tail) in enumerate(found):
            others = [found[(index + step) % len(found)] for step in range(1, len(found))]
            wrong = list(dict.fromkeys(t for d, h, t in others if t != tail and h != head))[:3]
            if len(wrong) == 3:
                rows.append(_shuffled(document.name, head, tail, wrong))
    return rows


def _shuffled(name: str, head: str, tail: str, wrong: list[str]) -> Row:
    choices = sorted([tail, *wrong], key=lambda c: _share(name + c))
    return {"text": head, "choices": choices, "answer": choices.index(tail), "name": name}


def _window(document: Document, size: int = 1600) -> str:
    starts = [m.start() for m in re.finditer(r"^(?:def|class|@)", document.text, re.MULTILINE)]
    starts = [s for s in starts if len(document.text) - s >= size // 2] or [0]
    start = starts[int(_share(document.name) * len(starts))]
    return document.text[start : start + size].rpartition("\n")[0] or document.text[:size]


def _by_hash(documents: Iterable[Document]) -> list[Document]:
    """An order that depends on each document's name alone: a package more or less moves nothing."""
    return sorted(documents, key=lambda d: hashlib.sha256(d.name.encode()).digest())


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _squeezed(text: str) -> str:
    return "".join(text.lower().split())

"""The corpus that needs no download: the Python installation, and scikit-learn's digits.

Prose is docstrings and the language reference (`pydoc_data.topics`); code is source files. Files
are read, never imported or run. The split is a hash of a file's name inside its package, so a
docstring and its code always fall on the same side, on every machine.
"""

import ast
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tgp_multimodal.data.records import Document, Pair

SPLITS = ("train", "validation", "test")
LICENSES = {
    "stdlib": "PSF-2.0",
    "numpy": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "sklearn": "BSD-3-Clause",
    "torch": "BSD-3-Clause",
    "transformers": "Apache-2.0",
    "diffusers": "Apache-2.0",
    "lightning": "Apache-2.0",
    "networkx": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
}
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Shares, so that no library drowns the others and preparing stays a matter of seconds.
_PACKAGE_BYTES = 2_000_000
_STDLIB_BYTES = 7_000_000
_FILE_BYTES = 120_000
_SHORTEST_DOCSTRING = 120  # characters; shorter ones say little
_SKIPPED = re.compile(
    r"(^|/)(tests?|testing|idlelib|turtledemo|lib2to3|site-packages|__pycache__|_vendor|pydoc_data"
    r"|ensurepip)(/|$)"
    r"|encodings/|_generated|/externals/|dummy_|(^|/)models/[a-z]"
)


class SourceFile(NamedTuple):
    """One Python file of an installed package.

    Attributes:
        package: import name of the package, or "stdlib".
        name: path inside the package, with slashes.
        path: where it lies here.
    """

    package: str
    name: str
    path: Path


class Function(NamedTuple):
    """One documented function, taken apart.

    Attributes:
        name: its own name.
        module: package and file it is from, for example "numpy/linalg/_linalg.py".
        docstring: its documentation, indentation removed.
        source: all of it, docstring included, indentation removed.
        body: the source without the docstring.
    """

    name: str
    module: str
    docstring: str
    source: str
    body: str


def documents(split: str) -> Iterator[Document]:
    """Prose, then code, of one split of the installation.

    Raises:
        ValueError: `split` is none of train, validation, test.
    """
    yield from prose(split)
    yield from code(split)


def prose(split: str, share: float = 1.0) -> Iterator[Document]:
    """Docstrings, and in training the language reference before them.

    Args:
        split: train, validation or test.
        share: of the files; which ones is decided by a hash of their names.
    """
    if split == "train":
        yield from language_reference()
    for file in _files(split):
        if share < 1 and _share_of(f"share|{file.package}/{file.name}") >= share:
            continue
        text = _read(file)
        for name, docstring in _docstrings(text):
            if len(docstring) >= _SHORTEST_DOCSTRING:
                yield Document(docstring, "prose", f"docstring:{_module(file)}.{name}".rstrip("."))


def language_reference() -> Iterator[Document]:
    """The chapters of Python's reference that its help shows; all of them are for training."""
    for name, text in sorted(topics.items()):
        yield Document(text, "prose", f"topic:{name}")


def code(split: str) -> Iterator[Document]:
    """Source files, whole."""
    for file in _files(split):
        yield Document(_read(file), "code", f"code:{file.package}/{file.name}")


def functions(split: str) -> Iterator[Function]:
    """Documented functions of 4 to 40 lines, for retrieval and infilling tasks."""
    for file in _files(split):
        text = _read(file)
        for node in ast.walk(_parse(text)):
            if isinstance(node, ast.FunctionDef):
                function = _function(node, text, f"{file.package}/{file.name}")
                if function is not None:
                    yield function


def digits(split: str) -> Iterator[Pair]:
    """Scikit-learn's 1,797 handwritten digits (Alpaydin & Kaynak 1998), drawn at 32 x 32 pixels."""
    bunch = load_digits()
    for index, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        if _split_of(f"digits/{index}", (0.6, 0.7)) != split:
            continue
        grey = np.rint(image * (255 / 16)).astype(np.uint8)
        large = np.asarray(_enlarge(grey))
        word = DIGIT_WORDS[label]
        caption = (f"the digit {word}", f"a handwritten {word}", f"a handwritten digit {word}")[
            index % 3
        ]
        yield Pair(
            np.repeat(large[..., None], 3, axis=2), caption, "digits", f"digits/{index}/{label}"
        )


def sources() -> list[dict[str, str]]:
    """Name and license of every package that is read, for the manifest."""
    return [{"name": p, "license": LICENSES[p]} for p in LICENSES if _root(p) is not None]


def _enlarge(grey_YX: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(grey_YX).resize((32, 32), Image.Resampling.BICUBIC))


def _split_of(name: str, bounds: tuple[float, float] = (0.92, 0.95)) -> str:
    share = _share_of(name)
    return SPLITS[(share >= bounds[0]) + (share >= bounds[1])]


def _share_of(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _root(package: str) -> Path | None:
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _files(split: str) -> list[SourceFile]:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}. Got {split!r} instead.")
    return [f for f in _all_files() if _split_of(f"{f.package}/{f.name}") == split]


@lru_cache(maxsize=1)
def _all_files() -> tuple[SourceFile, ...]:
    return tuple(file for package in LICENSES for file in _package_files(package))


def _package_files(package: str) -> list[SourceFile]:
    """Files of a package up to its share of bytes, chosen by a hash of their names."""
    root = _root(package)
    if root is None:
        return []
    found = [SourceFile(package, p.relative_to(root).as_posix(), p) for p in root.rglob("*.py")]
    found = [f for f in found if not _SKIPPED.search(f.name)]
    found.sort(key=lambda f: hashlib.sha256(f.name.encode()).digest())
    left = _STDLIB_BYTES if package == "stdlib" else _PACKAGE_BYTES
    kept = []
    for file in found:
        size = file.path.stat().st_size
        if 400 <= size <= _FILE_BYTES and size <= left:
            kept.append(file)
            left -= size
    return sorted(kept)


@lru_cache(maxsize=4096)
def _read(file: SourceFile) -> str:
    return file.path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")


def _module(file: SourceFile) -> str:
    inside = file.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return inside if file.package == "stdlib" else f"{file.package}.{inside}"


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):  # a template or a file for another Python
            return ast.Module([], [])


def _docstrings(text: str) -> Iterator[tuple[str, str]]:
    """Qualified name and cleaned docstring of the module, its classes and functions."""
    pending: list[tuple[str, ast.AST]] = [("", _parse(text))]
    while pending:
        name, node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield name, docstring
            pending.extend(
                (f"{name}.{child.name}".lstrip("."), child)
                for child in reversed(node.body)
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            )


def _function(node: ast.FunctionDef, text: str, module: str) -> Function | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(docstring) < 40 or len(node.body) < 2:
        return None
    lines = text.splitlines()
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    first, last = node.body[0].lineno - 1, node.body[0].end_lineno or node.body[0].lineno
    rest = [*lines[start:first], *lines[last:end]]
    if not 4 <= len(rest) <= 40:
        return None
    indent = node.col_offset
    return Function(
        node.name,
        module,
        docstring,
        "\n".join(line[indent:] for line in lines[start:end]),
        "\n".join(line[indent:] for line in rest if line.strip()),
    )

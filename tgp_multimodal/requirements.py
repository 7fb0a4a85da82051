"""What must be installed, and what to type where a part of it is missing.

Requirements are declared once, in pyproject.toml. In a checkout they are read from there, since the
metadata of an editable installation go stale; elsewhere from the metadata of the installation. Uses
only the standard library, so that it works whatever is missing.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

PROJECT = "tgp-multimodal"

_RECIPE = Path(__file__).resolve().parent.parent / "pyproject.toml"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra == ['"]([^'"]+)['"]""")
# Import names that differ from the name on the package index.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "open_clip": "open-clip-torch",
    "pytrec_eval": "pytrec-eval-terrier",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_TOGETHER = ("serve",)  # extras of which one library is of no use without the others
_TOOLS = "dev"


class Requirement(NamedTuple):
    """One library that the project asks for.

    Attributes:
        name: on the package index.
        text: what pip is told, for example "fastapi>=0.115".
        extra: what needs it; None: everything does.
    """

    name: str
    text: str
    extra: str | None


def requirements() -> list[Requirement]:
    """All requirements of the project and of its extras; none if they cannot be found."""
    return [*(_of_checkout() or _of_installation())]


def advice(library: str) -> str:
    """The end of a sentence about a library that is missing: `; pip install ...`, or a full stop.

    Libraries that work together are named together.

    Args:
        library: name to import, or on the package index.
    """
    wanted = _normal(_DISTRIBUTIONS.get(library, library))
    known = sorted(requirements(), key=lambda r: r.extra == _TOOLS)
    first = next((r for r in known if _normal(r.name) == wanted), None)
    if first is None:
        return "."
    together = [r.text for r in known if r.extra == first.extra]
    return f"; pip install {shlex.join(together if first.extra in _TOGETHER else [first.text])}"


def _of_checkout() -> list[Requirement]:
    """What pyproject.toml beside the package says, if that is the project's own."""
    try:
        project = tomllib.loads(_RECIPE.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return []
    if project.get("name") != PROJECT:
        return []
    found = [_requirement(text, None) for text in project["dependencies"]]
    for extra, texts in project["optional-dependencies"].items():
        found += [_requirement(text, extra) for text in texts]
    return found


def _of_installation() -> Iterator[Requirement]:
    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        text, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        yield _requirement(text.strip(), extra[1] if extra else None)


def _requirement(text: str, extra: str | None) -> Requirement:
    name = _NAME.match(text)
    assert name is not None, text
    return Requirement(name[0], text, extra)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

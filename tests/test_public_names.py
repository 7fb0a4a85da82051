"""What is public is documented, and the package's front door holds exactly what it says."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tgp_multimodal
from tgp_multimodal.diffusion.samplers import SAMPLERS

PACKAGE = Path(tgp_multimodal.__file__).parent
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_shipped" not in p.parts)


def undocumented(tree: ast.Module) -> list[str]:
    """The module and its public top-level names whose docstring starts with no sentence."""
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    missing = []
    for node in [tree, *public]:
        first = (ast.get_docstring(node) or "").partition("\n\n")[0].rstrip()
        if not first.endswith((".", ":", ";", "?", ")")):
            missing.append(getattr(node, "name", "the module"))
    return missing


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_names_start_with_a_sentence(path: Path):
    assert undocumented(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_a_bare_name_is_found():
    text = '"""A module."""\ndef bare(): ...\ndef title():\n    """Title"""\ndef _own(): ...\n'
    assert undocumented(ast.parse(text)) == ["bare", "title"]


def test_front_door_names():
    assert sorted(tgp_multimodal.__all__) == [
        "Adapted",
        "Model",
        "Sampling",
        "__version__",
        "load",
        "load_adapted",
    ]
    for name in tgp_multimodal.__all__:
        assert getattr(tgp_multimodal, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="laod"):
        tgp_multimodal.laod  # noqa: B018


def test_front_door_shows_only_its_names():
    assert dir(tgp_multimodal) == sorted(tgp_multimodal.__all__)


def test_front_door_opens_without_heavy_imports():
    program = "import tgp_multimodal, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert not {"torch", "numpy", "transformers", "lightning", "PIL", "yaml"} & set(loaded)


def signature(function) -> str:
    """As the page on the Python interface writes it: names and defaults alone."""
    found = inspect.signature(function)
    bare = [
        p.replace(annotation=inspect.Parameter.empty)
        for name, p in found.parameters.items()
        if name != "self"
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def test_the_page_on_the_python_interface_has_all_of_it():
    page = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    for name in ("load", "load_adapted"):
        assert f"`tgp.{name}{signature(getattr(tgp_multimodal, name))}`" in page
    for owner, kind in (("model", tgp_multimodal.Model), ("adapted", tgp_multimodal.Adapted)):
        for name, member in inspect.getmembers(kind):
            if not name.startswith("_"):
                said = signature(member) if callable(member) else ""
                assert f"`{owner}.{name}{said}`" in page
    fields = ", ".join(f for f in tgp_multimodal.Sampling._fields if f != "block")
    assert f"`tgp.Sampling({fields})`" in page
    for name in SAMPLERS:
        assert f"`{name}`" in page

"""Arrows point down, files and functions stay short, imports hide only at the lazy doors.

`violations` reads the syntax trees and imports nothing, so that it can judge any copy of the
package. If it and ARCHITECTURE.md disagree, this file is right.
"""

import ast
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = "tgp_multimodal"

# Who may import whom, below the package. A layer is a folder, or a file beside cli.py.
BELOW_TORCH = {"resources", "data", "evaluation"}
NETWORKS = {"models", "diffusion"}
SIBLINGS = {"inference", "objectives", "export", "stock_export", "stock_weights", "model_card"}
ALLOWED = {
    "resources": set(),
    "names": set(),
    "data": {"names", "resources"},
    "evaluation": {"data", "names", "resources"},
    "models": {"data", "resources"},
    "diffusion": {"data", "resources"},
    "inference": {"models", "diffusion", "data", "names", "resources"},
    "objectives": {"models", "diffusion", "data", "resources"},
    "export": {"stock_export", "models", "diffusion", "data", "names", "resources"},
    "stock_export": {"models", "diffusion", "data", "resources"},  # export, second file
    "stock_weights": {"models", "data", "resources"},  # the way back from a stock folder
    "model_card": {"front_matter", "models", "data", "resources"},  # export, third file
    "front_matter": set(),  # export, fourth file
    "adapters": BELOW_TORCH | NETWORKS | SIBLINGS | {"names", "requirements"},
    "training": BELOW_TORCH | NETWORKS | SIBLINGS | {"adapters", "names"},
    "serving": {"inference", "export", "models", "data", "resources", "messages", "__init__"},
    "requirements": set(),
    "messages": {"names", "requirements"},
    "consoles": set(),
    "user_text": set(),
    "parsers": set(),
    "verbs": BELOW_TORCH
    | NETWORKS
    | SIBLINGS
    | {"adapters", "training", "serving", "consoles", "requirements", "user_text", "verbs"},
    "cli": {"verbs", "parsers", "messages", "names"},
    "__main__": {"cli"},
    "__init__": {"inference", "export"},
}

# Which layers may import a foreign library; a library that is not named here is free.
ONLY = {
    "lightning": {"training"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "pydantic": {"serving"},
    "uvicorn": {"serving"},
    "transformers": {"adapters"},
    "sentence_transformers": {"adapters"},
    "open_clip": {"adapters", "models", "objectives"},  # the contrastive tower and its loss
    "timm": {"adapters"},
    "ray": {"adapters"},  # ray_grid.py, imported when asked for
    "diffusers": {"adapters", "diffusion"},  # diffusion/stock_samplers.py, loaded when asked for
    "torch": NETWORKS | SIBLINGS | {"adapters", "training", "serving", "verbs"},
    "torchvision": NETWORKS | SIBLINGS | {"adapters", "training"},
}

LAZY_DOORS = {"cli", "verbs", "adapters", "__init__"}
FILE_LINES = 400
FUNCTION_LINES = 60


def violations(package: Path) -> list[str]:
    found: list[str] = []
    for path in sorted(package.rglob("*.py")):
        if "_shipped" not in path.parts:
            found += [f"{path.relative_to(package)}: {v}" for v in _of_file(path, package)]
    return found


def _of_file(path: Path, package: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    layer = path.relative_to(package).with_suffix("").parts[0]
    yield from _lengths(text, tree)
    if layer not in ALLOWED:
        yield f"layer {layer} is not in ALLOWED"
        return
    for name in _imported(tree):
        top, _, rest = name.partition(".")
        below = rest.partition(".")[0] if top == PACKAGE else ""
        if below in ALLOWED and below != layer and below not in ALLOWED[layer]:
            yield f"{layer} imports {below}, which is not below it"
        if top in ONLY and layer not in ONLY[top]:
            yield f"{layer} imports {top}, which only {sorted(ONLY[top])} may"
    if layer not in LAZY_DOORS:
        yield from _hidden(tree)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names, with the imported name appended: `from a import b` may mean the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _lengths(text: str, tree: ast.AST) -> Iterator[str]:
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{lines} lines, more than {FILE_LINES}"
    for node in _functions(tree):
        length = _last(node) - node.lineno + 1
        if ast.get_docstring(node) is not None:  # a verb's docstring is its help page
            length -= _last(node.body[0]) - node.body[0].lineno + 1
        if length > FUNCTION_LINES:
            yield f"{node.name} has {length} lines, more than {FUNCTION_LINES}"


def _last(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _hidden(tree: ast.AST) -> Iterator[str]:
    for function in _functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield f"{function.name} hides an import in line {node.lineno}"


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_package_keeps_the_rules():
    assert violations(REPOSITORY / PACKAGE) == []


# Import names that differ from the name on the package index.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def test_every_foreign_import_is_declared():
    recipe = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    extras = recipe["project"]["optional-dependencies"]
    optional = [name for extra in ("serve", "peers", "ray") for name in extras[extra]]
    wanted = [*recipe["project"]["dependencies"], *optional]
    declared = {re.split(r"[\[<>=~! ]", w)[0] for w in wanted}
    trees = [ast.parse(p.read_text("utf-8")) for p in (REPOSITORY / PACKAGE).rglob("*.py")]
    imported = {name.partition(".")[0] for tree in trees for name in _imported(tree)}
    foreign = imported - sys.stdlib_module_names - {PACKAGE}
    assert {DISTRIBUTIONS.get(n, n).replace("_", "-") for n in foreign} - declared == set()


def test_every_layer_with_a_rule_is_known_by_its_rules():
    named = set().union(*ALLOWED.values(), *ONLY.values(), LAZY_DOORS)
    assert named <= ALLOWED.keys()


def test_allowed_imports_have_no_cycle():
    remaining = {layer: set(below) - {layer} for layer, below in ALLOWED.items()}
    while lowest := [layer for layer, below in remaining.items() if not below]:
        for layer in lowest:
            del remaining[layer]
        for below in remaining.values():
            below.difference_update(lowest)
    assert remaining == {}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tests").rglob("*.py")), ids=lambda p: p.stem)
def test_test_files_stay_short(path: Path):
    assert path.read_text(encoding="utf-8").count("\n") <= FILE_LINES


OFFENCES = {
    "data/upward.py": ("import tgp_multimodal.models.layers\n", "not below it"),
    "models/upward_from.py": ("from tgp_multimodal import training\n", "not below it"),
    "objectives/sideways.py": ("from tgp_multimodal.inference import text\n", "not below it"),
    "data/torch_in_data.py": ("import torch.nn as nn\n", "imports torch"),
    "evaluation/torch_in_evaluation.py": ("from torch import nn\n", "imports torch"),
    "inference/foreign.py": ("import lightning\n", "imports lightning"),
    "models/foreign_from.py": ("from transformers import Qwen3Model\n", "imports transformers"),
    "data/hidden.py": ("def f():\n    import json\n", "f hides an import"),
    "data/long_file.py": ("x = 1\n" * 401, "401 lines"),
    "data/long_function.py": ('def f():\n    """F."""\n' + "    x = 1\n" * 60, "f has 61 lines"),
    "attic/new_layer.py": ("x = 1\n", "not in ALLOWED"),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is said of a copy of the package to which every offender was added."""
    copy = tmp_path_factory.mktemp("copy") / PACKAGE
    shutil.copytree(REPOSITORY / PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path, (text, _) in OFFENCES.items():
        (copy / path).parent.mkdir(exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    return violations(copy)


@pytest.mark.parametrize("path", OFFENCES)
def test_an_offending_file_is_found(path: str, complaints: list[str]):
    about = [c for c in complaints if c.startswith(f"{path}: ")]
    assert len(about) == 1
    assert OFFENCES[path][1] in about[0]

"""What to install is said in requirements, and these are those of pyproject.toml."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tgp_multimodal import messages, requirements

RECIPE = Path(__file__).parent.parent / "pyproject.toml"
# What an installation from before the extra `app` was removed knows.
LINES = [
    "pillow>=11.0",
    "uvicorn>=0.30; extra == 'dev'",
    'fastapi>=0.100 ; extra == "serve"',
    "uvicorn>=0.20; extra == 'serve'",
    "gradio>=5.0; extra == 'app'",
]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """No checkout: the package is installed, and its metadata are `LINES`."""
    monkeypatch.setattr(requirements, "_RECIPE", tmp_path / "pyproject.toml")
    monkeypatch.setattr(metadata, "requires", lambda name: LINES)
    return tmp_path / "pyproject.toml"


@pytest.fixture
def checkout(monkeypatch):
    monkeypatch.setattr(requirements, "_RECIPE", RECIPE)


def test_in_a_checkout_stale_metadata_are_not_read(checkout, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: LINES)
    project = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [(text, None) for text in project["dependencies"]]
    wanted += [(text, extra) for extra, texts in extras.items() for text in texts]
    found = requirements.requirements()
    assert [(r.text, r.extra) for r in found] == wanted
    assert [r.name for r in found] == [Requirement(text).name for text, _ in wanted]


def test_elsewhere_the_metadata_of_the_installation_are_read(elsewhere):
    found = requirements.requirements()
    assert found[0] == ("pillow", "pillow>=11.0", None)
    assert found[2] == ("fastapi", "fastapi>=0.100", "serve")


@pytest.mark.parametrize("text", ["[project]\nname = 'another'\ndependencies = []\n", "[", "a = 1"])
def test_a_recipe_of_another_project_is_none(elsewhere, text):
    elsewhere.write_text(text, encoding="utf-8")
    assert requirements.requirements()[0].name == "pillow"


def test_nobody_knows(elsewhere, monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert requirements.requirements() == []
    assert requirements.advice("ray") == "."


@pytest.mark.parametrize(
    ("library", "end"),
    [
        # Tools of developers come last, and a server needs all of its libraries.
        ("uvicorn", "; pip install 'fastapi>=0.100' 'uvicorn>=0.20'"),
        ("PIL", "; pip install 'pillow>=11.0'"),
        ("gradio", "; pip install 'gradio>=5.0'"),
        ("nothing_of_ours", "."),
    ],
)
def test_advice_names_requirements(elsewhere, library, end):
    assert requirements.advice(library) == end
    error = ModuleNotFoundError(name=f"{library}.part")
    said = f"{library} must be installed. Got no such package instead{end}"
    assert messages.sentence(error, "tgp serve") == said


@pytest.mark.parametrize("library", ["fastapi", "lm_eval", "ray", "sklearn", "open_clip", "yaml"])
def test_every_library_is_found_by_the_name_it_is_imported_by(checkout, library):
    assert requirements.advice(library).startswith("; pip install ")
    assert "tgp-multimodal" not in requirements.advice(library)

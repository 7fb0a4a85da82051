"""What others read of the project: that it has types, its classifiers, how to cite it."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import yaml

import tgp_multimodal

REPOSITORY = Path(__file__).parent.parent


def recipe():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_type_checkers_are_told_that_the_package_has_types():
    assert resources.files(tgp_multimodal).joinpath("py.typed").is_file()
    assert "Typing :: Typed" in recipe()["classifiers"]


def test_classifiers_say_each_thing_once_and_the_license_nowhere():
    said = recipe()["classifiers"]
    assert said == sorted(set(said))
    assert not [one for one in said if one.startswith("License ::")]  # PEP 639
    assert recipe()["license"] == "Apache-2.0"


def test_the_citation_has_all_it_must_and_the_version_of_the_package():
    said = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= said.keys()
    assert said["cff-version"] == "1.2.0"
    assert all(author.keys() & {"name", "family-names"} for author in said["authors"])
    assert said["version"] == tgp_multimodal.__version__
    assert said["license"] == recipe()["license"]


def test_the_citation_has_a_date_if_there_was_a_release():
    said = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    news = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[?\d+\.\d+\S* - (\d{4}-\d\d-\d\d)", news, re.MULTILINE)
    assert str(said.get("date-released")) == (released[0] if released else "None")

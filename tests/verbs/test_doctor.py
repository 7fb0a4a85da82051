"""`tgp doctor`: what a healthy installation is told, and what one with a fault is."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tgp_multimodal import resources
from tgp_multimodal.cli import main
from tgp_multimodal.verbs import doctor


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs the verb without measuring; gives what it prints."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TGP_DATA", raising=False)

    def run():
        assert main(["doctor", "--no_measure"]) == 0
        return capsys.readouterr().out

    return run


def row(report, name):
    """The line of a report that says this name, by its words."""
    (line,) = [line for line in report.splitlines() if line.startswith(f"│ {name} ")]
    return [part.strip() for part in line.strip("│").split("│")]


def test_a_healthy_installation_misses_nothing(told):
    report = told()
    assert row(report, "torch") == ["torch", metadata.version("torch"), "ok"]
    assert row(report, "shipped cards")[1:] != ["0 files", "missing"]
    assert row(report, "$TGP_DATA")[-1] == "note"
    assert "Speed" not in report
    assert report.splitlines()[-1] == "nothing that is needed is missing"


def test_a_package_that_is_not_there_is_named(told, monkeypatch):
    version = metadata.version

    def without(name):
        if name in ("safetensors", "ray", "uvicorn"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    report = told()
    assert row(report, "safetensors")[1:][-1] == "missing"
    assert report.splitlines()[-1] == "missing: safetensors"  # the others are of extras
    assert "tgp-multimodal[" not in report
    assert "wanted; pip install 'safetensors>=" in row(report, "safetensors")[1]
    assert "wanted; pip install 'ray>=" in row(report, "ray [ray]")[1]
    server = row(report, "uvicorn [serve]")[1]
    assert "'uvicorn>=" in server
    assert "'fastapi>=" in server


def test_extras_are_those_that_the_project_has(told):
    recipe = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(recipe.read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"│ \S+ \[(\w+)\] ", told())) == set(project["optional-dependencies"])


def test_a_package_of_another_version_is_noted(told, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1")
    report = told()
    assert row(report, "torch")[1].startswith("0.0.1, ")
    assert row(report, "torch")[2] == "note"


def test_folders_without_their_files_are_missing(told, monkeypatch, tmp_path):
    def nothing(*parts):
        raise FileNotFoundError

    monkeypatch.setattr(resources, "shipped", nothing)
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    last = told().splitlines()[-1]
    assert last == "missing: shipped cards, shipped suites, shipped configs, $TGP_DATA"


def test_tasks_are_counted(told, monkeypatch, tmp_path):
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    for name in ("one", "two"):
        (tmp_path / "text" / name).mkdir(parents=True)
        (tmp_path / "text" / name / "test.parquet").touch()
    assert row(told(), "$TGP_DATA")[1:] == [f"{tmp_path}, 2 tasks", "ok"]


def test_the_faster_arithmetic_is_named(monkeypatch):
    rates = {"float32": 2e9, "bfloat16": 6e9}
    monkeypatch.setattr(doctor, "_flops", lambda size, kind, device, seconds: rates[kind])
    single, half, ratio = doctor.speed(8)
    assert (single.value, half.value) == ("2 GFLOP/s", "6 GFLOP/s")
    assert ratio == ("bfloat16 / float32", "bfloat16 is 3.00 x float32: faster", "good")
    rates["bfloat16"] = 1e9
    assert doctor.speed(8)[-1].verdict == "note"


def test_a_rate_is_measured():
    assert doctor._flops(32, "float32", "cpu", 0.01) > 0


@pytest.mark.parametrize(
    ("load", "policy", "verdict"),
    [(0.2, None, "ok"), (1e3, None, "note"), (1e3, "PASSIVE", "ok")],
)
def test_a_busy_machine_is_told_how_threads_should_wait(told, monkeypatch, load, policy, verdict):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    said = row(told(), "load")
    assert said[-1] == verdict
    assert ("OMP_WAIT_POLICY=PASSIVE" in said[1]) == (verdict == "note")

"""Every case of the speed suite runs and compares equal work; its ratios mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_cases_run(tmp_path):
    output = tmp_path / "figures.jsonl"
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--rounds", "1"]
    subprocess.run([*command, "--output", str(output)], cwd=REPOSITORY, check=True)
    figures = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({figure["case"] for figure in figures}) > 1
    assert all(figure["ratio"] > 0 for figure in figures)

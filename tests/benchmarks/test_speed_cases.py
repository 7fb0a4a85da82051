"""Every case of the speed suite runs and compares equal work; its ratios mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CASES = ["train_text", "train_loops", "train_head", "generate", "draw", "embed", "score", "probe"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_cases_run(case, tmp_path):
    output = tmp_path / "figures.jsonl"
    command = [sys.executable, "-m", "benchmarks.speed", case, "--quick", "--rounds", "1"]
    subprocess.run([*command, "--output", str(output)], cwd=REPOSITORY, check=True)
    figures = [json.loads(line) for line in output.read_text().splitlines()]
    assert figures
    assert all(figure["case"] == case and figure["ratio"] > 0 for figure in figures)

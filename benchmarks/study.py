"""Compares recipes of pretraining over seeds: same data, same network, one table.

    python -m benchmarks.study benchmarks/studies/optimizer.yaml --data data/mine

A study is a YAML:

    question: what it asks
    base: [--size, tiny, --config, configs/text.yaml]   # words of tgp fit that all recipes share
    steps: 600
    seeds: [0, 1, 2]
    measure: validation/text/causal_nats_per_token      # a column of metrics.csv; lower is better
    also: [validation/text/masked_nats_per_token]       # columns that are shown beside it, or none;
                                                        # a recipe that lacks one has a dash
    recipes:
      adamw: {set: {model.optimizer.rule: adamw}, tune: {model.optimizer.adamw_lr: [0.001, 0.003]}}
      muon: {steps: 360}

`set` gives values of the config, `steps` another length of the run. A recipe with `tune` is first
run with each of the values on a separate seed, and the best is kept. Every run is a `tgp fit` in
a folder of its own; a finished run is not repeated unless its recipe, the shared arguments, the
text of a YAML file that they name, or the data have changed. One that was made by another version
of the code is kept, and named.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml

from tgp_multimodal.evaluation.environment import code_digest
from tgp_multimodal.verbs.fit import with_configs

_TUNING_SEED = 1000
_KEYS = {"question", "base", "steps", "seeds", "measure", "recipes"}
_FREE = {"also"}
_RECIPE_KEYS = {"set", "steps", "tune"}


class Run(NamedTuple):
    """One `tgp fit`: its folder below the output, and what differs from the others."""

    name: str
    seed: int
    steps: int
    values: dict[str, Any]


class Study:
    """A study and where its runs lie.

    Args:
        spec: the YAML, parsed.
        data: prepared folder.
        output: folder of the runs.
        jobs: runs at once, each with one thread.

    Raises:
        ValueError: the YAML has other keys than a study has.
    """

    def __init__(self, spec: dict[str, Any], data: Path, output: Path, jobs: int = 1) -> None:
        recipes: dict[str, dict[str, Any]] = spec.get("recipes", {})
        inside = [set(recipe) - _RECIPE_KEYS for recipe in recipes.values()]
        if set(spec) - _FREE != _KEYS or any(inside):
            raise ValueError(
                f"a study must have the keys {', '.join(sorted(_KEYS))} (and may have "
                f"{', '.join(sorted(_FREE))}), and its recipes some of "
                f"{', '.join(sorted(_RECIPE_KEYS))}. Got {', '.join(spec)} instead."
            )
        self.spec, self.recipes, self.data, self.output, self.jobs = (
            spec, recipes, data, output, jobs,
        )  # fmt: skip

    def __call__(self) -> dict[str, list[float]]:
        """Runs what is not finished yet; recipe -> its measure for each seed."""
        measured = self._all([run for name in self.recipes for run in self._candidates(name)])
        measured = {name: v if math.isfinite(v) else math.inf for name, v in measured.items()}
        runs = []
        for name, recipe in self.recipes.items():
            mine = self._candidates(name)
            if mine and all(math.isinf(measured[run.name]) for run in mine):
                raise SystemExit(
                    f"tune of {name} must have a value whose run finishes with a number. Got none "
                    f"instead; the reasons are in {self.output / name / 'tune'}."
                )
            best = min(mine, key=lambda r: measured[r.name]).values if mine else {}
            values = {**recipe.get("set", {}), **best}
            steps = recipe.get("steps", self.spec["steps"])
            runs += [Run(f"{name}/{s}", s, steps, values) for s in self.spec["seeds"]]
        found, seeds = self._all(runs), self.spec["seeds"]
        return {name: [found[f"{name}/{s}"] for s in seeds] for name in self.recipes}

    def beside(self, name: str, column: str) -> float | None:
        """Mean over the seeds of another column, for one recipe that was run; none: not there."""
        files = [self.output / name / str(seed) / "metrics.csv" for seed in self.spec["seeds"]]
        with files[0].open(encoding="utf-8") as file:
            if column not in next(csv.reader(file)):
                return None
        return mean(last(file, column) for file in files)

    def _candidates(self, name: str) -> list[Run]:
        recipe = self.recipes[name]
        keys, steps = list(recipe.get("tune", {})), recipe.get("steps", self.spec["steps"])
        found = []
        for chosen in product(*recipe.get("tune", {}).values()) if keys else ():
            values = dict(zip(keys, chosen, strict=True))
            label = ",".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in values.items())
            every = {**recipe.get("set", {}), **values}
            found.append(Run(f"{name}/tune/{label}", _TUNING_SEED, steps, every))
        return found

    def _all(self, runs: Sequence[Run]) -> dict[str, float]:
        with ThreadPoolExecutor(self.jobs) as pool:
            values = pool.map(self._measured, runs)
            return {run.name: value for run, value in zip(runs, values, strict=True)}

    def _measured(self, run: Run) -> float:
        folder, asked = self.output / run.name, self._asked(run)
        done = folder / "study.json"
        if done.is_file():
            before = json.loads(done.read_text())
            if {key: before.get(key) for key in asked} == asked:
                if before.get("code") != training_code():
                    print(
                        f"{run.name}: kept, though made by another version of the code; "
                        f"delete {folder} to run it again",
                        flush=True,
                    )
                return last(folder / "metrics.csv", self.spec["measure"])
        words = ["--data.folder", str(self.data), "--trainer.default_root_dir", str(folder)]
        words += ["--seed_everything", str(run.seed), "--data.seed", str(run.seed)]
        for name in ("--trainer.max_steps", "--trainer.val_check_interval", "--save_every"):
            words += [name, str(run.steps)]
        for key, value in run.values.items():
            words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        command = [sys.executable, "-m", "tgp_multimodal", "fit", *self.spec["base"], *words]
        code, start = training_code(), time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)  # whatever stops this run, what lies there is not the old one
        with (folder / "log.txt").open("w", encoding="utf-8") as log:
            try:
                subprocess.run(command, check=True, stdout=log, stderr=log, env=self._environment())
            except subprocess.CalledProcessError as error:
                if run.seed == _TUNING_SEED and error.returncode == 2:  # a rate that diverges
                    print(f"{run.name}: failed; the reason is in {folder / 'log.txt'}", flush=True)
                    return math.inf
                raise SystemExit(
                    f"run {run.name} must finish. Got exit code {error.returncode} instead; "
                    f"the reason is in {folder / 'log.txt'}."
                ) from error
        seconds = time.monotonic() - start
        value = last(folder / "metrics.csv", self.spec["measure"])
        made = {"measure": value, "seconds": seconds, "code": code}
        done.write_text(json.dumps(made | asked))
        print(f"{run.name}: {value:.4f} after {run.steps} steps, {seconds:.0f} s", flush=True)
        return value

    def _asked(self, run: Run) -> dict[str, Any]:
        """All that a finished run must have in common with what is asked for, to be one of it."""
        base, read = list(self.spec["base"]), manifest_digests(self.data)
        files = file_digests([*with_configs(base), *run.values.values()])
        return {**run._asdict(), "base": base, "files": files, "data": read}

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1"} if self.jobs > 1 else dict(os.environ)


def file_digests(words: Sequence[Any]) -> dict[str, str]:
    """Path -> SHA-256 of each YAML file that an argument names, alone or after `--option=`."""
    texts = [word for word in words if isinstance(word, str)]
    paths = {text.partition("=")[2] if text.startswith("--") else text for text in texts}
    return {
        path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.endswith((".yaml", ".yml")) and Path(path).is_file()
    }


def training_code() -> str:
    """Digest of the code that a run which starts now depends on."""
    code_digest.cache_clear()  # it may be edited while a study runs
    return code_digest("training", "objectives")


def manifest_digests(data: Path) -> dict[str, str]:
    """Kind of data -> digest of what a prepared folder has of it."""
    return {
        file.parent.name: str(json.loads(file.read_text("utf-8")).get("digest"))
        for file in sorted(data.glob("*/manifest.json"))
    }


def last(metrics: Path, column: str) -> float:
    """The last value of a column.

    Raises:
        ValueError: there is none.
    """
    with metrics.open(encoding="utf-8") as file:
        found = [row[column] for row in csv.DictReader(file) if row.get(column)]
    if not found:
        raise ValueError(
            f"measure must be a column of {metrics} with a value. Got {column} instead."
        )
    return float(found[-1])


def table(study: Study, found: dict[str, list[float]]) -> Iterator[str]:
    """Markdown lines: mean and deviation over seeds, and the difference to the first recipe."""
    yield f"{study.spec['question']} ({study.spec['measure']}, lower is better)"
    yield ""
    also = study.spec.get("also", [])
    more = "".join(f" {column} |" for column in also)
    yield f"| recipe | steps | seeds | mean | deviation | to the first |{more}"
    yield "|---|---|---|---|---|---|" + "---|" * len(also)
    first = mean(next(iter(found.values())))
    for column in also:
        if all(study.beside(name, column) is None for name in found):
            raise ValueError(f"also must be columns of metrics.csv. Got {column} instead.")
    for name, values in found.items():
        steps = study.recipes[name].get("steps", study.spec["steps"])
        deviation = f"{stdev(values):.4f}" if len(values) > 1 else "-"
        yield (
            f"| {name} | {steps} | {len(values)} | {mean(values):.4f} | {deviation} | "
            f"{mean(values) / first - 1:+.2%} |"
            + "".join(f" {_cell(study.beside(name, column))} |" for column in also)
        )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a study and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study")
    parser.add_argument("study", type=Path, help="a YAML")
    parser.add_argument("--data", type=Path, required=True, help="what tgp prepare wrote")
    parser.add_argument("--output", type=Path, help="of all runs (runs/study/NAME of the YAML)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each (1)")
    given = parser.parse_args(arguments)
    spec = yaml.safe_load(given.study.read_text(encoding="utf-8"))
    output = given.output or Path("runs/study") / given.study.stem
    study = Study(spec, given.data, output, given.jobs)
    lines = "\n".join(table(study, study()))
    print(lines)
    (output / "table.md").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""python -m benchmarks.speed [NAME ...] [--threads N] [--rounds N] [--quick] [--output FILE]."""

import argparse
import importlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.speed import harness
from tgp_multimodal.evaluation import environment
from tgp_multimodal.training.allocator import keep_freed_memory

CASES = (
    "train_text", "train_loops", "train_head", "generate", "samples", "draw", "embed", "score",
    "probe",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the named cases, all of them if none is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=1, help="of all libraries (1)")
    parser.add_argument("--rounds", type=int, default=7, help="times each side is timed (7)")
    parser.add_argument("--quick", action="store_true", help="tiny work: does everything run?")
    parser.add_argument("--output", type=Path, help="file that gets a JSON line per figure")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in CASES:
            parser.error(f"NAME must be one of {', '.join(CASES)}. Got {name} instead.")
    # Before a library that reads these is imported; the cases are imported one by one, below.
    os.environ["RAYON_NUM_THREADS"] = str(given.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.simplefilter("ignore")
    # Our training asks the C library for this. It holds for the whole process, so the peers, which
    # do not ask, have the advantage too.
    keeps_memory = keep_freed_memory()
    torch.set_num_threads(given.threads)
    circumstances = {
        "keeps_freed_memory": keeps_memory,
        "quick": given.quick,
        **environment.describe(),
        "threads": given.threads,
    }
    print(f"{circumstances['processor']}, threads: {given.threads}, rounds: {given.rounds}")
    print(harness.heading())
    for name in given.names or CASES:
        case = importlib.import_module(f"benchmarks.speed.{name}")
        with threadpool_limits(given.threads):
            for contest in case.contests(given.quick):
                figure = harness.measure(contest, given.rounds)
                print(harness.row(contest, figure), flush=True)
                if given.output:
                    harness.append(given.output, name, contest, figure, circumstances)


if __name__ == "__main__":
    main()

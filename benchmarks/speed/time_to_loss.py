"""Seconds from the start of a process to a validation loss, on a text of characters.

    python -m benchmarks.speed.time_to_loss input.txt --seeds 5 --threads 1 --output figures.jsonl

The text is meant to be Tiny Shakespeare (1.1 MB, 65 characters; the first nine tenths train, the
rest validates), the bar the loss of the small CPU recipe that everybody knows: 4 layers, width 128,
context 64, batch 12, 2,000 steps of AdamW, about 1.88 nats per character. Three sides, each in a
process of its own, in turns:

* `recipe`: that recipe in plain torch;
* `control`: our transformer with AdamW, so that what is left is the optimizer;
* `ours`: our transformer and MuonAdamW.

Steps and rates are fixed before the run: both of our plans reached the bar on separate seeds (100
to 103), with a margin of 0.02 for the scatter of seeds. A side that misses the bar is reported as
missing it. Our sides measure which arithmetic is faster here and use it; their seconds include that
measurement. Seconds are those of the whole process: start, imports, reading, training, validation.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

BAR = 1.88
SIDES = ("recipe", "control", "ours")


@dataclass(frozen=True)
class Plan:
    """What a side does.

    Attributes:
        module: who trains: `small_gpt` or `our_characters`.
        steps: batches that it learns from.
        batch: rows of a batch, of 64 characters.
        rate: peak learning rate; of Muon where there is Muon.
        adamw_rate: of what Muon does not move, and of everything in the control.
        table_rate: of the token table.
    """

    module: str
    steps: int
    batch: int
    rate: float
    adamw_rate: float = 3e-3
    table_rate: float = 0.01


PLANS = {
    "recipe": Plan("small_gpt", steps=2000, batch=12, rate=1e-3),
    "control": Plan(
        "our_characters", steps=640, batch=12, rate=0.0, adamw_rate=5e-3, table_rate=0.01
    ),
    "ours": Plan("our_characters", steps=350, batch=12, rate=0.018),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all sides in turns."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.time_to_loss")
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each side (5)")
    parser.add_argument("--first", type=int, default=10, help="the first seed (10)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    parser.add_argument("--output", type=Path, help="file that gets a JSON line per run")
    given = parser.parse_args(arguments)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    reached: dict[str, list[bool]] = {side: [] for side in SIDES}
    print(f"{'side':<9} {'seed':>4} {'loss':>7} {'seconds':>8}")
    for seed in range(given.first, given.first + given.seeds):
        for side in SIDES:
            start = time.perf_counter()
            found = _apart(side, given, seed)
            seconds[side].append(time.perf_counter() - start)
            reached[side].append(found["loss"] <= BAR)
            missed = "" if reached[side][-1] else f"   misses {BAR}"
            line = f"{side:<9} {seed:>4} {found['loss']:>7.4f} {seconds[side][-1]:>8.1f}{missed}"
            print(line, flush=True)
            if given.output:
                with given.output.open("a", encoding="utf-8") as file:
                    row = {**found, "seconds": seconds[side][-1], "threads": given.threads}
                    file.write(json.dumps({**row, **vars(PLANS[side])}) + "\n")
    for side in SIDES[1:]:
        print(f"recipe / {side}: {_ratios(seconds, reached, side)}")


def _ratios(seconds: dict[str, list[float]], reached: dict[str, list[bool]], side: str) -> str:
    """Ratios of the seeds with which both sides reached the bar; the others have no time to it."""
    ratios = [
        seconds["recipe"][i] / seconds[side][i]
        for i in range(len(seconds[side]))
        if reached["recipe"][i] and reached[side][i]
    ]
    missed = len(seconds[side]) - len(ratios)
    without = f", {missed} left out, where one missed {BAR}" if missed else ""
    if not ratios:
        return f"no seed with which both reached {BAR}"
    return (
        f"{median(ratios):.2f}x ({min(ratios):.2f} - {max(ratios):.2f}), "
        f"{len(ratios)} seeds{without}"
    )


def _apart(side: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One side in a process of its own."""
    plan = json.dumps(asdict(PLANS[side]))
    worker = [sys.executable, "-m", "benchmarks.speed.characters"]
    done = subprocess.run(
        [*worker, str(given.text), PLANS[side].module, plan, str(seed), str(given.threads)],
        env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {"side": side, "seed": seed, "loss": float(done.stdout.split()[-1])}


if __name__ == "__main__":
    main()

"""The golden curve: losses of a short run of the recipe of configs/nano.yaml on fixed data.

    python -m tests.golden.remake

writes nano.json anew. That is for changes that are meant to move numbers, and only for those.
"""

import csv
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tgp_multimodal.data import scenes
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepared import write_pictures, write_text
from tgp_multimodal.data.records import Document, Pair
from tgp_multimodal.resources import shipped
from tgp_multimodal.training.run import RunCLI

HERE = Path(__file__).parent
GOLDEN = HERE / "nano.json"
WORDS = ("river", "stone", "bridge", "field", "boat", "dog", "letter", "gate", "valley", "ice")

LOSSES = ("nats", "nats_per_token", "pixel_error", "value", "gradient_norm")

Curve = dict[str, list[float]]


def curve(folder: Path) -> Curve:
    """What the run writes down, by the name of its column: losses and norms, step after step."""
    _prepare(folder / "data")
    configs = [str(shipped("configs", "nano.yaml")), str(HERE / "nano.yaml")]
    given = [word for path in configs for word in ("--config", path)]
    given += ["--data.folder", str(folder / "data")]
    given += ["--trainer.default_root_dir", str(folder / "run")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        RunCLI(["fit", *given])
    finally:
        torch.set_num_threads(threads)
    found: Curve = {}
    with (folder / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name.startswith("train/") and name.endswith(LOSSES):
                    found.setdefault(name, []).append(float(f"{float(value):.6g}"))
    return found


def _prepare(folder: Path) -> None:
    documents = list(_documents())
    tokenizer = tokenizers.train([d.text for d in documents], vocabulary=400)
    tokenizer.save(folder / "tokenizer")
    write_text(
        folder / "text", {"train": documents[8:], "validation": documents[:8]}, tokenizer, []
    )
    digits = [
        Pair(np.full((16, 16, 3), 25 * i, np.uint8), f"the digit {i}", "digits", f"digits/{i}")
        for i in range(10)
    ]
    drawn = list(scenes.pairs(10, 0, 16))
    split = {"train": drawn[4:] + digits[4:], "validation": drawn[:4] + digits[:4]}
    write_pictures(folder / "pictures", split, [])


def _documents() -> Iterator[Document]:
    """Sentences and functions of a few words, in turn."""
    for i in range(64):
        one, two, three = (WORDS[(i * step + step) % len(WORDS)] for step in (1, 3, 7))
        yield Document(f"The {one} lies behind the {two}, and the {three}. " * 3, "prose", f"p{i}")
        said = f"Gives the {three} of each {two} that lies in the {one}, and no other."
        code = f'def {one}_{i}({two}):\n    """{said}"""\n    return [{two} + {i}, {three}]\n'
        yield Document(code, "code", f"c{i}")


def main() -> None:
    """Writes nano.json, with the versions that it was made with."""
    warnings.simplefilter("ignore")
    sys.argv = sys.argv[:1]
    with tempfile.TemporaryDirectory() as folder:
        found = curve(Path(folder))
    content = {"torch": torch.__version__, "numpy": np.__version__, "curve": found}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{GOLDEN}: {len(found)} columns")


if __name__ == "__main__":
    main()

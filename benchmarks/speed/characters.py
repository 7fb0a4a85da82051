"""One run of time_to_loss: trains one side on a text of characters and prints its validation loss.

Usage: python -m benchmarks.speed.characters TEXT MODULE PLAN SEED THREADS, where PLAN is JSON.

Shape letters: B batch, L length, V vocabulary.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CONTEXT = 64
_TRAIN = 0.9
_VALIDATION_ROWS = 128

Forward = Callable[[Tensor], Tensor]


def main() -> None:
    """Trains, validates, prints."""
    path, module, plan, seed, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_float32_matmul_precision("high")
    side = importlib.import_module(f"benchmarks.speed.{module}")
    print(run(Path(path), side.make, SimpleNamespace(**json.loads(plan)), int(seed)))


def run(path: Path, make: Callable, plan: SimpleNamespace, seed: int) -> float:
    """Validation loss in nats per character after `plan.steps` steps.

    Args:
        path: the text.
        make: from the size of the vocabulary and the plan to the network as a function, the module
            that learns, and how step i moves it.
        plan: what `time_to_loss.Plan` holds.
        seed: of the weights and the batches.
    """
    torch.manual_seed(seed)
    train, validation, vocabulary = _read(path)
    forward, network, move = make(vocabulary, plan)
    generator = torch.Generator().manual_seed(seed)
    offset_L = torch.arange(CONTEXT + 1)
    for step in range(plan.steps):
        start_B1 = torch.randint(len(train) - CONTEXT, (plan.batch, 1), generator=generator)
        row_BL = train[start_B1 + offset_L]
        loss = _cross_entropy(forward(row_BL[:, :-1]), row_BL[:, 1:])
        network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        move(step)
    return _validated(forward, validation)


def _read(path: Path) -> tuple[Tensor, Tensor, int]:
    """Ids of the first nine tenths and of the rest, and how many characters there are."""
    text = np.frombuffer(path.read_text(encoding="utf-8").encode("utf-32-le"), dtype=np.uint32)
    characters, ids = np.unique(text, return_inverse=True)
    ids = torch.from_numpy(ids.astype(np.int64))
    cut = int(_TRAIN * len(ids))
    return ids[:cut], ids[cut:], len(characters)


@torch.inference_mode()
def _validated(forward: Forward, validation: Tensor) -> float:
    """Mean loss over the whole validation text in rows of 64, none of which overlap."""
    count = (len(validation) - 1) // CONTEXT
    total = 0.0
    for start in range(0, count, _VALIDATION_ROWS):
        end = min(count, start + _VALIDATION_ROWS)
        span = validation[start * CONTEXT : end * CONTEXT + 1]
        loss = _cross_entropy(forward(span[:-1].view(-1, CONTEXT)), span[1:].view(-1, CONTEXT))
        total += float(loss) * (end - start)
    return total / count


def _cross_entropy(logits_BLV: Tensor, target_BL: Tensor) -> Tensor:
    return F.cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten())


if __name__ == "__main__":
    main()

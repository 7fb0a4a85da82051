"""What every test may use: a fixed seed, one thread, a small corpus, a tiny network."""

import os
import random
import sys

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing may reach for the network

CORPUS = """\
The morning was cold, and the river carried thin plates of ice.
A list holds items in order; a set holds each item once.
def add(first, second):\\n    return first + second
The patient received aspirin and was discharged after two days.
Three red circles lie above a green square.
She opened the letter, read it twice, and put it away.
import json\\n\\ndef load(path):\\n    return json.loads(path.read_text())
Raises ValueError when the value is not an integer.
The enzyme binds the substrate at a single site.
Water boils at 100 degrees at sea level.
for name in sorted(names):\\n    print(name)
The old bridge was built of stone from the valley.
Return the number of items that satisfy the predicate.
A dog ran across the field and stopped at the gate.
Mutations in the gene cause a loss of function.
class Point:\\n    def __init__(self, x, y):\\n        self.x, self.y = x, y
Naïve café, 東京, ½ price: not all text is ASCII.
The function returns None if no match was found.
They counted the boats: one, two, three, four.
The trial enrolled forty adults with mild asthma."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seeds every generator in use; torch only if a test has loaded it, for it takes seconds."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries draw from the global generator
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Twenty short documents: prose, code, biomedicine, one beyond ASCII."""
    return [line.replace("\\n", "\n") for line in CORPUS.splitlines()]


@pytest.fixture(scope="session")
def tokenizer(corpus: list[str]):
    """A byte-level tokenizer of 320 ids, trained on the corpus."""
    from tgp_multimodal.data.tokenizer import train

    return train(corpus, vocabulary=320)

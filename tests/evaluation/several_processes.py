"""A program for torchrun: measures made-up cards with all processes, then finds them measured."""

import json
import sys
from pathlib import Path

import killed_runs

from tgp_multimodal.evaluation import engine
from tgp_multimodal.verbs.evaluate import team

if __name__ == "__main__":
    killed_runs.small_chunks()
    folder, together = Path(sys.argv[1]), team()
    asked = len(killed_runs.measure(folder, team=together).asked)
    found = engine.evaluate(killed_runs.model(), killed_runs.cards(), folder, team=together)
    # In one piece: the other processes write into the same pipe.
    sys.stdout.write(json.dumps([asked, len(found)]) + "\n")

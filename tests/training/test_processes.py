"""Several processes of gloo on the CPU find the numbers of one."""

import csv
import json
import subprocess
import sys

import pytest
import torch
import yaml

from tgp_multimodal.export import load_checkpoint, network_from_checkpoint
from tgp_multimodal.training.checkpoints import newest
from tgp_multimodal.training.datamodules import _share

STEPS = 20

_PROGRAM = """
import json, os, socket, sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from lightning.pytorch import Callback
from tgp_multimodal.training.callbacks import CleanStop
from tgp_multimodal.training.run import RunCLI

class Stop(Callback):  # one process alone is told to stop
    def __init__(self, step):
        self.step = step
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.is_global_zero and trainer.global_step == self.step:
            next(c for c in trainer.callbacks if isinstance(c, CleanStop)).asked = True

def child(rank, world, port, stop, arguments):
    if world > 1:
        os.environ |= {
            "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
        }
    sys.argv = ["tgp fit"]
    RunCLI.extra = lambda self: [Stop(stop)]
    done = RunCLI(["fit", *arguments, "--trainer.devices", str(world)])
    assert done.stop.stopped == (stop > 0)

for world, stop, arguments in json.loads(sys.argv[1]):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        children.append(os.fork())
        if children[-1] == 0:
            child(rank, world, port, stop, arguments)
            sys.stdout.flush()
            os._exit(0)
    if any([os.waitpid(c, 0)[1] for c in children]):
        sys.exit(1)
"""


def start(*runs):
    """Each run: number of processes, the step to stop after, and the arguments."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture
def several(with_tower, tmp_path):
    """Makes the arguments of a run into `tmp_path / name`: 20 steps, four streams, a ramp."""
    config = yaml.safe_load((path := tmp_path / "config.yaml").read_text())
    pictures = {"class_path": "FlowMatching", "init_args": {"repeats": 2, "caption_drop": 0.3}}
    together = config["model"]["objectives"]["pictures"]["init_args"]
    # Before drawing, whose way back comes first; gentle, since rounding grows with each step.
    look = {"class_path": "PictureContrast", "init_args": {"weight": 0.1, "temperature": 1.0}}
    together["objectives"] = {"look": look, **together["objectives"], "draw": pictures}
    text = config["model"]["network"]["init_args"]["text"]["init_args"]
    text["vocabulary"] = 322  # rows that 4 processes cannot share equally
    data = config["data"]
    data["text"] |= {"batch": 8, "ramp": [{"until": 6, "length": 12, "batch": 12}]}
    data["pictures"]["batch"] = data["passages"]["batch"] = data["captions"]["batch"] = 4
    config["trainer"] |= {"max_steps": STEPS, "log_every_n_steps": 1, "val_check_interval": 10}
    path.write_text(yaml.safe_dump(config))

    def made(name, *more):
        return [*with_tower, "--trainer.default_root_dir", str(tmp_path / name), *more]

    return made


def numbers(run):
    """What was logged, by step and name."""
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return {
        (int(row["step"]), name): float(value)
        for row in rows
        for name, value in row.items()
        if value and name.startswith(("train/", "validation/"))
    }


def same_numbers(run, other):
    one, several = numbers(run), numbers(other)
    assert one.keys() == several.keys()
    assert sum(name.endswith("value") for _, name in one) >= 2 * STEPS
    for key, value in one.items():  # a norm may be in the hundreds
        near = pytest.approx(value, abs=1e-4, rel=5e-4 if key[1].endswith("norm") else 0)
        assert several[key] == near, key


def same_weights(run, other):
    one, several = load_checkpoint(newest(run)), load_checkpoint(newest(other))
    assert one["global_step"] == several["global_step"] == STEPS
    for part in ("state_dict", "ema"):
        assert one[part].keys() == several[part].keys()
        for name, value in one[part].items():
            assert type(several[part][name]) is torch.Tensor
            mine, theirs = (without_bias_of_keys(name, x) for x in (several[part][name], value))
            # Sums in another order differ by 5e-7 at the first step, and by 1e-4 at the twentieth.
            torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=0, msg=name)


def without_bias_of_keys(name, value):
    """A softmax is blind to the keys' bias: its gradient is rounding, of which Adam makes steps."""
    if not name.endswith("attn.in_proj_bias"):
        return value
    query, _, states = value.chunk(3)
    return torch.cat((query, states))


def check(tmp_path, name):
    same_numbers(tmp_path / "one", tmp_path / name)
    same_weights(tmp_path / "one", tmp_path / name)
    network_from_checkpoint(load_checkpoint(newest(tmp_path / name)))
    assert (tmp_path / name / "samples" / f"step_{STEPS:06d}.png").is_file()


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_find_the_numbers_of_one(several, tmp_path, world):
    kinds = ("ddp", "fsdp2")
    runs = [(world, -1, several(kind, "--trainer.strategy", kind)) for kind in kinds]
    start((1, -1, several("one")), *runs)
    for kind in kinds:
        check(tmp_path, kind)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(several, tmp_path):
    moves = [(4, 1), (1, 2), (2, 4)]

    def run(place, world, stop, *more):
        strategy = ("--trainer.strategy", "fsdp2") if world > 1 else ()
        return world, stop, several(f"moved{place}", *strategy, *more)

    halves = [
        half
        for place, (first, then) in enumerate(moves)
        for half in (run(place, first, 9), run(place, then, -1, "--ckpt_path", "last"))
    ]
    start((1, -1, several("one")), *halves)
    for place in range(len(moves)):
        same_weights(tmp_path / "one", tmp_path / f"moved{place}")


@pytest.mark.slow
def test_the_command_starts_the_other_processes_itself(several, tmp_path):
    options = several("own", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    command = [sys.executable, "-m", "tgp_multimodal", "fit", *options, "--trainer.max_steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-6000:]
    assert load_checkpoint(newest(tmp_path / "own"))["global_step"] == 2
    assert done.stdout.count("the run lies in") == 1


def test_a_batch_that_processes_cannot_share_is_named():
    assert _share("text", None, 2) is None
    stages = [{"until": 3, "length": 8, "batch": 6}]
    shared = _share("text", {"length": 16, "batch": 4, "ramp": stages}, 2)
    assert shared == {"length": 16, "batch": 2, "ramp": [{"until": 3, "length": 8, "batch": 3}]}
    with pytest.raises(
        ValueError, match=r"batch of data.pictures must be a multiple of .*, 4. Got 6"
    ):
        _share("pictures", {"batch": 6}, 4)
    with pytest.raises(ValueError, match=r"data.text.ramp .* processes, 4. Got 6 instead"):
        _share("text", {"batch": 4, "ramp": stages}, 4)
    none = {"batch": 4, "ramp": [{"until": 3, "length": 8, "batch": 0}]}
    for processes in (1, 2):
        assert _share("text", {"batch": 4, "ramp": None}, processes)["batch"] == 4 // processes
        with pytest.raises(ValueError, match=r"batch of data.text.ramp must be at least 1. Got 0"):
            _share("text", none, processes)

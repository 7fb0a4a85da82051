import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
import yaml

from tgp_multimodal.export import load_checkpoint
from tgp_multimodal.training.checkpoints import Checkpoint, folder_of, is_whole, newest

NAMES = ("last", "previous")


def write(run, number, size=1000):
    folder_of(run).mkdir(parents=True, exist_ok=True)
    trainer = SimpleNamespace(
        save_checkpoint=lambda path: torch.save({"step": number, "w": torch.ones(size)}, path),
        global_step=number,
        is_global_zero=True,
    )
    Checkpoint(run).save(trainer)


def test_the_last_and_the_one_before_are_kept(tmp_path):
    assert newest(tmp_path) is None
    for number in range(3):
        write(tmp_path, number)
    names = sorted(p.name for p in folder_of(tmp_path).iterdir())
    assert names == ["last.ckpt", "previous.ckpt"]
    assert load_checkpoint(newest(tmp_path))["step"] == 2
    assert load_checkpoint(folder_of(tmp_path) / "previous.ckpt")["step"] == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "encrypted"])
def test_a_damaged_one_is_skipped_with_a_warning(tmp_path, damage):
    write(tmp_path, 1)
    write(tmp_path, 2)
    last = folder_of(tmp_path) / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    if damage == "encrypted":  # one bit of the list of records says so
        content[content.index(b"PK\x01\x02") + 8] ^= 1
    last.write_bytes({"cut": content[:-100], "empty": b""}.get(damage, content))
    assert not is_whole(last)
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged and was skipped"):
        assert newest(tmp_path).name == "previous.ckpt"


def test_a_damaged_one_does_not_take_the_place_of_the_whole_one_before(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    (folder_of(tmp_path) / "last.ckpt").write_bytes(b"")
    write(tmp_path, 3)
    found = [load_checkpoint(folder_of(tmp_path) / f"{n}.ckpt")["step"] for n in NAMES]
    assert found == [3, 1]


def test_a_checkpoint_that_is_not_written_is_told_of_and_the_older_one_stays(tmp_path):
    write(tmp_path, 1)
    (folder_of(tmp_path) / "last.partial").write_bytes(b"of an earlier try")
    trainer = SimpleNamespace(  # as Lightning's, where it may not write
        save_checkpoint=lambda path: None, global_step=2, is_global_zero=True
    )
    with pytest.raises(PermissionError, match=r"may not be written.*last\.partial"):
        Checkpoint(tmp_path).save(trainer)
    assert load_checkpoint(newest(tmp_path))["step"] == 1


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    write(tmp_path, 1)
    last = folder_of(tmp_path) / "last.ckpt"
    last.replace(folder_of(tmp_path) / "previous.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(tmp_path).name == "previous.ckpt"


_PROGRAM = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
torch.set_num_threads(1)
from lightning.pytorch import Callback
from tgp_multimodal.export import load_checkpoint
from tgp_multimodal.training.checkpoints import newest
from tgp_multimodal.training.run import RunCLI

run, kills, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
sys.argv = ["tgp fit"]
rng = np.random.default_rng(0)

class Kill(Callback):  # a SIGKILL at a random moment of a random step, or while it is being saved
    def __init__(self):
        self.steps, self.delay = int(rng.integers(1, 4)), rng.uniform(0, 0.03)
    def on_train_batch_start(self, trainer, module, batch, index):
        self.steps -= 1
        if self.steps == 0:
            threading.Timer(self.delay, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()

hits = 0
while True:
    killer = Kill()
    child = os.fork()
    if child == 0:
        RunCLI.extra = lambda self: [killer] if hits < kills else []
        RunCLI(["fit", *arguments, *(["--ckpt_path", "last"] if newest(run) else [])])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(print(hits) or os.WEXITSTATUS(status))
    hits += 1
"""


THREADS = pytest.mark.parametrize("threads", [0, 2])
KILLS = pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])


@THREADS
@KILLS
def test_a_killed_run_ends_at_the_bits_of_an_unbroken_one(arguments, tmp_path, kills, threads):
    """The length of rows changes on the way, and the few documents are read several times."""
    ramp = [{"until": 3 * kills // 2, "length": 12, "batch": 6}]
    change(tmp_path, lambda config: config["data"]["text"].update(ramp=ramp))
    same_bits(arguments, tmp_path, kills, threads)


@THREADS
@KILLS
def test_a_killed_run_of_pictures_ends_there_too(with_tower, tmp_path, kills, threads):
    """Pictures are mirrored, cropped and greyed, and teach head and tower in three ways."""

    def pictures_alone(config):
        for stream in ("text", "passages"):
            del config["model"]["objectives"][stream], config["data"][stream]
        del config["model"]["every"]["passages"]
        shares = {"flips": 0.5, "crops": 0.7, "greys": 0.3}
        config["data"]["pictures"].update({k: {"scenes": v} for k, v in shares.items()})
        together = config["model"]["objectives"]["pictures"]["init_args"]["objectives"]
        together["draw"]["init_args"] = {"repeats": 2}
        together["look"] = {"class_path": "PictureContrast"}

    change(tmp_path, pictures_alone)
    same_bits(with_tower, tmp_path, kills, threads)


def change(folder, edit):
    """Changes the config of the run that lies in a folder."""
    config = yaml.safe_load((path := folder / "config.yaml").read_text())
    edit(config)
    path.write_text(yaml.safe_dump(config))


def same_bits(arguments, folder, kills, threads):
    """Runs it unbroken and with kills, three steps for each, and compares all weights."""
    steps = 3 * kills
    more = [
        *arguments, "--save_every", "1", "--sample_every", "10000",
        "--trainer.val_check_interval", "10000", "--trainer.max_steps", str(steps),
        "--data.threads", str(threads),
    ]  # fmt: skip
    found = {}
    for name, count in (("whole", 0), ("killed", kills)):
        run = folder / name
        here = [*more, "--trainer.default_root_dir", str(run)]
        command = [sys.executable, "-c", _PROGRAM, str(run), str(count), *here]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        hits = int(done.stdout.split()[-1])
        found[name] = load_checkpoint(newest(run))
    assert hits >= kills // 2
    assert found["whole"]["global_step"] == found["killed"]["global_step"] == steps
    for part in ("state_dict", "ema"):
        for name, value in found["whole"][part].items():
            assert torch.equal(value, found["killed"][part][name]), (part, name)

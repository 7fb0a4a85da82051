"""A run that learns answers: from an export, resumed to the same bits, exported to answer."""

import csv

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.data.chat_template import TEMPLATE
from tgp_multimodal.data.conversations import Conversation
from tgp_multimodal.data.prepared_chat import ChatWriter
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.export import load_checkpoint
from tgp_multimodal.training.run import RunCLI

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",  # Lightning against newer torch
    "ignore:.*litlogger.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*exists and is not empty.*",
    "ignore:.*weights_only.*",
)


@pytest.fixture(scope="module")
def start_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "export"
    export.save(folder, language_model(tokenizer.vocabulary), tokenizer, {}, "")
    return folder


@pytest.fixture
def arguments(start_folder, tokenizer, tmp_path):
    """Arguments of a run of six steps in `tmp_path / "run"`."""
    chatty = Tokenizer(tokenizer.backend, TEMPLATE)
    chatty.save(tmp_path / "data" / "tokenizer")
    with ChatWriter(tmp_path / "data" / "chat", chatty) as writer:
        for number in range(24):
            question = {"role": "user", "content": f"What is {number}?"}
            answer = {"role": "assistant", "content": f"It is {number}."}
            split = "validation" if number % 4 == 0 else "train"
            writer.add(split, Conversation((question, answer), "sums", ""))
        writer.finish([])
    network = export.load(start_folder).network.text
    shape = {"vocabulary": network.vocabulary, "width": 64, "depth": 2, "feed_forward": 96}
    text = {"class_path": "TextTransformer", "init_args": {**shape, "context": 64}}
    config = {
        "init_from": str(start_folder),
        "model": {
            "network": {"class_path": "LanguageModel", "init_args": {"text": text}},
            "objectives": {"chat": {"class_path": "AnswerLanguage"}},
            "precision": "float32",
        },
        "data": {
            "folder": str(tmp_path / "data"),
            "chat": {"length": 60, "batch": 2},
            "validation_batches": 1,
        },
        "trainer": {
            "accelerator": "cpu", "default_root_dir": str(tmp_path / "run"), "max_steps": 6,
            "log_every_n_steps": 1, "val_check_interval": 3, "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
        },
    }  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


class StopAfter(Callback):
    """Ends the run early."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        trainer.should_stop = trainer.global_step == self.steps


def test_a_stopped_run_goes_on_to_the_same_bits(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    RunCLI(arguments)
    whole = load_checkpoint(last)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    held = [float(v) for row in rows if (v := row["validation/chat/answer_bits_per_byte"])]
    assert len(held) == 2
    assert held[1] < held[0]
    last.unlink()
    monkeypatch.setattr(RunCLI, "extra", lambda self: [StopAfter(4)])
    RunCLI(arguments)
    assert load_checkpoint(last)["global_step"] == 4
    monkeypatch.setattr(RunCLI, "extra", lambda self: [])
    RunCLI([*arguments, "--ckpt_path", "last"])
    resumed = load_checkpoint(last)
    assert resumed["global_step"] == whole["global_step"] == 6
    for name in ("state_dict", "ema"):
        assert whole[name].keys() == resumed[name].keys()
        assert all(torch.equal(value, resumed[name][key]) for key, value in whole[name].items())


def test_the_export_answers(arguments, start_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    cli = RunCLI([*arguments, "--trainer.max_steps", "1"])
    assert cli.model.start_tokenizer == export.load(start_folder).tokenizer.digest
    assert main(["export", str(tmp_path / "run")]) == 0
    loaded = export.load(tmp_path / "run" / "export")
    assert loaded.tokenizer.chat_template == TEMPLATE
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "model.chat(" in card
    assert "conversations" in card

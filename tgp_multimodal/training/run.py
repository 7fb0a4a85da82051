"""A run: LightningCLI over a YAML config, with the loggers and callbacks that every run has."""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from tgp_multimodal.data.sections import SECTIONS, describe_section
from tgp_multimodal.export import load_checkpoint
from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import DualEncoder, LanguageModel, Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.answers import AnswerLanguage
from tgp_multimodal.objectives.contrastive import ImageTextContrast
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.objectives.language import HybridLanguage
from tgp_multimodal.objectives.passage_contrast import PassageContrast
from tgp_multimodal.objectives.picture_contrast import PictureContrast
from tgp_multimodal.objectives.together import Together
from tgp_multimodal.training.allocator import keep_freed_memory
from tgp_multimodal.training.callbacks import (
    CleanStop,
    LastValidation,
    Manifest,
    Pauses,
    SampleSheet,
    SceneCurve,
    Throughput,
)
from tgp_multimodal.training.checkpoints import Checkpoint, folder_of, is_whole, newest
from tgp_multimodal.training.console import quiet_lightning
from tgp_multimodal.training.datamodules import StreamData
from tgp_multimodal.training.inner_options import merge_nested, split_nested
from tgp_multimodal.training.metrics_file import Board, MetricsFile, TruncateMetrics
from tgp_multimodal.training.module import TrainingModule
from tgp_multimodal.training.refusals import as_list, check_given, check_intervals, check_trainer
from tgp_multimodal.training.resume import ResumeCounters
from tgp_multimodal.training.sizes import SizeName, differences

quiet_lightning()

# Imported, so that a YAML may leave out the module: `class_path: Multimodal`. Not read.
SHORT_NAMES = (
    Multimodal,
    LanguageModel,
    DualEncoder,
    TextTransformer,
    DiffusionHead,
    ImageTower,
    HybridLanguage,
    AnswerLanguage,
    FlowMatching,
    PassageContrast,
    ImageTextContrast,
    PictureContrast,
    Together,
)

_OF_A_RUN = (
    "checkpoints", "samples", "metrics.csv", "manifest.json", "config.yaml", "hparams.yaml",
    "events.out.tfevents.*",
)  # fmt: skip

USAGE = "tgp fit [--size SIZE] [--config FILE]... [--data.folder FOLDER] [options]"
EXAMPLES = """examples:
    tgp fit
    tgp fit --size nano --data.folder data/mine --trainer.default_root_dir runs/mine
    tgp fit --config mine.yaml --config configs/gpu.yaml
    tgp fit --config mine.yaml --trainer.max_steps 2000 --model.optimizer.muon_lr 0.01
    tgp fit --config mine.yaml --ckpt_path last
    tgp fit --init_from runs/nano/export --config configs/code.yaml
    tgp fit --size small --print_config=comments > mine.yaml"""


class NothingLeft(SystemExit):
    """A run is resumed whose checkpoint is at its last step, or behind it; nothing is changed.

    Args:
        checkpoint: its path.
        step: at which it is.
        steps: that the run was to have.
    """

    def __init__(self, checkpoint: Path, step: int, steps: int) -> None:
        super().__init__(0)
        self.checkpoint, self.step, self.steps = checkpoint, step, steps


class WriteConfig(SaveConfigCallback):
    """Writes the resolved config into the run's folder, replacing that of an earlier start."""

    def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of the examples."""


class RunCLI(LightningCLI):
    """LightningCLI that keeps a run in `trainer.default_root_dir` and knows `--ckpt_path last`."""

    def __init__(self, arguments: list[str], run: bool = True) -> None:
        # LightningCLI warns when it is given arguments and sys.argv has others; Lightning launches
        # the other processes of a run from sys.argv, so it is restored afterwards.
        self._command, sys.argv = sys.argv, sys.argv[:1]
        self._names_data = any(a.startswith("--data.folder") for a in arguments)
        self._names_embedded = any(a.startswith("--data.embedded") for a in arguments)
        try:
            self._initialise(arguments, run)
        finally:
            sys.argv = self._command

    def _initialise(self, arguments: list[str], run: bool) -> None:
        super().__init__(
            TrainingModule,
            StreamData,
            save_config_callback=WriteConfig,
            save_config_kwargs={"save_to_log_dir": False, "overwrite": True},
            seed_everything_default=0,
            trainer_defaults={
                "default_root_dir": "runs/run",
                "enable_progress_bar": False,
                "enable_model_summary": False,
            },
            # The command line turns the errors of a parser into one sentence (messages.py).
            parser_kwargs={
                "exit_on_error": False,
                "allow_abbrev": False,
                "formatter_class": _HelpFormatter,
                "fit": {
                    "exit_on_error": False,
                    "allow_abbrev": False,
                    "usage": USAGE,  # argparse's own lists every option, a hundred lines of them
                    "description": "Pretrains from YAML configs; later ones and options win.",
                    "epilog": EXAMPLES,
                },
            },
            auto_configure_optimizers=False,  # the module has its own
            args=arguments,
            run=run,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """`fit` alone; held-out data are measured by `tgp evaluate`."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        _explain_sections(parser)
        parser.add_argument(
            "--size",
            type=SizeName | None,
            default=None,
            help="the shipped config of this name is read first, and all that is given otherwise "
            "wins: shapes and learning rates for 5, 13, 28, 56 or 110 million parameters of the "
            "text transformer; a key of any YAML, too. With a data.folder of one's own it trains "
            "on what that holds",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="folder that the run starts from, an export or a stock Qwen3 model: its weights, "
            "and, where no config says otherwise, its network",
        )
        parser.add_argument(
            "--sample_every", type=int, default=250, help="steps between two sample sheets; 0: none"
        )
        parser.add_argument(
            "--sample_prompts",
            type=list[str] | None,
            default=None,
            help="what sample sheets show; left out: prompts of scenes where those are drawn, and "
            "captions of held-out pictures of other streams",
        )
        parser.add_argument(
            "--scene_eval_every",
            type=int,
            default=0,
            help="steps between two checks of drawn scenes (SceneEval); 0 for none",
        )
        parser.add_argument(
            "--save_every",
            type=int,
            default=500,
            help="steps between two checkpoints; 0: one at the end",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        plain, inner = split_nested(args)
        if inner:
            # Once without them, for what the configs say of their neighbours.
            silent = [a for a in plain if not a.startswith("--print_config")]
            super().parse_arguments(parser, silent)
            name = self.config.get("subcommand")
            config = self.config[name] if name else self.config
            args = [*plain, *merge_nested(config["data"], inner)]
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Reads no options out of a checkpoint, as Lightning would: ours hold none."""

    def before_instantiate_classes(self) -> None:
        config = self._own()
        _expand_home(config)
        if not self._names_embedded and (self._names_data or not _is_embedded(config["config"])):
            config["data"]["embedded"] = False  # a mistyped folder must not become another corpus
        if config.get("init_from"):
            config["model"]["init_from"] = config["init_from"]
        if config.get("size"):
            self._tell_differences(config["size"], config["model"].as_dict())
        if config.get("ckpt_path") == "last":
            run = Path(config["trainer"]["default_root_dir"])
            last = newest(run)
            if last is None:
                raise ValueError(
                    f"ckpt_path last must have a whole checkpoint in {folder_of(run)}. "
                    "Got none there instead."
                )
            config["ckpt_path"] = str(last)
        elif (given := config.get("ckpt_path")) and not is_whole(Path(given)):
            found = f"{given}, which is damaged," if Path(given).is_file() else given
            raise ValueError(f"ckpt_path must be last or a whole checkpoint. Got {found} instead.")

    @rank_zero_only
    def _tell_differences(self, size: str, model: dict[str, Any]) -> None:
        if found := differences(size, model):
            print(f"size {size}, but for: {', '.join(found)}", file=sys.stderr)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._own()
        folder = Path(config["trainer"]["default_root_dir"])
        check_intervals(config)
        self.stop, throughput = CleanStop(), Throughput()
        callbacks = [
            self.stop, LastValidation(), TruncateMetrics(folder), ResumeCounters(folder),
            throughput, SampleSheet(folder, config["sample_every"], config["sample_prompts"]),
            SceneCurve(config["scene_eval_every"]), Checkpoint(folder, config["save_every"]),
            Manifest(folder), Pauses(throughput),
        ]  # fmt: skip
        every = config["trainer"].get("log_every_n_steps") or 50  # Lightning's default
        given = self._get(self.config_init, "trainer")
        check_given(given)
        if isinstance(given["val_check_interval"], int):  # steps of the run, also of a resumed one
            kwargs["check_val_every_n_epoch"] = None
        own = [MetricsFile(folder, every), Board(folder, every), *as_list(given["logger"])]
        return super().instantiate_trainer(
            logger=own,
            callbacks=[*as_list(given["callbacks"]), *callbacks, *self.extra()],
            enable_checkpointing=False,
            **kwargs,
        )

    def _own(self) -> Any:
        return self.config[self.subcommand] if self.subcommand else self.config

    def extra(self) -> list[Callback]:
        """More callbacks; a seam for whoever starts runs from Python."""
        return []

    def before_fit(self) -> None:
        sys.argv = self._command
        self.prepare()
        # Only now, when nothing that was mistyped can stop the new run any more.
        config = self._own()
        run, start = Path(config["trainer"]["default_root_dir"]), config.get("ckpt_path")
        begun_from = config["model"].get("init_from")
        if start is None:
            _make_room(run, begun_from)
            return
        checkpoint = load_checkpoint(Path(start))
        self.model.check_fits(checkpoint, self.datamodule.tokenizer.digest)
        if checkpoint["global_step"] >= self.trainer.max_steps:
            raise NothingLeft(Path(start), checkpoint["global_step"], self.trainer.max_steps)
        if folder_of(run).resolve() not in Path(start).resolve().parents:
            _make_room(run, begun_from)

    def prepare(self, is_timed: bool = False, is_resumed: bool = False) -> None:
        """Prepares the data and chooses the precision, which the optimizer must know early.

        Args:
            is_timed: whether `seconds_per_step` is wanted.
            is_resumed: whether the run resumes from a checkpoint that no setting names; then it
                keeps the precision of that one.
        """
        keep_freed_memory()
        check_trainer(self.trainer)
        data, module = self.datamodule, self.model
        module.check_objectives()
        data.trainer, module.trainer = self.trainer, self.trainer
        self.trainer.strategy.connect(module)  # as `fit` does later; the data are checked by it
        data.prepare_data()
        data.setup("fit")
        data.training_stream()  # refuses what is mistyped before anything is moved
        is_resumed = is_resumed or bool(self._own().get("ckpt_path"))
        if self.trainer.global_step == 0 and not is_resumed:
            chosen = module.choose_precision(data.first_batch, is_timed)
            if chosen.seconds and self.trainer.is_global_zero:
                measured = ", ".join(f"{n} {s:.2f} s" for n, s in chosen.seconds.items())
                print(f"   precision: {chosen.name} (forward and backward: {measured})")

    @property
    def seconds_per_step(self) -> float:
        """Measured seconds of forward and backward in the chosen arithmetic; see `prepare`."""
        chosen = self.model.arithmetic
        return chosen.seconds.get(chosen.name, 1.0) if chosen else 1.0

    def set_steps(self, steps: int) -> None:
        """Changes the length of the run, before it starts or in its midst."""
        self.trainer.fit_loop.epoch_loop.max_steps = steps
        self.config["trainer"]["max_steps"] = steps
        if self.trainer.global_step == 0:
            return
        for writer in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(writer, WriteConfig):  # what it wrote at the start is no longer true
                writer.save_config(self.trainer, self.model, "fit")


def _explain_sections(parser: LightningArgumentParser) -> None:
    """Adds the keys of each section of `data` to its help; jsonargparse sees only a dict."""
    for action in parser._actions:
        group, _, name = action.dest.partition(".")
        if group == "data" and name in SECTIONS:
            action.help = f"{action.help}\n{describe_section(name)}".replace("%", "%%")


def _is_embedded(configs: Sequence[Any] | None) -> bool:
    """Whether the last YAML that names the folder of the data wants the embedded corpus there.

    Args:
        configs: their paths; None for one that stood on the command line itself.
    """
    for path in filter(None, reversed(configs or ())):
        data = (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).get("data") or {}
        if isinstance(data, str):  # a file of its own, beside this one
            own = Path(path).parent / data
            data = yaml.safe_load(own.read_text(encoding="utf-8")) or {}
        if "folder" in data:
            return bool(data.get("embedded"))
    return True


def _expand_home(config: Any) -> None:
    """Paths of a config file may begin with ~, which no shell has seen; Lightning expands its own.

    Ours and Lightning's files of a run would lie in two folders.
    """
    model, data, trainer = config["model"], config["data"], config["trainer"]
    for section, key in (
        (config, "ckpt_path"),
        (config, "init_from"),
        (model, "init_from"),
        (data, "folder"),
        (trainer, "default_root_dir"),
    ):
        if isinstance(given := section.get(key), str) and given.startswith("~"):
            section[key] = os.path.expanduser(given)  # noqa: PTH111  leaves `~nobody` as it is


@rank_zero_only
def _make_room(folder: Path, start: str | None) -> None:
    """Moves aside what another run left, if that got as far as a checkpoint or a curve.

    Its export too, unless the new run starts from that, as it will again when it is resumed.
    """
    has_checkpoint = any(folder_of(folder).glob("*.ckpt"))
    if not has_checkpoint and not (folder / "metrics.csv").is_file():
        return
    aside = next(p for n in count(1) if not (p := folder / f"earlier-{n}").exists())
    aside.mkdir()
    own = folder / "export"
    places = [] if start is None else [Path(start).resolve(), *Path(start).resolve().parents]
    is_start = own.resolve() in places
    for pattern in (*_OF_A_RUN, *(() if is_start else (own.name,))):
        for path in folder.glob(pattern):
            path.rename(aside / path.name)
    kept = f"--ckpt_path {folder_of(aside) / 'last.ckpt'} goes on with it"
    told = kept if has_checkpoint else "it had saved no checkpoint"
    print(f"the run that lay in {folder} was moved to {aside} ({told})", file=sys.stderr)


def run(arguments: list[str]) -> RunCLI:
    """Runs `fit` with a config and options."""
    torch.set_float32_matmul_precision("high")
    return RunCLI(arguments)

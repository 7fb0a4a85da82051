"""What happens around training: progress, sample sheets, checkpoints, a clean stop, a manifest."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tgp_multimodal.data.scene_check import check
from tgp_multimodal.data.scene_language import prompts as scene_prompts
from tgp_multimodal.evaluation import environment
from tgp_multimodal.inference.image import Drawing, draw
from tgp_multimodal.inference.sheets import contact_sheet

SHEET_PROMPTS = (
    "a red circle", "a blue square on a white background", "a green triangle",
    "a yellow circle on a black background", "a red circle left of a blue square",
    "a purple triangle above a cyan square", "three orange circles", "the digit seven",
)  # fmt: skip


class Throughput(Callback):
    """Shows step, loss, tokens/s, images/s and the time left.

    A bar on a terminal, a plain line now and then elsewhere.

    Args:
        every: steps between two updates; the loss is read, and so the device waited for, only then.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self.bar: Progress | None = None
        self._since, self._tokens, self._images = 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._begin()
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = (
                TextColumn("pretraining"), BarColumn(),
                TextColumn("{task.completed}/{task.total} steps"),
                TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("elapsed,"),
                TimeRemainingColumn(), TextColumn("left"),
            )  # fmt: skip
            self.bar = Progress(*columns, transient=False)
            self.bar.add_task("", total=trainer.max_steps, completed=trainer.global_step)
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if "text" in batch:
            self._tokens += batch["text"].token_BL[:, 1:].numel() * trainer.world_size
        if "pictures" in batch:
            self._images += len(batch["pictures"].pixels_BCYX) * trainer.world_size
        if trainer.global_step % self.every == 0:
            self._report(trainer, module, float(outputs["loss"]))
            self._begin()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, module)

    def _begin(self) -> None:
        self._since, self._tokens, self._images = time.monotonic(), 0, 0

    def _report(self, trainer: Trainer, module: LightningModule, loss: float) -> None:
        seconds = max(time.monotonic() - self._since, 1e-9)
        rates = {}
        if self._tokens:
            rates["tokens_per_second"] = self._tokens / seconds
        if self._images:
            rates["images_per_second"] = self._images / seconds
        module.log_dict(rates, batch_size=1)
        words = [
            f"loss {loss:.3f}",
            *(f"{v:,.0f} {k.replace('_per_second', '/s')}" for k, v in rates.items()),
        ]
        text = "  ".join(words)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, description=text)
        elif trainer.is_global_zero and trainer.global_step % (5 * self.every) == 0:
            left = (trainer.max_steps - trainer.global_step) * seconds / self.every
            print(
                f"step {trainer.global_step}/{trainer.max_steps}  {text}  {left:,.0f} s left",
                file=sys.stderr,
            )


class SampleSheet(Callback):
    """Draws the same prompts from the averaged weights now and then, into `samples/step_<n>.png`.

    Args:
        folder: the run's folder.
        every: steps between two sheets.
        prompts: what to draw.
    """

    def __init__(
        self, folder: Path, every: int = 200, prompts: Sequence[str] = SHEET_PROMPTS
    ) -> None:
        self.folder, self.every, self.prompts = folder / "samples", every, list(prompts)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every == 0 or step == trainer.max_steps):
            self.draw(trainer, module, step)

    def draw(self, trainer: Trainer, module: Any, step: int) -> None:
        """Writes the sheet of this step."""
        if not hasattr(module.network, "head"):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        with module.averaged(), torch.random.fork_rng():
            pixels = draw(module.network, tokenizer, self.prompts, Drawing(steps=12))
        contact_sheet(list(pixels), self.prompts).save(self.folder / f"step_{step:06d}.png")


class SceneCurve(Callback):
    """Draws prompts of drawn scenes now and then, and logs the share of pictures that are right.

    The prompts are those of SceneEval's axes, the pictures those of the averaged weights, the judge
    is `data.scene_check`; metrics `scene_eval/<axis>`.

    Args:
        every: steps between two points of the curve; 0 for none.
        axes: axes of SceneEval.
        prompts: how many of each axis.
    """

    def __init__(
        self,
        every: int = 0,
        axes: Sequence[str] = ("single_object", "colours"),
        prompts: int = 24,
    ) -> None:
        self.every = every
        self.prompts = {axis: scene_prompts(axis, prompts, seed=0) for axis in axes}

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        due = self.every and (step % self.every == 0 or step == trainer.max_steps)
        if not due or not trainer.is_global_zero or not hasattr(module.network, "head"):
            return
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        wanted = [prompt for chosen in self.prompts.values() for prompt in chosen]
        with module.averaged(), torch.random.fork_rng():
            pictures = draw(module.network, tokenizer, [p.text for p in wanted], Drawing(steps=20))
        right: dict[str, list[bool]] = {axis: [] for axis in self.prompts}
        for prompt, picture in zip(wanted, pictures, strict=True):
            right[prompt.axis].append(check(picture, prompt.truth).correct)
        found = {f"scene_eval/{axis}": sum(r) / len(r) for axis, r in right.items()}
        module.log_dict(found, batch_size=1)


class Checkpoint(Callback):
    """Keeps `checkpoints/last.ckpt`.

    It is written beside, synced, renamed, so that a kill never leaves half a file.

    Args:
        folder: the run's folder.
        every: steps between two checkpoints.
    """

    def __init__(self, folder: Path, every: int = 500) -> None:
        self.path, self.every = folder / "checkpoints" / "last.ckpt", every

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint of the present step; every process must call it."""
        partial = self.path.with_suffix(".partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero and partial.is_file():
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(self.path)


class CleanStop(Callback):
    """Turns Ctrl-C and SIGTERM into the end of the present step and a checkpoint.

    A second Ctrl-C stops at once.

    Attributes:
        stopped: whether the run was stopped this way.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._asked)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self.stopped:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.stopped = True
        print(
            "\nstopping after this step; the run will be saved (Ctrl-C again stops at once)",
            file=sys.stderr,
        )


class Manifest(Callback):
    """Writes the run's `manifest.json`: data digests, versions, device, precision, parameters.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule.folder  # type: ignore[attr-defined]
        found = {
            p.parent.name: json.loads(p.read_text(encoding="utf-8"))
            for p in sorted(data.glob("*/manifest.json"))
        }
        content = {
            "data": found,
            "environment": environment.describe(),
            "device": str(module.device),
            "precision": module.arithmetic.name if module.arithmetic else "float32",
            "precision_seconds_per_step": module.arithmetic.seconds if module.arithmetic else {},
            "parameters": {
                n: sum(p.numel() for p in m.parameters())
                for n, m in module.network.named_children()
            },
            "max_steps": trainer.max_steps,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "manifest.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

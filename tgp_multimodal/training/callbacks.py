"""What happens around training: progress, sample sheets, a clean stop, a manifest."""

import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tgp_multimodal.data.json_files import read_object
from tgp_multimodal.data.scene_check import check
from tgp_multimodal.data.scene_language import AXES
from tgp_multimodal.data.scene_language import prompts as scene_prompts
from tgp_multimodal.evaluation import environment
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.inference.image import draw
from tgp_multimodal.inference.sheets import contact_sheet
from tgp_multimodal.training.console import StepBar
from tgp_multimodal.training.peak import peak_flops

_QUIET = 20.0  # seconds between two plain lines

SHEET_PROMPTS = {  # by the embedded stream that teaches them
    "scenes": (
        "a red circle", "a blue square on a white background", "a green triangle",
        "a yellow circle on a black background", "a red circle left of a blue square",
        "a purple triangle above a cyan square", "three orange circles",
    ),
    "digits": ("the digit seven",),
}  # fmt: skip
_SHEET = 16  # prompts of a sheet, at most


class Throughput(Callback):
    """Shows step, loss, rates and the time left; logs the rates, and how busy the device is.

    A bar on a terminal; elsewhere a plain line for the first numbers, the last ones and at most
    every 20 seconds between. Rates are summed over all processes; `mfu` (model FLOPs utilisation)
    is the achieved share of one device's peak FLOPs, counted by formula. The loss is the sum that
    this step minimised, over the streams that were due in it.

    Args:
        every: steps between two updates, fewer where lines are logged more often; the loss is
            read, which synchronises with the device, only then.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self._printed_at = -_QUIET  # when the last plain line was written
        self.bar = StepBar("pretraining")
        self.peak: float | None = None
        self._since, self._tokens, self._images, self._flops = 0.0, 0, 0, 0
        self._steps, self._paused = 0, 0.0

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        dtype = module.arithmetic.dtype if module.arithmetic else torch.float32
        self.peak = peak_flops(module.device, dtype)
        told = int(getattr(trainer, "log_every_n_steps", 0))
        self.every = min(self.every, told or self.every)
        self._reset()
        if trainer.is_global_zero:
            print(_plan(trainer, module), file=sys.stderr)
            self.bar.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self._steps += 1
        self._flops += module.flops(batch, trainer.global_step - 1)
        for name in ("text", "chat"):
            if name in batch:
                self._tokens += batch[name].token_BL[:, 1:].numel() * trainer.world_size
        if "pictures" in batch:
            self._images += len(batch["pictures"].pixels_BCYX) * trainer.world_size
        if trainer.global_step % self.every == 0 or _is_done(trainer):
            self._report(trainer, module, float(trainer.strategy.reduce(outputs["loss"])))
            self._reset()
        else:
            self.bar.update(trainer.global_step)
        self.pause()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.pause()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.resume()

    def pause(self) -> None:
        """Stops the clock: what comes now is no training."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """Starts the clock again."""
        self._since += time.monotonic() - self._paused

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, module)

    def _reset(self) -> None:
        self._since, self._tokens, self._images = time.monotonic(), 0, 0
        self._flops = self._steps = 0

    def _report(self, trainer: Trainer, module: LightningModule, loss: float) -> None:
        seconds = max(time.monotonic() - self._since, 1e-9)
        rates = {}
        if self._tokens:
            rates["tokens_per_second"] = self._tokens / seconds
        if self._images:
            rates["images_per_second"] = self._images / seconds
        work = {}
        if self._flops:
            rate = self._flops / seconds  # of this process; all have batches of the same size
            work["teraflops_per_second"] = rate * trainer.world_size / 1e12
            if self.peak:
                work["mfu"] = rate / self.peak
        module.log_dict(rates | work, batch_size=1)
        words = [
            f"loss {loss:.3f}",
            *(f"{v:,.0f} {k.replace('_per_second', '/s')}" for k, v in rates.items()),
        ]
        text = "  ".join(words)
        self.bar.update(trainer.global_step, text)
        is_due = _is_done(trainer) or time.monotonic() - self._printed_at >= _QUIET
        if trainer.is_global_zero and not self.bar.is_shown and is_due:
            self._printed_at = time.monotonic()
            left = (trainer.max_steps - trainer.global_step) * seconds / self._steps
            print(
                f"step {trainer.global_step}/{trainer.max_steps}  {text}  {left:,.0f} s left",
                file=sys.stderr,
            )


class Pauses(Callback):
    """Excludes from the rates the time of other callbacks after a step; must be the last callback.

    Args:
        throughput: whose rates; it comes before those callbacks.
    """

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.throughput.resume()


def _plan(trainer: Trainer, module: Any) -> str:
    """What is about to be trained, on what and where, in a line."""
    count = sum(p.numel() for p in module.network.parameters()) / 1e6
    precision = module.arithmetic.name if module.arithmetic else "float32"
    data = trainer.datamodule.folder  # type: ignore[attr-defined]
    return (
        f"training {count:.1f} M parameters in {precision} on {module.device}, steps "
        f"{trainer.global_step} to {trainer.max_steps}, with the data in {data}; the run lies in "
        f"{trainer.default_root_dir}"
    )


class SampleSheet(Callback):
    """Draws the same prompts from the averaged weights now and then, into `samples/step_<n>.png`.

    Args:
        folder: the run's folder.
        every: steps between two sheets; 0 for none.
        prompts: what to draw; left out: prompts of scenes and digits where the run learns those,
            and captions of held-out pictures of its other streams.
    """

    def __init__(
        self, folder: Path, every: int = 200, prompts: Sequence[str] | None = None
    ) -> None:
        self.folder, self.every, self.prompts = folder / "samples", every, prompts

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if _is_due(trainer, self.every):
            self.draw(trainer, module, step)

    def draw(self, trainer: Trainer, module: Any, step: int) -> None:
        """Writes the sheet of this step; every process must call it."""
        if not hasattr(module.network, "head"):
            return
        prompts = list(self.prompts or _usual_prompts(trainer))
        if (pictures := _drawn(trainer, module, prompts, steps=12)) is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            contact_sheet(list(pictures), prompts).save(self.folder / f"step_{step:06d}.png")


def _drawn(trainer: Trainer, module: Any, prompts: list[str], steps: int) -> np.ndarray | None:
    """Pictures of the averaged weights, in the first process; every process must call it."""
    with module.ema_network() as network:
        if not trainer.is_global_zero:
            return None
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        return draw(network, tokenizer, prompts, _drawing(module, steps))


def _drawing(module: Any, steps: int) -> Drawing:
    """The default settings; no guidance where the head has learned it, or it would act twice."""
    learned = any(objective.teaches_guidance for objective in module.objectives.values())
    return Drawing(steps=steps, guidance=1.0) if learned else Drawing(steps=steps)


def _usual_prompts(trainer: Trainer) -> list[str]:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    weights = (data.pictures or {}).get("weights") or {}
    streams = {name for name, weight in weights.items() if weight > 0}
    known = SHEET_PROMPTS if "scenes" in streams else {}
    prompts = [p for name, own in known.items() if name in streams for p in own]
    captions: list[str] = data.captions_to_draw(_SHEET - len(prompts), but=known)
    return prompts + captions or list(SHEET_PROMPTS["scenes"])


class SceneCurve(Callback):
    """Draws SceneEval prompts every `every` steps and logs the share of correct pictures.

    Pictures are drawn with the averaged weights and checked by `data.scene_check`; the metrics are
    `scene_eval/<axis>`.

    Args:
        every: steps between two points of the curve; 0 for none.
        axes: axes of SceneEval.
        prompts: how many of each axis.
    """

    def __init__(
        self,
        every: int = 0,
        axes: Sequence[str] = AXES,
        prompts: int = 16,
    ) -> None:
        self.every = every
        self.prompts = {axis: scene_prompts(axis, prompts, seed=0) for axis in axes}

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not _is_due(trainer, self.every) or not hasattr(module.network, "head"):
            return
        wanted = [prompt for chosen in self.prompts.values() for prompt in chosen]
        pictures = _drawn(trainer, module, [p.text for p in wanted], steps=20)
        if pictures is None:
            return
        right: dict[str, list[bool]] = {axis: [] for axis in self.prompts}
        for prompt, picture in zip(wanted, pictures, strict=True):
            right[prompt.axis].append(check(picture, prompt.truth).correct)
        found = {f"scene_eval/{axis}": sum(r) / len(r) for axis, r in right.items()}
        for logger in trainer.loggers:  # at this step alone: `log` would repeat it in every row
            logger.log_metrics(found, step=step)


class CleanStop(Callback):
    """On Ctrl-C or SIGTERM, finishes the current step and saves a checkpoint.

    A second Ctrl-C stops at once. Beside the main thread, which alone may handle signals, nothing
    is done.

    Attributes:
        stopped: whether the run was stopped this way, before its last step.
        signal: number of the signal that was received; the highest over the processes.
        asked: whether this process received a signal at all.
    """

    def __init__(self) -> None:
        self.stopped = self.asked = False
        self.signal = int(signal.SIGINT)
        self._before: dict[int, Any] = {}

    @property
    def exit_status(self) -> int:
        """What a process that was stopped by the signal returns to its shell."""
        return 128 + self.signal

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        # A signal may reach one process alone, or in different steps, or in this very call.
        self.stopped = self.asked
        if trainer.world_size > 1:
            self.stopped = trainer.strategy.reduce_boolean_decision(self.stopped, all=False)
        if self.stopped and not _is_done(trainer):
            if trainer.world_size > 1:
                told = torch.tensor(self.signal, device=trainer.strategy.root_device)
                self.signal = int(trainer.strategy.reduce(told, reduce_op="max"))
            trainer.limit_val_batches = 0  # who must make room has seconds, not minutes
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.stopped = self.stopped and not _is_done(trainer)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            told = "stopped at once: what came after the last checkpoint is lost"
            print(f"\n{told}", file=sys.stderr)
            raise KeyboardInterrupt
        self.asked = True
        self.signal = number
        print(
            "\nstopping after this step; the run will be saved (Ctrl-C again stops at once)",
            file=sys.stderr,
        )


class LastValidation(Callback):
    """Validates after the last step too, whatever `val_check_interval` is.

    It sets `should_stop`, since Lightning validates when a callback ends the run.
    """

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if _is_done(trainer):
            trainer.should_stop = True


def _is_due(trainer: Trainer, every: int) -> bool:
    """Whether something done every `every` steps, and at the end, is due; never if it is 0."""
    return every > 0 and (trainer.global_step % every == 0 or _is_done(trainer))


def _is_done(trainer: Trainer) -> bool:
    return 0 < trainer.max_steps <= trainer.global_step


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
        found = {p.parent.name: read_object(p) for p in sorted(data.glob("*/manifest.json"))}
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
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "manifest.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

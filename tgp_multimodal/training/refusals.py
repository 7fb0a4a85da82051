"""Settings of Lightning's trainer that a run of this package replaces or has no use for."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint as CheckpointOfLightning
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from tgp_multimodal.training.sharding import FullySharded


def as_list(given: Any) -> list[Any]:
    """A setting of the trainer that may be left out, one thing or a list."""
    if isinstance(given, list | tuple):
        return [*given]
    return [] if given in (None, True) else [given]


def check_given(trainer: Mapping[str, Any]) -> None:
    """Refuses settings of the trainer that the runs of this package replace.

    Raises:
        ValueError: such a setting is given.
    """
    if trainer["logger"] is False:
        raise ValueError(
            "trainer.logger must be left out or what writes besides metrics.csv and TensorBoard. "
            "Got False instead."
        )
    if trainer["fast_dev_run"] or trainer["overfit_batches"]:
        raise ValueError(
            "trainer.fast_dev_run and trainer.overfit_batches must be left out (a rehearsal is "
            f"--trainer.max_steps 5). Got {trainer['fast_dev_run']} and "
            f"{trainer['overfit_batches']} instead."
        )
    if trainer["val_check_interval"] == 0:
        raise ValueError(
            "trainer.val_check_interval must be at least 1, or left out where nothing is validated "
            "(--trainer.limit_val_batches 0). Got 0 instead."
        )
    if trainer["gradient_clip_algorithm"] == "value":
        raise ValueError("trainer.gradient_clip_algorithm must be norm. Got value instead.")
    kept = [c for c in as_list(trainer["callbacks"]) if isinstance(c, CheckpointOfLightning)]
    if trainer["enable_checkpointing"] is not None or kept:
        given = kept[0] if kept else f"enable_checkpointing {trainer['enable_checkpointing']}"
        raise ValueError(
            "trainer must leave checkpoints to --save_every (0 for one at the end). "
            f"Got {type(given).__name__ if kept else given} instead."
        )


def check_intervals(config: Mapping[str, Any]) -> None:
    """Refuses negative intervals.

    Raises:
        ValueError: there is one.
    """
    for name in ("sample_every", "scene_eval_every", "save_every"):
        if config[name] < 0:
            raise ValueError(f"{name} must be at least 0. Got {config[name]} instead.")


def check_trainer(trainer: Trainer) -> None:
    """Refuses settings that do not work with our streams, whose place is the number of the step.

    Raises:
        ValueError: such a setting is given.
    """
    if trainer.max_steps < 1:
        raise ValueError(
            "trainer.max_steps must be at least 1, for the schedule needs to know the end. "
            f"Got {trainer.max_steps} instead."
        )
    if trainer.fit_loop.min_epochs or trainer.fit_loop.min_steps:
        raise ValueError(
            "trainer.min_steps and trainer.min_epochs must be left out (they would keep a run from "
            f"being stopped). Got {trainer.fit_loop.min_steps} and {trainer.fit_loop.min_epochs} "
            "instead."
        )
    if trainer.max_epochs not in (None, -1):
        raise ValueError(
            "trainer.max_epochs must be left out (streams have no end; trainer.max_steps ends a "
            f"run). Got {trainer.max_epochs} instead."
        )
    if trainer.precision != "32-true":
        raise ValueError(
            "trainer.precision must be left out (model.precision is auto, float32 or bfloat16). "
            f"Got {trainer.precision} instead."
        )
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy | FullySharded):
        raise ValueError(
            "trainer.strategy must be one device, ddp or fsdp2. "
            f"Got {type(trainer.strategy).__name__} instead."
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            "trainer.accumulate_grad_batches must be 1 (batch sizes are set in data). "
            f"Got {trainer.accumulate_grad_batches} instead."
        )
    limit = trainer.limit_train_batches
    if limit is not None and (isinstance(limit, int) or limit != 1.0):  # 1 is one, 1.0 are all
        raise ValueError(
            "trainer.limit_train_batches must be left out (trainer.max_steps ends a run). "
            f"Got {limit} instead."
        )

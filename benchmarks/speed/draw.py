"""Prompts to pictures, against the stock pipeline on the same export."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL.Image import Image
from transformers.utils import logging as transformers_logging

import tgp_multimodal
from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal.inference.model import Model

GUIDANCE = 4.0


def contests(quick: bool) -> Iterator[Contest]:
    """Guided pictures, 1 and 16; unguided ones, 16.

    With guidance the stock pipeline cannot draw two pictures in one call: it hands its transformer
    two times, one for each half of the batch, and the transformer modulates a batch by as many
    times as it has rows (diffusers 0.42). So 16 guided pictures are 16 calls of the peer, which is
    what its user has to do, and 16 unguided ones are one call.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    steps = 2 if quick else 20
    prompts = exports.texts([8] * 16, seed=5)
    with exports.exported(exports.random_multimodal()) as folder:
        model = tgp_multimodal.load(folder)
        model.network.to("cpu")  # where the pipeline is
        pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    for count, guidance, calls in ((1, GUIDANCE, 1), (16, GUIDANCE, 16), (16, 1.0, 1)):
        kind = "guided" if guidance > 1 else "unguided"
        yield Contest(
            f"draw {count} {kind}, {steps} steps",
            Side("inference.image", "float32", _ours(model, prompts[:count], guidance, steps)),
            Side(
                f"diffusers.PRXPixelPipeline, {calls} call" + "s" * (calls > 1),
                "float32",
                _theirs(pipeline, prompts[:count], guidance, steps, calls),
            ),
            largest_difference,
            1,
            {"pictures": count, "side": 32, "steps": steps, "guidance": guidance},
        )


def largest_difference(ours: list[Image], theirs: list[Image]) -> float:
    """Of two bytes of the pictures; a byte that rounds the other way is 1."""
    mine, other = (np.stack([np.asarray(p, dtype=int) for p in side]) for side in (ours, theirs))
    return float(np.abs(mine - other).max()) if mine.shape == other.shape else np.inf


def _ours(
    model: Model, prompts: list[str], guidance: float, steps: int
) -> Callable[[], list[Image]]:
    return lambda: model.draw(prompts, steps=steps, guidance=guidance, sampler="euler")


def _theirs(
    pipeline: DiffusionPipeline, prompts: list[str], guidance: float, steps: int, calls: int
) -> Callable[[], list[Image]]:
    share = len(prompts) // calls

    def run() -> list[Image]:
        drawn: list[Image] = []
        for start in range(0, len(prompts), share):
            seeds = range(start, start + share)
            drawn += pipeline(
                prompts[start : start + share],
                guidance_scale=guidance,
                num_inference_steps=steps,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                use_resolution_binning=False,
            ).images
        return drawn

    return run

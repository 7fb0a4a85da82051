"""Gradient clipping that zeroes a gradient which is not finite or far too large."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tgp_multimodal.training.parts import gathered, local_shards

_MEMORY = 0.98  # decay of the running mean of the logarithm of the norm: some 50 steps
_YOUNG = 20  # steps before a large norm counts as a spike


class Broken(NamedTuple):
    """The kind of step with the most broken ones in a row; all kinds together.

    Attributes:
        kind: the streams that it learns from.
        in_a_row: its broken steps since its last sound one.
        norm: of the last of them.
        in_all: broken steps of all kinds since the run began.
    """

    kind: str
    in_a_row: int
    norm: float
    in_all: int


class SpikeGuard:
    """Clips gradients by their global norm, and zeroes those of a broken step.

    A step is broken if the norm is infinite or NaN, or, once its kind has had 20 sound norms, more
    than `factor` times the geometric mean of recent ones. A norm of 0 is sound but not counted.
    Everything stays on the gradients' device: there is no synchronisation.

    Args:
        factor: how many times the usual norm is a spike; 0 lets every finite gradient pass.

    Attributes:
        states: kind of step -> mean of the log norm, steps in it, broken steps in a row, broken
            steps in all, norm of the last broken step; float32, (5,).
    """

    def __init__(self, factor: float = 10.0) -> None:
        if factor != 0 and factor <= 1:
            raise ValueError(f"spike_factor must be 0 or above 1. Got {factor} instead.")
        self.factor = factor
        self.states: dict[str, Tensor] = {}

    def load(self, saved: dict[str, Tensor] | Tensor) -> None:
        """Takes over the states of a checkpoint; broken steps in a row are counted anew.

        Otherwise a run that was saved after too many could never go on.
        """
        if isinstance(saved, Tensor):  # older versions kept one state, whose mean was of all kinds
            saved = {"": torch.stack((*torch.zeros(3), saved[3]))}
        self.states = {}
        for kind, state in saved.items():
            self.states[kind] = torch.zeros(5)
            self.states[kind][: len(state)] = state
            self.states[kind][2] = 0

    @property
    def broken(self) -> Broken:
        """The kind of step with the most broken ones in a row; the count over all kinds."""
        found = {kind: state.tolist() for kind, state in self.states.items()} or {"": [0.0] * 5}
        kind = max(found, key=lambda k: found[k][2])
        in_all = sum(state[3] for state in found.values())
        return Broken(kind, int(found[kind][2]), found[kind][4], int(in_all))

    @torch.no_grad()
    def clip(
        self, weights: Iterable[nn.Parameter], largest: float | None, kind: str = ""
    ) -> Tensor:
        """Clips in place.

        Args:
            weights: parameters whose gradients are clipped; those without one are skipped.
            largest: norm to clip to; None leaves sound gradients as they are.
            kind: of the step: the streams that it learned from. The usual norm of one kind may be
                far from that of another.

        Returns:
            The norm before, a scalar.
        """
        gradients = [w.grad for w in weights if w.grad is not None]
        norm = gathered(nn.utils.get_total_norm(gradients))
        gradients = local_shards(gradients)
        is_sound = self._judge(norm, kind)
        scale = torch.ones_like(norm)
        if largest:
            scale = (largest / (norm + 1e-6)).clamp_max(1.0)
        if norm.device.type == "cpu" and bool(is_sound):
            torch._foreach_mul_(gradients, scale)
            return norm
        for gradient in gradients:  # infinity times zero is no number: masked, not multiplied
            gradient.mul_(scale).masked_fill_(~is_sound, 0.0)
        return norm

    def _judge(self, norm: Tensor, kind: str) -> Tensor:
        state = self.states.get(kind, torch.zeros(5)).to(norm.device, non_blocking=norm.is_cuda)
        mean, seen, in_a_row, in_all, last = state
        logarithm = norm.float().clamp_min(1e-20).log()
        is_sound = torch.isfinite(norm)
        if self.factor:
            limit = mean + math.log(self.factor)
            is_sound = is_sound & ((seen < _YOUNG) | (logarithm <= limit))
        weight = (1 / (seen + 1)).clamp_min(1 - _MEMORY)
        counts, broken = is_sound & (norm > 0), (~is_sound).float()
        safe = torch.where(counts, logarithm, mean)
        self.states[kind] = torch.stack(
            (
                mean + weight * (safe - mean),
                seen + counts.float(),
                (in_a_row + 1) * broken,
                in_all + broken,
                torch.where(is_sound, last, norm.float()),
            )
        )
        return is_sound

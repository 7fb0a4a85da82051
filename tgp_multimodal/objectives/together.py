"""Several objectives on the batches of one stream."""

from typing import Any

import torch
from torch import Tensor

from tgp_multimodal.models.networks import Network
from tgp_multimodal.objectives.base import Loss, Objective


class Together(Objective):
    """A weighted sum of objectives that learn from the same batch.

    So a picture that was read once teaches the head to draw it and the tower to recognise it.
    Batches are not prepared ahead: each objective prepares them in `loss`.

    Args:
        objectives: name -> objective; the names are prefixes of the parts' names in the log.
        weights: name -> weight of its loss; 1 where none is given.

    Raises:
        ValueError: there is no objective, or a weight names none.
    """

    def __init__(
        self, objectives: dict[str, Objective], weights: dict[str, float] | None = None
    ) -> None:
        if not objectives:
            raise ValueError("objectives must name at least one. Got none instead.")
        unknown = set(weights or {}) - set(objectives)
        if unknown:
            raise ValueError(
                f"weights must name objectives ({', '.join(objectives)}). "
                f"Got {sorted(unknown)} instead."
            )
        self.objectives = objectives
        self.teaches_guidance = any(o.teaches_guidance for o in objectives.values())
        self.weights = {name: (weights or {}).get(name, 1.0) for name in objectives}

    def check(self, network: Network) -> None:
        """As each of the objectives, see `Objective.check`."""
        for objective in self.objectives.values():
            objective.check(network)

    def loss(self, network: Network, batch: Any, progress: float, seed: int) -> Loss:
        """The weighted sum; each objective is told the same seed, see `Objective.loss`."""
        losses = {
            name: objective.loss(network, batch, progress, seed)
            for name, objective in self.objectives.items()
        }
        weighted = [self.weights[name] * loss.value for name, loss in losses.items()]
        parts = {
            f"{name}/{part}": number
            for name, loss in losses.items()
            for part, number in loss.parts.items()
        }
        return Loss(torch.stack(weighted).sum(), parts)

    def held_out(self, network: Network, batch: Any, seed: int) -> dict[str, Tensor]:
        """What each of the objectives logs, see `Objective.held_out`."""
        return {
            f"{name}/{part}": number
            for name, objective in self.objectives.items()
            for part, number in objective.held_out(network, batch, seed).items()
        }

    def flops(self, network: Network, batch: Any) -> int:
        """See `Objective.flops`."""
        return sum(objective.flops(network, batch) for objective in self.objectives.values())

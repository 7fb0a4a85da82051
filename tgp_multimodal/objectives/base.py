"""What every objective is: one method from a network and a batch to a loss with named parts."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from tgp_multimodal.models.networks import Network


class Loss(NamedTuple):
    """A value to minimise and what to log of it.

    Attributes:
        value: scalar, differentiable.
        parts: named scalars for the log, detached; units in the names.

    With several processes each number is this process's part: the mean over the processes is what
    a single one would compute for the global batch (`ranks`).
    """

    value: Tensor
    parts: dict[str, Tensor]


class Objective(ABC):
    """A way to learn from one stream of batches.

    It owns no state: learned scalars belong to the network, randomness to the call.
    """

    teaches_guidance = False  # whether the head learns to draw as with guidance, without it
    needs = ""  # the part of the network that it trains: "head" or "tower"

    def check(self, network: Network) -> None:
        """Refuses a network without the part that this needs.

        Raises:
            ValueError: it has none.
        """
        if self.needs and getattr(network, self.needs, None) is None:
            raise ValueError(
                f"network must have a {self.needs} for {type(self).__name__}. "
                f"Got a {type(network).__name__} without one instead."
            )

    @abstractmethod
    def loss(self, network: Network, batch: Any, progress: float, seed: int) -> Loss:
        """The loss of one batch.

        Args:
            network: what is trained.
            batch: one batch of this objective's stream, or what `prepare_batch` made of it; tensors
                on the network's device.
            progress: share of the run that is done, 0 to 1; schedules are functions of it.
            seed: decides every random draw, so that a resumed run draws the same.
        """

    def prepare_batch(self, batch: Any, progress: float, seed: int) -> Any:
        """The batch with all that depends on its values precomputed; `loss` takes either form.

        It is called while the batch is still in CPU memory: reading values of a batch on a GPU
        would wait for the GPU.

        Args:
            batch: one batch of this objective's stream, as it was read.
            progress: as for `loss`.
            seed: as for `loss`.
        """
        return batch

    def held_out(self, network: Network, batch: Any, seed: int) -> dict[str, Tensor]:
        """What is logged of a held-out batch: the parts of the loss at the end of a run.

        Args:
            network: with the averaged weights; no gradient is wanted.
            batch: as for `loss`.
            seed: the same for this batch in every validation, so that its numbers compare.
        """
        return self.loss(network, batch, 1.0, seed).parts

    def flops(self, network: Network, batch: Any) -> int:
        """Floating-point operations of one step on this batch, for the log; 0 where unknown."""
        return 0


def unit_pixels(pixels: Tensor) -> Tensor:
    """Bytes 0 to 255 as float32 in [-1, 1], of any shape; on arrays it is `data.images.to_unit`."""
    return pixels.float() / 127.5 - 1

"""A training step of any network: loss, backward, clip, optimizer."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from tgp_multimodal.training.optim import MuonAdamW, parameter_groups
from tgp_multimodal.training.precision import Precision, fastest

CLIP = 1.0


class Step:
    """Does one step on one batch when called, and returns its loss.

    Attributes:
        network: what learns.
        loss: of the batch, in the arithmetic that is switched on around it.
        arithmetic: which that is.
        optimizer: what moves the weights.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[], Tensor],
        precision: str,
        optimizer: Callable[[nn.Module, Precision], Optimizer],
    ) -> None:
        self.network, self.loss = network, loss
        self.arithmetic = Precision(precision)
        self.optimizer = optimizer(network, self.arithmetic)

    def __call__(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        with self.arithmetic.autocast("cpu"):
            loss = self.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        return float(loss.detach())


def our_optimizer(network: nn.Module, arithmetic: Precision) -> Optimizer:
    """The optimizer of our training module, with its rates."""
    return MuonAdamW(parameter_groups(network, 0.02, 3e-3, 0.01), dtype=arithmetic.dtype)


def stock_optimizer(network: nn.Module, arithmetic: Precision) -> Optimizer:
    """AdamW as the Trainer of transformers takes it: fused, the fastest that torch has."""
    return AdamW(network.parameters(), lr=1e-3, fused=True)


def chosen_precision(network: nn.Module, loss: Callable[[], Tensor]) -> str:
    """What our training would choose here, by the measurement with which it chooses."""

    class Holder:
        arithmetic = Precision("float32")
        zero_grad = staticmethod(network.zero_grad)
        parameters = staticmethod(network.parameters)

    def measured() -> Tensor:
        with Holder.arithmetic.autocast("cpu"):
            return loss()

    return fastest([(measured, 1.0)], Holder).name


def gradient_difference(
    ours: Callable[[], Tensor], theirs: Callable[[], Tensor], pairs: Iterable[tuple[Tensor, Tensor]]
) -> float:
    """Largest difference of two float32 gradients, as a share of the largest entry of the peer's.

    Args:
        ours: our loss.
        theirs: the peer's.
        pairs: our weights, each with the same weight of the peer.
    """
    ours().backward()
    theirs().backward()
    worst = 0.0
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        size = float(other.grad.abs().max()) + 1e-12
        worst = max(worst, float((mine.grad - other.grad).abs().max()) / size)
        mine.grad = other.grad = None
    return worst


def relative(ours: float, theirs: float) -> float:
    """Difference of two losses as a share of the peer's."""
    return abs(ours - theirs) / abs(theirs)


def tolerance(*precisions: str) -> float:
    """Largest relative difference of two losses that is rounding."""
    return 0.01 if "bfloat16" in precisions else 1e-5

"""Cross-entropy over a vocabulary without ever holding all logits.

The gradient of each chunk of positions is computed together with its loss, so nothing of the size
positions x vocabulary is kept for the backward pass. That requires a loss whose weights are known
beforehand, as those of every mean of nats are.

Shape letters: N positions, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits at once, 32 MB in float32 on CPUs; each chunk adds to the whole gradient of the table.
_CELLS_CPU, _CELLS = 2**23, 2**27


def weighted_nats(
    state_ND: Tensor,
    table_VD: Tensor,
    target_N: Tensor,
    weight_N: Tensor,
    z_weight_N: Tensor,
    is_compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sum of `weight_N` * nats + `z_weight_N` * log-partition^2, and the nats of each position.

    Softmax and sums are float32 whatever the precision of the products, which is autocast's.

    Args:
        state_ND: hidden states.
        table_VD: output layer; logits are `state_ND @ table_VD.T`.
        target_N: ids of the right tokens.
        weight_N: weights of the nats, without gradient.
        z_weight_N: weights of the squared log-partition (z-loss: Chowdhery et al. 2022,
            arXiv:2204.02311, section 5), without gradient.
        is_compiled: whether a compiler fuses the passes over the logits.

    Returns:
        The sum, differentiable once, and the nats, shape (N,), without gradient.
    """
    # Inside a Function grad mode is off, and needs_input_grad ignores no_grad: so it is passed.
    total, nats_N = _WeightedNats.apply(
        state_ND, table_VD, target_N, weight_N, z_weight_N, is_compiled, torch.is_grad_enabled()
    )
    return total, nats_N


class _WeightedNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, state_ND: Tensor, table_VD: Tensor, target_N: Tensor, weight_N: Tensor,
        z_weight_N: Tensor, is_compiled: bool, is_training: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        device = state_ND.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else state_ND.dtype
        )
        learns = is_training and any(ctx.needs_input_grad[:2])
        state, table = state_ND.to(dtype), table_VD.to(dtype)
        total = torch.zeros((), device=state.device)
        nats_N = torch.empty(len(state), device=state.device)
        grad_state = torch.empty_like(state_ND) if learns else None
        grad_table = torch.zeros_like(table_VD, dtype=torch.float32) if learns else None
        size = max(1, (_CELLS_CPU if device == "cpu" else _CELLS) // len(table))
        nats_and_gradient = _compiled() if is_compiled and learns else _in_place
        for n in (slice(i, i + size) for i in range(0, len(state), size)):
            logits = state[n] @ table.T
            weight, z_weight = weight_N[n], z_weight_N[n]
            nats, log_partition, grad_logits = nats_and_gradient(
                logits, target_N[n, None], weight, z_weight, learns
            )
            nats_N[n] = nats
            total += (weight * nats + z_weight * log_partition.square()).sum()
            if grad_state is None or grad_table is None:
                continue
            grad_state[n] = grad_logits @ table
            grad_table += grad_logits.T @ state[n]
        if grad_state is not None and grad_table is not None:
            ctx.save_for_backward(grad_state, grad_table.to(table_VD.dtype))
        ctx.mark_non_differentiable(nats_N)
        return total, nats_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_state, grad_table = ctx.saved_tensors
        return grad_total * grad_state, grad_total * grad_table, None, None, None, None, None


def _in_place(
    logits: Tensor, target_N1: Tensor, weight_N: Tensor, z_weight_N: Tensor, learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Nats, log-partition, and the gradient of the weighted sum with respect to the logits.

    In place if the logits are float32.
    """
    dtype, logits = logits.dtype, logits.float()
    target_logit, largest = logits.gather(-1, target_N1)[:, 0], logits.amax(dim=-1)
    probability = logits.sub_(largest[:, None]).exp_()
    partition = probability.sum(dim=-1)
    log_partition = partition.log() + largest
    if learns:
        probability *= ((weight_N + 2 * z_weight_N * log_partition) / partition)[:, None]
        probability.scatter_add_(-1, target_N1, -weight_N[:, None])
    grad_logits = probability.to(dtype) if learns else probability
    return log_partition - target_logit, log_partition, grad_logits


def _for_compiler(
    logits: Tensor, target_N1: Tensor, weight_N: Tensor, z_weight_N: Tensor, learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_in_place`, in a form whose operations a compiler can fuse into two passes."""
    wide = logits.float()
    log_partition = wide.logsumexp(dim=-1)
    factor = weight_N + 2 * z_weight_N * log_partition
    probability = (wide - log_partition[:, None]).exp() * factor[:, None]
    is_target = torch.arange(logits.shape[-1], device=logits.device) == target_N1
    grad_logits = torch.where(is_target, probability - weight_N[:, None], probability)
    nats = log_partition - wide.gather(-1, target_N1)[:, 0]
    return nats, log_partition, grad_logits.to(logits.dtype)


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    return torch.compile(_for_compiler, dynamic=True)

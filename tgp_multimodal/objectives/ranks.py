"""A global batch split over processes: the collectives by which objectives train as in one process.

Process r of W holds the rows r, r + W, r + 2 W, ... of the global batch. Its loss is a part: the
mean of the parts over the processes is the loss of a single process with the whole batch, and the
mean of their gradients is its gradient; that mean is what DDP and FSDP compute (Li et al. 2020,
arXiv:2006.15704). With one process, or without a process group, every function that takes a value
returns it unchanged.

Shape letters: B rows of this process, D width.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def world() -> int:
    """Number of processes, W; 1 without a process group."""
    return torch.distributed.get_world_size() if _is_open() else 1


def rank() -> int:
    """Number of this process, 0 to W - 1."""
    return torch.distributed.get_rank() if _is_open() else 0


def average(x: Tensor) -> Tensor:
    """Mean over the processes, float32; alone, the tensor as it is. No gradient goes through."""
    if world() == 1:
        return x
    total = x.detach().float().clone().to(_collective_device())
    torch.distributed.all_reduce(total)
    return total.to(x.device) / world()


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if world() == 1:
        return number
    found = torch.tensor(number, device=_collective_device())
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def own_rows(x: Tensor) -> Tensor:
    """The rows of this process of what was drawn for the global batch."""
    return x if world() == 1 else x[rank() :: world()]


def whole_batch(x_BD: Tensor) -> Tensor:
    """The rows of all processes, (W * B, D), in the order of the global batch.

    A loss over them must be the same on every process. The gradient reaches only the rows of this
    process, scaled by W: the mean over the processes is then the whole gradient, and the backward
    pass needs no communication.

    Args:
        x_BD: the rows of this process; equally many on every process.
    """
    if world() == 1:
        return x_BD
    rows = [torch.empty_like(x_BD) for _ in range(world())]
    torch.distributed.all_gather(rows, x_BD.detach().contiguous())
    fixed = x_BD.detach()
    rows[rank()] = fixed + world() * (x_BD - fixed)
    return torch.stack(rows, dim=1).flatten(0, 1)


def agree(value: Any) -> Any:
    """The value of process 0, on every process."""
    if world() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _collective_device() -> torch.device:
    """A device whose tensors the process group can exchange."""
    is_nccl = torch.cuda.is_available() and "nccl" in torch.distributed.get_backend()
    return torch.device("cuda" if is_nccl else "cpu")


def _is_open() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()

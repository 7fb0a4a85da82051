"""Tensors that may be sharded over processes: taking local shards, and gathering whole tensors.

Given a plain tensor, each function returns it unchanged, so that the training module and the
optimizer are written once.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tgp_multimodal.objectives import ranks


@torch.no_grad()
def local_shards(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The parts of this process, sharing their memory."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def gathered(tensor: Tensor) -> Tensor:
    """The whole tensor, from the shards of all processes; every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_on_rank0(tensor: Tensor) -> Tensor:
    """As `gathered`, but on rank 0 alone, which writes files; in CPU memory, which is larger."""
    if not isinstance(tensor, DTensor):
        return tensor
    found = tensor.full_tensor()
    return found.cpu() if ranks.rank() == 0 else found.new_empty(0)


@torch.no_grad()
def full_from_local(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor, gathered from local shards that are laid out as those of `like`."""
    if not isinstance(like, DTensor):
        return part
    shape, stride = like.shape, like.stride()
    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(part, mesh, placements, shape=shape, stride=stride).full_tensor()


@torch.no_grad()
def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shards a whole tensor, which every process holds, as `like` is; a copy of the own shard."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    tensor = tensor.detach().to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)

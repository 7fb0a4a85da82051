"""Fully sharded training (FSDP2), as a strategy of Lightning.

`trainer.strategy: fsdp2` shards weights, gradients, optimizer states and averages by rows, equally
over the processes; Muon's means of rows are whole in each of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from tgp_multimodal.export import load_checkpoint
from tgp_multimodal.models.diffusion_head import HeadBlock
from tgp_multimodal.models.networks import Multimodal, Network, blocks
from tgp_multimodal.training.parts import full_on_rank0, sharded_like


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, data-parallel over all processes, with one-file checkpoints.

    Weights, gradients and optimizer states are sharded (Zhao et al. 2023, arXiv:2304.11277).
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """On rank 0 the state that a single process would have; every process must call it."""
        return _each_tensor(optimizer.state_dict(), lambda x, _: full_on_rank0(x))

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Loads a checkpoint that any number of processes saved.

        Overridden since Lightning assumes an optimizer's weights to be in the order of the network;
        ours come in groups.
        """
        checkpoint = load_checkpoint(Path(checkpoint_path))
        assert self.model is not None
        now = self.model.state_dict()
        saved = checkpoint["state_dict"]
        self.model.load_state_dict({k: sharded_like(v, now[k]) for k, v in saved.items()})
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_spread_state(optimizer, state))
        return checkpoint


StrategyRegistry.register("fsdp2", FullySharded, "Weights spread over all processes (FSDP2)")


def shard(network: Network, mesh: DeviceMesh) -> None:
    """Shards the weights of a network over the processes of a mesh, block by block.

    A block is gathered only while it is computed. The rest of the text transformer and of the head
    (embeddings, norms, input and output) stays gathered from its first use in a step to its end:
    the embeddings are used again for the logits, outside of the transformer's forward. A tower's
    two scalars are replicated: a loss over the global batch gives each process the whole gradient.
    """
    if isinstance(network.text, FSDPModule):
        return
    for part in blocks(network):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
        if isinstance(part, HeadBlock):
            register_fsdp_forward_method(part, "keys_values")
    fully_shard(network.text, mesh=mesh, reshard_after_forward=False)
    if isinstance(network, Multimodal):
        fully_shard(network.head, mesh=mesh, reshard_after_forward=False)
        for name in ("text_keys_values", "denoise", "denoise_with_states"):
            register_fsdp_forward_method(network.head, name)
    if network.tower is not None:
        scalars = {network.tower.logit_scale, network.tower.logit_bias}
        fully_shard(network.tower, mesh=mesh, reshard_after_forward=False, ignored_params=scalars)


def is_sharded(network: Network) -> bool:
    """Whether the network's weights are sharded."""
    return isinstance(network.text, FSDPModule)


def _spread_state(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The saved state of an optimizer, spread as its weights are; whole if of another shape."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    numbers = [n for group in state["param_groups"] for n in group["params"]]
    like = dict(zip(numbers, weights, strict=True))

    def spread(x: Tensor, number: int) -> Tensor:
        return sharded_like(x, like[number]) if x.shape == like[number].shape else x

    return _each_tensor(state, spread)


def _each_tensor(state: dict[str, Any], change: Callable[[Tensor, int], Tensor]) -> dict[str, Any]:
    """An optimizer's state with `change(tensor, number of its weight)` applied to every tensor."""
    changed = {
        number: {k: change(v, number) if isinstance(v, Tensor) else v for k, v in entries.items()}
        for number, entries in state["state"].items()
    }
    return {**state, "state": changed}

"""Where a run's weights come from, if they are not fresh: an export of ours, or a stock folder."""

from pathlib import Path

import torch
from torch import nn

from tgp_multimodal import export
from tgp_multimodal.models.networks import Network, describe
from tgp_multimodal.stock_weights import start_from

_FREE = ("size", "context")  # what a run may have otherwise than its start, weights being the same


@torch.no_grad()
def start(network: Network, folder: Path) -> list[str]:
    """Copies weights into a network.

    Of an export every part that the network has too, so that a run can go on at another resolution
    or with parts that are new; of a stock Qwen3 folder the text transformer.

    Returns:
        Names of the parts that got weights.

    Raises:
        ValueError: a part has another shape than in the folder, or the folder is none.
    """
    if not (folder / "tgp.json").is_file():
        start_from(network.text, folder)
        return ["text"]
    given = dict(export.load(folder).network.named_children())
    parts = [name for name, _ in network.named_children() if name in given]
    for name in parts:
        mine, theirs = network.get_submodule(name), given[name]
        if _shape(mine) != _shape(theirs):
            raise ValueError(
                f"model.network.init_args.{name} must have the shape of {folder}, "
                f"{_shape(theirs)}. Got {_shape(mine)} instead."
            )
        mine.load_state_dict(theirs.state_dict())
    return parts


def _shape(part: nn.Module) -> dict[str, object]:
    return {k: v for k, v in describe(part).items() if k not in _FREE}

"""Weights on disk, as every file of them is written."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Writes tensors by name to a safetensors file that other users can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors 0.8 leaves 0600

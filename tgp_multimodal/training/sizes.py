"""The sizes of `tgp fit --size`: shapes of the networks, and learning rates that follow from width.

Muon's rate is the same at every width. Its update of a matrix has singular values near 1 (before
its rows are brought to one size, which keeps its norm) and is multiplied by max(1, rows /
columns)^0.5 (Jordan et al. 2024); a step whose spectral norm keeps to (rows / columns)^0.5 changes
the states by the same amount at every width (Yang, Simon & Bernstein 2023, arXiv:2310.17813,
condition 1), and rows / columns hardly differs between the sizes.

AdamW moves every entry by about its rate, so a rate has to fall as more entries add up. The rule is
that of nanochat (Karpathy 2025): AdamW's rates, those of the token embeddings included, scale as
1 / sqrt(width). The anchor is nano, whose rates were measured (LOG.md); those of the larger sizes
are extrapolated by this rule, not measured.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

_ANCHOR = 256  # width of nano
_MUON, _ADAMW, _EMBEDDING = 0.02, 0.003, 0.01  # rates of nano


class Size(NamedTuple):
    """Shape of the text transformer, and of the head that draws; see their classes."""

    vocabulary: int
    width: int
    depth: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head_width: int
    head_depth: int
    head_heads: int


SizeName = Literal["nano", "tiny", "small", "medium", "base"]

SIZES: dict[str, Size] = {
    "nano": Size(4096, 256, 6, 640, 4, 2, 192, 6, 3),
    "tiny": Size(8192, 384, 6, 1024, 6, 2, 256, 8, 4),
    "small": Size(8192, 512, 8, 1408, 8, 4, 384, 8, 6),
    "medium": Size(16384, 640, 10, 1728, 10, 5, 512, 10, 8),
    "base": Size(32768, 768, 12, 2048, 6, 6, 640, 12, 10),
}


def rates(width: int) -> dict[str, float]:
    """Peak learning rates for a text transformer of this width, to three digits.

    The keys are those of `OptimizerSettings`.
    """
    factor = (_ANCHOR / width) ** 0.5
    found = {
        "muon_lr": _MUON, "adamw_lr": _ADAMW * factor, "embedding_lr": _EMBEDDING * factor,
    }  # fmt: skip
    return {name: float(f"{rate:.3g}") for name, rate in found.items()}


def settings(size: str) -> dict[str, Any]:
    """What a size decides, as the section `model` of a config holds it.

    Args:
        size: one of `SIZES`.

    Raises:
        ValueError: there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}. Got {size} instead.")
    shape = SIZES[size]
    text = {name: getattr(shape, name) for name in Size._fields[:6]}
    head = {
        "text_width": shape.width, "width": shape.head_width, "depth": shape.head_depth,
        "heads": shape.head_heads,
    }  # fmt: skip
    parts = {"text": {"init_args": text}, "head": {"init_args": head}}
    return {"network": {"init_args": parts}, "optimizer": rates(shape.width)}


def differences(size: str, model: Mapping[str, Any]) -> list[str]:
    """Where section `model` of a config differs from the size, as `key value (the size's)`.

    A part that the network does not have, such as the head of a language model, is no difference.
    """
    return [
        f"{key} {found} ({wanted})"
        for key, wanted, found in _leaves("model", settings(size), model)
        if found != wanted
    ]


def _leaves(
    path: str, wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in wanted.items():
        if name not in found:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(f"{path}.{name}", value, found[name])
        else:
            yield f"{path}.{name}", value, found[name]

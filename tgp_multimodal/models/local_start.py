"""A local initialisation of the diffusion head's attention.

A fresh transformer has to learn that nearby patches belong together. Here every head starts with a
positional kernel, like that of a convolution: the patch itself, or the next one up, down, left or
right. Only the initial weights differ, so the network stays that of the stock class. The idea is
convolutional initialisation of vision transformers (d'Ascoli et al. 2021, arXiv:2103.10697); with
queries and keys that are normalised and rotated it takes this form:

the modulation's shift starts at one, a constant that the normalised patch, whose mean is zero,
cannot have. The query matrix maps this constant to one pattern and the key matrix to the same one,
rotated by the offset of the head. Their product is a sum of cosines of the distance between two
patches, largest at the offset.

Shape letters: D width, K head size, F frequencies of one axis.
"""

import torch
from torch import Tensor

_SHARE = 0.7  # of the energy of a query or key that the pattern has at the start
_FREQUENCIES = 3  # per axis, the fastest ones: slower ones hardly change over a few patches
_OFFSETS = ((0, 0), (0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))  # rows down, columns right


def offset(number: int) -> tuple[int, int]:
    """Offset, in rows and columns, of the patch that attention head `number` starts out on."""
    return _OFFSETS[number % len(_OFFSETS)]


def patterns(size: int, theta: float, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """What the constant adds to a query and to a key, (K,) each.

    Args:
        size: channels of a head, K; half of them turn with the row, half with the column.
        theta: base of the rotary frequencies.
        rows: offset of the place to look at, downwards.
        columns: the same to the right.
    """
    half = size // 2
    count = min(_FREQUENCIES, half // 2)
    turn_F = theta ** (-2 * torch.arange(count, dtype=torch.float32) / half)
    strength = (_SHARE / (1 - _SHARE) * size / (2 * count)) ** 0.5
    query_K, key_K = torch.zeros(size), torch.zeros(size)
    for start, distance in ((0, rows), (half, columns)):
        even = slice(start, start + 2 * count, 2)
        odd = slice(start + 1, start + 2 * count, 2)
        query_K[even] = strength
        key_K[even] = strength * torch.cos(turn_F * distance)
        key_K[odd] = -strength * torch.sin(turn_F * distance)
    return query_K, key_K


@torch.no_grad()
def init_neighbour_attention(
    query_key_value: Tensor, shift_D: Tensor, size: int, first: int, theta: float
) -> None:
    """Gives the heads of one block their kernels, in place.

    Args:
        query_key_value: weight (3 D, D) of the joint projection.
        shift_D: bias of the modulation that is the shift before attention; becomes one.
        size: channels of a head, K.
        first: number of this block's first head in the whole network.
        theta: base of the rotary frequencies.
    """
    width = len(shift_D)
    query_key_value -= query_key_value.mean(dim=1, keepdim=True)  # blind to the constant so far
    shift_D.fill_(1.0)
    for head in range(width // size):
        pair = patterns(size, theta, *offset(first + head))
        for part, pattern_K in enumerate(pair):
            start = part * width + head * size
            query_key_value[start : start + size] += pattern_K[:, None] / width

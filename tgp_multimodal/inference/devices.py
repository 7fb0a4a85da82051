"""The device that an opened network runs on."""

import os
import textwrap

import torch

VARIABLE = "TGP_DEVICE"


def default_device(name: str | None = None) -> torch.device:
    """The device of a name, else that of $TGP_DEVICE, else the GPU if there is one.

    Args:
        name: as torch takes it: cpu, cuda, cuda:1, mps.

    Raises:
        ValueError: there is no such device.
    """
    option = VARIABLE if name is None else "device"
    name = name or os.environ.get(VARIABLE)
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # What is wrong with a device is said by each of torch's backends in its own way.
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        told = textwrap.shorten(str(error), 120, placeholder=" ...")
        raise ValueError(
            f"{option} must be a device that is there, like cpu or cuda:0. "
            f"Got {name} instead ({told})."
        ) from None
    return device

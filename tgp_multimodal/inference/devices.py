"""Where a network that is opened to be used lies."""

import torch


def usual_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

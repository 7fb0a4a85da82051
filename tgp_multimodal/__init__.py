"""Task-agnostic generative pretraining.

One text transformer, one text-to-image head, one benchmark harness.

    model = tgp_multimodal.load("runs/quickstart/export")
    model.write("A list is")
    model.draw(["a red circle"])[0].save("circle.png")

`load` opens an export, `load_adapted` what `tgp adapt` wrote; `Model`, `Adapted` and `Sampling` are
what they give and take. `tgp --help` lists the verbs of the command line.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgp_multimodal.inference.adapted import Adapted
    from tgp_multimodal.inference.model import Model
    from tgp_multimodal.inference.sampling import Sampling

__version__ = "0.1.0"
__all__ = ["Adapted", "Model", "Sampling", "__version__", "load", "load_adapted"]


def load(folder: str | Path, device: str | None = None) -> "Model":
    """Opens an export folder as a `Model` that writes, fills, draws, embeds, scores and searches.

    Args:
        folder: for example `runs/quickstart/export`.
        device: cpu, cuda, cuda:1 and so on; left out: $TGP_DEVICE, else the GPU if there is one.

    Raises:
        ValueError: the folder is no export, or there is no such device.
    """
    from tgp_multimodal import export
    from tgp_multimodal.inference import kinds
    from tgp_multimodal.inference.devices import default_device
    from tgp_multimodal.inference.model import Model

    loaded = export.load(kinds.path("folder", folder))
    loaded.network.to(default_device(device))
    guided = bool(loaded.facts.get("guided"))
    return Model(loaded.network, loaded.tokenizer, loaded.digest, guided)


def load_adapted(folder: str | Path, device: str | None = None) -> "Adapted":
    """Opens what `tgp adapt` wrote as an `Adapted`, whose `predict` labels items.

    Args:
        folder: for example `adapted/sst2`.
        device: as for `load`.

    Raises:
        ValueError: the folder was not written by `tgp adapt`, or there is no such device.
    """
    from tgp_multimodal import export
    from tgp_multimodal.inference import adapted, kinds

    place = kinds.path("folder", folder)
    adapted.read_task(place)  # says in one sentence what is wrong with the folder
    loaded = export.load(place / adapted.MODEL)
    return adapted.read(place, loaded.network, loaded.tokenizer, device)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "Adapted":
        from tgp_multimodal.inference.adapted import Adapted

        return Adapted
    if name == "Model":
        from tgp_multimodal.inference.model import Model

        return Model
    if name == "Sampling":
        from tgp_multimodal.inference.sampling import Sampling

        return Sampling
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What a size trains on where the prepared folder holds other streams than the size names."""

import json
from collections.abc import Container, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tgp_multimodal.resources import shipped_config

Section = dict[str, Any]

KINDS = ("text", "pictures")
_SIZE_OF = {"text": "tokens", "pictures": "pictures"}
_BY_STREAM = ("infill", "drawn")  # settings of a section that name streams
_OF_PYTHON = "docstrings"  # a setting for streams of Python, which no name tells


class Choice(NamedTuple):
    """What of a folder a size is to train on.

    Attributes:
        overlay: the kind of data, where the folder holds one alone; "" for both.
        data: sections of the config.
        head: size and patch of a head for the pictures of the folder; empty for those of the size.
            The patch is None where none fits.
        small: streams that are too small for a row.
        usual: settings of the head of the size.
    """

    overlay: str
    data: Section
    head: Section
    small: list[str]
    usual: Section

    def told(self, left_out: Container[str] = ()) -> str:
        """The choice in a line, without the kinds of data that are not trained on after all."""
        kinds = [kind for kind in KINDS if kind in self.data and kind not in left_out]
        named = [f"{kind} ({', '.join(self.data[kind]['weights'])})" for kind in kinds]
        but = f"; too small for a row: {', '.join(self.small)}" if self.small else ""
        return f"training on what the folder holds, {' and '.join(named)}, by size{but}"

    def words(self, given: Container[str] = ()) -> list[str]:
        """Words of `tgp fit` that follow the config of the size.

        Args:
            given: what of the head is given elsewhere: "size", which its patch goes with, "patch".

        Raises:
            ValueError: no patch of about the usual share of a side divides that of the pictures.
        """
        config: Section = {"data": self.data}
        if self.head and "size" not in given:
            head = {name: value for name, value in self.head.items() if name not in given}
            if head.get("patch", 0) is None:
                raise ValueError(
                    "pictures of data.folder must have a side that patches of about"
                    f" 1/{_across(self.usual)} of it divide, as {self.usual['size']}"
                    " (--size of `tgp prepare`), or a patch must be given"
                    f" (model.network.init_args.head.init_args.patch). Got {head['size']} instead."
                )
            config["model"] = {"network": {"init_args": {"head": {"init_args": head}}}}
        overlay = ["--config", str(shipped_config(f"{self.overlay}.yaml"))] if self.overlay else []
        return [*overlay, "--config", json.dumps(config)]


def choose(size: Path, folder: Path) -> Choice | None:
    """Streams with a share by their size; None where they are those of the size.

    A folder of text alone, or of pictures alone, gives the overlay of that name, and a head draws
    pictures as large as those that are there. Text too short for a row is left out.

    Args:
        size: a shipped config.
        folder: of the data. None is chosen where `tgp prepare` has not written it.
    """
    manifests = {kind: _manifest(folder / kind) for kind in KINDS}
    there = {kind: found for kind, found in manifests.items() if found is not None}
    config = yaml.safe_load(size.read_text(encoding="utf-8"))
    data = config["data"]
    named = {kind: set(data[kind]["weights"]) for kind in KINDS}
    if not there or named == {k: set(there.get(k, {}).get("streams", ())) for k in KINDS}:
        return None
    least = {"text": data["text"]["length"], "pictures": 1}
    weights = {kind: _weights(found, kind, least[kind]) for kind, found in there.items()}
    if not all(weights.values()):
        return None  # whoever opens the data says what is wrong with them
    sections = {
        name: _section(data[name], weights[kind], there[kind])
        for name, kind in (("text", "text"), ("passages", "text"), ("pictures", "pictures"))
        if kind in there
    }
    usual = config["model"]["network"]["init_args"]["head"]["init_args"]
    overlay = "" if len(there) == len(KINDS) else next(iter(there))
    small = [s for kind, found in there.items() for s in found["streams"] if s not in weights[kind]]
    return Choice(overlay, {"embedded": False} | sections, _head(usual, there), small, usual)


def _manifest(folder: Path) -> Section | None:
    path = folder / "manifest.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    except ValueError:
        return None  # whoever opens it says what is wrong


def _weights(manifest: Section, kind: str, least: int) -> dict[str, float]:
    """Share of each stream by its size; those smaller than `least` have none."""
    unit, quality = _SIZE_OF[kind], manifest.get("quality", {})
    sizes = {s: quality.get(s, {}).get(unit, 0) for s in manifest["streams"]}
    if not any(sizes.values()):  # of an older version, which did not count them
        sizes = dict.fromkeys(manifest["streams"], least)
    kept = {stream: size for stream, size in sizes.items() if size >= least}
    whole = sum(kept.values())
    return {stream: float(f"{size / whole:.3g}") for stream, size in kept.items()}


def _section(usual: Section, weights: dict[str, float], manifest: Section) -> Section:
    """A section of the size with the streams of the folder."""
    found = {**deepcopy(usual), "weights": weights}
    found.pop(_OF_PYTHON, None)
    for setting in _BY_STREAM:
        if setting in found:
            found[setting] = {s: v for s, v in found[setting].items() if s in weights}
    if not any(str(s["name"]).startswith("embedded ") for s in manifest.get("sources", ())):
        found.pop("drawn", None)  # pictures that are called scenes, and are none of ours
    return found


def _head(usual: Section, there: Mapping[str, Section]) -> Section:
    """A head for the pictures of the folder, of as many patches across as there are, or about.

    At least half and at most twice as many: what costs four times as much, or has a quarter of the
    cells, is nobody's choice but the user's.
    """
    if "pictures" not in there:
        return {}
    size = there["pictures"]["splits"]["train"]["rows"]
    if size == usual["size"]:
        return {}
    wanted = usual["patch"] * size / usual["size"]
    fitting = [n for n in range(2, size) if not size % n and wanted / 2 <= n <= wanted * 2]
    return {"size": size, "patch": min(fitting, key=lambda n: abs(n - wanted), default=None)}


def _across(usual: Section) -> int:
    return int(usual["size"] // usual["patch"])

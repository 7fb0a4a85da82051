"""What a size trains on where the prepared folder holds other streams than the size names."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from tgp_multimodal.resources import shipped_config

Section = dict[str, Any]

_BY_STREAM = ("infill", "docstrings", "drawn")  # settings of a section that name streams
_EACH = ("text", "pictures")


def configs(size: Path, folder: Path) -> list[str]:
    """Words of `tgp fit` that follow the config of a size: what of the folder it is to train on.

    Streams have a share by their size. A folder of text alone, or of pictures alone, gives the
    overlay of that name, and a head draws pictures as large as those that are there.

    Args:
        size: a shipped config.
        folder: of the data.

    Returns:
        Nothing where the folder is not a prepared one, or holds the streams of the size.
    """
    held = {kind: _manifest(folder / kind) for kind in _EACH}
    there = {kind: found for kind, found in held.items() if found is not None}
    config = yaml.safe_load(size.read_text(encoding="utf-8"))
    data = config["data"]
    named = {kind: set(data[kind]["weights"]) for kind in _EACH}
    if not there or all(named[k] <= set(there.get(k, {}).get("streams", ())) for k in _EACH):
        return []
    words = [] if len(there) == len(_EACH) else ["--config", str(_overlay(next(iter(there))))]
    own = {"data": {"embedded": False} | _sections(data, there)}
    if "pictures" in there:
        own |= _as_large(config["model"]["network"]["init_args"]["head"], there["pictures"])
    return [*words, "--config", json.dumps(own)]


def told(words: list[str]) -> str:
    """What was chosen, for the terminal; "" for nothing."""
    if not words:
        return ""
    data = json.loads(words[-1])["data"]
    kinds = [f"{k} ({', '.join(data[k]['weights'])})" for k in _EACH if k in data]
    return f"training on what the folder holds, {' and '.join(kinds)}, by size"


def _manifest(folder: Path) -> Section | None:
    path = folder / "manifest.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    except ValueError:
        return None  # who opens it says what is wrong


def _overlay(kind: str) -> Path:
    path = shipped_config(f"{kind}.yaml")
    assert path is not None
    return path


def _sections(data: Section, there: Mapping[str, Section]) -> Section:
    """The sections of a size with the streams of the folder."""
    found: Section = {}
    for name in ("text", "passages", "pictures"):
        kind = "text" if name == "passages" else name
        if kind not in there or name not in data:
            continue
        section = deepcopy(data[name])
        section["weights"] = _weights(there[kind], kind)
        for setting in _BY_STREAM:
            if setting in section:
                streams = section[setting].items()
                section[setting] = {s: v for s, v in streams if s in section["weights"]}
        found[name] = section
    return found


def _weights(manifest: Section, kind: str) -> dict[str, float]:
    """Share of each stream by its size; those that hold nothing have none."""
    unit, quality = {"text": "tokens", "pictures": "pictures"}[kind], manifest.get("quality", {})
    sizes = {s: quality.get(s, {}).get(unit, 0) for s in manifest["streams"]}
    if not any(sizes.values()):
        sizes = dict.fromkeys(manifest["streams"], 1)
    whole = sum(sizes.values())
    return {stream: round(size / whole, 4) for stream, size in sizes.items() if size}


def _as_large(head: Section, manifest: Section) -> Section:
    """A head that draws pictures of the folder's size in as many patches, if they are whole."""
    size, usual = manifest["splits"]["train"]["rows"], head["init_args"]["size"]
    patch, left = divmod(head["init_args"]["patch"] * size, usual)
    if size == usual or left or patch == 0:
        return {}
    shape = {"size": size, "patch": patch}
    return {"model": {"network": {"init_args": {"head": {"init_args": shape}}}}}

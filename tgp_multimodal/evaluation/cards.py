"""A card says everything that decides one benchmark number, and nothing about any model.

It is one YAML file, `benchmarks/cards/<domain>/<task>.yaml`. Fields of an example come from the
rows of the source, by `columns` (an expression that keeps its type) or `templates` (a text).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from tgp_multimodal import resources
from tgp_multimodal.evaluation import card_settings
from tgp_multimodal.evaluation.card_protocols import CHOICES, PROTOCOLS, REQUESTS_BY, ProtocolSpec
from tgp_multimodal.evaluation.metrics import COSTS
from tgp_multimodal.evaluation.requests import Request
from tgp_multimodal.names import unknown

DOMAINS = ("text", "code", "biomedical", "image")
SPLITS = ("train", "validation", "test", "corpus")
SOURCES = ("embedded", "folder", "files", "hub")
_EVERY = "all"  # the suite of every card
# What may be reworded without changing a number, and so stays out of the digest.
_PROSE = ("description", "license", "citation", "references")


@dataclass(frozen=True)
class Card:
    """One benchmark.

    Attributes:
        name: domain and task, "text/ag_news".
        version: goes up with every change of prompt, split or scorer.
        domain: one of `DOMAINS`.
        description: what is measured, one or two sentences, with all that differs from the
            published protocol.
        license: of the data.
        citation: of the data.
        source: one of {"embedded": data set}, {"folder": below $TGP_DATA}, {"files": {split: a path
            or several}}, {"hub": name, "config": name, "revision": commit}; and optionally
            "splits", our split -> its name in the source; "pairs", where two rows make an item (see
            `pairing`); "where", split -> an expression over the columns of a row that is true of
            the rows to keep. Cards generated at run time (`held_out`) have {"prepared": folder}.
        protocol: a key of `PROTOCOLS`.
        metric: the headline number.
        chance: what guessing scores; for metrics that have no such floor the value of the most
            ignorant answer.
        columns: field -> expression over the columns of a row.
        templates: field -> Jinja template over the columns of a row.
        settings: of the protocol; what is not said has its default.
        sizes: split -> how many items at most, a fixed random subset.
        references: published numbers, {"model", "metric", "value", "source"}.
    """

    name: str
    version: int
    domain: str
    description: str
    license: str
    citation: str
    source: dict[str, Any]
    protocol: str
    metric: str
    chance: float
    columns: dict[str, str] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    references: tuple[dict[str, Any], ...] = ()

    @property
    def higher_is_better(self) -> bool:
        """Whether the metric is no cost."""
        return self.metric not in COSTS

    @property
    def spec(self) -> ProtocolSpec:
        """What is said of its protocol."""
        return PROTOCOLS[self.protocol]

    @property
    def requests(self) -> frozenset[type[Request]]:
        """What the card asks of a model."""
        if name := self.spec.requests_by:
            return frozenset({REQUESTS_BY[name][str(self.setting(name))]})
        return self.spec.requests

    @property
    def modality(self) -> str:
        """What its items are: "text" or "image"."""
        is_said = "modality" in self.spec.settings
        return str(self.setting("modality")) if is_said else self.spec.modality

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the number: all but prose and the paths of the data.

        Data are identified by content: `source` holds the digest of a prepared folder, and each
        result stores the digest of the files that it read (`examples.source_digest`).
        """
        content = {k: v for k, v in asdict(self).items() if k not in _PROSE}
        content["source"] = _without_paths(self.source)
        content["higher_is_better"] = self.higher_is_better
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def setting(self, name: str) -> Any:
        """A setting of the protocol, or its default."""
        return self.settings.get(name, self.spec.settings[name])


def paths_of(named: str | list[str]) -> list[Path]:
    """What a card calls the files of a split: a path, or several."""
    return [Path(named)] if isinstance(named, str) else [*map(Path, named)]


def _without_paths(source: dict[str, Any]) -> dict[str, Any]:
    """The source of a card; of files only their splits, count and endings."""
    found = {k: v for k, v in source.items() if k != "prepared"}
    if "files" in found:
        endings = {s: [p.suffix for p in paths_of(named)] for s, named in found["files"].items()}
        found["files"] = endings
    return found


def load(path: Path) -> Card:
    """Reads a card from a YAML file.

    Raises:
        ValueError: a key is unknown, missing or of the wrong kind; the sentence names it.
    """
    found = _mapping(path)
    known = {f.name: f for f in fields(Card)}
    is_higher_better = found.pop("higher_is_better", None)  # cards had to say it once
    if strange := [name for name in found if name not in known]:
        is_setting = any(strange[0] in spec.settings for spec in PROTOCOLS.values())
        hint = " It is a setting: write it below `settings`." * is_setting
        raise ValueError(f"{path}: {unknown('key', strange[0], known)}{hint}")
    required = list(known)[: list(known).index("columns")]
    if missing := [k for k in required if k not in found]:
        raise ValueError(f"{path}: card must say {', '.join(missing)}. Got none instead.")
    if isinstance(found.get("references"), list):
        found["references"] = tuple(found["references"])
    card = Card(**found)
    for name, value in vars(card).items():
        if not isinstance(value, _KINDS[name]):
            kind = " or ".join(k.__name__ for k in _KINDS[name])
            raise ValueError(f"{path}: {name} must be of type {kind}. Got {value!r} instead.")
    _check(card, path)
    if is_higher_better not in (None, card.higher_is_better):
        raise ValueError(
            f"{path}: higher_is_better must be left out, or {card.higher_is_better} for "
            f"{card.metric}. Got {is_higher_better} instead."
        )
    return card


_TEXTS = ("name", "domain", "description", "license", "citation", "protocol", "metric")
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(("source", "columns", "templates", "settings", "sizes"), (dict,)),
    "version": (int,),
    "chance": (int, float),
    "references": (tuple,),
}


def names() -> list[str]:
    """Names of all cards that ship."""
    root = resources.shipped("benchmarks", "cards")
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def suites() -> list[str]:
    """Names of all suites that ship, and of the one of every card."""
    files = resources.shipped("benchmarks", "suites").glob("*.yaml")
    return sorted([_EVERY, *(path.stem for path in files)])


def find(name: str) -> Card:
    """The card of a name that ships, or of a path to a YAML file.

    Raises:
        ValueError: there is no such card.
    """
    if name in names():
        return load(resources.shipped("benchmarks", "cards", f"{name}.yaml"))
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ValueError(f"card file must exist. Got {name} instead.")
        return load(Path(name))
    raise ValueError(f"{unknown('card', name, names())} `tgp evaluate --list` shows all.")


def suite(name: str) -> list[Card]:
    """The cards of a suite that ships, or of a path to a YAML file with a list `cards`.

    The suite "all" has every card that ships.

    Raises:
        ValueError: there is no such suite.
    """
    if name == _EVERY:
        return [find(card) for card in names()]
    if name in suites():
        path = resources.shipped("benchmarks", "suites", f"{name}.yaml")
    elif name.endswith((".yaml", ".yml")) and Path(name).is_file():
        path = Path(name)
    else:
        raise ValueError(unknown("suite", name, suites()))
    found = _mapping(path)
    if set(found) - {"description", "cards"} or not isinstance(found.get("cards"), list):
        keys = ", ".join(found)
        raise ValueError(
            f"{path}: suite must have `description` and a list `cards`. Got {keys} instead."
        )
    return [find(card) for card in found["cards"]]


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")
        raise ValueError(f"{path} must be YAML. Got an error instead: {line}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must be a mapping of keys. Got {type(found).__name__} instead.")
    return found


def _check(card: Card, path: Path) -> None:
    def among(what: str, name: str, allowed: Iterable[str]) -> None:
        if name not in allowed:
            raise ValueError(f"{path}: {unknown(what, name, allowed)}")

    _check_types(card, path)
    among("domain", card.domain, DOMAINS)
    among("protocol", card.protocol, PROTOCOLS)
    spec = card.spec
    among("metric", card.metric, spec.metrics)
    _check_settings(card, path)
    allowed = [f.removesuffix("?") for f in spec.fields]
    for name in (*card.columns, *card.templates):
        among("field", name, allowed)
    for name in (*card.sizes, *card.source.get("splits", ()), *card.source.get("where", ())):
        among("split", name, SPLITS)
    said = {*card.columns, *card.templates}
    if missing := [f for f in spec.fields if not f.endswith("?") and f not in said]:
        raise ValueError(
            f"{path}: columns or templates must give {', '.join(missing)}. Got none instead."
        )
    _check_source(card, path)
    most = 1.0 if card.higher_is_better else float("inf")
    if not 0 <= card.chance < most:
        raise ValueError(
            f"{path}: chance must be what guessing scores in {card.metric}, at least 0 and below "
            f"{most:g}. Got {card.chance} instead."
        )
    positive = card.settings.get("positive")
    if card.metric == "f1" and positive in ("", None):
        raise ValueError(f"{path}: positive must name a label for f1. Got {positive!r} instead.")
    if card.name.split("/")[0] != card.domain:
        raise ValueError(f"{path}: name must start with {card.domain}/. Got {card.name} instead.")


def _check_settings(card: Card, path: Path) -> None:
    defaults = card.spec.settings
    for name, value in card.settings.items():
        if name not in defaults:
            raise ValueError(f"{path}: {unknown('setting', name, defaults)}")
        if str(value) not in CHOICES.get(name, (str(value),)):
            raise ValueError(f"{path}: {unknown(name, str(value), CHOICES[name])}")
    if wrong := card_settings.problem(card.settings, defaults):
        raise ValueError(f"{path}: {wrong}")


def _check_types(card: Card, path: Path) -> None:
    splits = card.source.get("splits", {})
    if not isinstance(splits, dict):
        raise ValueError(
            f"{path}: splits must be a mapping of our splits to the source's. "
            f"Got {splits!r} instead."
        )
    where = card.source.get("where", {})
    for what, said, kind in (
        ("columns", card.columns, str),
        ("templates", card.templates, str),
        ("sizes", card.sizes, int),
        ("where", where, str),
    ):
        if not isinstance(said, dict) or not all(type(v) is kind for v in said.values()):
            word = "expressions" if kind is str else "whole numbers"
            raise ValueError(f"{path}: {what} must give {word} by name. Got {said} instead.")
    if small := [size for size in card.sizes.values() if size < 1]:
        raise ValueError(f"{path}: sizes must be at least 1. Got {small[0]} instead.")


def _check_source(card: Card, path: Path) -> None:
    known = (*SOURCES, "revision", "config", "splits", "pairs", "where")
    if strange := [key for key in card.source if key not in known]:
        raise ValueError(f"{path}: {unknown('source key', strange[0], known)}")
    if len(set(card.source) & set(SOURCES)) != 1:
        raise ValueError(
            f"{path}: source must have one of {', '.join(SOURCES)}. Got {card.source} instead."
        )
    files = card.source.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(f, str | list) for f in files.values()):
        raise ValueError(
            f"{path}: files must give a path or several by split. Got {files} instead."
        )
    if strange := [split for split in files if split not in SPLITS]:
        raise ValueError(f"{path}: {unknown('split', str(strange[0]), SPLITS)}")
    pairs = card.source.get("pairs", {"same": [], "by": ""})
    if not isinstance(pairs, dict) or set(pairs) != {"same", "by"}:
        raise ValueError(
            f"{path}: pairs must have a list `same` and a column `by`. Got {pairs} instead."
        )

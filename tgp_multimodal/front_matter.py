"""The machine-readable head of a model card: the metadata of the Hugging Face Hub, in YAML.

Only what is known is stated: a license by name if all data share it, a language if the corpus is
the embedded one, and results only from result files of exactly these weights. The base is not: what
a run starts from is a folder, and its name need not be one of the hub.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

NOT_STATED = "not stated"  # what manifests say of pictures without a license
_HUB = "hub:"  # sources that are data sets of the hub: hub:owner/name[:config[:split]]
_FRESH = "random:"  # what an adapted model is called that started from random weights
_EMBEDDED = re.compile(r"embedded (train|validation|test) (\w+)")  # is in English
_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
# Licenses of data that the hub knows by the SPDX identifier in lower case.
_LICENSES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "gpl-2.0", "gpl-3.0",
    "isc", "lgpl-2.1", "lgpl-3.0", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "ofl-1.1",
    "osl-3.0", "postgresql", "unlicense", "wtfpl", "zlib",
}  # fmt: skip
# Kind of data -> sections of a config that learn from it; all streams where they name none, or
# those of the first section.
_SECTIONS = {"text": ("text", "passages"), "pictures": ("pictures", "captions")}
_LIKE_OTHERS = {"captions"}
# Metric -> task of the hub; what tells classes apart is named after the domain of the card.
_TASKS = {
    **dict.fromkeys(("bits_per_byte", "exact_match", "pass_at_1", "rouge_1"), "text-generation"),
    **dict.fromkeys(("accuracy_per_byte", "accuracy_per_character"), "multiple-choice"),
    **dict.fromkeys(("mrr", "ndcg_at_10", "recall_at_1"), "text-ranking"),
    **dict.fromkeys(("pearson", "spearman"), "sentence-similarity"),
    "f1_strict": "token-classification",
    "mean_axis_accuracy": "text-to-image",
}
_CLASSES = {
    "accuracy", "curve_accuracy", "f1", "group_micro_f1", "macro_f1", "matthews", "micro_f1",
}  # fmt: skip


def front_matter(task: str, name: str, facts: Mapping[str, Any]) -> str:
    """What stands between two lines of `---` at the top of the README.

    Args:
        task: what the model is for, in the hub's words.
        name: of the model.
        facts: as of `model_card`.
    """
    tags = ["tgp-multimodal", "qwen3", "sentence-transformers"]
    if task == "text-to-image":
        tags += ["diffusers", task]
    said = {
        "library_name": "transformers",
        "pipeline_tag": task,
        "license": _license(facts),
        "language": "en" if _is_embedded(facts) else None,
        "datasets": [*dict.fromkeys(filter(None, map(_dataset, _names(facts))))],
        "tags": tags,
        "model-index": _model_index(name, own_results(facts)),
    }
    known = {key: value for key, value in said.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000)}---"


def own_results(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Benchmark rows of this model; none if it is adapted, as the facts then hold its base's."""
    return [] if facts.get("adapted") else [*(facts.get("results") or ())]


def base_model(facts: Mapping[str, Any]) -> str | None:
    """What the weights started from, as the user called it, if that is known."""
    if adapted := facts.get("adapted"):
        started = adapted.get("base")
    else:
        started = ((facts.get("config") or {}).get("model") or {}).get("init_from")
    return None if not started or started.startswith(_FRESH) else str(started)


def sources(facts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Each source with the kind of its data, and whether the run learned from its stream.

    A source of pictures that states no license has what those of its stream state. Where a column
    put its rows into several streams, it counts with all of them.

    Args:
        facts: as of `model_card`.
    """
    for kind, manifest in (facts.get("data") or {}).items():
        learned = _streams(facts, kind)
        for source in manifest.get("sources", []):
            streams = _streams_of(source, manifest)
            license = source.get("license") or _of_pictures(streams, manifest.get("quality", {}))
            is_learned = learned is None or not learned.isdisjoint(streams)
            yield kind, {**source, "license": license}, is_learned


def _streams_of(source: Mapping[str, Any], manifest: Mapping[str, Any]) -> set[Any]:
    """The streams that rows of a source may be in: its own, or else all (a column names them)."""
    stream = source.get("stream")
    there = manifest.get("streams") or [stream]
    return {stream} if stream in there else set(there)


def _streams(facts: Mapping[str, Any], kind: str) -> set[str] | None:
    """The streams of one kind that the config of the run learns from; None for all."""
    config = (facts.get("config") or {}).get("data")
    if not isinstance(config, Mapping):
        return None
    found: set[str] = set()
    for name in _SECTIONS.get(kind, (kind,)):
        section = config.get(name)
        if not isinstance(section, Mapping):
            continue
        if not section.get("weights") and not section.get("docstrings"):
            if name in _LIKE_OTHERS:
                continue
            return None
        for named in ("weights", "docstrings"):
            found |= {stream for stream, share in (section.get(named) or {}).items() if share}
    return found


def _of_pictures(streams: set[Any], quality: Mapping[str, Any]) -> Any:
    """How many pictures of some streams state which license; None where none does."""
    stated: Counter[str] = Counter()
    for stream in sorted(map(str, streams)):
        stated.update((quality.get(stream) or {}).get("licenses") or {})
    return dict(stated) if set(stated) - {NOT_STATED} else None


def _learned(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (source for _, source, is_learned in sources(facts) if is_learned)


def _names(facts: Mapping[str, Any]) -> list[str]:
    return [str(source["name"]) for source in _learned(facts) if source.get("name")]


def _is_embedded(facts: Mapping[str, Any]) -> bool:
    names = _names(facts)
    return bool(names) and all(map(_EMBEDDED.fullmatch, names))


def _license(facts: Mapping[str, Any]) -> str | None:
    """The license of all sources; `other` if they differ or one is unknown, None if no source."""
    stated = [one for source in _learned(facts) for one in _stated(source.get("license"))]
    if not stated:
        return None
    shared = str(stated[0]).lower()
    is_shared = all(str(one).lower() == shared for one in stated)
    return shared if is_shared and shared in _LICENSES else "other"


def _stated(license: Any) -> list[Any]:
    """The licenses of one source: one, or of each part, or how many rows have which."""
    if not isinstance(license, Mapping) or not license:
        return [license]
    return [key if isinstance(value, int) else value for key, value in license.items()]


def _dataset(name: str) -> str | None:
    """A source as the hub writes data sets; None of a file here, whose name means another there."""
    if name.startswith(_HUB):
        found = name.removeprefix(_HUB).partition(":")[0]
        return found if _ID.fullmatch(found) else None
    return _EMBEDDED.sub(r"embedded-\2", name) if _EMBEDDED.fullmatch(name) else None


def _id(name: str) -> str:
    """A name in the letters that the hub has for names."""
    return re.sub(r"-+", "-", re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)).strip("-.") or "data"


def _model_index(name: str, rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [
        {
            "task": {"type": _task(row["card"], row["metric"])},
            "dataset": {"type": _id(row["card"]), "name": row["card"], "split": "test"},
            "metrics": [
                {"type": row["metric"], "value": float(row["value"]), "name": _metric(row)}
            ],
        }
        for row in rows
    ]
    return [{"name": name, "results": found}] if found else []


def _task(card: str, metric: str) -> str:
    if metric in _CLASSES:
        return f"{'image' if card.startswith('image/') else 'text'}-classification"
    return _TASKS.get(metric, "other")


def _metric(row: Mapping[str, Any]) -> str:
    items = f"{row['n']} items" + (", limited" if row.get("limit") else "")
    return f"{row['metric']}, 95 % interval {row['low']:.3f} to {row['high']:.3f}, {items}"

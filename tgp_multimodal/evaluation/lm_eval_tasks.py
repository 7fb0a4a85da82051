"""Task files of lm-evaluation-harness as cards of ours.

What a YAML says as data is translated (prompts, choices, targets, few-shot split, metrics, local
files or a hub name); what it says as code is refused, and the error names the key. Compared with
lm-eval itself, number by number, in `tests/peers/test_lm_eval_tasks.py`.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, TemplateSyntaxError, nodes

from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import FORMATS, Examples
from tgp_multimodal.names import unknown

# Keys that decide no number.
_PROSE = (
    *("task", "task_alias", "tag", "metadata", "should_decontaminate", "group", "group_alias"),
    *("doc_to_decontamination_query", "canonical_task", "task_pretty_name", "include"),
)
_DATA = ("dataset_path", "dataset_name", "dataset_kwargs")
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
_PROMPT = (
    *("doc_to_text", "doc_to_target", "doc_to_choice", "description"),
    *("target_delimiter", "fewshot_delimiter", "num_fewshot", "fewshot_config"),
)
_SCORES = ("output_type", "metric_list", "generation_kwargs", "filter_list", "repeats")
_KNOWN = (*_PROSE, *_DATA, *_SPLITS, *_PROMPT, *_SCORES)
# Keys of lm-eval's that take code, or what no card of ours has; false or empty they do no harm.
_REFUSED = (
    *("process_docs", "process_results", "custom_dataset", "use_prompt", "doc_to_image"),
    *("doc_to_audio", "unsafe_code", "gen_prefix"),
)
_METRICS = {
    "multiple_choice": {
        "acc": "accuracy",
        "acc_norm": "accuracy_per_character",
        "acc_bytes": "accuracy_per_byte",
    },
    "loglikelihood": {"acc": "accuracy", "perplexity": ""},
    "loglikelihood_rolling": {
        "bits_per_byte": "bits_per_byte",
        "byte_perplexity": "",
        "word_perplexity": "",
    },
    "generate_until": {"exact_match": "exact_match"},
}
_DEFAULT_TOKENS = 256
_PLAIN = Environment()  # parses, and renders nothing


class Code(NamedTuple):
    """A value that a YAML gives as `!function module.name`."""

    name: str


_Loader: Any = type("_Loader", (yaml.SafeLoader,), {})
_Loader.add_constructor("!function", lambda loader, node: Code(f"!function {node.value}"))


def load(path: Path) -> Card:
    """Translates one task file.

    The card's test split is the task's test split, or else its validation split; its training split
    is where few-shot examples are from. Of several metrics the first is the headline, and the
    details hold the others. Two things differ from lm-eval: its sampler draws the examples of all
    items from one random stream, while ours are a function of the item (`sampling: first` is the
    same in both), and a prompt never holds its own item.

    The test items are read once, for the chance level and to check that each can be rendered.

    Raises:
        ValueError: the file is no task, or has something that cannot be translated.
    """
    task = {key: value for key, value in _read(path).items() if value is not None}
    name = str(task.get("task"))

    def refuse(key: str, wanted: str, value: Any) -> ValueError:
        got = value.name if isinstance(value, Code) else repr(value)
        return ValueError(f"{path}: {key} must be {wanted}. Got {got} instead.")

    _check_keys(path, task, refuse)
    kind = str(task.get("output_type", "generate_until"))
    if kind not in _METRICS:
        raise ValueError(f"{path}: {unknown('output_type', kind, _METRICS)}")
    source, has_shots = _source(task, refuse), bool(task.get("num_fewshot"))
    card = Card(
        name=f"text/lm_eval_{re.sub('[^A-Za-z0-9_.+-]+', '-', name)}",
        version=_version(task, refuse),
        domain="text",
        description=f"The task {name} of a task file of lm-eval, as `{kind}`"
        + (f", behind {task['num_fewshot']} solved examples." if has_shots else "."),
        license="not stated in the task file",
        citation=f"lm-eval task file {path.name}",
        source=source,
        chance=0.0,
        **_TRANSLATE[kind](task, refuse),
    )
    return _with_chance(card)


def _read(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The task with what it includes, its own keys first; `within`: files that include it."""
    if not path.is_file():
        raise ValueError(f"lm_eval_task must be a file. Got {path} instead.")
    if (place := path.resolve()) in within:
        raise ValueError(f"include must not lead back to its own file. Got {path} instead.")
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - safe
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")
        raise ValueError(f"{path} must be YAML. Got an error instead: {line}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must be a mapping of keys. Got {type(found).__name__} instead.")
    includes = found.get("include") or []
    for base in [includes] if isinstance(includes, str) else includes:
        found = {**_read(path.parent / base, (*within, place)), **found}
    return found


Refuse = Callable[[str, str, Any], ValueError]


def _check_keys(path: Path, task: dict[str, Any], refuse: Refuse) -> None:
    if not isinstance(task.get("task"), str):
        raise refuse("task", "the name of one task", task.get("task"))
    for key, value in task.items():
        if key in _REFUSED:
            if value:
                raise refuse(key, "left out, for a card holds no code and no such field", value)
        elif key not in _KNOWN:
            raise ValueError(f"{path}: {unknown('key', str(key), _KNOWN)}")
        elif isinstance(value, Code):
            raise refuse(key, "data, for a card holds no code", value)
    _check_values(task, refuse)


def _check_values(task: dict[str, Any], refuse: Refuse) -> None:
    if task.get("repeats", 1) != 1:
        raise refuse("repeats", "1", task["repeats"])
    for key in ("metric_list", "filter_list"):
        for one in task.get(key) or ():
            if not isinstance(one, dict):
                raise refuse(key, "a list of mappings", one)
    if not isinstance(task.get("fewshot_config") or {}, dict):
        raise refuse("fewshot_config", "a mapping", task["fewshot_config"])
    for one in task.get("filter_list") or ():
        if one.get("filter") != [{"function": "take_first"}]:
            raise refuse("filter_list", "left out, or take_first alone", one)


def _version(task: dict[str, Any], refuse: Refuse) -> int:
    metadata = task.get("metadata")
    version = metadata.get("version") if isinstance(metadata, dict) else None
    try:
        return max(1, int(float(version))) if version is not None else 1
    except (TypeError, ValueError):
        raise refuse("metadata.version", "a number", version) from None


def _source(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """Local files by split, or a name on the hub."""
    test = task.get("test_split") or task.get("validation_split")
    if not test:
        raise refuse("test_split", "named, or validation_split", test)
    config = task.get("fewshot_config") or {}
    drawn = config.get("split") or task.get("fewshot_split")
    train = drawn or task.get("training_split") or task.get("validation_split") or test
    splits = {"test": str(test), "train": str(train)}
    where, given = str(task.get("dataset_path")), task.get("dataset_kwargs") or {}
    if strange := set(given) - {"data_files", "data_dir", "cache_dir", "trust_remote_code"}:
        raise refuse("dataset_kwargs", "data_files or data_dir", min(strange))
    named = given.get("data_files")
    if where in FORMATS:
        if not isinstance(named, dict):
            raise refuse("dataset_kwargs.data_files", "a mapping of splits to files", named)
        files = {own: _listed(named.get(theirs)) for own, theirs in splits.items()}
    elif Path(where).is_dir():
        folder = Path(where) / str(given.get("data_dir", ""))
        files = {own: _of_split(folder, theirs) for own, theirs in splits.items()}
    else:
        source = {"hub": where, "splits": splits}
        return source | ({"config": task["dataset_name"]} if task.get("dataset_name") else {})
    for own, found in files.items():
        if not found:
            raise refuse(f"the split {splits[own]!r}", f"among the files of {where}", found)
    return {"files": files}


def _listed(files: Any) -> list[str]:
    several = [files] if isinstance(files, str) else list(files or ())
    return [str(Path(file).resolve()) for file in several]


def _of_split(folder: Path, split: str) -> list[str]:
    """The files `<split>.<ending>` and `<split>-00000-of-00001.<ending>` of a folder."""
    pattern = re.compile(rf"{re.escape(split)}([-._].*)?\.({'|'.join(FORMATS)})$")
    places = [p for part in (folder, folder / "data") if part.is_dir() for p in part.iterdir()]
    return sorted(str(p.resolve()) for p in places if pattern.fullmatch(p.name))


def _metric(task: dict[str, Any], kind: str, refuse: Refuse) -> str:
    """Ours for the first of the task's metrics that can be a headline."""
    known, found = _METRICS[kind], []
    for one in task.get("metric_list") or [{"metric": name} for name in known]:
        name = one.get("metric")
        if isinstance(name, Code) or name not in known:
            raise refuse("metric_list", f"of {', '.join(known)}", name)
        changed = {k: v for k, v in one.items() if k not in ("metric", "higher_is_better") and v}
        if changed.get("aggregation", "") in ("mean", name, "perplexity"):
            changed.pop("aggregation", None)
        if changed:
            key = min(changed)
            raise refuse(f"metric_list.{name}.{key}", "left out", changed[key])
        found.append(known[name])
    headlines = [name for name in found if name]
    if not headlines:
        wanted = " or ".join(theirs for theirs, ours in known.items() if ours)
        raise refuse("metric_list", f"a list with {wanted}", task.get("metric_list"))
    return headlines[0]


def _shots(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    count = task.get("num_fewshot") or 0
    if type(count) is not int or count < 0:
        raise refuse("num_fewshot", "a number of examples", count)
    config = dict(task.get("fewshot_config") or {})
    sampler = config.pop("sampler", "default")
    config.pop("split", None)
    if config and count:
        raise refuse(f"fewshot_config.{min(config)}", "left out", config[min(config)])
    if sampler not in ("default", "first_n"):
        raise refuse("fewshot_config.sampler", "default or first_n", sampler)
    if not count:
        return {}
    separator = str(task.get("fewshot_delimiter", "\n\n"))
    sampling = "first" if sampler == "first_n" else "per_item"
    return {"shots": count, "sampling": sampling, "separator": separator}


class _Said(NamedTuple):
    """Where fields are from: `columns` and `templates` of a card."""

    columns: dict[str, str]
    templates: dict[str, str]

    def add(self, field: str, said: str) -> None:
        """A column's name, or a template."""
        is_name = said.isidentifier()
        (self.columns if is_name else self.templates)[field] = said

    def preamble(self, task: dict[str, Any]) -> dict[str, Any]:
        """The setting `preamble` of a description that is the same for all items."""
        text = str(task.get("description") or "")
        if "{{" in text or "{%" in text:
            self.templates["preamble"] = text
            return {}
        return {"preamble": text} if text else {}


def _text(task: dict[str, Any], key: str, refuse: Refuse) -> str:
    value = task.get(key)
    if not isinstance(value, str):
        raise refuse(key, "a column or a template", value)
    return value


def _expression(said: str) -> str | None:
    """What stands in the one {{ }} that a template is; None where it is more than that."""
    try:
        body = _PLAIN.parse(said).body
    except TemplateSyntaxError:
        return None
    inside = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
    if len(inside) != 1 or isinstance(inside[0], nodes.TemplateData):
        return None
    return re.sub(r"^\{\{-?|-?\}\}$", "", said.strip()).strip()


def _choices(task: dict[str, Any], refuse: Refuse) -> str:
    """The list of choices, each as a text, as an expression."""
    said = task.get("doc_to_choice")
    if isinstance(said, dict):
        said = list(said.values())
    if isinstance(said, list):
        return json.dumps([*map(str, said)], ensure_ascii=False)
    found = said if isinstance(said, str) and said.isidentifier() else None
    found = found or (_expression(said) if isinstance(said, str) else None)
    if found is None:
        raise refuse("doc_to_choice", "a column, a list, or one {{ expression }}", said)
    is_list = f"({found}) is sequence and ({found}) is not string"
    return f"({found})|map('string')|list if {is_list} else ({found})"


def _answer(task: dict[str, Any], choices: str, refuse: Refuse) -> str:
    """The place of the right choice as an expression: a number, its digits, or the choice."""
    said = task.get("doc_to_target")
    if type(said) is int:
        return str(said)
    if isinstance(said, str) and said.isdigit():
        return said
    if isinstance(said, str) and said.isidentifier():
        number = f"{said} is integer or {said} is boolean"
        return f"{said}|int if {number} else ({choices}).index({said})"
    found = _expression(said) if isinstance(said, str) else None
    if found is None:
        raise refuse("doc_to_target", "a column, a number, or one {{ expression }}", said)
    word = f"(({found})|string)"
    return f"{word}|int if {word}.isdigit() else ({choices}).index{word}"


def _multiple_choice(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    said, choices = _Said({}, {}), _choices(task, refuse)
    said.add("prompt", _text(task, "doc_to_text", refuse))
    said.columns.update(choices=choices, answer=_answer(task, choices, refuse))
    settings = {"delimiter": str(task.get("target_delimiter", " ")), **_shots(task, refuse)}
    settings |= said.preamble(task)
    metric = _metric(task, "multiple_choice", refuse)
    return {"protocol": "multiple_choice", "metric": metric, "settings": settings, **said._asdict()}


def _loglikelihood(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    if _shots(task, refuse):
        raise refuse("num_fewshot", "0 where output_type is loglikelihood", task["num_fewshot"])
    if task.get("description"):
        raise refuse("description", "left out where it is loglikelihood", task["description"])
    said = _Said({}, {})
    said.add("context", _text(task, "doc_to_text", refuse))
    said.add("target", _text(task, "doc_to_target", refuse))
    metric = _metric(task, "loglikelihood", refuse)
    # lm-eval puts no delimiter before what it scores here; the target has its own.
    settings = {"delimiter": ""}
    return {"protocol": "last_word", "metric": metric, "settings": settings, **said._asdict()}


def _rolling(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    if _shots(task, refuse):
        raise refuse("num_fewshot", "0 where it is loglikelihood_rolling", task["num_fewshot"])
    said = _Said({}, {})
    said.add("text", _text(task, "doc_to_target", refuse))
    metric = _metric(task, "loglikelihood_rolling", refuse)
    return {"protocol": "perplexity", "metric": metric, **said._asdict()}


def _generate(task: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    if task.get("doc_to_choice") is not None:
        raise refuse("doc_to_choice", "left out of generate_until", task["doc_to_choice"])
    said, target = _Said({}, {}), _text(task, "doc_to_target", refuse)
    said.add("prompt", _text(task, "doc_to_text", refuse))
    found = target if target.isidentifier() else _expression(target)
    if found is None:
        raise refuse("doc_to_target", "a column or one {{ expression }}", target)
    is_list = f"({found}) is sequence and ({found}) is not string"
    said.columns["references"] = f"({found}) if {is_list} else [({found})|string]"
    given = dict(task.get("generation_kwargs") or {})
    kwargs = {key: value for key, value in given.items() if value is not None}
    separator = str(task.get("fewshot_delimiter", "\n\n"))
    stop = kwargs.pop("until", [separator])
    most = int(kwargs.pop("max_gen_toks", _DEFAULT_TOKENS))
    for key, value in kwargs.items():
        if key not in ("do_sample", "temperature") or value:
            raise refuse(f"generation_kwargs.{key}", "left out, for writing is greedy", value)
    settings = {"max_tokens": most, "stop": [stop] if isinstance(stop, str) else list(stop)}
    settings |= {"delimiter": str(task.get("target_delimiter", " ")), "strip": False}
    settings |= {**_shots(task, refuse), **said.preamble(task)}
    metric = _metric(task, "generate_until", refuse)
    return {"protocol": "generation", "metric": metric, "settings": settings, **said._asdict()}


_TRANSLATE: dict[str, Callable[[dict[str, Any], Refuse], dict[str, Any]]] = {
    "multiple_choice": _multiple_choice,
    "loglikelihood": _loglikelihood,
    "loglikelihood_rolling": _rolling,
    "generate_until": _generate,
}


def _with_chance(card: Card) -> Card:
    """The card with what guessing scores; every test item has been rendered then."""
    test = Examples(card).test
    if card.protocol == "perplexity":
        return replace(card, chance=8.0)
    if card.protocol != "multiple_choice":
        return card
    prompts: Iterable[Any] = (e.fields["prompt"] for e in test)
    if strange := [p for p in prompts if not isinstance(p, str) or p.isdigit()]:
        raise ValueError(
            f"{card.citation}: doc_to_text must be a text, for a number there stands for one of"
            f" several contexts. Got {strange[0]!r} instead."
        )
    shares = [1 / len(e.fields["choices"]) for e in test]
    return replace(card, chance=round(sum(shares) / len(shares), 4))

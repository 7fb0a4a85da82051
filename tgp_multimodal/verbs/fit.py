"""`tgp fit`: LightningCLI."""

import os
import re
import shlex
import sys
from argparse import ArgumentError
from itertools import pairwise
from pathlib import Path
from typing import Any

from tgp_multimodal.resources import shipped_config
from tgp_multimodal.training.sizes import SIZES

_CONFIG, _SIZE, _START = ("-c", "--config"), ("--size",), ("--init_from",)


def run(argv: list[str]) -> None:
    """Pretrains from a YAML config.

    Args:
        argv: what stands behind `tgp fit`.
    """
    from tgp_multimodal.training.run import NothingLeft
    from tgp_multimodal.training.run import run as run_cli

    sys.path.append(str(Path.cwd()))  # configs may name classes of files there, as for a script
    options = with_configs(argv)
    try:
        cli = run_cli(["fit", *options])
    except NothingLeft as end:
        _say(
            f"no step was left to do: {end.checkpoint} is at step {end.step} and trainer.max_steps "
            f"is {end.steps}"
        )
        raise
    except ArgumentError as error:
        if said := _without_network(str(error), options):
            raise ValueError(said) from None
        raise
    folder = cli.trainer.default_root_dir
    if cli.stop.stopped:
        same = f"tgp fit {shlex.join(argv)} --ckpt_path last"
        _say(f"stopped and saved at step {cli.trainer.global_step}; go on with: {same}")
        raise SystemExit(cli.stop.exit_status)
    if cli.trainer.is_global_zero:
        is_old = (Path(folder) / "export").is_dir()
        told = f"{folder}/export is of an earlier step; export" if is_old else "export"
        print(f"the run lies in {folder}; {told} it with: tgp export {folder}")


def with_configs(options: list[str]) -> list[str]:
    """The options behind all configs, which they override wherever they stand.

    First comes the config that these build on: the shipped one of the size, from `--size` or else
    from the key `size` of the last YAML that has it; nano where no config is given at all. The
    network of `--init_from`, or of the key `init_from`, comes next, and then what a size trains on
    in a folder of one's own.

    Args:
        options: the words after `tgp fit`.
    """
    if {"-h", "--help"} & set(options):
        return options
    paths, options = _apart(options)
    configs = [word for path in paths for word in ("--config", path)]
    sizes = _values(options, _SIZE) or _values_in_files(paths, "size")
    folders = _values(options, _START) or _values_in_files(paths, "init_from")
    start = None
    if sizes:
        start = shipped_config(f"{sizes[-1]}.yaml")  # of no such size: the parser says so
    elif not paths:
        start = shipped_config("nano.yaml")
    network = _network(folders[-1]) if folders else []
    if start is None:
        return [*network, *configs, *options]
    own = _of_data(start, options, paths, bool(folders)) if start.stem in SIZES else []
    return ["--config", str(start), *network, *own, *configs, *options]


def _of_data(size: Path, options: list[str], paths: list[str], has_network: bool) -> list[str]:
    """What a size trains on in the folder that the options, or else a YAML of them, name."""
    sections = [section for section in _values_in_files(paths, "data") if isinstance(section, dict)]
    named = [str(section["folder"]) for section in sections if section.get("folder")]
    folder = [*named, *_values(options, ("--data.folder",))][-1:]
    if not folder:
        return []
    from tgp_multimodal.training import own_data

    found = own_data.choose(size, Path(os.path.expanduser(folder[0])))  # noqa: PTH111 (may fail)
    if found is None:
        return []
    said = {
        kind: section[kind] for section in sections for kind in own_data.KINDS if kind in section
    }
    if lacking := [kind for kind, value in said.items() if value and kind not in found.data]:
        there = " and ".join(kind for kind in own_data.KINDS if kind in found.data)
        raise ValueError(
            f"data.folder must hold {lacking[0]}, which a config is to learn from. "
            f"Got {folder[0]} with {there} alone instead."
        )
    if not any(said.values()):
        _say(found.told(said.keys()))  # an overlay says null of what it leaves out
    if has_network or not said.get("pictures", True):
        return found.words({"size"})  # that of the network, or of one that draws nothing
    models = _values_in_files(paths, "model")
    return found.words({name for name in ("size", "patch") if _is_of_head(name, options, models)})


def _is_of_head(name: str, options: list[str], models: list[Any]) -> bool:
    """Whether options or `model` sections of YAMLs have a setting of the head."""
    found = [*models]
    for key in ("network", "init_args", "head", "init_args", name):
        found = [part[key] for part in found if isinstance(part, dict) and key in part]
    option = re.compile(rf"--model\..*\bhead\.(init_args\.)?{name}(=|$)")
    return bool(found) or any(map(option.match, options))


def _says_parts(model: Any) -> bool:
    """Whether a `model` section of a YAML has a network with parts of its own."""
    network = model.get("network") if isinstance(model, dict) else None
    return isinstance(network, dict) and bool(network.get("init_args"))


def _network(folder: str) -> list[str]:
    """The network of a folder, as a config."""
    import json

    from tgp_multimodal.training.start import network_settings

    network = network_settings(Path(folder))
    return ["--config", json.dumps({"model": {"network": network}})]


def _without_network(refusal: str, options: list[str]) -> str | None:
    """What to say of configs that leave the network to the options, if the parser misses one."""
    is_missing = "required: " in refusal and "model.network" in refusal
    paths = _values(options, _CONFIG)
    is_said = _values(options, (*_SIZE, *_START)) or any(
        _values_in_files(paths, name) for name in ("size", "init_from")
    )
    if not is_missing or is_said or any(map(_says_parts, _values_in_files(paths, "model"))):
        return None
    configs = ", ".join(paths)
    return (
        "a network must be given: by --size, by --init_from, or as model.network of a config. "
        f"Got {configs} without a whole one instead."
    )


def _values(options: list[str], names: tuple[str, ...]) -> list[str]:
    """Values of an option, given as `--name value` or `--name=value`, in their order."""
    found = []
    for before, word in pairwise(["", *options]):
        name, equals, value = word.partition("=")
        if before in names:
            found.append(word)
        elif equals and name in names:
            found.append(value)
    return found


def _apart(options: list[str]) -> tuple[list[str], list[str]]:
    """Paths of the configs, those of shipped ones in the place of their names; all other words."""
    paths, others = list[str](), list[str]()
    words = iter(options)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _CONFIG:
            others.append(word)
        elif given := value if equals else next(words, ""):
            paths.append(_path(given))
        else:
            others.append(word)  # the parser says what is wrong
    return paths, others


def _path(given: str) -> str:
    """The given path; where no file is there, that of the shipped config of the name, if any."""
    path = Path(given)
    if given.lstrip().startswith("{") or path.is_file():
        return given
    config = shipped_config(path)
    if config is None:
        return given
    _say(f"no file {given} here; reading {config}")
    return str(config)


def _say(message: str) -> None:
    """Speaks once for all the processes that a run starts on a machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(message, file=sys.stderr)


def _values_in_files(paths: list[str], name: str) -> list[Any]:
    """What the YAML files say under a key of the first level.

    Raises:
        ValueError: a file is no YAML; the parser of the configs would not say which one.
    """
    import yaml

    found = []
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            raise ValueError(
                f"{path} must be valid YAML. Got this instead: {error.problem}{place}."
            ) from None
        except (OSError, ValueError, yaml.YAMLError):
            continue  # the parser says what is wrong
        if isinstance(content, dict) and content.get(name):
            found.append(content[name])
    return found

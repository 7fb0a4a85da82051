"""Turns what goes wrong at the command line into one sentence.

The grammar is `<name> must be <constraint>. Got <value> instead.`; a name that does not exist is
answered with the names that do and the closest of them. Our own errors have that form already;
argparse's and jsonargparse's, many lines with the key in one and the reason in another, are put
into it here. What no pattern fits is still joined into one line.
"""

import argparse
import difflib
import importlib
import inspect
import re
import shlex
import sys
import traceback
import types
import typing
from pathlib import Path
from typing import Any

from tgp_multimodal.names import unknown
from tgp_multimodal.requirements import advice

_PACKAGE = "tgp_multimodal"
_LONGEST = 1000

_PLAIN = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}

_MISTAKES = ("MisconfigurationException",)  # Lightning's errors that are its user's

# What options of `tgp fit` are called by other trainers.
_ELSEWHERE = {
    "batch": "--data.text.batch",
    "batch_size": "--data.text.batch",
    "learning_rate": "--model.optimizer.muon_lr",
    "epochs": "--trainer.max_steps",
    "num_train_epochs": "--trainer.max_steps",
    "seed": "--seed_everything",
    "output": "--trainer.default_root_dir",
    "output_dir": "--trainer.default_root_dir",
}

_SUBPARSERS = argparse._SubParsersAction

_KEY = re.compile(r'Parser key "([^"]+)"(?: element \d+)?:')
_CLASS = re.compile(r"Problem with given class_path '([^']+)':")
_STEP = re.compile(f"{_KEY.pattern}|{_CLASS.pattern}")
_REFUSED = re.compile(r"(?:Group '([^']+)' )?(?:does not accept option|Option) '([^']+)'")
_GOT = re.compile(r"(?:Got|Given) value: (.*)")
_NOT_MET = re.compile(r"Requirement '([^']+)' not met")  # of Lightning's loggers
# Packages whose classes a config may name; Lightning's are given by their bare name.
_PLACES = (_PACKAGE, *(f"lightning.pytorch.{p}" for p in ("callbacks", "loggers", "profilers")))


def sentence(error: BaseException, program: str) -> str | None:
    """One line for a mistake of the user's; None for a bug, which deserves its traceback."""
    line: str | None
    if isinstance(error, ValueError | ImportError | argparse.ArgumentError) and (
        found := _NOT_MET.search(str(error))
    ):
        line = f"{found[1]} must be installed. Got no such package instead; pip install "
        line += shlex.quote(found[1])
    elif isinstance(error, argparse.ArgumentError):
        line = parser_sentence(str(error), _parser_of(error), program)
    elif isinstance(error, ModuleNotFoundError):
        line = _missing_package(error)
    elif isinstance(error, OSError):
        line = _file_sentence(error)
    elif isinstance(error, ValueError):
        line = str(error) if _is_ours(error) else f"{error} (--debug shows where)"
    elif type(error).__name__ in _MISTAKES:
        line = f"{error} (--debug shows where)"
    else:
        return None
    return None if line is None else one_line(line)


def one_line(text: str) -> str:
    """The text without line breaks and double spaces; if very long without its middle.

    The end stays, because the name that was meant stands there.
    """
    joined = " ".join(text.split())
    if len(joined) <= _LONGEST:
        return joined
    return f"{joined[: _LONGEST * 3 // 4].rstrip()} ... {joined[-_LONGEST // 4 :].lstrip()}"


def parser_sentence(message: str, parser: argparse.ArgumentParser | None, program: str) -> str:
    """What argparse or jsonargparse said, in our grammar.

    Args:
        message: the text of the `ArgumentError`: several lines, from the outermost key inwards.
        parser: the parser that complained, for the names that it knows.
        program: what the user typed, for example "tgp draw".
    """
    options, keys = _names(parser)
    if found := re.search(r"unrecognized arguments: (\S+)", message, re.IGNORECASE):
        name = found[1].partition("=")[0]
        if not name.startswith("-"):
            more = message[found.start(1) :].partition(" --")[0].strip()
            return f"arguments must be those of `{program} --help`. Got {more!r} besides instead."
        meant = _ELSEWHERE.get(name.lstrip("-").replace("-", "_")) if program == "tgp fit" else None
        return unknown(f"option of `{program}`", name, options, meant)
    if found := re.search(r"arguments? (?:is|are) required: (.*)", message):
        name = re.sub(r"\bfit\.", "", found[1])  # LightningCLI's sub-command
        return f"{name} must be given. Got nothing instead; `{program} --help` shows how."
    if found := _REFUSED.search(message):
        return _unknown_key(".".join(filter(None, found.groups())), message, keys)
    if found := re.search(r"argument (\S+): expected (.*) arguments?", message):
        return f"{found[1]} must have {found[2]} value. Got none instead."
    if found := re.search(r"File does not exist: '?([^'\n]+)'?", message):
        name = _path(message) or "path"
        return f"{name} must be an existing file. Got {_relative(found[1])} instead."
    if "Problems parsing config" in message:
        return f"config must be valid YAML. Got this instead: {message.partition(':')[2]}"
    if found := re.search(r"Unexpected config: ?(.*)", message):
        return (
            f"config must be keys with values. Got {found[1].strip() or 'an empty file'} instead."
        )
    return _value_sentence(message, parser)


def _unknown_key(name: str, message: str, keys: set[str]) -> str:
    classes = _CLASS.findall(message)
    if not classes:
        level, _, last = name.rpartition(".")
        siblings = {k for k in keys if k.rpartition(".")[0] == level}
        if last in ("class_path", "init_args") or not siblings:
            siblings = keys
        return unknown("config key", name, siblings)
    known = _parameters(classes[-1])
    return unknown(f"config key of {classes[-1].rpartition('.')[2]}", name, known)


def _value_sentence(message: str, parser: argparse.ArgumentParser | None) -> str:
    path = _path(message)
    wrong_class = re.search(r"has no attribute|No module named|Expected a dot import path", message)
    if path and wrong_class:
        given = re.findall(r"'class_path': '([^']+)'", message) or _CLASS.findall(message)
        name = (given or [message.rpartition(":")[2].strip()])[-1]
        close = _similar_classes(name)
        hint = f" Did you mean {close[0]}?" if close else ""
        return f"{path} must name a class. Got {name} instead.{hint}"
    got = _GOT.search(message)
    if path and got:
        value = got[1].strip()
        kind = _type_of(parser, path)
        if typing.get_origin(kind) is typing.Literal:
            return unknown(path, value, map(str, typing.get_args(kind)))
        return f"{path} must be {_type_name(kind) or _expected(message)}. Got {value} instead."
    return message


def _expected(message: str) -> str:
    reason = message[[m.end() for m in _STEP.finditer(message)][-1] :].strip().splitlines()[0]
    if found := re.match(r"Expected an? (?:<class '([^']+)'>|(.+?))\.? ?(?:Got value|$)", reason):
        return _PLAIN.get(found[1] or found[2], found[1] or found[2])
    if found := re.match(r"Not a valid subclass of (\w+)", reason):
        return f"a {found[1]} with nothing but class_path and init_args"
    return reason.partition(". Got value")[0]


def _path(message: str) -> str:
    """The full name of the wrong key: `model.network.init_args.text` of two nested complaints."""
    path = ""
    for step in _STEP.finditer(message):
        if step[1]:
            path = f"{path}.{step[1]}" if path else step[1]
        elif path:
            path += ".init_args"
    if not path and (found := re.match(r"argument (\S+):", message)):
        path = found[1].rstrip(",").lstrip("-")
    return path.removesuffix(".init_args")


def _names(parser: argparse.ArgumentParser | None) -> tuple[set[str], set[str]]:
    """Option strings and dotted keys of a parser and of its sub-commands."""
    options: set[str] = set()
    keys: set[str] = set()
    for action in parser._actions if parser else ():
        options.update(o for o in action.option_strings if o.startswith("--") and "+" not in o)
        keys.add(action.dest)
        if isinstance(action, _SUBPARSERS):
            for child in action.choices.values():
                more, below = _names(child)
                options |= more
                keys |= below
    hidden = ("help", "subcommand", "print_config", "print_shtab")
    options = {o for o in options if o == "--help" or not o.endswith(hidden)}
    return options, {k for k in keys if not k.endswith(hidden)}


def _type_of(parser: argparse.ArgumentParser | None, key: str) -> Any:
    for action in parser._actions if parser else ():
        if action.dest == key:
            return _without_none(getattr(action, "_typehint", None) or action.type)
        for child in action.choices.values() if isinstance(action, _SUBPARSERS) else ():
            if (kind := _type_of(child, key)) is not None:
                return kind
    return None


def _without_none(kind: Any) -> Any:
    """`Literal["a", "b"]` of `Literal["a", "b"] | None`, whose members are worth listing."""
    members = [k for k in typing.get_args(kind) if k is not type(None)]
    is_literal = len(members) == 1 and typing.get_origin(members[0]) is typing.Literal
    return members[0] if is_literal else kind


def _type_name(kind: Any) -> str | None:
    if kind is None:
        return None
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    names: list[str] = []
    for member in typing.get_args(kind) if is_union else (kind,):
        if typing.get_origin(member) is typing.Literal:
            names += map(str, typing.get_args(member))
        elif member is not type(None):
            name = member.__name__ if isinstance(member, type) else str(member)
            plain = name.replace("typing.", "").replace("pathlib.", "")
            names.append(_PLAIN.get(plain, plain))
    return " or ".join(names)


def _parser_of(error: BaseException) -> argparse.ArgumentParser | None:
    """The parser that raised, found in the traceback: LightningCLI hands its own to nobody."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        candidate = frame.f_locals.get("self")
        if found is None and isinstance(candidate, argparse.ArgumentParser):
            found = candidate
    return found


def _parameters(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    try:
        return list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    except (ImportError, AttributeError, ValueError, TypeError):
        return []


def _similar_classes(name: str) -> list[str]:
    """Loaded classes whose name is close to the wrong one, dotted if that was dotted."""
    paths: dict[str, str] = {}
    for module in [m for n, m in sys.modules.items() if n.startswith(_PLACES) and m]:
        for item in vars(module).values():
            if inspect.isclass(item) and item.__module__.startswith(_PLACES):
                path = f"{item.__module__}.{item.__name__}"
                is_there = path.startswith(name.rpartition(".")[0] or "?")
                if is_there or item.__name__ not in paths:
                    paths[item.__name__] = path
    close = difflib.get_close_matches(name.rpartition(".")[2], list(paths), n=3, cutoff=0.6)
    return [paths[c] if "." in name else c for c in close]


def _missing_package(error: ModuleNotFoundError) -> str | None:
    name = (error.name or "").partition(".")[0]
    if not name or name == _PACKAGE:
        return None
    return f"{name} must be installed. Got no such package instead{advice(name)}"


def _file_sentence(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"path must be an existing file or folder. Got {error.filename} instead."
    return f"{error.filename} must be usable. Got '{error.strerror}' instead."


def _is_ours(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith(_PACKAGE)


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path

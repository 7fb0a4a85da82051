"""Makes the parser of a verb: the function's signature gives options, its docstring the help."""

import argparse
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import docstring_parser
import jsonargparse

# A verb: returns an exit code, or None for 0.
Verb: typing.TypeAlias = Callable[..., int | None]


class _Formatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of descriptions and examples; says which words may be left out."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs == argparse.ONE_OR_MORE and not (action.required or action.option_strings):
            (name,) = self._metavar_formatter(action, default_metavar)(1)
            return f"[{name} ...]"
        return super()._format_args(action, default_metavar)


def parse(verb: str, function: Verb, argv: list[str]) -> dict[str, Any] | None:
    """The arguments that `argv` gives the verb; None if it asked for help, which is then printed.

    Raises:
        argparse.ArgumentError: `argv` does not fit.
    """
    try:
        return dict(vars(build_parser(verb, function).parse_args(_underscored(argv))))
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
        return None  # argparse has printed the help and leaves


def build_parser(verb: str, function: Verb) -> jsonargparse.ArgumentParser:
    """The parser of a verb: a parameter without default is an argument, one with default an option.

    Lists take several words (`tgp draw "a cat" "a dog"`), and a boolean is a bare flag;
    jsonargparse alone would ask for `'["a cat", "a dog"]'` and `--flag true`. A list that may be
    None can be left out even where it has no default.
    """
    description, helps, examples = _docstring(function)
    parser = jsonargparse.ArgumentParser(
        prog=f"tgp {verb}",
        description=description,
        epilog=examples,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    for name, parameter in inspect.signature(function).parameters.items():
        is_required = parameter.default is inspect.Parameter.empty
        extra = _kind(parameter.annotation, is_required)
        if not is_required:
            extra["default"] = parameter.default
        if isinstance(parameter.default, bool):
            extra = {"default": parameter.default, "action": jsonargparse.ActionYesNo}
        argument = name if is_required else f"--{name}"
        action = parser.add_argument(argument, help=helps.get(name), **extra)
        if is_required and type(None) in typing.get_args(parameter.annotation):
            # Not nargs="*": before Python 3.13 it is done, empty, when an option comes first.
            action.required = False
    return parser


def _kind(annotation: Any, is_required: bool) -> dict[str, Any]:
    plain = annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        plain = members[0] if len(members) == 1 else annotation
    if typing.get_origin(plain) is list:
        member = typing.get_args(plain)[0]
        if is_required:
            return {"type": member, "nargs": "+"}
        # `--text a --text b` means both; argparse alone would drop the first without a word.
        return {"type": member, "nargs": "*", "action": "extend"}
    # A text that may be None has no type: jsonargparse would read it as YAML, where "# x", "null"
    # and "~" are None.
    return {} if plain is str and not is_required else {"type": annotation}


def _docstring(function: Verb) -> tuple[str, dict[str, str], str | None]:
    """Description, help of each parameter, and examples."""
    text, _, examples = (inspect.getdoc(function) or "").partition("\nExamples:\n")
    parsed = docstring_parser.parse(text, style=docstring_parser.DocstringStyle.GOOGLE)
    helps = {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    return parsed.description or "", helps, f"examples:\n{examples.rstrip()}" if examples else None


def _underscored(argv: list[str]) -> list[str]:
    """`--max-tokens` is `--max_tokens`: both spellings are typed, one is documented."""
    cut = argv.index("--") if "--" in argv else len(argv)
    changed = []
    for word in argv[:cut]:
        name, equals, value = word.partition("=")
        is_option = name.startswith("--") and " " not in name
        changed.append("--" + name[2:].replace("-", "_") + equals + value if is_option else word)
    return changed + argv[cut:]

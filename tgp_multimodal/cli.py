"""The command line, `tgp VERB ...`: may import any layer, but imports nothing until a verb runs.

A verb is one function in `verbs/<verb>.py`. Its signature is its parser and its docstring is its
help: the first line, the `Args:` and the `Examples:` section. `fit` alone differs: LightningCLI
makes its parser, so its file offers `run(argv)`.

Exit codes: 0 success, 1 a failed check (`verify`, `reproduce`) or a bug (with its traceback), 2 a
user error (one line on stderr), 130 Ctrl-C, 141 the reader of standard output has closed it.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence

VERBS = {
    "quickstart": "prepare, pretrain, export, evaluate, draw: all of it in minutes, no download",
    "prepare": "turn raw text and pictures into tokenized, memory-mapped folders",
    "fit": "pretrain from a YAML config (LightningCLI)",
    "plot": "plot the curves of training runs",
    "write": "continue a text",
    "fill": "write what belongs between a prefix and a suffix",
    "chat": "talk with a model that was taught to answer",
    "draw": "draw pictures from prompts",
    "serve": "answer OpenAI's clients: completions, chat, embeddings, pictures",
    "search": "rank passages of files by meaning and by words",
    "adapt": "fine-tune an export on a task with few labels",
    "predict": "label a file with an adapted model",
    "export": "turn a checkpoint into one folder that stock libraries load",
    "evaluate": "score a model on benchmark cards",
    "leaderboard": "turn result files into tables and one HTML page",
    "verify": "check result files against their own records and digests",
    "reproduce": "measure a result again and say whether it is the same",
    "doctor": "say what is installed, what is fast here and what is missing",
}

# What other tools call some of them.
_ALSO_CALLED = {
    "train": "fit", "pretrain": "fit", "preprocess": "prepare", "tokenize": "prepare",
    "generate": "write", "complete": "write", "infill": "fill", "sample": "draw",
    "finetune": "adapt", "fine-tune": "adapt", "classify": "predict", "eval": "evaluate",
    "benchmark": "evaluate", "test": "evaluate", "demo": "quickstart", "info": "doctor",
}  # fmt: skip

_DEBUG = "--debug"
# Whoever runs a verb cannot act on what these say about one another.
_NOISY = (
    "torch|torchvision|torchmetrics|lightning|pytorch_lightning|transformers|diffusers|datasets|"
    "sentence_transformers|sklearn|grain|jsonargparse"
)
# FutureWarnings of these are attributed to the calling line, which may be one of ours.
_CHANGING = f"{_NOISY}|tgp_multimodal|accelerate|huggingface_hub|numpy|open_clip|pandas|peft|timm"
_PYTHONS = warnings.formatwarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = os.environ.get("TGP_DEBUG", "0") not in ("", "0") or _DEBUG in argv
    argv = [a for a in argv if a != _DEBUG]
    try:
        if not debug:
            _silence()
        code = _dispatch(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as error:
        if debug:
            raise
        print(f"\ntgp: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`tgp leaderboard | head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        from tgp_multimodal.messages import sentence

        line = sentence(error, program=" ".join(["tgp", *argv[:1]]))
        if line is None:
            raise
        print(f"tgp: {line}", file=sys.stderr)
        return 2


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:2], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] in ("-V", "--version"):
        from tgp_multimodal import __version__

        print(f"tgp {__version__}")
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        from tgp_multimodal.names import unknown

        raise ValueError(unknown("verb", verb, VERBS, _ALSO_CALLED.get(verb)))
    module = f"tgp_multimodal.verbs.{verb}"
    if verb == "fit":
        importlib.import_module(module).run(rest)
        return 0
    from tgp_multimodal.parsers import parse

    function = getattr(importlib.import_module(module), verb)
    values = parse(verb, function, rest)
    return 0 if values is None else int(function(**values) or 0)


def _help() -> str:
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "usage: tgp VERB [options]",
            "",
            "Pretrains one text transformer and one text-to-image head with no task in mind,",
            "and measures how well what they learned transfers.",
            "",
            *(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items()),
            "",
            "`tgp VERB --help` shows options and examples, `tgp --version` the version;",
            "`--debug` shows where an error comes from.",
        ]
    )


def _silence() -> None:
    """Hides library warnings meant for developers; `--debug` and `python -W` bring them back.

    Warnings of a user's own code (a class that a config names, a program that calls `main`) stay.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=rf"({_NOISY})(\.|$)")
        warnings.filterwarnings("ignore", category=FutureWarning, module=rf"({_CHANGING})(\.|$)")
        warnings.formatwarning = _format_warning


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """One line of what we or a library say; a user's own code is shown with its file and line."""
    import sysconfig
    from pathlib import Path

    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    known = ("<frozen ", f"{Path(__file__).parent}{os.sep}", *(f"{p}{os.sep}" for p in libraries))
    if not filename.startswith(known):
        return _PYTHONS(message, category, filename, lineno, line)
    return f"tgp: warning: {' '.join(str(message).split())}\n"

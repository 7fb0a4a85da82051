"""The front door: fast, and one clear line for every mistake."""

import importlib
import re
import shlex
import subprocess
import sys
import types
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Literal

import pytest

from tgp_multimodal import cli, messages, parsers
from tgp_multimodal.data.tokenizer import Tokenizer

VERB_FILES = Path(cli.__file__).parent / "verbs"
WRITTEN = [v for v in cli.VERBS if v != "fit" and (VERB_FILES / f"{v}.py").is_file()]
REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
HEAVY = {"torch", "numpy", "jsonargparse", "argparse", "difflib", "rich", "yaml", "inspect"}


def paint(
    prompts: list[str],
    steps: int = 20,
    size: int | None = None,
    kind: Literal["scene", "digit"] = "scene",
    cards: list[str] | None = None,
    sheet: bool = False,
    folder: Path = Path("out"),
) -> None:
    """Paints pictures.

    Args:
        prompts: what to paint.
        steps: how many
            steps to take.

    Examples:
        tgp draw "a red circle" --steps 5
    """
    if prompts == ["value"]:
        raise ValueError("prompt must be nice. Got value instead.")
    if prompts == ["file"]:
        Path("no/such/file").read_text(encoding="utf-8")
    if prompts == ["stdlib"]:
        int("x")
    if prompts == ["bug"]:
        raise RuntimeError("a bug")
    if prompts == ["stop"]:
        raise KeyboardInterrupt
    if prompts == ["package"]:
        __import__("gradio_is_not_here")
    print(prompts, steps, size, kind, cards, sheet, folder)


@pytest.fixture
def tgp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs the command line in this process, with `draw` replaced by `paint`."""
    module = types.ModuleType("tgp_multimodal.verbs.draw")
    module.draw = paint
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__spec__ = ModuleSpec(module.__name__, None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.delenv("TGP_DEBUG", raising=False)
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        monkeypatch.setenv(name, "error")

    def run(*argv: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            code = cli.main(argv)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_list_may_be_given_in_several_options(tgp):
    code, out, _ = tgp("draw", "a", "--cards", "x", "y", "--cards", "z")
    assert code == 0
    assert "['x', 'y', 'z']" in out


def test_verb_runs_with_both_spellings(tgp):
    code, out, err = tgp("draw", "a cat", "a dog", "--steps=3", "--cards", "x", "y", "--sheet")
    assert (code, err) == (0, "")
    assert out == "['a cat', 'a dog'] 3 None scene ['x', 'y'] True out\n"
    assert parsers._underscored(["--max-tokens=a-b", "--", "--a-b"]) == [
        "--max_tokens=a-b",
        "--",
        "--a-b",
    ]


def test_a_list_that_may_be_none_needs_no_word():
    def verb(folder: str, prompts: list[str] | None, steps: int = 1) -> None:
        """Does a thing."""

    parser = parsers.build_parser("verb", verb)
    for line, prompts in [("f --steps 2", None), ("f --steps 2 a b", ["a", "b"]), ("f a", ["a"])]:
        assert parser.parse_args(line.split()).prompts == prompts


@pytest.mark.parametrize("text", ["# x", "null", "---", "~", "1e3", "[1]", "{a: 1}", "", "true"])
def test_text_arrives_as_it_was_typed(text: str):
    def verb(
        folder: str, more: str | None = None, kind: str = "a", texts: list[str] | None = None
    ) -> None:
        """Does a thing."""

    line = [f"--more={text}", f"--kind={text}"]
    if text != "---":  # which alone looks like an option
        line = ["--more", text, "--kind", text, "--texts", text, "b", "--texts", text]
    found = parsers.build_parser("verb", verb).parse_args(parsers._underscored(["f", *line]))
    assert (found.more, found.kind) == (text, text)
    assert found.texts == (None if text == "---" else [text, "b", text])
    assert parsers.build_parser("verb", verb).parse_args(["f"]).more is None


def test_help_of_a_verb_comes_from_its_docstring(tgp):
    for argv in (["draw", "--help"], ["help", "draw"]):
        code, out, err = tgp(*argv)
        assert (code, err) == (0, "")
        assert "Paints pictures." in out
        assert "how many steps to take. (type: int, default: 20)" in out
        assert out.endswith('examples:\n    tgp draw "a red circle" --steps 5\n')


MISTAKES = {
    "train --steps 3": "verb must be one that exists. Got train instead*Did you mean fit?",
    "darw": "verb must be one that exists. Got darw instead*Did you mean draw?",
    "draw a --stesp 3": "option of `tgp draw` must be one that exists. Got --stesp instead;"
    "*Did you mean --steps?",
    "draw a --steps many": "steps must be a whole number. Got many instead.",
    "draw a --size x": "size must be a whole number. Got x instead.",
    "draw a --kind scnee": "kind must be one that exists. Got scnee instead; there are: digit,"
    " scene. Did you mean scene?",
    "draw a --steps": "--steps must have one value. Got none instead.",
    "draw": "prompts must be given. Got nothing instead; `tgp draw --help` shows how.",
    "draw value": "prompt must be nice. Got value instead. (--debug shows where)",
    "draw file": "path must be an existing file or folder. Got no/such/file instead.",
    "draw package": "gradio_is_not_here must be installed. Got no such package instead.",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(tgp, line: str):
    code, out, err = tgp(*shlex.split(line))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    start, _, end = MISTAKES[line].partition("*")
    assert err.startswith(f"tgp: {start}")
    assert err.rstrip().endswith(end)


def test_a_number_or_a_word():
    def verb(rate: float | Literal["auto"] = "auto", kind: Literal["a", "b"] | None = None) -> None:
        """Does a thing."""

    for word, told in [
        ("fast", "rate must be a number or auto. Got fast instead."),
        ("auto", None),
    ]:
        parser = parsers.build_parser("verb", verb)
        if told is None:
            assert parser.parse_args(["--rate", word]).rate == "auto"
            continue
        with pytest.raises(Exception, match="rate") as caught:
            parser.parse_args(["--rate", word])
        assert messages.sentence(caught.value, "tgp verb") == told


def test_lightnings_mistakes_of_its_user_are_sentences():
    error = type("MisconfigurationException", (Exception,), {})("No supported gpu backend found!")
    assert messages.sentence(error, "tgp fit").startswith("No supported gpu backend found!")
    assert messages.sentence(Exception("of another kind"), "tgp fit") is None


@pytest.mark.parametrize("kind", [ValueError, ModuleNotFoundError])
def test_a_logger_that_is_not_installed_is_a_sentence(kind):
    error = kind("Errors:\n - Requirement 'wandb>=0.12.10' not met. HINT: Try running")
    assert messages.sentence(error, "tgp fit") == (
        "wandb>=0.12.10 must be installed. Got no such package instead; pip install"
        " 'wandb>=0.12.10'"
    )


def test_names_that_other_tools_use_lead_to_verbs():
    assert set(cli._ALSO_CALLED.values()) <= set(cli.VERBS)
    assert not set(cli._ALSO_CALLED) & set(cli.VERBS)


def test_long_sentence_keeps_its_end():
    said = messages.one_line("start\n" + "name, " * 1000 + "Did you mean b?")
    assert len(said) < 1100
    assert said.startswith("start name,")
    assert said.endswith("Did you mean b?")


def test_debug_shows_the_traceback(tgp, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="prompt must be nice"):
        tgp("draw", "value", "--debug")
    monkeypatch.setenv("TGP_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        tgp("draw", "file")


def test_a_bug_is_not_hidden(tgp):
    with pytest.raises(RuntimeError, match="a bug"):
        tgp("draw", "bug")


def test_interrupt_is_one_line_and_exit_code_130(tgp):
    assert tgp("draw", "stop") == (130, "", "\ntgp: interrupted\n")


class Painter:
    """Has a tokenizer, as a module has its network."""

    def __init__(self, tokenizer: Tokenizer | None = None, width: int = 1) -> None: ...


CONFIGS = {
    "painter: {widht: 3}": "config key must be one that exists. Got painter.widht instead; there"
    " are: painter.tokenizer, painter.width. Did you mean painter.width?",
    "paintre: 3": "config key must be one that exists. Got paintre instead; there are: config,"
    " painter. Did you mean painter?",
    "painter: {width: x}": "painter.width must be a whole number. Got x instead.",
    "painter: {tokenizer: {class_path: tgp_multimodal.data.tokenizer.Tokenizre}}": "painter"
    ".tokenizer must name a class. Got tgp_multimodal.data.tokenizer.Tokenizre"
    " instead. Did you mean tgp_multimodal.data.tokenizer.Tokenizer?",
    "painter: {tokenizer: {class_path: tgp_multimodal.data.tokenizer.Tokenizer, init_args:"
    " {bakcend: 1}}}": "config key of Tokenizer must be one that exists. Got bakcend instead; there"
    " are: backend, chat_template. Did you mean backend?",
    "painter: {tokenizer: {class_path: Tokenizre}}": "painter.tokenizer must name a class."
    " Got Tokenizre instead. Did you mean Tokenizer?",
    "painter: [": "config must be valid YAML. Got this instead: ",
}


@pytest.mark.parametrize("config", [*CONFIGS, None])
def test_config_mistake_is_one_sentence(config: str | None, tmp_path: Path):
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Painter, "painter")
    path = tmp_path / "a.yaml"
    if config is not None:
        path.write_text(config, encoding="utf-8")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - jsonargparse raises several
        parser.parse_args(["--config", str(path)])
    said = messages.sentence(caught.value, "tgp fit")
    told = CONFIGS.get(config, f"config must be an existing file. Got {path} instead.")
    assert said is not None
    assert said.startswith(told)


def parser_of(verb: str) -> Any:
    module = importlib.import_module(f"tgp_multimodal.verbs.{verb}")
    return parsers.build_parser(verb, getattr(module, verb))


def try_out(line: str) -> None:
    """Parses a command as it is written for people, up to a pipe, redirection or comment."""
    words = shlex.split(line[line.index("tgp ") :], comments=True)
    end = min((i for i, word in enumerate(words) if word in (">", "|", "<")), default=None)
    verb, *rest = words[1:end]
    assert verb in {*cli.VERBS, "VERB", "--help", "help"}
    if verb in WRITTEN and rest and "--help" not in rest:
        parser_of(verb).parse_args(parsers._underscored(rest))


@pytest.mark.parametrize("verb", WRITTEN)
def test_every_verb_has_a_parser_help_and_examples_that_parse(verb: str):
    parser = parser_of(verb)
    assert parser.description
    assert [a.dest for a in parser._actions if not a.help] == []
    lines = [line for line in parser.epilog.splitlines() if "tgp " in line]
    assert [line for line in lines if f"tgp {verb}" not in line] == []
    assert lines
    for line in lines:
        try_out(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_command_in_the_documents_parses(path: Path):
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^ *(?:[A-Z_]+=\S+ )*(tgp .*)$", text, re.MULTILINE)
    lines += re.findall(r"`(tgp [^`]+)`", text)
    assert bool(lines) == ("tgp " in text)
    for line in lines:
        try_out(line)


def test_every_verb_file_is_in_the_table():
    assert {p.stem for p in VERB_FILES.glob("*.py")} - {"__init__"} <= cli.VERBS.keys()


def run(*argv: str, code: str = "from tgp_multimodal.cli import main; r = main()") -> list[str]:
    """Names of the modules that a fresh process has loaded after the command line ran."""
    program = f"import sys; {code}; sys.stdout.flush(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, check=True
    )
    return done.stderr.split()


def test_help_imports_nothing_heavy():
    assert not HEAVY & set(run("--help"))


def test_help_of_a_verb_imports_no_framework():
    loaded = set(run("doctor", "--help"))
    assert not {"torch", "numpy", "lightning", "transformers"} & loaded


def test_module_form_says_one_line_and_leaves_with_2():
    command = [sys.executable, "-m", "tgp_multimodal", "quikstart"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("Did you mean quickstart?\n")


WARNINGS = """
import sys, warnings
from tgp_multimodal import cli
cli._silence()
warnings.warn("said by the user", FutureWarning)
for module, file, kind in [
    ("torch.nn", "torch.py", UserWarning),
    ("timm.layers", "timm.py", FutureWarning),
    ("tgp_multimodal.data", cli.__file__, FutureWarning),
    ("users_own", "/home/me/users_own.py", FutureWarning),
    ("torchless", "/home/me/torchless.py", FutureWarning),
    ("tgp_multimodal.data", cli.__file__, UserWarning),
    ("PIL.Image", sys.modules["os"].__file__, UserWarning),
]:
    warnings.warn_explicit(f"{kind.__name__} of\\n{module}", kind, file, 7, module)
"""


def test_warnings_of_a_user_s_own_code_stay_as_python_says_them():
    command = [sys.executable, "-c", WARNINGS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.splitlines() if line[0] != " "]  # source, since 3.13
    assert told == [
        "<string>:5: FutureWarning: said by the user",
        "/home/me/users_own.py:7: FutureWarning: FutureWarning of",
        "users_own",
        "/home/me/torchless.py:7: FutureWarning: FutureWarning of",
        "torchless",
        "tgp: warning: UserWarning of tgp_multimodal.data",
        "tgp: warning: UserWarning of PIL.Image",
    ]


def test_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "tgp_multimodal", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


HEAD = "--model.network.init_args.head.init_args"
FIT_MISTAKES = {
    "--trainer.max_stesp 3": "option of `tgp fit` must be one that exists. Got --trainer.max_stesp"
    " instead. Did you mean --trainer.max_steps?",
    f"{HEAD}.widht 3": "config key of DiffusionHead must be one that exists. Got widht instead;"
    " there are: ",
    f"{HEAD}.width x": "model.network.init_args.head.init_args.width must be a whole number. "
    "Got x instead.",
    "--model.network Multimodl": "model.network must name a class. Got Multimodl instead. Did you"
    " mean Multimodal?",
    "--trainer.callbacks+=LearningRateMonitr": "trainer.callbacks must name a class. Got"
    " LearningRateMonitr instead. Did you mean LearningRateMonitor?",
    "--config naon.yaml": "config must be an existing file. Got naon.yaml instead.",
}


@pytest.mark.parametrize("line", FIT_MISTAKES)
def test_fit_mistake_is_one_line_and_exit_code_2(tgp, line: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["tgp fit"])
    config = REPOSITORY / "configs" / "nano.yaml"
    code, out, err = tgp("fit", "--config", str(config), *line.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith(f"tgp: {FIT_MISTAKES[line]}")

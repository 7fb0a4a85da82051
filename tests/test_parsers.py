"""How the parsers of verbs end and what their usage says."""

import importlib

import pytest

from tgp_multimodal import parsers


def usage(verb: str) -> str:
    module = importlib.import_module(f"tgp_multimodal.verbs.{verb}")
    return " ".join(parsers.build_parser(verb, getattr(module, verb)).format_usage().split())


@pytest.mark.parametrize(
    ("verb", "end"),
    [("draw", "folder [prompts ...]"), ("evaluate", "[models ...]"), ("adapt", "folder output")],
)
def test_usage_says_which_words_may_be_left_out(verb, end):
    assert usage(verb).endswith(f"] {end}")


def test_usage_of_words_that_are_needed():
    def verb(texts: list[str], more: list[str] | None = None) -> None:
        """Does a thing."""

    said = " ".join(parsers.build_parser("verb", verb).format_usage().split())
    assert said == "usage: tgp verb [--more [MORE ...]] texts [texts ...]"


@pytest.mark.parametrize("code", [None, 0])
def test_help_is_no_error(monkeypatch, code):
    class Leaves:
        def parse_args(self, argv):
            raise SystemExit(code)

    monkeypatch.setattr(parsers, "build_parser", lambda verb, function: Leaves())
    assert parsers.parse("verb", print, ["--help"]) is None


@pytest.mark.parametrize("code", [2, "a reason"])
def test_another_exit_is_not_taken_for_help(monkeypatch, code):
    class Leaves:
        def parse_args(self, argv):
            raise SystemExit(code)

    monkeypatch.setattr(parsers, "build_parser", lambda verb, function: Leaves())
    with pytest.raises(SystemExit) as caught:
        parsers.parse("verb", print, [])
    assert caught.value.code == code

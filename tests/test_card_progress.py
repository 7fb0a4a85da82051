"""What `tgp evaluate` says while it measures."""

import io
import time

import pytest
from rich.console import Console

from tgp_multimodal import consoles


def said(monkeypatch: pytest.MonkeyPatch, slow: float, wait: float, is_terminal: bool) -> str:
    """What one card prints that takes `wait` seconds, where `slow` ones are told of."""
    monkeypatch.setattr(consoles, "_SLOW", slow)
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with consoles.CardProgress(console, "mine", 2) as progress:
        progress("data", "text/one", "reading the data")
        progress("asking", "text/one", "7 items")
        time.sleep(wait)
        progress("done", "text/one", "accuracy 0.5")
    text = console.file.getvalue()
    time.sleep(wait)
    assert console.file.getvalue() == text  # nothing comes when all is over
    return text


def test_a_slow_card_is_told_of_where_there_is_no_terminal(monkeypatch):
    lines = said(monkeypatch, slow=0.05, wait=0.3, is_terminal=False).splitlines()
    assert lines == ["mine [1/2] text/one: 7 items ...", "mine [1/2] text/one: accuracy 0.5"]


def test_a_quick_card_has_one_line(monkeypatch):
    lines = said(monkeypatch, slow=0.2, wait=0.0, is_terminal=False).splitlines()
    assert lines == ["mine [1/2] text/one: accuracy 0.5"]


def test_a_terminal_shows_what_goes_on_and_needs_no_line(monkeypatch):
    assert "7 items ..." not in said(monkeypatch, slow=0.05, wait=0.2, is_terminal=True)

"""Tables keep their names in one piece where there is no terminal to fit."""

import io

import pytest
from rich.table import Table

from tgp_multimodal import consoles

NAME = "runs/of/a/researcher/who/likes/long/names/and/has/many/of/them/nano-seed-0/export"


def shown(**options):
    table = Table("model", "another", "value")
    table.add_row(NAME, NAME, "0.5")
    file = io.StringIO()
    consoles.console(file=file, **options).print(table)
    return file.getvalue()


def test_a_pipe_folds_nothing(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert shown().count(NAME) == 2
    assert max(map(len, shown().splitlines())) < 2 * len(NAME) + 30


@pytest.mark.parametrize("options", [{}, {"force_terminal": True}])
def test_a_width_that_is_given_counts(monkeypatch, options):
    monkeypatch.setenv("COLUMNS", "70")
    assert NAME not in shown(**options)
    assert max(map(len, shown().splitlines())) <= 70

"""Tables of a terminal show what was measured, whatever labels and models are called."""

from dataclasses import replace
from typing import Any

from rich.console import Console
from synthetic_results import HOSTILE, write_one

from tgp_multimodal.evaluation import result_tables, results
from tgp_multimodal.evaluation.results import Result

CARD = "text/[/b]"


def curve(tmp_path: Any, model: str, values: dict[str, float], **short: Any) -> Result:
    plain = results.read(write_one(tmp_path, model, "text/pydoc_package", 0.5))
    points = {count: {"value": value} for count, value in values.items()}
    details = {"curve": points, "short": short}
    return replace(plain, card=CARD, protocol="few_labels", details=details)


def shown(table: Any) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_points_stand_in_the_order_of_their_labels(tmp_path):
    few = curve(tmp_path, "one", {"5": 0.5, "all": 0.9})
    many = curve(tmp_path, HOSTILE, {"1": 0.1, "25": 0.7})
    text = shown(result_tables.curves([CARD], {"one": [few], HOSTILE: [many]}))
    heads = next(line for line in text.splitlines() if "25" in line)
    assert [word for word in heads.split() if word in ("1", "5", "25", "all")] == [
        "1", "5", "25", "all",
    ]  # fmt: skip
    (row,) = (line for line in text.splitlines() if "one" in line)
    assert [cell.strip() for cell in row.split("│")[3:7]] == ["-", "0.500", "-", "0.900"]


def test_labels_and_names_are_no_markup(tmp_path):
    found = curve(tmp_path, "one", {"5": 0.5}, **{"5": {"[/b]": 2, "[red]": 3}})
    text = shown(result_tables.curves([CARD], {"one": [found]}))
    assert "0.500*" in text
    told = f"* {CARD}: 2 classes have fewer than 5; [/b] has 2, the fewest"
    assert told in " ".join(text.split())  # as wide as the table
    assert CARD in shown(result_tables.values([CARD, "text/[b]"], {"one": [found]}, None))

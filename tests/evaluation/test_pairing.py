"""Rows that make one item together."""

import pytest

from tgp_multimodal.evaluation.pairing import paired

ROWS = [
    {"id": 1, "kind": "x", "side": "pro", "text": "one"},
    {"id": 2, "kind": "x", "side": "pro", "text": "two"},
    {"id": 2, "kind": "x", "side": "anti", "text": "not two"},
    {"id": 1, "kind": "x", "side": "anti", "text": "not one"},
]


def test_rows_are_joined_in_the_order_of_the_first() -> None:
    found = paired(ROWS, ["kind", "id"], "side", "here")
    assert [row["id"] for row in found] == [1, 2]
    assert found[0] == {"kind": "x", "id": 1, "pro": ROWS[0], "anti": ROWS[3]}
    assert found[1]["anti"]["text"] == "not two"
    assert paired([], ["id"], "side", "here") == []


@pytest.mark.parametrize(
    ("rows", "same", "by", "sentence"),
    [
        (ROWS, ["idd"], "side", "pairs must name columns that exist: id, kind, side, text. Got 'i"),
        (ROWS, ["id"], "sides", "pairs must name columns that exist"),
        (ROWS[:3], ["id"], "side", "rows with id 1 must be one for each side. Got none with anti"),
        ([*ROWS, ROWS[0]], ["id"], "side", "rows with id 1 must be one for each side. Got two"),
    ],
)
def test_what_is_no_pair_is_named(
    rows: list[dict[str, object]], same: list[str], by: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match="here: ") as caught:
        paired(rows, same, by, "here")
    assert sentence in str(caught.value)

"""Gaps at markers and at cursors."""

import pytest

from tgp_multimodal.inference.gaps import at_cursor, at_marker, unix

CONTENT = "def f():\n    é = \n\nlast"


def test_every_place_of_a_text_is_a_cursor():
    places = [
        f"{row}:{column}"
        for row, line in enumerate(CONTENT.split("\n"), 1)
        for column in range(1, len(line) + 2)
    ]
    found = [at_cursor(CONTENT, place) for place in places]
    assert [len(before) for before, _ in found] == list(range(len(CONTENT) + 1))
    assert {before + after for before, after in found} == {CONTENT}
    assert at_cursor(CONTENT, "2:9") == ("def f():\n    é = ", "\n\nlast")
    assert at_cursor("", "1:1") == ("", "")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_places_are_those_of_the_editor_whatever_ends_lines(end):
    content = CONTENT.replace("\n", end)
    assert unix(content) == CONTENT
    for place in ("1:9", "2:1", "2:9", "3:1", "4:5"):
        assert at_cursor(content, place) == tuple(
            part.replace("\n", end) for part in at_cursor(CONTENT, place)
        )
    with pytest.raises(ValueError, match=r"column of at must be between 1 and 9 in line 1\."):
        at_cursor(content, "1:10")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("2", r"at must be LINE:COLUMN, for example 12:5\. Got 2 instead\."),
        ("-1:2", r"at must be LINE:COLUMN"),
        ("5:1", r"line of at must be between 1 and 4\. Got 5 instead\."),
        ("0:1", r"line of at must be between 1 and 4\. Got 0 instead\."),
        ("2:10", r"column of at must be between 1 and 9 in line 2\. Got 10 instead\."),
        ("3:0", r"column of at must be between 1 and 1 in line 3\. Got 0 instead\."),
    ],
)
def test_places_that_are_not_there(place, message):
    with pytest.raises(ValueError, match=message):
        at_cursor(CONTENT, place)


def test_marker():
    assert at_marker("a<FILL>b", "<FILL>") == ("a", "b")
    for content, marker, count in (("a", "<>", 0), ("a", "", 0), ("a.b.", ".", 2)):
        with pytest.raises(ValueError, match=rf"once\. Got it {count} times instead"):
            at_marker(content, marker)

"""Names that do not exist, and which one may have been meant."""

import pytest

from tgp_multimodal.evaluation.names import unknown

CARDS = ["text/boolq", "text/ag_news", "code/conala", "image/digits"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("text/agnews", "text/ag_news"),
        ("ag_news", "text/ag_news"),
        ("txt/ag_news", "text/ag_news"),
        ("code/ag_news", "text/ag_news"),
        ("text/ag", "text/ag_news"),
        ("text/foo", None),
        ("text/nothing_of_the_kind", None),
    ],
)
def test_what_is_meant_has_a_like_name_and_not_a_like_domain(name, meant):
    said = unknown("card", name, CARDS)
    assert said.startswith(f"card must be one that exists. Got {name!r} instead")
    assert ("Did you mean" in said) == (meant is not None)
    assert meant is None or f"Did you mean {meant}?" in said

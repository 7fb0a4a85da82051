"""What `tgp adapt` says of the items before it learns from them."""

from typing import Any

import pytest

from tgp_multimodal.data.labelled import Item, Kind, Splits
from tgp_multimodal.training.adapt_sources import copies, described


def items(*pairs: tuple[str, Any]) -> list[Item]:
    return [Item(text, label, f"f:{n}", text) for n, (text, label) in enumerate(pairs)]


def notes(train: Any, validation: Any, test: Any, kind: Kind = "classification") -> list[str]:
    splits = Splits(kind, "text", items(*train), items(*validation), items(*test), "mine.csv")
    return [line for line in described(splits, 0) if line.startswith("note")]


def test_items_of_test_are_learned_from_in_train_and_in_validation():
    train, validation = [("a", "x"), ("b", "y")], [("a", "x"), ("c", "y")]
    test = [("a", "x"), ("b", "y"), ("c", "y"), ("d", "x")]
    assert notes(train, validation, test) == [
        "note: 1 of 2 items of validation are also in train",
        "note: 3 of 4 items of test are also in train or validation",
    ]
    splits = Splits("classification", "text", items(*train), items(), items(*validation), "")
    assert copies(splits) == {"validation": 0, "test": 1}


@pytest.mark.parametrize(
    ("test", "note"),
    [
        ([("d", "Spam"), ("e", "hamm"), ("f", "hamm")], "'Spam' (1 items), 'hamm' (2 items)"),
        ([("d", "spam")], None),
    ],
)
def test_labels_that_nothing_teaches(test, note):
    found = notes([("a", "spam"), ("b", "ham")], [("c", "ham")], test)
    assert found == ([f"note: labels of test that nothing teaches: {note}"] if note else [])


@pytest.mark.parametrize("kind", ["classification", "multi_label"])
def test_labels_that_are_likely_one(kind):
    def wrap(label):
        return label if kind == "classification" else (label,)

    train = [("a", wrap("pos")), ("b", wrap("POS")), ("c", wrap("neg")), ("a", wrap("neg"))]
    assert notes(train, [("c", wrap("neg"))], [("d", wrap("pos"))], kind) == [
        "note: 1 of 1 items of validation are also in train",
        "note: labels that differ in case alone: 'POS', 'pos'",
        "note: 2 of 6 items occur with different labels",
    ]


def test_quantities_and_tags_have_no_such_notes():
    assert not notes([("a", 1.0), ("a", 2.0)], [("b", 1.0)], [("c", 3.0)], "regression")

"""A row that makes no item is answered in one sentence that names the card and the row."""

from typing import Any

import numpy as np
import pytest

from tgp_multimodal.evaluation import embedded_tasks
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples

CHOICE = {"prompt": "p", "choices": ["a", "b"], "answer": 1}
MIDDLE = {"prefix": "p", "suffix": "s", "choices": ["a", "b"], "answer": 1}
QUERY = {"query": "q", "relevant": ["a", "b"]}
PICTURE = np.zeros((2, 2, 3), np.uint8)
WRONG = [
    ("multiple_choice", {**CHOICE, "answer": 2}, "answer must be a place in the 2 choices"),
    ("multiple_choice", {**CHOICE, "answer": -1}, "Got -1 instead"),
    ("multiple_choice", {**CHOICE, "answer": "b"}, "Got 'b' instead"),
    ("multiple_choice", {**CHOICE, "answer": True}, "Got True instead"),
    ("multiple_choice", {**CHOICE, "choices": "ab"}, "choices must be a list of at least two"),
    ("multiple_choice", {**CHOICE, "choices": ["a"]}, "at least two texts. Got ['a'] instead"),
    (
        "multiple_choice",
        {**CHOICE, "choices": [3, 4]},
        "two texts (cells of digits are numbers: write `[a|string, ...]`). Got [3, 4] instead",
    ),
    ("multiple_choice", {**CHOICE, "prompt": None}, "prompt must be a text. Got None instead"),
    ("multiple_choice", {**CHOICE, "preamble": None}, "preamble must be a text. Got None instead"),
    ("infilling", {**MIDDLE, "suffix": None}, "suffix must be a text. Got None instead"),
    ("infilling", {**MIDDLE, "choices": ["a", None]}, "two texts. Got ['a', None] instead"),
    ("probe", {"item": "t", "label": None}, "label must be a name or a number. Got None"),
    ("probe", {"item": "t", "label": [1]}, "Got [1] instead"),
    ("similarity", {"first": "a", "second": "b", "score": float("nan")}, "Got nan instead"),
    ("similarity", {"first": "a", "second": "b", "score": "4"}, "score must be a finite number"),
    ("retrieval", {**QUERY, "relevant": []}, "at least one document id. Got [] instead"),
    ("retrieval", {**QUERY, "relevance": [1]}, "relevance must be 2 numbers"),
    ("retrieval", {**QUERY, "relevance": [0, 0]}, "one above 0. Got [0, 0] instead"),
    ("retrieval", {**QUERY, "relevance": [-1, 0]}, "one above 0. Got [-1, 0] instead"),
    ("generation", {"prompt": "p", "references": []}, "references must be a list of at least one"),
    ("generation", {"prompt": "p", "references": [" "]}, "Got [' '] instead"),
    ("generation", {"prompt": None, "references": ["r"]}, "prompt must be a text. Got None"),
    (
        "generation",
        {"prompt": "p", "references": ["r"], "preamble": None},
        "preamble must be a text. Got None",
    ),
    (
        "minimal_pairs",
        {"good": "a", "bad": "b", "paradigm": None, "phenomenon": "x"},
        "paradigm must be a name. Got None",
    ),
    ("last_word", {"context": None, "target": "w"}, "context must be a text. Got None instead"),
    ("last_word", {"context": "c", "target": " "}, "target must be a text. Got ' ' instead"),
    ("tagging", {"tokens": ["a"], "tags": None}, "tags must be a list of at least one word"),
    ("tagging", {"tokens": ["a"], "tags": [1]}, "Got [1] instead"),
    ("tagging", {"tokens": ["a", "b"], "tags": ["O"]}, "tags must be 2, one for each token"),
    ("tagging", {"tokens": ["a"], "tags": ["S-x"]}, "(IOB2). Got 'S-x' instead"),
    ("perplexity", {"text": ""}, "text must be a text with something in it. Got '' instead"),
    ("conditional_perplexity", {"context": "", "continuation": ""}, "continuation must be a text"),
    ("similarity", {"first": None, "second": "b", "score": 1.0}, "first must be a text. Got None"),
    ("multi_label", {"item": "t", "labels": "ab"}, "labels must be a list. Got 'ab' instead"),
    ("perplexity", {"text": None}, "text must be a text. Got None instead"),
    ("pairwise", {"good": "a", "bad": 3}, "bad must be a text. Got 3 instead"),
    ("probe", {"item": None, "label": "a"}, "item must be a text. Got None"),
    (
        "probe",
        {"item": PICTURE, "label": "a"},
        "item must be a text. Got arr",
    ),
    ("multi_label", {"item": 5, "labels": ["a"]}, "item must be a text. Got 5 instead"),
    ("zero_shot", {"picture": "cat/1.png", "label": "a"}, "picture must be a picture (rows,"),
    ("picture_retrieval", {"picture": PICTURE, "captions": "a cat"}, "captions must be a list of"),
    ("picture_retrieval", {"picture": PICTURE[0], "captions": ["a"]}, "picture must be a picture"),
    ("denoising", {"item": PICTURE, "caption": 3}, "caption must be a text. Got 3 instead"),
    ("likeness", {"item": {"bytes": None}, "caption": "a"}, "item must be a picture (rows,"),
    ("retrieval", {"query": None, "relevant": ["1"]}, "query must be a text. Got None instead"),
]


def test_a_document_without_an_id_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"test": [QUERY], "corpus": [{"document": "d", "document_id": None}]}
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "retrieval", "mrr", 0.0)
    columns = {name: name for name in ("query", "relevant", "document", "document_id")}
    with pytest.raises(ValueError, match=r"corpus-0: document_id must be a name\. Got None"):
        _ = Examples(Card(*fixed, columns)).corpus


@pytest.mark.parametrize(("protocol", "row", "sentence"), WRONG)
def test_a_wrong_item_is_named(
    monkeypatch: pytest.MonkeyPatch, protocol: str, row: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: [row])
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, protocol, "m", 0.0)
    with pytest.raises(ValueError, match="text/x, test-0: ") as caught:
        _ = Examples(Card(*fixed, {name: name for name in row})).test
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)

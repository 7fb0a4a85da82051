"""Rows of the embedded cards: fair, the same each time, and free of what pretraining reads."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tgp_multimodal.data import embedded, scene_check, scene_language
from tgp_multimodal.data.ngrams import ngrams, words
from tgp_multimodal.evaluation import embedded_tasks as tasks
from tgp_multimodal.evaluation.embedded_code import infilling_rows

Row = dict[str, Any]


@pytest.fixture(scope="module")
def held_out() -> set[str]:
    """Names of the files of validation and test."""
    files = [d.name for s in ("validation", "test") for d in embedded.code(s)]
    return {name.removeprefix("code:") for name in files}


@pytest.fixture(scope="module")
def grams() -> set[int]:
    """Those of all that is trained on, docstrings as they are read."""
    texts = [d.text for d in embedded.documents("train")]
    return set(np.concatenate([ngrams(words(text), 13) for text in texts]).tolist())


def is_seen(text: str, grams: set[int]) -> bool:
    return len(words(text)) >= 13 and not grams.isdisjoint(ngrams(words(text), 13).tolist())


def test_package_classes_are_balanced_and_masked() -> None:
    for split in ("train", "validation", "test"):
        rows = tasks.pydoc_package(split)
        counts = Counter(r["package"] for r in rows)
        assert set(counts) == set(tasks.PACKAGES)
        assert len(set(counts.values())) == 1
        assert not [r for r in rows if tasks._GIVEAWAYS.search(r["text"])]
        assert max(len(r["text"]) for r in rows) <= 240
    assert len(rows) >= 100


FIELDS = {
    "pydoc_package": ("text",), "prose": ("text",), "code": ("text",), "functions": ("text",),
    "gaps": ("prefix", "suffix"), "continuations": ("text",),
}  # fmt: skip


def test_no_test_row_shares_thirteen_words_with_training(grams: set[int]) -> None:
    for name, fields in FIELDS.items():
        rows = tasks.TASKS[name]("test")
        assert len(rows) >= 50, name
        for field in fields:
            assert not [r for r in rows if is_seen(r[field], grams)], name


def test_held_out_files_do_hold_copies_of_training_text(grams: set[int]) -> None:
    """Otherwise the test above asks nothing."""
    copied = [d for d in embedded.prose("test") if is_seen(d.text, grams)]
    assert len(copied) > 20


def test_rows_are_the_same_each_time() -> None:
    for name in ("prose", "code", "functions", "gaps", "continuations", "wisconsin"):
        first = tasks.TASKS[name]("test")
        tasks._prose.cache_clear()
        tasks._functions.cache_clear()
        tasks._unseen_prose.cache_clear()
        tasks._unseen_functions.cache_clear()
        assert tasks.TASKS[name]("test") == first
        assert len(first) >= 30, name


def test_queries_find_their_function(held_out: set[str]) -> None:
    queries, corpus = tasks.functions("test"), tasks.functions("corpus")
    texts = {r["id"]: r["text"] for r in corpus}
    assert len(texts) == len(corpus) == len(set(texts.values()))
    assert len({q["text"] for q in queries}) == len(queries)
    for query in queries:
        assert query["module"] in held_out
        for name in query["relevant"]:
            assert query["text"] not in texts[name]  # the docstring is not in the body
    sources = {(f.docstring[:240], f.body[:400]) for f in embedded.functions("test")}
    assert all((q["text"], texts[q["relevant"][0]]) in sources for q in queries)


def test_gaps_have_one_right_middle_at_the_same_indentation() -> None:
    functions = list(embedded.functions("test"))
    rows = infilling_rows(functions, functions)
    bodies = {f.body for f in functions}
    for row in rows:
        right = row["choices"][row["answer"]]
        assert row["prefix"] + right + row["suffix"] in bodies
        assert len(set(row["choices"])) == 4
        assert len({c.count("\n") for c in row["choices"]}) == 1
        assert len({len(c) - len(c.lstrip(" ")) for c in row["choices"]}) == 1
    counts = Counter(r["answer"] for r in rows)
    assert max(counts.values()) < 0.35 * len(rows)
    # A model that only counts characters learns nothing here.
    shortest = [min(range(4), key=lambda i: len(r["choices"][i])) == r["answer"] for r in rows]
    assert 0.1 < np.mean(shortest) < 0.4


def test_continuations_are_of_the_same_library() -> None:
    rows = tasks.continuations("test")
    whole = {d.name: d.text for s in ("validation", "test") for d in embedded.prose(s)}
    for row in rows:
        right = row["choices"][row["answer"]]
        assert right in whole[row["name"]][len(row["text"]) :]
        assert len(set(row["choices"])) == 4
    shares = np.bincount([r["answer"] for r in rows], minlength=4) / len(rows)
    assert shares.max() < 0.32


def test_wisconsin_keeps_its_records_apart() -> None:
    splits = {s: tasks.wisconsin(s) for s in ("train", "validation", "test")}
    assert [len(rows) for rows in splits.values()] == [200, 69, 300]
    assert all((r["label"] == "malignant") == (r["answer"] == 1) for r in splits["test"])
    one = splits["test"][0]
    assert one["text"].startswith("radius ")
    assert "(" in one["text"]
    assert "(" not in one["short"]
    # Larger nuclei are the malignant ones: the words must say so.
    large = [r["label"] for r in splits["test"] if r["short"].startswith("radius very large")]
    assert large.count("malignant") > 0.9 * len(large)


def test_digits_and_scenes_show_their_labels() -> None:
    assert set(Counter(r["label"] for r in tasks.TASKS["digits"]("test"))) == set("0123456789")
    rows = tasks.TASKS["scene_attributes"]("test")
    for row in rows[:40]:
        (thing,) = scene_check.read(row["image"]).things
        assert (thing.shape, thing.colour) == (row["shape"], row["colour"])
        assert (row["colour"], row["shape"]) not in scene_language.HELD_OUT
    train = {r["image"].tobytes() for r in tasks.TASKS["scene_attributes"]("train")}
    assert not [r for r in rows if r["image"].tobytes() in train]


def test_scene_prompts_cover_all_axes() -> None:
    rows = tasks.TASKS["scene_prompts"]("test")
    seen = Counter(r["axis"] for r in rows if not r["held_out"])
    assert seen == dict.fromkeys(scene_language.AXES, 20)
    unseen = Counter(r["axis"] for r in rows if r["held_out"])
    assert unseen == dict.fromkeys(scene_language.HELD_OUT_AXES, 10)
    assert len({r["seed"] for r in rows}) == len(rows)


def test_unknown_splits_are_empty() -> None:
    for name, task in tasks.TASKS.items():
        assert task("nowhere") == [], name

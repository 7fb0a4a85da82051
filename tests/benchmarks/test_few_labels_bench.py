"""The few-label curves: the same items for every way, a journal that is kept, plots that open."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from benchmark_modules import opened
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.data.labelled import Item, Splits
from tgp_multimodal.evaluation import embedded_tasks

few_labels = opened("few_labels.py")


def items(count, seed):
    generator = np.random.default_rng(seed)
    words = ["river", "stone", "bridge", "field", "boat", "dog"]
    texts = [" ".join(generator.choice(words, 5)) for _ in range(count)]
    return [Item(t, "wet" if "river" in t else "dry", str(i), str(i)) for i, t in enumerate(texts)]


TASK = Splits("classification", "text", items(80, 0), items(40, 1), items(40, 2), "x", "accuracy")


def test_items_are_so_many_of_each_class_and_nested():
    one, five = (few_labels.few_shot_splits(TASK, count, 3) for count in ("1", "5"))
    for found, k in ((one, 1), (five, 5)):
        for part in (found.train, found.validation):
            assert sorted(i.label for i in part) == ["dry"] * k + ["wet"] * k
        assert found.test == TASK.test
    assert {i.where for i in one.train} <= {i.where for i in five.train}
    assert few_labels.few_shot_splits(TASK, "all", 0) == TASK
    assert few_labels.few_shot_splits(TASK, "5", 4).train != five.train


def test_counts_that_a_class_does_not_have_are_marked():
    few = TASK._replace(validation=[i for i in TASK.validation if i.label == "dry"][:6])
    assert [few_labels.is_short(few, count) for count in ("5", "10", "all")] == [False, True, False]
    key = {"card": "c", "method": "m", "metric": "accuracy", "value": 0.5}
    runs = [key | {"count": "5"}, key | {"count": "10", "short": True}]
    table = few_labels.markdown(few_labels.summary(runs), {"c": "accuracy"})
    assert "| m | 0.500 | 0.500\\* |" in table
    assert "some classes have fewer" in table


def test_words_counted_find_a_word():
    predicted = few_labels.tfidf(None, few_labels.few_shot_splits(TASK, "all", 0), 0)
    assert np.mean([p.label == i.label for p, i in zip(predicted, TASK.test, strict=True)]) > 0.95


def test_words_counted_find_whether_two_texts_agree():
    """Which no word of either tells; texts glued together hold the same words in both classes."""
    generator = np.random.default_rng(0)
    words = ["river", "hill"]

    def pairs(count: int) -> list[Item]:
        chosen = [generator.choice(words, 2).tolist() for _ in range(count)]
        return [Item((a, b), str(a == b), str(i), str(i)) for i, (a, b) in enumerate(chosen)]

    task = TASK._replace(train=pairs(80), validation=pairs(40), test=pairs(40))
    predicted = few_labels.tfidf(None, task, 0)
    assert all(p.label == i.label for p, i in zip(predicted, task.test, strict=True))


def test_means_have_the_interval_of_student():
    key = {"card": "c", "method": "m", "count": "5"}
    runs = [key | {"metric": "accuracy", "value": v} for v in (0.5, 0.6, 0.7)]
    (row,) = few_labels.summary(runs)
    assert row["mean"] == pytest.approx(0.6)
    assert row["high"] - row["mean"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert "| m | 0.600 ± 0.248 |" in few_labels.markdown([row], {"c": "accuracy"})
    high = [run | {"value": run["value"] + 0.3} for run in runs]
    (row,) = few_labels.summary(high)
    assert row["high"] == 1
    assert "| m | 0.900 ± 0.248 |" in few_labels.markdown([row], {"c": "accuracy"})
    low = [run | {"metric": "matthews", "value": run["value"] - 0.7} for run in runs]
    (row,) = few_labels.summary(low)
    assert row["low"] == pytest.approx(-0.1 - row["half"])


def test_one_command_writes_tables_and_plots(tokenizer, tmp_path, monkeypatch, capsys):
    parts = {"train": TASK.train, "validation": TASK.validation, "test": TASK.test}
    rows = {s: [{"text": i.item, "name": i.label} for i in found] for s, found in parts.items()}
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
    card = tmp_path / "card.yaml"
    card.write_text(
        "{name: text/x, version: 1, domain: text, description: d, license: l, citation: c,"
        " source: {embedded: made_up}, protocol: probe, metric: accuracy, chance: 0.5,"
        " columns: {item: text, label: name}}"
    )
    export.save(tmp_path / "base", language_model(tokenizer.vocabulary), tokenizer, {}, "card")
    given = [str(tmp_path / "base"), "--cards", str(card), "--counts", "1", "5", "--seeds", "2"]
    output = tmp_path / "few"
    given += ["--methods", "probe", "knn", "tfidf", "--output", str(output)]
    few_labels.main(given)
    assert len((output / "runs.jsonl").read_text().splitlines()) == 12
    few_labels.main(given)
    assert len((output / "runs.jsonl").read_text().splitlines()) == 12
    found = json.loads((output / "few_labels.json").read_text())
    assert {(r["method"], r["count"], r["seeds"]) for r in found} == {
        (m, c, 2) for m in ("probe", "knn", "tfidf") for c in ("1", "5")
    }
    journal = output / "runs.jsonl"
    journal.write_text(journal.read_text()[:-9])  # as a kill leaves it
    few_labels.main(given)
    lines = journal.read_text().splitlines()
    assert len(lines) == 13
    assert json.loads(lines[-1])["method"] == "tfidf"  # the one that was cut
    assert json.loads((output / "few_labels.json").read_text()) == found
    (plot,) = output.glob("*.svg")
    drawn = ElementTree.parse(plot)
    circles = [e for e in drawn.iter() if e.tag.endswith("circle")]
    assert len(circles) == 6
    card.write_text(card.read_text().replace("version: 1", "version: 2"))
    few_labels.main(given)
    assert len(journal.read_text().splitlines()) == 25
    assert json.loads((output / "few_labels.json").read_text()) == found
    monkeypatch.setattr(few_labels.environment, "code_digest", lambda *more: "another commit")
    few_labels.main([*given, "--counts", "1", "--methods", "tfidf"])
    assert len(journal.read_text().splitlines()) == 27
    rows = json.loads((output / "few_labels.json").read_text())
    assert [(r["method"], r["count"], r["seeds"]) for r in rows] == [("tfidf", "1", 2)]
    capsys.readouterr()


def test_a_table_has_runs_of_one_card_and_one_code():
    def run(card, digest, **more):
        return {"card": card, "card_digest": digest, "data": "", "code": "1"} | more

    runs = [run("a", "old"), run("a", "new"), run("b", "old"), run("b", "new"), run("a", "old")]
    found = few_labels.comparable_runs(
        [*runs, run("b", "old", code="0")], {"code": "1"}, {"a": {"card_digest": "new", "data": ""}}
    )
    assert found == [run("a", "new"), run("b", "new")]
    assert (
        few_labels.comparable_runs([{"card": "a"}], {"code": "1"}, {}) == []
    )  # of an older version

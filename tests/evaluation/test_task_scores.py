"""Numbers of adapted models against independent computations."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tgp_multimodal.data.labelled import Item, Predicted
from tgp_multimodal.evaluation.task_scores import (
    confidences,
    default_metric,
    reliability,
    scores,
    value,
)


def answers(*labels):
    return [Predicted(label, 0.5, None) for label in labels]


def items(*labels, groups=None):
    groups = range(len(labels)) if groups is None else groups
    return [Item("x", y, "", str(g)) for y, g in zip(labels, groups, strict=True)]


def test_classes_as_in_scikit_learn():
    generator = np.random.default_rng(0)
    true, said = (generator.choice(list("abc"), 200).tolist() for _ in range(2))
    found = scores("classification", items(*true), answers(*said), positive="b")
    expected = {
        "accuracy": metrics.accuracy_score(true, said),
        "macro_f1": metrics.f1_score(true, said, average="macro"),
        "matthews": metrics.matthews_corrcoef(true, said),
        "f1": metrics.f1_score(true, said, labels=["b"], average="macro"),
    }
    assert {k: s.value for k, s in found.items()} == pytest.approx(expected)
    for name, score in found.items():
        assert score.interval.low < score.value < score.interval.high
        assert value(name, items(*true), answers(*said), "b") == pytest.approx(score.value)


def test_f1_of_a_class_that_no_item_has_and_none_is_said_to_have_is_0():
    true, said = items("a", "a"), answers("a", "b")
    assert value("f1", true, said, positive="c") == 0
    assert scores("classification", true, said, positive="c")["f1"] == (0, (0, 0))
    assert "f1" not in scores("classification", true, said)


def test_labels_as_in_scikit_learn():
    generator = np.random.default_rng(0)
    table = generator.random((2, 60, 3)) < 0.4
    true, said = ([tuple(np.array(list("abc"))[row]) for row in part] for part in table)
    found = scores("multi_label", items(*true), answers(*said))
    assert found["micro_f1"].value == pytest.approx(metrics.f1_score(*table, average="micro"))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(*table, average="macro"))
    assert found["exact_match"].value == pytest.approx((table[0] == table[1]).all(1).mean())
    assert "group_micro_f1" not in found
    grouped = items(*true, groups=np.arange(60) // 3)
    merged = table.reshape(2, 20, 3, 3).any(axis=2)
    found = scores("multi_label", grouped, answers(*said))["group_micro_f1"]
    assert found.value == pytest.approx(metrics.f1_score(*merged, average="micro"))


def test_quantities_as_in_scipy():
    generator = np.random.default_rng(0)
    true = generator.normal(size=80)
    said = true + generator.normal(size=80)
    found = scores("regression", items(*true.tolist()), answers(*said.tolist()))
    assert found["spearman"].value == pytest.approx(stats.spearmanr(true, said).statistic)
    assert found["pearson"].value == pytest.approx(stats.pearsonr(true, said).statistic)
    error = np.sqrt(np.mean((true - said) ** 2))
    assert found["root_mean_square_error"].value == pytest.approx(error)
    for score in found.values():
        assert score.interval.low < score.value < score.interval.high


def test_tags_as_in_seqeval():
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    generator = np.random.default_rng(0)
    tags = np.array(["O", "B-x", "I-x", "B-y", "I-y"])
    true, said = ([tuple(tags[generator.integers(0, 5, 6)]) for _ in range(40)] for _ in range(2))
    true = [tuple("O" if t.startswith("I") else t for t in s) for s in true]
    found = scores("tagging", items(*true), answers(*said))
    lists = [list(map(list, part)) for part in (true, said)]
    assert found["f1_strict"].value == pytest.approx(f1_score(*lists, mode="strict", scheme=IOB2))
    assert found["f1_lenient"].value == pytest.approx(f1_score(*lists))
    equal = [a == b for s, t in zip(said, true, strict=True) for a, b in zip(s, t, strict=True)]
    assert found["word_accuracy"].value == pytest.approx(np.mean(equal))


@pytest.mark.parametrize(
    ("names", "metric"),
    [
        (["B-x", "I-x", "O"], "f1_strict"),
        (["I-x", "O"], "word_accuracy"),
        (["NOUN", "VERB"], "word_accuracy"),
        (["B-x", "E-x", "O", "S-x"], "word_accuracy"),
    ],
)
def test_tags_of_no_entities_are_judged_word_by_word(names, metric):
    true, said = [tuple(names), (names[0],)], [tuple(names), (names[-1],)]
    assert default_metric("tagging", names) == metric
    found = scores("tagging", items(*true), answers(*said))
    assert value("word_accuracy", items(*true), answers(*said)) == pytest.approx(
        len(names) / (len(names) + 1)
    )
    assert ("f1_strict" in found) == (not {"NOUN", "S-x"} & set(names))
    assert metric in found
    with pytest.raises(ValueError, match=r"metric must be one of a labelled task. Got bleu inst"):
        value("bleu", items(*true), answers(*said))


def test_calibration_by_hand():
    sure, right = np.array([0.95, 0.95, 0.65, 1.0]), np.array([True, False, True, True])
    bins, error = reliability(sure, right)
    assert [(b.items, round(b.confidence, 4), b.accuracy) for b in bins] == [
        (1, 0.65, 1.0),
        (3, 0.9667, pytest.approx(2 / 3)),
    ]
    assert error == pytest.approx((0.35 + 3 * (0.9 + 0.2 / 3 - 2 / 3)) / 4)


def test_what_counts_as_an_answer():
    chances = np.array([[0.9, 0.1], [0.4, 0.6]])
    tagged = [Predicted(("a", "b", "O"), 0.6, chances)]  # the third word was not read
    sure, right = confidences("tagging", items(("a", "a", "a")), tagged, ["a", "b"])
    assert (sure.tolist(), right.tolist()) == ([0.9, 0.6], [True, False])
    several = [Predicted(("a",), 0.5, np.array([0.7, 0.2]))]
    sure, right = confidences("multi_label", items(("a", "b")), several, ["a", "b"])
    assert (sure.tolist(), right.tolist()) == ([0.7, 0.8], [True, False])

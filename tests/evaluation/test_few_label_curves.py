import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted, hashed
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tgp_multimodal.adapters import make
from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import cards, curves, engine
from tgp_multimodal.evaluation.aggregates import recompute, rule_of
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.few_labels import draw
from tgp_multimodal.evaluation.protocols.few_labels import by_neighbours, interval_of
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.stats import share
from tgp_multimodal.evaluation.verify import verify

CLASSES = ("ant", "bee", "cat")
COUNTS = [1, 4, 16]


def items(split: str, count: int) -> list[dict[str, Any]]:
    return [
        {"item": f"{split} {i} {CLASSES[i % 3]}", "label": CLASSES[i % 3]} for i in range(count)
    ]


ROWS: Rows = {"train": items("train", 120), "test": items("test", 90)}


def told(request: Embed) -> np.ndarray:
    """The class under so much noise that more labels help."""
    signal = np.zeros(8)
    signal[CLASSES.index(str(request.item).split(" ")[-1])] = 1.5
    return signal + hashed(request)


def curve(monkeypatch: pytest.MonkeyPatch, model: Planted, rows: Rows = ROWS, **settings: Any):
    said = {"settings": {"counts": COUNTS, "seeds": 4, **settings}}
    return score(monkeypatch, "few_labels", rows, model, **said)


def examples(monkeypatch: pytest.MonkeyPatch) -> Examples:
    curve(monkeypatch, Planted(embed=told))
    given = {"columns": {"item": "item", "label": "label"}, "settings": {"counts": COUNTS}}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "few_labels")
    return Examples(cards.Card(*fixed, metric="curve_accuracy", chance=0.0, **given))


def test_each_point_is_scikit_learns_on_the_drawn_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    found = curve(monkeypatch, Planted(embed=told))
    read = examples(monkeypatch)
    train = np.stack([told(Embed(e.fields["item"])) for e in read.train])
    test = np.stack([told(Embed(e.fields["item"])) for e in read.test])
    scaler = StandardScaler().fit(train)
    labels, target = ([e.fields["label"] for e in s] for s in (read.train, read.test))
    names = [e.digest for e in read.train]

    def accuracy(places: list[int]) -> float:
        known = scaler.transform(train[places])
        model = LogisticRegression(C=1.0, tol=1e-8).fit(known, [labels[p] for p in places])
        return model.score(scaler.transform(test), target)

    for count in COUNTS:
        drawn = [draw(labels, count, seed, names).places for seed in range(4)]
        assert found.details[f"at_{count}"] == pytest.approx(np.mean([*map(accuracy, drawn)]))
    assert found.details["at_all"] == pytest.approx(accuracy(list(range(len(labels)))))
    points = [found.details[f"at_{c}"] for c in (*COUNTS, "all")]
    assert found.value == pytest.approx(np.mean(points))
    assert points == sorted(points)
    assert points[-1] > points[0] + 0.1


def test_noise_is_at_chance_and_features_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, rows = Planted(embed=hashed), {**ROWS, "test": items("test", 300)}
    found = curve(monkeypatch, model, rows)
    assert found.interval.low < 1 / 3 < found.interval.high
    assert len(model.asked) == 120 + 300


def test_records_give_the_number_and_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    found = curve(monkeypatch, Planted(embed=told))
    rule = rule_of((found.value, *found.interval), found.records, "curve_accuracy")  # type: ignore[arg-type]
    assert recompute(rule, found.records) == (found.value, *found.interval)
    for name, value in found.details.items():
        if name.startswith(("at_", "neighbours_at_")):
            assert value == pytest.approx(np.mean([r[name] for r in found.records]))
    assert found.details["curve"]["4"]["labels"] == 12
    assert found.details["curve"]["all"]["labels"] == 120
    for point in found.details["curve"].values():
        assert point["low"] <= point["value"] <= point["high"]


def test_neighbours_vote_by_closeness() -> None:
    rng = np.random.default_rng(0)
    known, asked = rng.standard_normal((50, 6)), rng.standard_normal((30, 6))
    label = rng.integers(0, 4, 50)
    expected = []
    for row in asked:
        cosine = known @ row / np.linalg.norm(known, axis=1) / np.linalg.norm(row)
        near = np.argsort(-cosine)[:20]
        votes = [np.exp(cosine[near][label[near] == k] / 0.07).sum() for k in range(4)]
        expected.append(int(np.argmax(votes)))
    assert by_neighbours(known, label, asked, 4).tolist() == expected


def test_a_point_of_one_label_is_that_of_the_nearest() -> None:
    known, asked = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 1.0], [1.0, 3.0]])
    assert by_neighbours(known, np.array([1, 0]), asked, 2).tolist() == [1, 0]


def test_the_interval_holds_items_and_draws() -> None:
    right = np.random.default_rng(0).random(40) < 0.7
    group = [str(i) for i in range(40)]
    alike = np.stack([right.astype(float)] * 3)
    items = share(alike[0].tolist(), [1.0] * 40, group)
    assert interval_of(alike, group) == pytest.approx(items)
    unlike = alike.copy()
    unlike[0, :8], unlike[1, 8:12] = 1 - unlike[0, :8], 1 - unlike[1, 8:12]
    means = unlike.mean(axis=1)
    drawn = student.ppf(0.975, 2) * means.std(ddof=1) / 3**0.5
    own = share(unlike.mean(axis=0).tolist(), [1.0] * 40, group)
    expected = means.mean() - np.hypot(means.mean() - own.low, drawn)
    assert interval_of(unlike, group).low == pytest.approx(max(0.0, expected))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Planted: an item has its own difficulty, and a draw of labels moves all items together."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(60):
        chance_SN = 0.6 + 0.15 * rng.standard_normal(60) + 0.05 * rng.standard_normal((4, 1))
        right_SN = (rng.random((4, 60)) < chance_SN).astype(float)
        low, high = interval_of(right_SN, [str(i) for i in range(60)])
        hits += low <= 0.6 <= high
    assert hits >= 53  # of 60, 57 are expected; fewer than 53 in one of forty tries


def test_a_rare_class_gives_all_it_has_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**ROWS, "train": [*ROWS["train"], {"item": "a rare dog", "label": "dog"}]}
    found = curve(monkeypatch, Planted(embed=hashed), rows)
    assert found.details["short"] == {"4": {"dog": 1}, "16": {"dog": 1}}
    assert found.details["curve"]["16"]["labels"] == 49


def test_a_label_that_training_does_not_have_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**ROWS, "test": [*ROWS["test"], {"item": "a new dog", "label": "dog"}]}
    found = curve(monkeypatch, Planted(embed=hashed), rows)
    assert found.records[-1]["score"] == 0


def test_one_class_is_always_right(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {split: [r for r in of if r["label"] == "ant"] for split, of in ROWS.items()}
    assert curve(monkeypatch, Planted(embed=told), rows).value == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"counts": [0, 1]}, r"few_labels must be whole numbers from 1 on\. Got \[0, 1\]"),
        ({"counts": [5, 1]}, r"few_labels must be ascending\. Got \[5, 1\] instead\."),
        ({"seeds": 0}, r"seeds must be at least 1\. Got 0 instead\."),
    ],
)
def test_bad_settings_are_answered(
    settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=sentence):
        curve(monkeypatch, Planted(embed=told), **settings)


def test_a_curve_of_a_card_that_ships(tmp_path) -> None:
    wanted = [cards.find("biomedical/wisconsin"), cards.find("code/infilling")]
    (card,) = curves.cards(wanted, [1, 2], 2)
    assert (card.name, card.chance) == ("biomedical/wisconsin_curve", 0.5)
    assert card.digest != wanted[0].digest
    models = [make("tfidf"), make("majority")]
    tfidf, majority = (engine.evaluate(m, [card], tmp_path, limit=40)[0] for m in models)
    assert tfidf.details["at_1"] <= tfidf.details["at_all"]
    assert majority.details["at_1"] == majority.details["at_2"]
    assert verify(tmp_path).complaints == []
    assert verify(tmp_path).by_digest == []


def test_the_chance_of_a_curve_is_that_of_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    curve(monkeypatch, Planted(embed=told))
    columns = {"item": "item", "label": "label"}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "probe")
    probe = cards.Card(*fixed, metric="macro_f1", chance=0.2, columns=columns)
    assert curves.cards([probe], [1], 1)[0].chance == pytest.approx(1 / 3)


def test_on_the_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--results", str(tmp_path), "--limit", "20", "--few_labels", "1", "2"]
    given = ["evaluate", "tfidf", "--cards", "biomedical/wisconsin", *where, "--seeds", "2"]
    assert main(given) == 0
    assert "biomedical/wisconsin_curve: curve_accuracy 0." in capsys.readouterr().out
    assert main(["evaluate", "tfidf", "--cards", "code/infilling", *where]) == 2
    error = capsys.readouterr().err
    assert "few_labels must have a card of protocol probe. Got code/infilling instead." in error


def test_the_terminal_shows_every_point_and_what_has_too_few(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--cards", "image/digits", "--few_labels", "5", "9999", "--seeds", "1"]
    where = ["--results", str(tmp_path), "--limit", "20"]
    assert main(["evaluate", "pixels", "majority", *given, *where]) == 0
    out = capsys.readouterr().out
    stored = json.loads((tmp_path / "pixels" / "image__digits_curve.json").read_text())
    at = {count: point["value"] for count, point in stored["details"]["curve"].items()}
    row = f"│ pixels   │ {at['5']:.3f} │ {at['9999']:.3f}* │ {at['all']:.3f} │"
    assert row in out
    assert "* image/digits_curve: 10 classes have fewer than 9999; " in out

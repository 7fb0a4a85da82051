"""Planted models through the two protocols of a joint space: oracle, shuffled, blind."""

from typing import Any

import numpy as np
import pytest
from planted_models import Planted

from tgp_multimodal.data.scene_language import COLOURS, HELD_OUT, SHAPES, TRAINED
from tgp_multimodal.evaluation import cards, embedded_pictures, embedded_tasks
from tgp_multimodal.evaluation.aggregates import Number, rule_of
from tgp_multimodal.evaluation.asking import asker
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.protocols.joint_space import ranks
from tgp_multimodal.evaluation.stats import wilson

NAMES = ("cat", "dog", "owl")


def picture(number: int) -> np.ndarray:
    """The number is its class: what an oracle reads off the first byte."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0, 0] = number
    return pixels


def shown(item: Any) -> int:
    return int(item[0, 0, 0])


def model(of_picture: Any, of_text: Any) -> Planted:
    return Planted(
        joint_embed=lambda r: of_text(r.item) if isinstance(r.item, str) else of_picture(r.item)
    )


def direction(number: int, width: int = 8) -> np.ndarray:
    return np.eye(width)[number % width]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def scored(protocol: str, rows: list[dict[str, Any]], adapter: Planted, **said: Any) -> Outcome:
        monkeypatch.setitem(
            embedded_tasks.TASKS, "made_up", lambda split: rows if split == "test" else []
        )
        metric = {"zero_shot": "accuracy"}.get(protocol, "recall_at_1")
        given = {"metric": metric, "chance": 0.0, "columns": {k: k for k in rows[0]}, **said}
        fixed = ("image/x", 1, "image", "d", "l", "c", {"embedded": "made_up"}, protocol)
        return PROTOCOLS[protocol](Examples(Card(*fixed, **given)), adapter, asker(adapter))

    return scored


ANIMALS = [{"picture": picture(i), "label": NAMES[i % 3]} for i in range(30)]
CLASSES = {"labels": list(NAMES), "template": "a picture of a {}"}


def test_zero_shot_by_the_model_asks_it_to_compare(run: Any) -> None:
    def knows(request: Any) -> np.ndarray:
        return np.array([float(index == request.item[0, 0, 0]) for index in range(3)])

    planted = Planted(compare=knows)
    shades = [np.full((4, 4, 3), i % 3, np.uint8) for i in range(12)]
    rows = [{"picture": shade, "label": "abc"[i % 3]} for i, shade in enumerate(shades)]
    said = {"labels": ["a", "b", "c"], "template": "a {} here", "by": "model"}
    assert run("zero_shot", rows, planted, settings=said).value == 1
    assert {r.texts for r in planted.asked} == {("a a here", "a b here", "a c here")}


def test_zero_shot_asks_for_the_filled_template_and_takes_the_nearest(run: Any) -> None:
    oracle = model(
        lambda p: 5 * direction(shown(p) % 3),
        lambda t: direction(NAMES.index(t.removeprefix("a picture of a "))),
    )
    found = run("zero_shot", ANIMALS, oracle, settings=CLASSES)
    assert (found.value, found.details["macro_f1"]) == (1, 1)
    assert found.interval.low == pytest.approx(0.8865, abs=1e-4)
    texts = [r.item for r in oracle.asked if isinstance(r.item, str)]
    assert texts == [f"a picture of a {n}" for n in NAMES]  # each once
    shifted = model(
        lambda p: direction((shown(p) + 1) % 3), lambda t: direction(NAMES.index(t[-3:]))
    )
    assert run("zero_shot", ANIMALS, shifted, settings=CLASSES).value == 0


def test_a_blind_model_gets_the_share_of_the_first_label(run: Any) -> None:
    blind = model(lambda p: direction(0), lambda t: direction(0))
    found = run("zero_shot", ANIMALS, blind, settings=CLASSES)
    assert {r["prediction"] for r in found.records} == {"cat"}
    assert found.value == pytest.approx(1 / 3)


def test_macro_f1_of_rare_classes_has_its_own_interval(run: Any) -> None:
    rows = [{"picture": picture(i), "label": NAMES[0 if i < 28 else i - 27]} for i in range(30)]
    blind = model(lambda p: direction(0), lambda t: direction(0))
    found = run("zero_shot", rows, blind, settings=CLASSES, metric="macro_f1")
    assert found.value == pytest.approx(2 * 28 / (28 + 30) / 3)
    assert found.details["accuracy"] == pytest.approx(28 / 30)
    assert found.interval.low < found.value < found.interval.high
    number = Number(found.value, *found.interval)
    assert rule_of(number, found.records, "macro_f1") == "macro F1, bootstrap"


def test_a_label_that_the_card_does_not_name_is_refused(run: Any) -> None:
    blind = model(lambda p: direction(0), lambda t: direction(0))
    with pytest.raises(ValueError, match=r"labels must name the label of every item. Got owl"):
        run("zero_shot", ANIMALS, blind, settings={"labels": ["cat", "dog"]})


SCENES = [{"picture": picture(i), "captions": [f"{i} one", f"{i} two"]} for i in range(7)]


def test_retrieval_of_an_oracle_and_of_one_that_is_off_by_one(run: Any) -> None:
    oracle = model(lambda p: direction(shown(p)), lambda t: direction(int(t[0])))
    found = run("picture_retrieval", SCENES, oracle)
    assert all(found.details[f"{d}recall_at_1"] == 1 for d in ("", "text_", "picture_"))
    assert found.interval == wilson(7, 7)  # seven right ones do not show that all are
    assert found.details["texts"] == 14
    assert found.records[3]["prediction"] in found.records[3]["target"]
    near = model(
        lambda p: direction(shown(p)), lambda t: direction(int(t[0])) + 2 * direction(int(t[0]) + 1)
    )
    found = run("picture_retrieval", SCENES, near)
    # Each picture but the first sees its own two captions behind the two of the one before.
    assert found.details["text_recall_at_1"] == pytest.approx(1 / 7)
    assert found.details["text_recall_at_5"] == 1
    # Each text but the last prefers the next picture.
    assert found.details["picture_recall_at_1"] == pytest.approx(1 / 7)
    assert found.value == pytest.approx(1 / 7)


def test_directions_are_told_apart(run: Any) -> None:
    """One picture is near to all texts: each text finds it, and each picture its own texts."""
    hub = model(
        lambda p: direction(shown(p)) + 10 * direction(7) * (shown(p) == 0),
        lambda t: direction(int(t[0])) + 3 * direction(7),
    )
    found = run("picture_retrieval", SCENES, hub)
    assert found.details["picture_recall_at_1"] == pytest.approx(1 / 7)
    assert found.details["text_recall_at_1"] == 1
    assert found.value == pytest.approx(4 / 7)


def test_a_blind_model_finds_nothing_among_many(run: Any) -> None:
    rows = [{"picture": picture(i), "captions": [f"{i}"]} for i in range(30)]
    blind = model(lambda p: direction(0), lambda t: direction(0))
    found = run("picture_retrieval", rows, blind, metric="recall_at_10")
    assert found.value == 0


def test_a_caption_of_two_pictures_belongs_to_both(run: Any) -> None:
    rows = [{"picture": picture(i), "captions": ["a cat" if i < 2 else f"{i}"]} for i in range(4)]
    oracle = model(
        lambda p: direction(max(1, shown(p))), lambda t: direction(1 if t == "a cat" else int(t))
    )
    found = run("picture_retrieval", rows, oracle)
    assert (found.value, found.details["texts"]) == (1, 3)


@pytest.mark.parametrize("classes", [1, 3, 60])
def test_chance_of_retrieval_is_what_random_vectors_find(run: Any, classes: int) -> None:
    rows = [{"picture": picture(i), "captions": [f"class {i % classes}"]} for i in range(60)]
    generator = np.random.default_rng(0)
    random = model(*[lambda item: generator.normal(size=8)] * 2)
    found = [run("picture_retrieval", rows, random, metric="recall_at_5") for _ in range(40)]
    assert found[0].chance == pytest.approx(np.mean([f.value for f in found]), abs=0.03)
    if classes == 60:  # each its own: five of sixty
        assert found[0].chance == pytest.approx(5 / 60)


def test_ranks_by_hand() -> None:
    cosine = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2]])
    belongs = np.array([[False, True, False, True], [True, False, False, False]])
    assert ranks(cosine, belongs).tolist() == [3, 4]


# The embedded cards -------------------------------------------------------------------------------


def test_things_of_the_zero_shot_card_are_held_out_and_its_labels_are_all_there_are() -> None:
    card = cards.find("image/scene_zero_shot")
    labels = card.setting("labels")
    pairs = {tuple(label.split(" ")[1:]) for label in labels}
    assert len(labels) == len(pairs) == len(COLOURS) * len(SHAPES)
    assert pairs == {*HELD_OUT, *TRAINED}
    rows = embedded_pictures.held_out_things("test")
    counts = {pair: sum(r["name"].endswith(" ".join(pair)) for r in rows) for pair in HELD_OUT}
    assert sum(counts.values()) == len(rows) == 300
    assert min(counts.values()) > 80
    assert embedded_pictures.held_out_things("train") == []
    assert len({r["image"].tobytes() for r in rows}) == len(rows)


def test_captions_of_the_retrieval_card_are_true_of_one_picture() -> None:
    rows = embedded_pictures.captioned_scenes("test")
    captions = [c for r in rows for c in r["captions"]]
    assert len(rows) == 200
    assert len(set(captions)) == len(captions)
    assert all(1 <= len(r["captions"]) <= 3 for r in rows)
    assert np.array_equal(rows[7]["image"], embedded_pictures.captioned_scenes("test")[7]["image"])

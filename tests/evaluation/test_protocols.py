"""Planted models with known scores through every protocol: oracle, anti-oracle, uniform."""

from typing import Any

import numpy as np
import pytest
from planted_models import Planted, hashed
from scipy import sparse

from tgp_multimodal.data import scenes
from tgp_multimodal.evaluation.requests import (
    Denoise,
    Draw,
    Embed,
    Perplexity,
    PerplexityAnswer,
    Score,
    ScoreAnswer,
)
from tgp_multimodal.evaluation.stats import wilson

Rows = dict[str, list[dict[str, Any]]]


def scorer(prefer: Any) -> Planted:
    """A model whose log-likelihood is `prefer(request)`."""
    return Planted(score=lambda r: ScoreAnswer(prefer(r), 1, False))


# Multiple choice ----------------------------------------------------------------------------------

QUESTIONS: Rows = {
    "train": [
        {"prompt": f"{i} + 0 =", "choices": ["odd", "even"], "answer": 1 - i % 2} for i in range(9)
    ],
    "test": [
        {"prompt": f"{i} + 1 =", "choices": ["odd", "even"], "answer": i % 2} for i in range(20)
    ],
}


def knows(request: Score) -> float:
    asked = int(request.context.rpartition("\n")[2].split(" ")[0])
    return 0.0 if (request.continuation == " even") == (asked % 2 == 1) else -1.0


def test_oracle_and_anti_oracle_of_multiple_choice(run: Any) -> None:
    right = run("multiple_choice", QUESTIONS, scorer(knows))
    wrong = run("multiple_choice", QUESTIONS, scorer(lambda r: -1 - knows(r)))
    assert (right.value, wrong.value) == (1.0, 0.0)
    assert right.details["macro_f1"] == 1
    assert right.interval.low == pytest.approx(0.8389, abs=1e-4)
    assert all(r["correct"] and r["prediction"] == r["target"] for r in right.records)


def test_ties_go_to_the_first(run: Any) -> None:
    found = run("multiple_choice", QUESTIONS, scorer(lambda r: -3.0))
    assert [r["prediction"] for r in found.records] == [0] * 20
    assert found.value == 0.5


def test_normalisation_is_by_characters_without_the_delimiter(run: Any) -> None:
    rows: Rows = {"test": [{"prompt": "p", "choices": ["äb", "abcd"], "answer": 1}]}
    # -4 / 2 characters is worse than -6 / 4; per byte or with the delimiter it would not be.
    found = run("multiple_choice", rows, scorer(lambda r: {3: -3.1, 5: -6.0}[len(r.continuation)]))
    assert found.details["accuracy"] == 0
    assert found.details["accuracy_per_character"] == 1
    normed = run(
        "multiple_choice",
        rows,
        scorer(lambda r: {3: -3.1, 5: -6.0}[len(r.continuation)]),
        metric="accuracy_per_character",
    )
    assert normed.value == 1


def test_prompts_are_joined_as_lm_eval_joins_them(run: Any) -> None:
    model = scorer(lambda r: 0.0)
    run("multiple_choice", QUESTIONS, model, settings={"shots": 2, "preamble": "Odd or even.\n\n"})
    first = model.asked[0]
    assert isinstance(first, Score)
    preamble, *solved, question = first.context.split("\n\n")
    assert preamble == "Odd or even."
    assert len(solved) == 2
    known = {f"{r['prompt']} {r['choices'][r['answer']]}" for r in QUESTIONS["train"]}
    assert set(solved) < known
    assert question == "0 + 1 ="
    assert first.continuation == " odd"
    assert len(model.asked) == 40


def test_fixed_shots_make_one_prefix(run: Any) -> None:
    model = scorer(lambda r: 0.0)
    run("multiple_choice", QUESTIONS, model, settings={"shots": 4, "sampling": "fixed"})
    assert len({r.context.rpartition("\n\n")[0] for r in model.asked}) == 1


# Infilling ----------------------------------------------------------------------------------------


def test_infilling_gives_prefix_and_suffix(run: Any) -> None:
    rows: Rows = {
        "test": [
            {"prefix": "a", "suffix": "c", "choices": ["x", "b"], "answer": 1, "group": "one"},
            {"prefix": "b", "suffix": "d", "choices": ["c", "x"], "answer": 0, "group": "one"},
            {"prefix": "d", "suffix": "f", "choices": ["e", "x"], "answer": 0, "group": "two"},
        ]
    }

    def alphabet(request: Score) -> float:
        between = chr(ord(request.context) + 1)
        fits = request.continuation == between and request.suffix == chr(ord(between) + 1)
        return float(fits) - 1

    found = run("infilling", rows, scorer(alphabet))
    assert found.value == 1
    assert found.interval == wilson(2, 2)  # so many groups, all right


# Probe --------------------------------------------------------------------------------------------


def points(count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return [{"item": f"{seed} {i} {label}", "label": f"l{label}"} for i, label in enumerate(labels)]


LABELLED: Rows = {"train": points(90, 0), "validation": points(30, 1), "test": points(60, 2)}


def in_item(request: Embed) -> np.ndarray:
    """Noise, and the label in one direction of it, far below the noise of another."""
    vector = hashed(request, 10)
    vector[3] *= 1000
    vector[5] = int(str(request.item)[-1])
    return vector


def test_a_readable_label_is_read_and_noise_is_not(run: Any) -> None:
    found = run("probe", LABELLED, Planted(embed=in_item))
    assert found.value > 0.9
    assert found.details["accuracy"] == found.value
    noise = run("probe", LABELLED, Planted(embed=hashed))
    assert noise.interval.low < 1 / 3 < noise.interval.high
    assert len(noise.records) == 60


def test_probe_without_validation_split_cuts_one_from_train(run: Any) -> None:
    rows = {k: v for k, v in LABELLED.items() if k != "validation"}
    assert run("probe", rows, Planted(embed=in_item)).value > 0.9


class Layers(Planted):
    """The label is in the middle of three views, and in the test items of the last."""

    def views(self, modality: str) -> tuple[str, ...]:
        return ("first", "middle", "last")


def test_the_view_is_chosen_on_validation_items(run: Any) -> None:
    def seen(request: Embed) -> np.ndarray:
        knows = request.view == "middle" or str(request.item).startswith("2 ")
        return in_item(request) if knows else hashed(request, 10)

    model = Layers(embed=seen)
    found = run("probe", LABELLED, model)
    assert found.details["view"] == "middle"
    assert list(found.details["views"]) == ["first", "middle", "last"]
    assert found.details["views"]["middle"] > 0.9 > found.details["views"]["last"]
    assert found.value > 0.9
    tested = {str(r.item): r.view for r in model.asked if str(r.item).startswith("2 ")}
    assert len(tested) == 60
    assert set(tested.values()) == {"middle"}


def test_sparse_features_are_taken(run: Any) -> None:
    model = Planted(embed=lambda r: sparse.csr_matrix(np.eye(3)[int(str(r.item)[-1])]))
    assert run("probe", LABELLED, model).value == 1


def test_features_must_be_finite(run: Any) -> None:
    with pytest.raises(ValueError, match=r"features must be finite\. Got 180 vectors"):
        run("probe", LABELLED, Planted(embed=lambda r: np.array([1.0, np.nan])))


# Denoising ----------------------------------------------------------------------------------------


def test_denoising_is_a_mean_and_says_what_captions_save(run: Any) -> None:
    rows: Rows = {
        "test": [{"item": np.full((4, 4, 3), i, np.uint8), "caption": "x"} for i in range(4)]
    }
    times = np.arange(1, 10) / 100

    def cost(request: Denoise) -> np.ndarray:
        return times * (1 + int(request.item[0, 0, 0])) * (1 if request.caption else 2)

    found = run("denoising", rows, Planted(denoise=cost))
    assert found.value == pytest.approx(0.05 * 2.5)
    assert found.interval.low < found.value < found.interval.high
    assert found.details["by_time"]["0.3"] == pytest.approx(0.03 * 2.5)
    assert found.details["caption_saves"] == pytest.approx(0.5)
    assert found.details["caption_saves_low"] == pytest.approx(0.5)
    assert [r["score"] for r in found.records] == pytest.approx([0.05, 0.1, 0.15, 0.2])


# Likeness -----------------------------------------------------------------------------------------


def test_a_painter_of_real_pictures_is_like_them_and_a_blank_is_not(run: Any) -> None:
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 256, (90, 4, 4, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    real = [{"item": picture, "caption": str(i)} for i, picture in enumerate(shades[:30])]
    rows: Rows = {"test": real, "train": [{"item": p, "caption": "x"} for p in shades[60:]]}
    said = {"settings": {"space": "colour/1"}}
    good = run("likeness", rows, Planted(draw=lambda r: shades[30 + int(r.prompt)]), **said)
    blank = run("likeness", rows, Planted(draw=lambda r: np.full((32, 32, 3), 9, np.uint8)), **said)
    assert good.interval.low < 0 < good.interval.high < blank.interval.low
    assert good.details["precision"] > 0.5 > blank.details["precision"]
    assert blank.details["recall"] == 0
    assert blank.details["of_training_pictures"]["kid"] < blank.interval.low


def test_real_pictures_are_brought_to_the_size_of_the_drawn_ones(run: Any) -> None:
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 256, (30, 2, 2, 3), dtype=np.uint8)
    small = shades.repeat(8, axis=1).repeat(8, axis=2)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    said = {"settings": {"space": "colour/1"}}

    def drawn(real: np.ndarray) -> float:
        rows: Rows = {"test": [{"item": p, "caption": str(i)} for i, p in enumerate(real[:15])]}
        painter = Planted(draw=lambda r: small[15 + int(r.prompt)])
        return run("likeness", rows, painter, **said).value

    assert drawn(large) == pytest.approx(drawn(small), rel=0.05)


# Retrieval ----------------------------------------------------------------------------------------


def test_retrieval_with_known_neighbours(run: Any) -> None:
    vectors = {"q1": [1, 0], "q2": [0, 1], "a": [5, 1], "b": [1, 1], "c": [0, 0.1]}
    rows: Rows = {
        "test": [{"query": "q1", "relevant": ["A"]}, {"query": "q2", "relevant": ["B"]}],
        "corpus": [{"document": d, "document_id": d.upper()} for d in "abc"],
    }
    model = Planted(embed=lambda r: np.array(vectors[r.item], float))
    found = run("retrieval", rows, model)
    assert [r["prediction"] for r in found.records] == ["A", "C"]
    assert found.value == 0.75
    assert found.details["recall_at_1"] == 0.5
    assert found.details["recall_at_10"] == 1
    assert found.details["documents"] == 3


def test_ids_that_no_document_has_are_no_answers(run: Any) -> None:
    rows: Rows = {
        "test": [{"query": "p", "relevant": ["X"]}, {"query": "q", "relevant": ["A"]}],
        "corpus": [{"document": d, "document_id": d.upper()} for d in "ab"],
    }
    model = Planted(embed=lambda r: np.ones(2))
    assert run("retrieval", rows, model).details["queries_without_document"] == 1
    rows["test"][1]["relevant"] = ["a"]
    with pytest.raises(
        ValueError, match=r"must name documents of the corpus .*'A'. Got 'X' instead"
    ):
        run("retrieval", rows, model)


def test_what_answers_a_query_answers_it_wherever_it_is_asked(run: Any) -> None:
    rows = {
        "test": [{"query": "q", "relevant": [name]} for name in "AB"],
        "corpus": [{"document": name, "document_id": name} for name in "ABC"],
    }
    towards = {"q": [2, 1.9, 0.1], "A": [1, 0, 0], "B": [0, 1, 0], "C": [0, 0, 1]}
    found = run("retrieval", rows, Planted(embed=lambda r: np.array(towards[r.item], float)))
    assert [r["prediction"] for r in found.records] == ["A", "A"]
    assert [r["target"] for r in found.records] == [["A", "B"]] * 2
    assert (found.value, found.details["recall_at_1"], found.details["map"]) == (1, 0.5, 1)


def test_a_document_that_is_judged_0_is_not_relevant(run: Any) -> None:
    rows: Rows = {
        "test": [{"query": "q", "relevant": ["A", "B"], "relevance": [2, 0]}],
        "corpus": [{"document": d, "document_id": d.upper()} for d in "abc"],
    }
    near = {"q": [1, 0], "b": [5, 0.1], "a": [5, 1], "c": [0, 1]}  # b is found first
    found = run("retrieval", rows, Planted(embed=lambda r: np.array(near[r.item], float)))
    assert found.value == 0.5
    assert found.details["recall_at_1"] == 0
    assert found.details["map"] == 0.5


@pytest.mark.parametrize("order", [range(12), [5, 2, 11, 0, 7, 3, 10, 1, 6, 9, 4, 8]])
def test_ties_are_broken_by_id_descending(run: Any, order: Any) -> None:
    rows: Rows = {
        "test": [{"query": "q", "relevant": ["d05"]}],
        "corpus": [{"document": f"{i}", "document_id": f"d{i:02}"} for i in order],
    }
    found = run("retrieval", rows, Planted(embed=lambda r: np.ones(3)))
    assert found.records[0]["prediction"] == "d11"
    assert found.value == pytest.approx(1 / 7)


# Perplexity ---------------------------------------------------------------------------------------

TEXTS: Rows = {"test": [{"text": "abc"}, {"text": "é" * 50}]}


def uniform_bytes(request: Perplexity) -> PerplexityAnswer:
    size = len(request.text.encode())
    return PerplexityAnswer(size * np.log(256), size, size)


def test_uniform_bytes_cost_eight_bits(run: Any) -> None:
    found = run("perplexity", TEXTS, Planted(perplexity=uniform_bytes))
    assert found.value == pytest.approx(8)
    assert found.interval == pytest.approx((8, 8))
    assert found.details["bytes"] == 103
    assert found.details["nats_per_token"] == pytest.approx(np.log(256))
    assert sum(r["nats"] for r in found.records) == pytest.approx(103 * np.log(256))


def test_a_compressor_costs_all_texts_as_one(run: Any) -> None:
    class Half(Planted):
        def whole(self, texts: Any) -> dict[str, float]:
            return {"kept": 103 * np.log(16), "other": 103 * np.log(2)}

    found = run("perplexity", TEXTS, Half(perplexity=uniform_bytes))
    assert found.value == pytest.approx(4)
    assert found.details["kept"] == pytest.approx(4)
    assert found.details["other"] == pytest.approx(1)


# Scenes -------------------------------------------------------------------------------------------


def scene_rows(count: int) -> tuple[Rows, dict[str, np.ndarray]]:
    rows, pictures = [], {}
    for i in range(count):
        described = scenes.sample_described(np.random.default_rng([5, i]), held_out=i % 4 == 3)
        axis = f"axis {i % 2}"
        rows.append(
            {
                "prompt": f"{i} {described.caption}",
                "axis": axis,
                "truth": described.truth,
                "seed": i,
                "held_out": i % 4 == 3,
            }
        )
        pictures[f"{i} {described.caption}"] = scenes.render(described.scene)
    return {"test": rows}, pictures


def test_scene_eval_of_a_painter_and_of_a_blank(run: Any) -> None:
    rows, pictures = scene_rows(16)
    found = run("scene_eval", rows, Planted(draw=lambda r: pictures[r.prompt]))
    assert found.value == 1
    assert found.details["axes"]["axis 0"]["n"] == 8
    assert found.details["axes"]["axis 1"]["n"] == 4
    assert found.details["held_out"]["axis 1"]["value"] == 1
    assert len(found.records) == 12
    blank = run("scene_eval", rows, Planted(draw=lambda r: np.zeros((32, 32, 3), np.uint8)))
    assert blank.value == 0
    assert blank.interval.high > 0


def test_scene_eval_is_the_mean_over_axes_and_not_over_items(run: Any) -> None:
    rows, pictures = scene_rows(16)
    bad = {r["prompt"] for r in rows["test"] if r["axis"] == "axis 1"}

    def draws(request: Draw) -> np.ndarray:
        return (
            np.zeros((32, 32, 3), np.uint8) if request.prompt in bad else pictures[request.prompt]
        )

    assert run("scene_eval", rows, Planted(draw=draws)).value == 0.5

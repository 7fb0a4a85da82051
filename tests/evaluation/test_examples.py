import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples, check_source


def store(root: Path, split: str, rows: list[dict[str, Any]]) -> None:
    (root / "made/up").mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "made/up" / f"{split}.parquet")


SEEN, SHOWN = {"modality": "image"}, {"item": "image", "label": "label"}


def card(**changes: Any) -> Card:
    said: dict[str, Any] = {
        "columns": {"label": "label"},
        "templates": {"item": "<{{ text }}>"},
        "source": {"folder": "made/up"},
        **changes,
    }
    fixed = ("text/x", 1, "text", "d", "l", "c")
    return Card(*fixed, protocol="probe", metric="accuracy", chance=0.5, **said)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    store(tmp_path, "test", [{"text": f"t{i}", "label": i % 2} for i in range(50)])
    store(tmp_path, "train", [{"text": f"s{i}", "label": i % 2} for i in range(400)])
    return tmp_path


def test_columns_keep_their_type_and_templates_make_text(root: Path) -> None:
    examples = Examples(card())
    assert examples.test[3].fields == {"label": 1, "item": "<t3>"}
    assert [e.id for e in examples.test[:2]] == ["test-0", "test-1"]
    assert examples.validation == []


def test_smaller_subsets_are_subsets_of_larger_ones(root: Path) -> None:
    def ids(size: int) -> set[str]:
        return {e.id for e in Examples(card(sizes={"test": size})).test}

    assert len(ids(20)) == 20
    assert ids(5) < ids(20) < ids(50)
    assert {e.id for e in Examples(card(), limit=5).test} == ids(5)
    assert ids(5) != {f"test-{i}" for i in range(5)}  # not the first: files are often sorted


def test_a_card_may_keep_some_rows_of_a_split(root: Path) -> None:
    where = {"test": "label == 1", "corpus": "text in ('t2', 't4')"}
    source = {"folder": "made/up", "splits": {"corpus": "test"}, "where": where}
    examples = Examples(card(source=source))
    assert [e.fields["item"] for e in examples.test[:2]] == ["<t1>", "<t3>"]
    assert len(examples.test) == 25
    assert [e.fields["item"] for e in examples.corpus] == ["<t2>", "<t4>"]
    assert len(examples.train) == 400
    assert Examples(card()).card.digest != examples.card.digest


@pytest.mark.parametrize("condition", ["lable == 1", "label ==", "text | no_such_filter"])
def test_a_condition_on_no_column_is_one_sentence(root: Path, condition: str) -> None:
    source = {"folder": "made/up", "where": {"test": condition}}
    with pytest.raises(ValueError, match=r"text/x: where must be .* columns text, label"):
        assert Examples(card(source=source)).test


@pytest.mark.parametrize(("none", "some"), [(None, 7), ("", "7")])
def test_items_without_a_group_are_each_their_own(root: Path, none: Any, some: Any) -> None:
    rows = [{"text": f"t{i}", "label": i % 2, "page": some if i == 3 else none} for i in range(5)]
    store(root, "test", rows)
    found = Examples(card(columns={"label": "label", "group": "page"})).test
    assert [e.group for e in found] == ["test-0", "test-1", "test-2", "7", "test-4"]


def test_limit_limits_training_items_too(root: Path) -> None:
    assert len(Examples(card(), limit=3).train) == 24
    assert len(Examples(card()).train) == 400


def test_limit_leaves_the_solved_examples_of_prompts_alone(root: Path) -> None:
    asked = card(
        columns={"choices": "['even', 'odd']", "answer": "label"},
        templates={"prompt": "{{ text }}"},
    )
    examples = Examples(replace(asked, protocol="multiple_choice"), limit=3)
    assert (len(examples.train), len(examples.test)) == (400, 3)


def test_digest_follows_the_test_items(root: Path) -> None:
    before = Examples(card()).digest
    assert before == Examples(card()).digest
    store(root, "test", [{"text": f"t{i}", "label": i % 3} for i in range(50)])
    assert Examples(card()).digest != before


def test_pictures_are_decoded_to_rgb(root: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(buffer, "PNG")
    store(root, "test", [{"image": {"bytes": buffer.getvalue(), "path": "x"}, "label": 0}])
    pixels = Examples(card(templates={}, columns=SHOWN, settings=SEEN)).test[0]
    assert pixels.fields["item"].shape == (2, 3, 3)
    assert pixels.fields["item"][1, 2].tolist() == [5, 5, 5]


def test_pictures_of_cards_look_as_pictures_to_learn_from(root: Path) -> None:
    """What is transparent shows white, and the camera's orientation is obeyed."""
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, 0] = (0, 0, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    store(root, "test", [{"image": {"bytes": buffer.getvalue(), "path": "x"}, "label": 0}])
    found = Examples(card(templates={}, columns=SHOWN, settings=SEEN)).test[0]
    assert found.fields["item"][1, 2].tolist() == [0, 0, 255]
    assert (found.fields["item"][0] == 255).all()


def test_a_broken_picture_is_named(root: Path) -> None:
    store(root, "test", [{"image": {"bytes": b"no picture", "path": "x"}, "label": 0}])
    with pytest.raises(ValueError, match=r"image must be a picture in .*test\.parquet"):
        _ = Examples(card(templates={}, columns=SHOWN, settings=SEEN)).test


@pytest.mark.parametrize(
    "said",
    [
        {"columns": {"label": "lable"}},
        {"templates": {"item": "{{ texts }}"}},
        {"templates": {"item": "{{ text"}},
        {"columns": {"label": "label +"}},
    ],
)
def test_a_wrong_column_is_answered_with_the_columns(root: Path, said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="columns text, label"):
        _ = Examples(card(**said)).test


def test_a_template_does_not_write_none_where_a_value_is_missing(root: Path) -> None:
    store(root, "test", [{"text": "t", "label": 1, "hint": "h"}, {"text": "u", "label": 0}])
    with pytest.raises(
        ValueError, match=r"Got '\{\{ hint \}\}' \(a value that it writes is missing"
    ):
        _ = Examples(card(templates={"item": "{{ hint }}"})).test
    examples = Examples(card(templates={"item": "{{ text }}{{ hint or '' }}"}))
    assert [e.fields["item"] for e in examples.test] == ["th", "u"]


def test_templates_cannot_reach_the_interpreter(root: Path) -> None:
    with pytest.raises(ValueError, match="unsafe"):
        _ = Examples(card(templates={"item": "{{ text.__class__.__mro__ }}"})).test


def test_missing_data_are_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="made/down must be a folder below"):
        check_source(card(source={"folder": "made/down"}))
    with pytest.raises(ValueError, match="Did you mean prose"):
        check_source(card(source={"embedded": "pros"}))
    monkeypatch.delenv("TGP_DATA")
    with pytest.raises(ValueError, match="TGP_DATA must name the folder that holds made/up"):
        check_source(card())


def test_a_split_may_have_another_name(root: Path) -> None:
    renamed = card(source={"folder": "made/up", "splits": {"test": "train"}})
    assert len(Examples(renamed).test) == 400


def test_a_card_without_test_items_is_refused(root: Path) -> None:
    (root / "made/up/test.parquet").unlink()
    with pytest.raises(ValueError, match="test split must hold an item"):
        _ = Examples(card()).test


def test_a_split_that_a_card_names_must_be_there(root: Path) -> None:
    wrong = card(source={"folder": "made/up", "splits": {"train": "trian"}})
    sentence = r"splits must name files of .*made/up\. Got trian\.parquet for train, which"
    with pytest.raises(ValueError, match=sentence):
        check_source(wrong)
    with pytest.raises(ValueError, match=sentence):
        _ = Examples(wrong).train
    check_source(card(source={"folder": "made/up", "splits": {"corpus": "test"}}))


def test_a_hub_source_is_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, revision: str | None) -> dict[str, Any]:
        asked.append((name, config, revision))
        picture = Image.fromarray(np.zeros((2, 2), np.uint8))
        return {"held_out": [{"text": "t", "label": 1, "image": picture}]}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    source: dict[str, Any] = {"hub": "some/set", "revision": "abc", "splits": {"test": "held_out"}}
    columns = {"label": "label", "item": "image"}
    examples = Examples(card(source=source, templates={}, columns=columns, settings=SEEN))
    assert examples.test[0].fields["item"].shape == (2, 2, 3)
    assert examples.train == []
    assert set(asked) == {("some/set", None, "abc")}
    source["splits"] = {"test": "held_out", "validation": "dev"}
    wrong = Examples(card(source=source, templates={}, columns=columns, settings=SEEN))
    sentence = r"splits must name splits of some/set \(held_out\)\. Got dev for validation instead"
    with pytest.raises(ValueError, match=sentence):
        _ = wrong.validation

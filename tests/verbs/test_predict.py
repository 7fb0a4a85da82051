"""`tgp predict` where rows cannot be read, the work is interrupted, or words are tagged."""

import csv
import json

import pytest
from PIL import Image
from random_networks import language_model

import tgp_multimodal
from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.data.labelled import Columns, Predicted
from tgp_multimodal.data.quarantine import Quarantine
from tgp_multimodal.inference import labelling
from tgp_multimodal.inference.adapted import Adapted

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*isinstance.treespec, LeafSpec.*",
    "ignore:.*in eval mode at the start of training.*",
)


@pytest.fixture(scope="module")
def tagger(tokenizer, tmp_path_factory):
    """A folder of a model that tags words, adapted to a table whose cells are plain text."""
    place = tmp_path_factory.mktemp("tagger")
    export.save(place / "base", language_model(tokenizer.vocabulary), tokenizer, {}, "card")
    words = ["river", "stone", "bridge", "field"]
    rows = [[f"{a} {b}", f"N {'V' if b == 'stone' else 'N'}"] for a in words for b in words] * 3
    with (place / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    given = ["--train", str(place / "train.csv"), "--kind", "tagging", "--method", "head"]
    assert main(["adapt", str(place / "base"), str(place / "out"), *given]) == 0
    return place / "out"


def table(path, texts):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_words_of_a_plain_cell_are_tagged(tagger, tmp_path, capsys):
    texts = ["river stone", "bridge", "field river stone"]
    source, output = table(tmp_path / "new.csv", texts), tmp_path / "tagged.csv"
    assert main(["predict", str(tagger), str(source), str(output)]) == 0
    assert "3 rows labelled" in capsys.readouterr().out
    found = read(output)
    answers = tgp_multimodal.load_adapted(tagger).predict(texts)
    assert [row["label"] for row in found] == [" ".join(answer.label) for answer in answers]
    assert [len(row["label"].split()) for row in found] == [2, 1, 3]


def test_rows_that_cannot_be_read_are_written_down(tagger, tmp_path, capsys):
    source, output = tmp_path / "new.jsonl", tmp_path / "tagged.jsonl"
    source.write_text('{"text": "river"}\n{"text": \n{"text": "stone"}\n')
    assert main(["predict", str(tagger), str(source), str(output)]) == 0
    listed = tmp_path / "tagged.jsonl.quarantine.jsonl"
    said = capsys.readouterr().out
    assert f"1 could not be read, listed in {listed}; {source} line 2: broken JSON" in said
    (bad,) = map(json.loads, listed.read_text().splitlines())
    assert bad["row"] == "line 2"
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == [
        "river",
        "stone",
    ]
    assert main(["predict", str(tagger), str(listed), str(output), "--overwrite"]) == 2
    assert "input must be no file that is written anew" in capsys.readouterr().err
    assert listed.is_file()
    source.write_text("{\n{\n")
    assert main(["predict", str(tagger), str(source), str(output), "--overwrite"]) == 2
    assert "must hold at least one row. Got none (2 bad:" in capsys.readouterr().err


def test_what_was_labelled_outlives_an_interruption(tagger, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(labelling, "_CHUNK", 2)
    predict, calls = Adapted.predict, []

    def interrupted(self, items):
        calls.append(items)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, items)

    monkeypatch.setattr(Adapted, "predict", interrupted)
    source, output = table(tmp_path / "new.csv", ["river"] * 9), tmp_path / "tagged.csv"
    assert main(["predict", str(tagger), str(source), str(output)]) == 130
    assert not output.exists()
    kept = tmp_path / "tagged.csv.partial"
    assert f"the first 4 rows are in {kept}" in capsys.readouterr().err
    assert len(read(kept)) == 4


def test_hidden_pictures_are_passed_over(tmp_path):
    for name in ("a.png", "in/b.png", ".thumbnails/c.png", "__MACOSX/d.png", "in/._e.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "folder.png").mkdir()

    class Judge:
        class task:  # noqa: N801  (stands for an attribute)
            reads, kind = "picture", "classification"

        def predict(self, items):
            return [Predicted("light", 1.0, None) for _ in items]

    with Quarantine(tmp_path / "bad.jsonl") as quarantine:
        labeller = labelling.Labeller(Judge(), Columns(), quarantine)
        (rows,) = labeller.pictures(tmp_path / "in")
    assert [row["file"] for row in rows] == ["a.png", "in/b.png"]


def test_a_model_of_numbers_writes_no_column_of_probabilities(tokenizer, tmp_path):
    export.save(tmp_path / "base", language_model(tokenizer.vocabulary), tokenizer, {}, "card")
    rows = [[text, str(len(text))] for text in ("a", "river", "river stone", "a bridge") * 8]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    given = ["--train", str(tmp_path / "train.csv"), "--kind", "regression", "--steps", "2"]
    assert main(["adapt", str(tmp_path / "base"), str(tmp_path / "out"), *given]) == 0
    source, output = table(tmp_path / "new.csv", ["river", "stone"]), tmp_path / "labelled.csv"
    assert main(["predict", str(tmp_path / "out"), str(source), str(output)]) == 0
    (first, second) = read(output)
    assert first.keys() == second.keys() == {"text", "label"}
    assert all(float(row["label"]) == float(row["label"]) for row in (first, second))

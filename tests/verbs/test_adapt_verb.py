"""`tgp adapt` and `tgp predict` at the command line, on files a user might bring."""

import csv
import json
import shlex

import numpy as np
import pytest
from PIL import Image
from random_networks import language_model, multimodal

import tgp_multimodal
from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.data.labelled import Columns, Predicted, Raw, folder_of_pictures
from tgp_multimodal.inference.adapted import Adapted, read_columns

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*isinstance.treespec, LeafSpec.*",
    "ignore:.*in eval mode at the start of training.*",
)


@pytest.fixture(scope="module")
def base(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "export"
    export.save(folder, language_model(tokenizer.vocabulary), tokenizer, {}, "card")
    return str(folder)


def lines(count=60):
    generator = np.random.default_rng(0)
    words = ["river", "stone", "bridge", "field", "boat"]
    texts = [" ".join(generator.choice(words, 5)) for _ in range(count)]
    return [(t, "wet" if "river" in t else "dry") for t in texts]


def write_csv(path, rows, header=("body", "team")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory):
    """A folder of the head alone, from a csv with one empty and one broken row."""
    place = tmp_path_factory.mktemp("verb")
    rows = [*lines(), ("", "wet")]
    source = write_csv(place / "mail.csv", rows)
    text = (place / "mail.csv").read_text()
    (place / "mail.csv").write_text(f"{text}a,b,c\n")
    given = ["--train", source, "--text", "body", "--label", "team", "--method", "head"]
    allowed = ["--allow_bad", "0.1"]
    assert main(["adapt", base, str(place / "out"), *given, *allowed]) == 0
    return place / "out"


def test_unusable_rows_are_counted_and_written_down(adapted):
    report = json.loads((adapted / "report.json").read_text())
    assert report["bad_rows"] == 2
    rows = [json.loads(r) for r in (adapted / "quarantine-train.jsonl").read_text().splitlines()]
    assert [(r["row"], r["reason"]) for r in rows] == [
        ("line 62", "empty text"),
        ("line 63", "3 cells and not 2"),
    ]
    assert report["items"] == {"train": 42, "validation": 9, "test": 9}
    assert report["kind"] == "classification"


def test_items_of_test_that_are_in_train_are_told(base, tmp_path, capsys):
    rows = lines()
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", [*rows[:3], ("a new text of river", "wet")])
    given = ["--train", train, "--test", test, "--validation", test, "--text", "body"]
    output = tmp_path / "out of it"
    words = ["adapt", base, str(output), *given, "--label", "team", "--method", "head"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "4 of 4 items of test are also in train or validation" in said
    line = said.split("label more with: tgp ")[1].split("\n")[0]
    places = {"INPUT": test, "OUTPUT.csv": str(tmp_path / "labelled.csv")}
    assert main([places.get(word, word) for word in shlex.split(line)]) == 0
    assert len((tmp_path / "labelled.csv").read_text().splitlines()) == 5
    report = json.loads((output / "report.json").read_text())
    assert report["copies_in_training"] == {"validation": 3, "test": 4}
    assert "3 of validation, 4 of test" in (output / "report.html").read_text()


def test_new_tables_are_read_in_the_columns_that_were_learned_from(adapted, tmp_path, capsys):
    rows = [("a river", "near the stone"), ("a field", "far from the bridge")]
    source = write_csv(tmp_path / "new.csv", rows, ("body", "note"))
    found = []
    for given in ([], ["--text", "body"], ["--text", "note"]):
        output = tmp_path / f"{len(found)}.csv"
        assert main(["predict", str(adapted), source, str(output), *given]) == 0
        found.append(output.read_text())
    assert found[0] == found[1] != found[2]
    plain = write_csv(tmp_path / "plain.csv", rows, ("text", "note"))
    assert main(["predict", str(adapted), plain, str(tmp_path / "out.csv")]) == 2
    said = capsys.readouterr().err
    assert "text (that of training, unless --text names another) must be a column of" in said
    assert "Got 'body' instead; there are: text, note." in said
    given = ["--text", "x"]
    assert main(["predict", str(adapted), plain, str(tmp_path / "out.csv"), *given]) == 2
    assert "text must be a column of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "columns", [None, [], "body", {"text": None}, {"text": 3}, {"text": "a", "second": 1}]
)
def test_columns_that_are_damaged_are_told(adapted, tmp_path, columns):
    content = json.loads((adapted / "adapted.json").read_text())
    (tmp_path / "adapted.json").write_text(json.dumps(content | {"columns": columns}))
    with pytest.raises(ValueError, match=r"adapted\.json must be names\. Got"):
        read_columns(tmp_path)


def test_columns_of_later_versions_and_none_of_earlier_ones_are_read(adapted, tmp_path):
    content = json.loads((adapted / "adapted.json").read_text())
    for columns, read in ({"text": "a", "new": 1}, Columns("a")), ({}, Columns()):
        (tmp_path / "adapted.json").write_text(json.dumps(content | {"columns": columns}))
        assert read_columns(tmp_path) == read
    del content["columns"]
    (tmp_path / "adapted.json").write_text(json.dumps(content))
    assert read_columns(tmp_path) == Columns()


def test_a_row_of_another_kind_of_item_stays_without_a_label(adapted, tmp_path, capsys):
    """And does not end the work on all others."""
    rows = [{"body": "rain and rain"}, {"body": ["rain", "and"]}, {"body": "sand"}]
    source = tmp_path / "new.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / "labelled.jsonl"
    assert main(["predict", str(adapted), str(source), str(output), "--text", "body"]) == 0
    assert "a list of words, where the model reads a text" in capsys.readouterr().out
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["label"] is None for row in found] == [False, True, False]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_predict_keeps_every_column_and_every_row(adapted, tmp_path, capsys, suffix):
    rows = [(t, str(i), "x,\ny") for i, (t, _) in enumerate(lines(9))]
    source = write_csv(tmp_path / "new.csv", [*rows, (" ", "9", "")], ("body", "number", "note"))
    output = tmp_path / f"labelled{suffix}"
    assert main(["predict", str(adapted), source, str(output), "--text", "body"]) == 0
    told = capsys.readouterr().out
    assert "9 rows labelled" in told
    assert "1 row got no label" in told
    if suffix == ".jsonl":
        found = [json.loads(line) for line in output.read_text().splitlines()]
    else:
        with output.open(newline="") as file:
            found = list(csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t"))
    assert list(found[0]) == ["body", "number", "note", "label", "probability"]
    assert [r["number"] for r in found] == [str(i) for i in range(10)]
    assert found[0]["note"] == "x,\ny"
    assert found[9]["label"] in ("", None)
    model = tgp_multimodal.load_adapted(adapted)
    for row, expected in zip(found, model.predict([t for t, *_ in rows]), strict=False):
        assert row["label"] == expected.label
        assert float(row["probability"]) == pytest.approx(expected.probability, abs=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_half_of_a_surrogate_pair_costs_no_other_row(adapted, tmp_path, suffix):
    rows = [{"body": "fine", "title": "cut \ud83d"}, {"body": "half \ud83d"}, {"body": "last"}]
    source, output = tmp_path / "new.jsonl", tmp_path / f"labelled{suffix}"
    source.write_text("".join(json.dumps({"title": ""} | row) + "\n" for row in rows))
    assert main(["predict", str(adapted), str(source), str(output), "--text", "body"]) == 0
    told = output.read_text()
    assert "cut \\ud83d" in told
    assert "last" in told


def test_predict_replaces_a_file_only_where_it_is_told_to(adapted, tmp_path, capsys):
    source = write_csv(tmp_path / "new.csv", lines(3), ("body", "number"))
    output = tmp_path / "labelled.csv"
    output.write_text("mine")
    given = ["predict", str(adapted), source, str(output), "--text", "body"]
    assert main(given) == 2
    assert "output must be a new file, unless --overwrite is given" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main([*given, "--overwrite"]) == 0
    assert output.read_text().startswith("body,number,label,probability")


def test_chunks_join_and_clashing_columns_keep_theirs(adapted, tmp_path, monkeypatch):
    from tgp_multimodal.inference import labelling

    rows = lines(7)
    source = write_csv(tmp_path / "new.csv", rows, ("body", "label"))
    outputs = []
    for size in (2, 512):
        monkeypatch.setattr(labelling, "_CHUNK", size)
        outputs.append(tmp_path / f"{size}.csv")
        assert main(["predict", str(adapted), source, str(outputs[-1]), "--text", "body"]) == 0
    with outputs[0].open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["body", "label", "predicted_label", "predicted_probability"]
    assert [r["label"] for r in found] == [label for _, label in rows]
    with outputs[1].open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [r["predicted_label"] for r in found] == [r["predicted_label"] for r in again]
    place = tmp_path / "again.csv"
    assert main(["predict", str(adapted), str(outputs[1]), str(place), "--text", "body"]) == 0
    with place.open(newline="") as file:
        twice = list(csv.DictReader(file))
    assert [r["predicted_label"] for r in twice] == [r["predicted_label"] for r in again]
    assert twice[0]["predicted_again_label"] == again[0]["predicted_label"]


def test_columns_that_begin_late_stay(adapted, tmp_path, capsys):
    rows = [{"body": text} for text, _ in lines(150)]
    rows[140]["note"] = "seen late"
    source = tmp_path / "new.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["predict", str(adapted), str(source), "--text", "body"]
    assert main([*given[:3], str(tmp_path / "out.jsonl"), *given[3:]]) == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r.get("note") for r in found] == [r.get("note") for r in rows]
    assert "note" not in found[0]
    rows += [{"body": text} for text, _ in lines(600)]
    rows[700]["note"] = "seen late"
    rows[140].pop("note")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert main([*given[:3], str(tmp_path / "out.csv"), *given[3:]]) == 2
    error = capsys.readouterr().err
    assert "output must end with .jsonl where columns of the input begin further down" in error
    assert "and note instead" in error
    assert not (tmp_path / "out.csv").exists()


def test_an_own_program_may_ask(adapted):
    model = tgp_multimodal.load_adapted(adapted)
    assert isinstance(model, tgp_multimodal.Adapted)
    assert model.labels == ("dry", "wet")
    assert repr(model).startswith("Adapted(classification of texts; 2 labels: dry, wet; on ")
    (found,) = model.predict(["stone bridge"])
    assert isinstance(found, Predicted)
    assert found.probabilities.sum() == pytest.approx(1)
    assert found.probability == found.probabilities.max()
    assert model.predict([]) == []
    for item in ("", 3, None):
        with pytest.raises(ValueError, match="items must be texts with something in them"):
            model.predict([item])


def test_fresh_weights_are_a_control(base, adapted, tmp_path, capsys):
    given = ["--train", write_csv(tmp_path / "mail.csv", lines(), ("text", "label"))]
    for name in ("first", "second"):
        place = str(tmp_path / name)
        assert main(["adapt", f"random:{base}", place, *given, "--method", "head"]) == 0
    first, second = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second")
    )
    trained = json.loads((adapted / "report.json").read_text())["base"]
    for report in (first, second):
        del report["environment"]["date"]  # one may have begun a second later
    assert first == second
    assert first["base"]["base"] == f"random:{base}"
    assert first["base"]["base_weights"] != trained["base_weights"]
    capsys.readouterr()
    assert main(["adapt", f"random:{base}", str(tmp_path / "third"), *given, "--method", "lora"])
    assert "method must be full or head with random:" in capsys.readouterr().err


def test_training_that_did_not_help_is_told(base, tmp_path, capsys):
    given = ["--train", write_csv(tmp_path / "mail.csv", lines(), ("text", "label"))]
    breaking = ["--method", "full", "--learning_rate", "5", "--steps", "6"]
    assert main(["adapt", base, str(tmp_path / "out"), *given, *breaking]) == 0
    assert "no step improved on the linear probe" in capsys.readouterr().out


def test_mistakes_of_adapt(base, tmp_path, capsys):
    own = write_csv(tmp_path / "own.csv", lines(), ("text", "label"))
    single = write_csv(tmp_path / "single.csv", [*lines(), ("a boat", "odd")], ("text", "label"))
    new = write_csv(tmp_path / "new.csv", [("a boat", "odd"), ("b", "dry")], ("text", "label"))
    empty = write_csv(tmp_path / "empty.csv", [("", "dry")] * 9 + lines(9), ("text", "label"))
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.txt").write_text("mine")
    for given, message in [
        ([], "card or train must be given. Got neither instead."),
        (["--card", "text/sst2", "--train", own], "card or train must be given. Got both instead."),
        (
            ["--card", "text/sst2", "--label", "mood", "--second", "body", "--kind", "tagging"],
            "label, second, kind must be left out with a card. Got a value instead.",
        ),
        (
            ["--card", "text/hellaswag"],
            "card must be of a protocol with labels (probe, multi_label",
        ),
        (["--train", own, "--label", "labl"], "label must be a column of"),
        (["--train", single], "each class must have at least 3 different items"),
        (["--train", own, "--test", str(tmp_path / "no.csv")], "test must be a file or a folder"),
        (["--train", own, "--class_weights"], "class_weights must be left out of method head"),
        (
            ["--train", own, "--validation", new, "--test", own],
            "labels of validation must occur in",
        ),
        (["--train", empty], "bad rows must be at most 1 %"),
        (["--train", own, "--second", "body"], "second must be a column of"),
        (["--train", own, "--kind", "regression"], "bad rows must be at most 1 %"),
        (["--train", own, "--learning_rate", "0"], "learning_rate must be auto or above 0"),
        (["--train", str(tmp_path / "no.csv")], "train must be a file or a folder that is there"),
    ]:
        place = tmp_path / "out"
        assert main(["adapt", base, str(place), "--method", "head", *given]) == 2, given
        error = capsys.readouterr().err
        assert message in error, (given, error)
        assert error.count("\n") == 1
    assert main(["adapt", base, str(tmp_path / "busy"), "--train", own]) == 2
    assert "Got" in (error := capsys.readouterr().err)
    assert "thesis.txt" in error


def test_a_table_with_semicolons_is_told(base, tmp_path, capsys):
    (tmp_path / "semi.csv").write_text("text;label\na river;wet\n")
    given = [base, str(tmp_path / "out"), "--train", str(tmp_path / "semi.csv")]
    assert main(["adapt", *given]) == 2
    said = capsys.readouterr().err
    assert "must be separated by commas, or by tabs in a .tsv. Got one column, 'text;label'" in said


def test_mistakes_of_predict(adapted, base, tmp_path, capsys):
    source = write_csv(tmp_path / "new.csv", lines(3))
    out = str(tmp_path / "out.csv")
    for given, message in [
        ([base, source, out], "adapted folder must be one that `tgp adapt` wrote"),
        ([str(adapted), source, out, "--text", ""], "text must be a column of"),
        (
            [str(adapted), source, out, "--text", "body", "--second", "team"],
            "second must be left out",
        ),
        ([str(adapted), source, "out.xml", "--text", "body"], "output must end with .csv, .tsv or"),
        ([str(adapted), str(tmp_path), out], "input must be a table of texts"),
        ([str(adapted), source, source, "--text", "body"], "output must be another file than the"),
        (
            [str(adapted), str(tmp_path / "no.csv"), out],
            "input must be a file or a folder that is there",
        ),
    ]:
        assert main(["predict", *given]) == 2, given
        error = capsys.readouterr().err
        assert message in error, (given, error)
        assert error.count("\n") == 1
        assert {p.name for p in tmp_path.iterdir()} == {"new.csv"}


def test_pictures_from_folder_to_labels(tokenizer, tmp_path, capsys, monkeypatch):
    export.save(tmp_path / "base", multimodal(tokenizer.vocabulary), tokenizer, {}, "card")
    generator = np.random.default_rng(0)
    for name, light in (("light", 180), ("dark", 0)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (generator.random((16, 16, 3)) * 60 + light).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{number}.png")
    (tmp_path / "own" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    train = ["--allow_bad", "0.1", "--train", str(tmp_path / "own"), "--method", "head"]
    assert main(["adapt", str(tmp_path / "base"), str(tmp_path / "out"), *train]) == 0
    output = tmp_path / "labels.csv"
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "own"), str(output)]) == 0
    assert "broken.png" in "".join(capsys.readouterr())
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert np.mean([r["file"].startswith(r["label"]) for r in rows]) == 1
    # The side of a photograph that is up stands in its EXIF data: both roads turn it.
    (tmp_path / "tall").mkdir()
    turned = Image.new("RGB", (40, 20))
    turned.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "tall" / "photo.png", exif=exif)
    seen = []
    monkeypatch.setattr(Adapted, "predict", lambda self, items: seen.extend(items) or [
        Predicted("light", 1.0, None) for _ in items
    ])  # fmt: skip
    assert (
        main(["predict", str(tmp_path / "out"), str(tmp_path / "tall"), str(output), "--overwrite"])
        == 0
    )
    found = folder_of_pictures(tmp_path)
    (raw,) = (r for r in found if isinstance(r, Raw) and r.label == "tall")
    assert (seen[0] == raw.item).all()
    capsys.readouterr()


def test_pictures_and_an_export_that_only_reads(base, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(3):
            colour = (40 * number, 0, 40 * ord(name) % 256)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "own" / name / f"{number}.png")
    given = ["--train", str(tmp_path / "own"), "--method", "head"]
    assert main(["adapt", base, str(tmp_path / "out"), *given]) == 2
    error = capsys.readouterr().err
    assert "model must have a diffusion head to be adapted to pictures" in error
    assert error.count("\n") == 1

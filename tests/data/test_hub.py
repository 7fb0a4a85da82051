"""A data set that `datasets` streams is read like any table."""

import io
import json
import tarfile

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tgp_multimodal.data import hub
from tgp_multimodal.data.picture_rows import Captioned, Columns
from tgp_multimodal.data.quarantine import Bad


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_text_is_streamed(tmp_path):
    jsonl(tmp_path / "train.jsonl", {"text": "a", "id": 1}, {"text": "", "id": 2})
    source = hub.text(f"prose=hub:{tmp_path}")
    rows = list(source.read())
    assert rows[0][:2] == ("a", "prose")
    assert rows[1] == Bad(f"hub:{tmp_path}", "row 1", "empty text")
    with pytest.raises(ValueError, match=r"Got 'body' instead; there are: text, id\."):
        list(hub.text(f"hub:{tmp_path}", "body").read())
    expected = r"must be a readable hub data set\. Got '.*test.*' instead\."
    with pytest.raises(ValueError, match=expected):
        list(hub.text(f"hub:{tmp_path}::test").read())


def test_pictures_stay_encoded(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    image = {"bytes": stream.getvalue(), "path": None}
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    table = pyarrow.table({"image": [image], "text": ["black"]})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "train.parquet")
    place = f"hub:{tmp_path}"
    found = list(hub.pictures(f"tiles={place}").read())
    assert found == [Captioned(stream.getvalue(), ("black",), "tiles", place, "row 0")]
    with pytest.raises(ValueError, match=r"image_column must be a column of .*Got 'picture'"):
        list(hub.pictures(place, Columns("picture")).read())


def test_conversations_are_streamed(tmp_path):
    talk = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    jsonl(tmp_path / "train.jsonl", {"messages": talk, "id": 1}, {"messages": talk[:1], "id": 2})
    first, second = hub.conversations(f"talks=hub:{tmp_path}").read()
    assert (list(first.messages), first.stream) == (talk, "talks")
    assert second == Bad(f"hub:{tmp_path}", "row 1", "no message is the assistant's")


def picture(colour):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def test_a_data_set_of_picture_files_and_metadata(tmp_path):
    """Such a data set is streamed as paths, and its captions come from the metadata."""
    (tmp_path / "train").mkdir()
    for name in ("red", "blue"):
        (tmp_path / "train" / f"{name}.png").write_bytes(picture(name))
    about = {"captions": ["a", "b"], "license": "MIT", "kind": "tiles"}
    jsonl(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "red.png", "split": "train", **about},
        {"file_name": "blue.png", "split": "test", **about},
    )
    place = f"hub:{tmp_path}"
    found = list(hub.pictures(place, Columns(stream="kind")).read())
    common = (("a", "b"), "tiles", place)
    assert found == [
        Captioned(picture("red"), *common, "row 0", "MIT", None),
        Captioned(picture("blue"), *common, "row 1", "MIT", "test"),
    ]


def test_classes_are_captions(tmp_path):
    for name in ("big_cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_bytes(picture("red"))
    found = list(hub.pictures(f"hub:{tmp_path}", Columns(caption="label")).read())
    assert [item.captions for item in found] == [("big cat",), ("dog",)]


def test_webdataset(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name, data in (("0.png", picture("red")), ("0.txt", b"red")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (found,) = hub.pictures(f"hub:{tmp_path}", Columns("png", "txt")).read()
    assert (found.image, found.captions) == (picture("red"), ("red",))


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [
        ("hf://datasets/o/n@abc/train/0.png", True),
        ("zip://train/0.png::hf://datasets/o/n@abc/data.zip", True),
        ("hf://datasets/o/nn@abc/0.png", False),
        ("/etc/passwd", False),
        ("hf://datasets/o/n@abc/x::/etc/passwd", False),
    ],
)
def test_paths_that_leave_the_data_set_are_not_followed(path, is_inside):
    assert hub._is_inside(path, "o/n") == is_inside


def test_a_row_that_names_another_file_is_a_bad_one(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture("red"))
    features = {"image": datasets.Image(decode=False)}
    place, path = f"hub:{tmp_path / 'in'}", str(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    found = hub._row(place, "row 0", {"image": {"bytes": None, "path": path}}, features)
    assert found == Bad(place, "row 0", f"{path!r} lies outside of the data set")


def test_a_connection_that_breaks_is_told_in_one_sentence(tmp_path, monkeypatch):
    class Broken:
        features, column_names = None, ("text",)

        def select_columns(self, names):
            yield {"text": "one"}
            raise ConnectionError("gone\naway")

    monkeypatch.setattr(hub.datasets, "load_dataset", lambda *_, **__: Broken())
    expected = r"hub:o/n must be readable up to its end\. Got 'gone away' after 1 rows instead\."
    with pytest.raises(ValueError, match=expected):
        list(hub.text("hub:o/n").read())

"""A data set that `datasets` streams is read like any table."""

import io
import json

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tgp_multimodal.data import hub
from tgp_multimodal.data.picture_sources import Captioned, Columns
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

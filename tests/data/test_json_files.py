"""JSON files that are damaged are told of by their name, wherever they are read."""

import json
import shutil

import pytest
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.data.json_files import read_object


def test_an_object_with_its_keys(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"a": 1, "b": [2]}')
    assert read_object(path) == read_object(path, "b", "a") == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', r"some\.json must be whole JSON\. Got Expecting value"),
        (b"\xff\xfe", r"some\.json must be whole JSON\. Got 'utf-8' codec"),
        (b"[1]", r"some\.json must hold an object\. Got list instead"),
        (b'{"b": 1}', r"some\.json must have b, a\. Got no 'a' instead"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_object(path, "b", "a")


def test_a_damaged_export_names_its_file(tmp_path, tokenizer):
    export.save(tmp_path / "whole", language_model(), tokenizer, {}, "card")
    cut, short = '{"format": 1, "net', json.dumps({"format": 1})
    for name, content, wanted in (("cut", cut, "be whole JSON"), ("short", short, "have network")):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        (tmp_path / name / "tgp.json").write_text(content)
        with pytest.raises(ValueError, match=rf"{name}.tgp\.json must {wanted}"):
            export.load(tmp_path / name)

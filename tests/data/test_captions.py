"""Captions are learned from in the spelling in which prompts are drawn from."""

import json

import pytest

from tgp_multimodal.data.captions import clean
from tgp_multimodal.data.picture_sources import pictures

pipeline = pytest.importorskip("diffusers.pipelines.prx.pipeline_prx_pixel")

RAW = [
    "  a  b\n",
    "a &amp;amp; b",
    "\u2018q\u2019 \u00e2\u20ac\u2122",
    "caf\u00c3\u00a9",
    "",
]


@pytest.mark.parametrize("caption", RAW)
def test_cleaned_as_the_stock_pipeline_does(caption):
    assert clean(caption) == pipeline._basic_clean(caption)


def test_sources_clean_every_caption_and_refuse_what_is_left_empty(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"b")
    rows = [
        {"file_name": "a.png", "captions": ["a dog\u2019s &amp; cat", "a dog's & cat", "&nbsp;"]},
        {"file_name": "b.png", "captions": ["&nbsp;"]},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = pictures(str(tmp_path)).read()
    assert first.captions == ("a dog's & cat",)
    assert second.reason == "empty text"


def test_lines_of_a_caption_file_end_where_lines_of_files_do(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "a.txt").write_bytes("a red\u2028square\x0b\r\n\r\na\x85square\rit".encode())
    (found,) = pictures(str(tmp_path)).read()
    assert found.captions == ("a red\nsquare", "a…square", "it")  # as `clean` mends them

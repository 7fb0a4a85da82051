"""A prepared set is replaced as a whole or not at all, and nothing else is ever touched."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tgp_multimodal.data import prepared, sources
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.records import Document, Pair
from tgp_multimodal.data.sources import Source

SMALL = Settings(vocabulary=300, size=16)


def jsonl(path, rows):
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return path


def words(count):
    return [f"document {i} says {i * i} \u00e9\n" for i in range(count)]


def texts_of(output, name):
    found = prepared.open_text(output / "text", name)
    tokenizer = tokenizers.load(output / "tokenizer")
    return [tokenizer.decode(found.tokens[a:b]) for a, b in pairwise(found.offsets)]


def text_source(folder, count):
    return [sources.text(str(jsonl(folder / "a.jsonl", words(count))))]


def grey():
    yield from (Pair(np.full((8, 8, 3), i, dtype=np.uint8), "g", "g", "") for i in range(9))


def test_an_older_set_is_kept_unless_overwritten(tmp_path):
    output = tmp_path / "o"
    first = text_source(tmp_path, 20)
    prepare(output, first, [Source("grey", "g", grey)], SMALL)
    before = prepared.manifest(output / "text")
    expected = (
        r"output must be a folder without a prepared set, unless --overwrite is given\. "
        r"Got .*o, which holds text and pictures, instead\."
    )
    with pytest.raises(ValueError, match=expected):
        prepare(output, first, [], SMALL)
    assert prepared.manifest(output / "text") == before
    (output / "text" / "notes.md").write_text("mine")
    prepare(output, text_source(tmp_path, 10), [], SMALL, overwrite=True)
    assert prepared.manifest(output / "text")["digest"] != before["digest"]
    assert len(texts_of(output, "train")) + len(texts_of(output, "validation")) == 10
    assert not (output / "pictures").exists()  # of the older set
    assert (output / "text" / "notes.md").read_text() == "mine"


def test_what_we_did_not_write_is_never_touched(tmp_path):
    source = text_source(tmp_path, 20)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "raw.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"output must be a folder of its own\. Got .* a text/ that"
    ):
        prepare(tmp_path, source, [], SMALL, overwrite=True)
    (tmp_path / "text" / "manifest.json").write_text("{}")  # somebody else's
    with pytest.raises(ValueError, match=r"output must be a folder of its own\."):
        prepare(tmp_path, source, [], SMALL, overwrite=True)
    assert (tmp_path / "text" / "raw.txt").read_text() == "mine"
    tokenizers.train(words(3), 270).save(tmp_path / "o" / "tokenizer")
    with pytest.raises(ValueError, match="with a tokenizer/ that `tgp prepare` did not write"):
        prepare(tmp_path / "o", source, [], SMALL)
    with pytest.raises(ValueError, match=r"Got .*a\.jsonl, which is a file, instead\."):
        prepare(tmp_path / "a.jsonl", source, [], SMALL)


class Killed(BaseException):
    """Stands for a signal that nobody catches."""


def test_parts_of_a_stopped_run_that_the_next_does_not_make_are_left_out(tmp_path):
    """With a tokenizer that is given, the text is the same work whatever else is made."""
    text = text_source(tmp_path, 20)
    prepare(tmp_path / "first", text, [], SMALL)
    own = tmp_path / "first" / "tokenizer"

    def stopped():
        yield from grey()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "o", text, [Source("grey", "g", stopped)], SMALL, own)
    assert any((tmp_path / "o").glob(".*/pictures"))  # else nothing is shown
    prepare(tmp_path / "o", text, [], SMALL, own)
    assert not (tmp_path / "o" / "pictures").exists()
    assert prepared.manifest(tmp_path / "o" / "text")["kind"] == "text"


def test_a_full_disk_keeps_what_was_done_and_refused_data_do_not(tmp_path):
    text = text_source(tmp_path, 20)
    prepare(tmp_path / "first", text, [], SMALL)
    own = tmp_path / "first" / "tokenizer"
    for error, is_kept in (
        (OSError(28, "No space left on device"), True),
        (ValueError("x"), False),
    ):

        def failing(error=error):
            yield from grey()
            raise error

        with pytest.raises(type(error)):
            prepare(tmp_path / "o", text, [Source("grey", "g", failing)], SMALL, own)
        assert (tmp_path / "o" / ".partial" / "text").is_dir() == is_kept
    prepare(tmp_path / "o", text, [], SMALL, own)


@pytest.mark.parametrize("last", [10, 150])
def test_killed_while_reading_an_older_set_stays_whole(tmp_path, monkeypatch, last):
    prepare(tmp_path / "o", text_source(tmp_path, 20), [], SMALL)
    before = prepared.manifest(tmp_path / "o" / "text")

    def dying():
        yield from (Document(f"new {i}", "s", "") for i in range(last))
        raise Killed

    given = tmp_path / "o" / "tokenizer"
    monkeypatch.setattr(prepared, "_CHUNK", 16)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a kill cleans nothing up
    source = Source("dying", "s", dying)
    with pytest.raises(Killed):
        prepare(tmp_path / "o", [source], [], SMALL, given, overwrite=True)
    assert (tmp_path / "o" / ".partial" / "text").is_dir()
    assert not (tmp_path / "o" / ".partial" / "text" / "manifest.json").exists()
    assert prepared.manifest(tmp_path / "o" / "text") == before
    assert len(prepared.open_text(tmp_path / "o" / "text", "train").offsets) > 1
    monkeypatch.undo()
    found = prepare(tmp_path / "o", text_source(tmp_path, 20), [], SMALL, overwrite=True)
    assert found.text["digest"] == before["digest"]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["text", "tokenizer"]


@pytest.mark.parametrize("moves", range(14))
def test_killed_while_moving_there_is_a_whole_set_or_none(tmp_path, monkeypatch, moves):
    source, pictures = text_source(tmp_path, 20), [Source("grey", "g", grey)]
    prepare(tmp_path / "o", source, pictures, SMALL)
    replace, left = Path.replace, [moves]

    def dying(self, target):
        if ".partial" in self.parts and ".partial" not in Path(target).parts:
            if not left[0]:
                raise Killed
            left[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Killed):
        prepare(tmp_path / "o", source, pictures, SMALL, overwrite=True)
    monkeypatch.undo()
    assert not list((tmp_path / "o").glob("*/manifest.json"))
    prepare(tmp_path / "o", source, pictures, SMALL)
    assert len(texts_of(tmp_path / "o", "train")) > 10


def test_a_run_that_refuses_its_data_leaves_the_older_set(tmp_path):
    prepare(tmp_path / "o", text_source(tmp_path, 20), [], SMALL)
    before = prepared.manifest(tmp_path / "o" / "text")
    (tmp_path / "a.jsonl").write_text("broken\n")
    with pytest.raises(ValueError, match="must hold at least one document"):
        prepare(tmp_path / "o", [sources.text(f"{tmp_path}/a.jsonl")], [], SMALL, overwrite=True)
    assert prepared.manifest(tmp_path / "o" / "text") == before
    assert (tmp_path / "o" / "quarantine.jsonl").is_file()
    assert not (tmp_path / "o" / ".partial").exists()

"""A run that is killed goes on when it is asked for again, and makes the same set to the bit."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from raw_data import jsonl, picture_folder, run

from tgp_multimodal.data import fast_encoding, prepare, sources
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.contamination import IndexWriter
from tgp_multimodal.data.picture_rows import Columns
from tgp_multimodal.data.picture_sources import pictures
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.prepared import PictureWriter

SMALL = Settings(vocabulary=300)
# Small batches, and a pause in each, so that there is something to kill.
SLOW = """
import os, sys, time
from tgp_multimodal.data import contamination, fast_encoding, prepared, tokenizer
from tgp_multimodal.cli import main

prepared._CHUNK, contamination._ROOM = 16, 1000
encode, train = fast_encoding.FastEncoder.encode_batch, tokenizer.train

def slow(function, seconds):
    def run(*arguments):
        time.sleep(seconds)
        return function(*arguments)
    return run

fast_encoding.FastEncoder.encode_batch = slow(encode, 0.02)
tokenizer.train = slow(train, 0.2)
print("ready", flush=True)
sys.stdout = open(os.devnull, "w")
sys.exit(main(sys.argv[1:]))
"""


def article(seed, count=80):
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 99, count))


@pytest.fixture
def corpus(tmp_path):
    rows = [article(i) for i in range(400)]
    rows[100], rows[300] = rows[99] + " end", rows[7]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with path.open("a") as file:
        file.write("{broken\n")
    return path


def contents(output):
    """All files of a set, without what a kill at the very end may leave."""
    files = {str(p.relative_to(output)): p for p in output.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not name.startswith(".partial")}


def command(output, corpus):
    return ["prepare", str(output), "--text", str(corpus), "--vocabulary", "300"]


def start(arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process.stdout as out:
        assert out.readline() == b"ready\n"
    return process


@pytest.mark.slow
def test_killed_at_any_moment_and_typed_again(tmp_path, corpus):
    began = time.monotonic()
    assert start(command(tmp_path / "whole", corpus)).wait() == 0
    takes = time.monotonic() - began
    expected, times = contents(tmp_path / "whole"), random.Random(0)
    killed = 0
    for number in range(3):
        output = tmp_path / f"o{number}"
        while not (output / "text" / "manifest.json").is_file():
            process = start(command(output, corpus))
            try:
                assert process.wait(times.uniform(0.05, 0.6) * takes) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
        assert contents(output) == expected
    assert killed >= 2


class Killed(BaseException):
    """Stands for a signal, at a moment that a test can choose."""


def stopped(monkeypatch, owner, name, after):
    """Lets a function die in the middle of a later call."""
    function, left = getattr(owner, name), [after]

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return function(*arguments)

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (tokenizers, "train", 0),
        (tokenizers.Tokenizer, "save", 0),
        (fast_encoding.FastEncoder, "encode_batch", 5),
        (fast_encoding.FastEncoder, "encode_batch", 20),
        (IndexWriter, "_spill", 0),
        (IndexWriter, "_spill", 9),
        (IndexWriter, "finish", 0),
    ],
)
def test_stopped_at_a_chosen_moment(tmp_path, corpus, monkeypatch, owner, name, after):
    monkeypatch.setattr("tgp_multimodal.data.prepared._CHUNK", 16)
    monkeypatch.setattr("tgp_multimodal.data.contamination._ROOM", 1000)
    read = [sources.text(str(corpus))]
    prepare.prepare(tmp_path / "whole", read, [], SMALL)
    with monkeypatch.context() as patch:
        stopped(patch, owner, name, after)
        with pytest.raises(Killed):
            prepare.prepare(tmp_path / "o", read, [], SMALL)
    assert (tmp_path / "o" / ".partial").is_dir()
    done = prepare.prepare(tmp_path / "o", read, [], SMALL)
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")
    assert not (tmp_path / "o" / ".partial").exists()
    assert done.tallies[0].bad == 1


def test_what_is_finished_is_not_done_twice(tmp_path, corpus, monkeypatch):
    read = [sources.text(str(corpus))]
    with monkeypatch.context() as patch:
        stopped(patch, IndexWriter, "finish", 0)
        with pytest.raises(Killed):
            prepare.prepare(tmp_path / "o", read, [], SMALL)
    for owner, name in ((tokenizers, "train"), (fast_encoding.FastEncoder, "encode_batch")):
        stopped(monkeypatch, owner, name, 0)
    monkeypatch.setattr("tgp_multimodal.data.duplicates.signature", None)
    prepare.prepare(tmp_path / "o", read, [], SMALL)


def test_text_goes_on_and_pictures_start_anew(tmp_path, corpus, monkeypatch):
    folder = picture_folder(tmp_path / "in", 30)
    read = [sources.text(str(corpus))], [pictures(str(folder))]
    prepare.prepare(tmp_path / "whole", *read, SMALL)
    with monkeypatch.context() as patch:
        stopped(patch, PictureWriter, "add", 9)
        with pytest.raises(Killed):
            prepare.prepare(tmp_path / "o", *read, SMALL)
    left = tmp_path / "o" / ".partial" / "pictures"
    (left / "test.pixels.npy").write_bytes(b"left by a run on other pictures")
    for owner, name in ((tokenizers, "train"), (fast_encoding.FastEncoder, "encode_batch")):
        stopped(monkeypatch, owner, name, 0)
    prepare.prepare(tmp_path / "o", *read, SMALL)
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["noise/003.png", "metadata.jsonl"])
def test_a_change_beside_the_pictures_is_seen(tmp_path, name):
    folder = picture_folder(tmp_path / "in", 4)
    (folder / "metadata.jsonl").write_text('{"file_name": "noise/000.png", "text": "a"}')
    before = pictures(str(folder)).state
    assert pictures(str(folder)).state == before
    assert pictures(str(folder), Columns(caption="words")).state != before
    (folder / name).write_bytes(b"other")
    assert pictures(str(folder)).state != before


def test_other_data_or_settings_start_anew(tmp_path, corpus, monkeypatch):
    read = [sources.text(str(corpus))]
    chosen = SMALL._replace(vocabulary=310)
    prepare.prepare(tmp_path / "whole", read, [], chosen)
    with monkeypatch.context() as patch:
        stopped(patch, IndexWriter, "finish", 0)
        with pytest.raises(Killed):
            prepare.prepare(tmp_path / "o", read, [], SMALL)
    prepare.prepare(tmp_path / "o", read, [], chosen)
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")
    before = sources.text(str(corpus)).state
    corpus.write_text(json.dumps({"text": "other"}) + "\n")
    assert sources.text(str(corpus)).state != before


def test_two_at_once_are_refused(tmp_path, corpus, monkeypatch, capsys):
    read = [sources.text(str(corpus))]
    train = tokenizers.train

    def another(texts, vocabulary):
        code, _, error = run(capsys, *command(tmp_path / "o", corpus)[1:])
        assert code == 2
        assert "output must be a folder that no other `tgp prepare` works on. Got" in error
        return train(texts, vocabulary)

    monkeypatch.setattr(tokenizers, "train", another)
    prepare.prepare(tmp_path / "o", read, [], SMALL)


def test_ctrl_c_says_how_to_go_on(tmp_path, corpus, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tokenizers, "train", interrupted)
        code, _, error = run(capsys, *command(tmp_path / "o", corpus)[1:])
    assert code == 130
    assert error.startswith("tgp: interrupted; the same command goes on with what ")
    assert run(capsys, *command(tmp_path / "o", corpus)[1:])[0] == 0

"""What bad input gets from `tgp prepare`: one sentence that names it, and no half of a set."""

import json

import pyarrow
import pytest
from pyarrow import parquet
from raw_data import jsonl, nothing_is_left, picture_folder, run, words

from tgp_multimodal.data import prepared


def test_an_empty_corpus(tmp_path, capsys):
    (tmp_path / "a.txt").touch()
    code, _, error = run(capsys, tmp_path / "o", "--text", tmp_path / "a.txt")
    assert code == 2
    assert f"{tmp_path}/a.txt must hold at least one document. Got none (1 bad:" in error
    assert "whole file: empty text) instead." in error
    (tmp_path / "b.jsonl").touch()
    code, _, error = run(capsys, tmp_path / "o", "--text", tmp_path / "b.jsonl")
    assert (code, "b.jsonl must hold at least one document. Got none instead." in error) == (
        2,
        True,
    )
    assert nothing_is_left(tmp_path / "o")


def test_empty_files_of_a_package_stop_nothing(tmp_path, capsys):
    """One in a hundred may be bad; of ten files here two are empty, and one of those is blank."""
    for i, text in enumerate(words(8)):
        (tmp_path / f"m{i}.py").write_text(text)
    (tmp_path / "__init__.py").touch()
    (tmp_path / "blank.py").write_text(" \n")
    sources = ("--text", f"code={tmp_path}/*.py", "--vocabulary", 300)
    code, out, _ = run(capsys, tmp_path / "o", *sources)
    assert code == 0
    assert "__init__.py whole file: empty text" in out.replace("\n", "")
    listed = (tmp_path / "o" / "quarantine.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["source"] for line in listed) == [
        str(tmp_path / "__init__.py"), str(tmp_path / "blank.py"),
    ]  # fmt: skip
    (tmp_path / "latin.py").write_bytes(b"caf\xe9")
    code, _, error = run(capsys, tmp_path / "p", *sources)
    assert code == 2
    assert "bad rows must be at most 1 %" in error
    assert "Got 1 of 11 read so far" in error
    assert "latin.py whole file: not UTF-8" in error


def test_a_stream_of_which_nothing_is_left_is_told(tmp_path, capsys):
    for name in ("a", "b"):
        jsonl(tmp_path / f"{name}.jsonl", words(40))
    sources = (f"one={tmp_path}/a.jsonl", f"two={tmp_path}/b.jsonl")
    code, out, _ = run(capsys, tmp_path / "o", "--text", *sources, "--vocabulary", 300)
    assert code == 0
    assert "nothing is left of the stream two, whose rows are" in " ".join(out.split())


def test_a_folder_without_images(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    code, _, error = run(capsys, tmp_path / "o", "--pictures", tmp_path / "in")
    assert code == 2
    assert "pictures must be a folder with pictures (.jpg, .png, ...)" in error
    assert error.endswith(f"Got {tmp_path}/in with 1 .txt instead.")


def test_a_truncated_jpeg(tmp_path, capsys):
    folder = picture_folder(tmp_path / "in", 20, "JPEG")
    path = folder / "noise" / "007.jpeg"
    path.write_bytes(path.read_bytes()[:-100])
    arguments = (tmp_path / "o", "--pictures", folder, "--vocabulary", 300, "--size", 16)
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert f"bad rows must be at most 1 % of {folder} (--allow_bad). Got 1 of 20 read so" in error
    assert "noise/007.jpeg: picture must be a whole image file. Got image file is trunc" in error
    assert nothing_is_left(tmp_path / "o")
    code, out, _ = run(capsys, *arguments, "--allow_bad", 0.05)
    assert code == 0
    assert f"bad: {folder}" in out.replace("\n", "")
    lines = (tmp_path / "o" / "quarantine.jsonl").read_text().splitlines()
    assert [(json.loads(line)["source"], json.loads(line)["row"]) for line in lines] == [
        (str(folder), "noise/007.jpeg")
    ]
    splits = prepared.manifest(tmp_path / "o" / "pictures")["splits"]
    assert sum(s["pictures"] for s in splits.values()) == 19


def test_a_jsonl_with_a_broken_line(tmp_path, capsys):
    path = jsonl(tmp_path / "a.jsonl", words(50))
    path.write_text(path.read_text().replace('{"text": "document 8 ', '{"text: "document 8 '))
    arguments = (tmp_path / "o", "--text", path, "--vocabulary", 300)
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert "Got 1 of 50 read so far, listed in" in error
    assert f"; {path} line 9: broken JSON (Expecting ':' delimiter at character 9)." in error
    code, _, _ = run(capsys, *arguments, "--allow_bad", 0.02)
    assert code == 0
    (line,) = (tmp_path / "o" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == "line 9"
    (facts,) = prepared.manifest(tmp_path / "o" / "text")["sources"]
    assert (facts["rows"], facts["bad"]) == (50, 1)


def test_bad_rows_that_are_not_printed_are_counted(tmp_path, capsys):
    path = jsonl(tmp_path / "a.jsonl", words(50))
    path.write_text(path.read_text().replace('{"text": "document 1', '{"text: "document 1'))
    arguments = (tmp_path / "o", "--text", path, "--vocabulary", 300, "--allow_bad", 0.5)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    lines = (tmp_path / "o" / "quarantine.jsonl").read_text().splitlines()
    printed = out.count("broken JSON")
    assert 0 < printed < len(lines)
    assert f"bad: {len(lines) - printed} more of" in out


def test_a_parquet_without_the_column(tmp_path, capsys):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"body": ["a"], "title": ["b"]}), path)
    code, _, error = run(capsys, tmp_path / "o", "--text", path)
    assert (code, error) == (
        2,
        f"tgp: text_column must be a column of {path}. Got 'text' instead; there are: body, title.",
    )
    code, _, error = run(capsys, tmp_path / "o", "--pictures", path)
    assert code == 2
    assert "image_column must be a column of" in error


def test_text_that_is_not_utf8(tmp_path, capsys):
    for i, text in enumerate(words(4)):
        (tmp_path / f"{i}.txt").write_bytes(text.encode("latin-1" if i == 2 else "utf-8"))
    code, _, error = run(capsys, tmp_path / "o", "--text", tmp_path, "--vocabulary", 300)
    assert code == 2
    assert "Got 1 of 4 read so far" in error
    assert "2.txt whole file: not UTF-8 (byte 0xe9 at 18)." in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "sources must be text, pictures or chat. Got none instead."),
        (["--text", "gone.txt"], "text must be a file or a folder. Got gone.txt, which does not"),
        (["--text", "a.jsonl", "--vocabulary", 100], "vocabulary must be at least 266"),
        (["--text", "a.jsonl", "--validation_share", 0.9], "validation_share must be from 0 to"),
        (["--text", "a.jsonl", "--allow_bad", 2], "allow_bad must be from 0 to 1. Got 2"),
        (["--text", "a.jsonl", "--limit", 0], "limit must be at least 1. Got 0 instead."),
        (["--text", "a.jsonl", "--size", 4], "size must be at least 8. Got 4 instead."),
        (["--text", "a.jsonl", "--scenes", 9], "embedded must be given with scenes. Got scenes 9"),
        (["--text", "a.jsonl", "--workers", -1], "workers must be at least 0. Got -1 instead."),
        (["--text", "a.jsonl", "--tokenizer", "no"], "tokenizer must be a folder with a token"),
    ],
)
def test_wrong_settings(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "a.jsonl", words(10))
    code, _, error = run(capsys, "o", *arguments)
    assert code == 2
    assert expected in error

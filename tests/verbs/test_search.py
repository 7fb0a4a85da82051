"""`tgp search`: passages by meaning, by words, by both, and from a saved index."""

import pytest
from random_networks import multimodal

import tgp_multimodal as tgp
from tgp_multimodal import export as exports
from tgp_multimodal.cli import main
from tgp_multimodal.verbs.search import _files


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "export"
    exports.save(place, multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    return str(place)


def test_search(folder, tmp_path, corpus, capsys):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("\n".join(corpus[:2]))
    (notes / "b.txt").write_text(f"\n{corpus[3]}")
    (notes / "c.py").write_text("pass")
    (notes / "d.txt").write_bytes(b"\xff\xfe\x00")  # no text: passed over
    (notes / ".hidden.txt").write_text(corpus[3])
    (notes / "e.txt").write_text(" " * 1_000_001)  # left out, and said so
    (notes / "f.txt").write_bytes("café".encode("latin-1"))
    options = ["--path", str(notes), "--pattern", "*.txt", "--lines", "1", "--k", "2"]
    assert main(["search", folder, corpus[3], *options, "--by", "meaning"]) == 0
    captured = capsys.readouterr()
    assert f"a file whose text is not UTF-8 left out, as {notes / 'f.txt'}" in captured.err
    assert (
        f"a file above a megabyte (name one to search it) left out, as {notes / 'e.txt'}"
        in captured.err
    )
    first, second = captured.out.splitlines()
    score, place, *text = first.split()
    assert float(score) == pytest.approx(1, abs=0.002)
    assert place == f"{notes / 'b.txt'}:2"
    assert " ".join(text) == " ".join(corpus[3].split())
    assert float(second.split()[0]) < 0.99


@pytest.fixture
def notes(tmp_path, corpus):
    """A folder with a file for each of six documents."""
    place = tmp_path / "notes"
    place.mkdir()
    for number, text in enumerate(corpus[:6]):
        (place / f"{number}.txt").write_text(text)
    return place


def searched(capsys, *arguments):
    """Names of the files that a search lists, best first."""
    assert main(["search", *map(str, arguments)]) == 0
    return [line.split()[1].rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]


def test_search_by_words_or_by_both(folder, notes, capsys):
    common = (folder, "aspirin two days", "--path", notes)
    assert searched(capsys, *common, "--by", "words") == ["3.txt:1"]
    both = searched(capsys, *common, "--by", "both", "--k", "6")
    assert both[0] == "3.txt:1"
    assert len(both) == 6
    assert searched(capsys, *common, "--k", "6") == both  # unless one is asked for alone
    assert searched(capsys, folder, "12345 xyzzy", "--path", notes, "--by", "words") == []
    for name in "012345":
        (notes / f"{name}.txt").write_text("...")
    assert searched(capsys, *common, "--by", "words") == []


def test_words_of_every_script_are_found(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tgp, "load", None)  # words need no model
    (tmp_path / "ru.txt").write_text("большой дом стоит на горе", encoding="utf-8")
    (tmp_path / "de.txt").write_text("die Größe des Hauses", encoding="utf-8")
    (tmp_path / "x.txt").write_text("gr x e", encoding="utf-8")
    common = ("--path", tmp_path, "--by", "words")
    assert searched(capsys, folder, "дом", *common) == ["ru.txt:1"]
    assert searched(capsys, folder, "größe", *common) == ["de.txt:1"]
    assert searched(capsys, folder, "gro\u0308ße", *common) == ["de.txt:1"]  # in two characters
    (tmp_path / "hi.txt").write_text("हिन्दी भाषा", encoding="utf-8")
    (tmp_path / "hi2.txt").write_text("नदी और हाथी", encoding="utf-8")
    assert searched(capsys, folder, "हिन्दी", *common) == ["hi.txt:1"]


def test_a_file_counts_once(folder, notes, capsys):
    common = (folder, "bridge of stone", "--k", "20", "--by", "both")
    alone = searched(capsys, *common, "--path", notes)
    assert searched(capsys, *common, "--path", notes, notes / "0.txt", notes) == alone


def test_files_that_may_not_be_read_are_told(folder, notes, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "2.txt")
    assert main(["search", folder, "bridge", "--path", str(notes), "--k", "9"]) == 0
    captured = capsys.readouterr()
    assert f"note: a file that may not be read left out, as {notes / '2.txt'}" in captured.err
    assert len(captured.out.splitlines()) == 5 + captured.out.count("0.txt:13")


def test_a_saved_index_gives_the_same_and_follows_the_files(folder, notes, capsys, monkeypatch):
    asked: list[str] = []
    embed = tgp.Model.embed
    monkeypatch.setattr(tgp.Model, "embed", lambda s, t: asked.extend(t) or embed(s, t))
    common = (folder, "bridge of stone", "--path", notes)
    without = searched(capsys, *common)
    asked.clear()
    kept = ("--index", notes / "index")  # is no text to search, wherever it lies
    assert searched(capsys, *common, *kept) == without
    assert len(asked) == 7
    asked.clear()
    assert searched(capsys, *common, *kept) == without
    assert asked == ["bridge of stone"]
    (notes / "0.txt").unlink()
    (notes / "7.txt").write_text("The old bridge of stone")
    asked.clear()
    found = searched(capsys, *common, *kept, "--k", "9")
    assert asked == ["The old bridge of stone", "bridge of stone"]
    assert {name.partition(".")[0] for name in found} == set("123457")
    assert main(["search", *map(str, common), *map(str, kept), "--lines", "3"]) == 2
    assert "index must be of lines 3" in capsys.readouterr().err


def test_mistakes_of_search(folder, tmp_path, capsys):
    (tmp_path / "latin1").write_bytes(b"caf\xe9")
    for arguments, message in [
        (["--path", str(tmp_path)], "path must hold text files that match *."),
        (["--path", str(tmp_path / "no")], "path must be a file or a folder."),
        (["--path", str(tmp_path), "--index", str(tmp_path / "i")], "path must hold text files"),
        (["--pattern", "/tmp/*.md"], "pattern must be relative to the folders of path. Got /tmp/*"),
        (["--path", str(tmp_path / "latin1")], "latin1 must be UTF-8 text. Got byte 0xe9 at 3"),
        (["--by", "words", "--index", "i"], "index must be left out by words. Got i instead."),
        (["--k", "0"], "k must be at least 1. Got 0 instead."),
        (["--lines", "-1"], "lines must be at least 1. Got -1 instead."),
    ]:
        assert main(["search", folder, "x", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        lines = [line for line in error.splitlines() if not line.startswith("note: a file whose")]
        assert len(lines) == 1
    assert main(["search", folder, " ", "--path", str(tmp_path)]) == 2
    assert "query must be a text with something in it. Got ' '" in capsys.readouterr().err


def test_a_name_stays_in_its_line(folder, tmp_path, capsys):
    (tmp_path / "two\nlines é.txt").write_text("The old bridge")
    options = ["--path", str(tmp_path), "--by", "words"]
    assert main(["search", folder, "bridge", *options]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "two\\nlines é.txt:1  The old bridge" in line


@pytest.mark.parametrize("start", ["", "."])
def test_a_long_file_is_looked_at_to_a_whole_character(tmp_path, start):
    (tmp_path / "a.txt").write_text(start + "é" * 40_000, encoding="utf-8")
    assert _files([tmp_path], "*", None) == [tmp_path / "a.txt"]

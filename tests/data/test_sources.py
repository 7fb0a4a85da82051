"""Text of every kind is read, and whatever cannot be read is named."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tgp_multimodal.data import sources
from tgp_multimodal.data.quarantine import Bad

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda content: pyarrow.Codec("zstd").compress(content, asbytes=True),
}


def read(spec, column="text"):
    return list(sources.text(str(spec), column).read())


def texts(spec, column="text"):
    return [row.text for row in read(spec, column) if not isinstance(row, Bad)]


def bad(spec, column="text"):
    return [(row.row, row.reason) for row in read(spec, column) if isinstance(row, Bad)]


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path, columns, **options):
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_a_text_file_is_one_document_byte_for_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\ntw\u00f6\n".encode())
    assert texts(path) == ["one\r\n\r\ntw\u00f6\n"]
    assert read(path)[0].name == str(path)


def test_a_folder_is_read_through_all_levels_in_order(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "sub" / "c.TXT").write_text("c")
    (tmp_path / ".git" / "hidden.txt").write_text("hidden")
    (tmp_path / "picture.jpg").write_bytes(b"\xff")
    jsonl(tmp_path / "d.jsonl", {"text": "d"})
    assert texts(tmp_path) == ["a", "b", "d", "c"]
    assert sources.text(str(tmp_path)).rows is None
    assert sources.text(str(tmp_path / "sub")).rows == 1


def test_a_pattern_takes_files_of_any_suffix(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("a = 1")
    (tmp_path / "sub" / "b.py").write_text("b = 1")
    source = sources.text(f"code={tmp_path}/**/*.py")
    assert [d.text for d in source.read()] == ["a = 1", "b = 1"]
    assert {d.stream for d in source.read()} == {"code"}


@pytest.mark.parametrize("packed", PACK)
def test_json_lines_with_every_kind_of_bad_line(tmp_path, packed):
    lines = [
        b'{"text": "good \\u00e9", "id": 1}',
        b'{"text": "cut',
        b"[1, 2]",
        b'{"text": ""}',
        b'{"text": "  \\n"}',
        b'{"other": 1}',
        b'{"text": null}',
        b'{"text": 3}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b"",
        '{"text": "also good \u00e9"}'.encode(),
    ]
    path = tmp_path / f"a.jsonl{packed}"
    path.write_bytes(PACK[packed](b"\n".join(lines)))
    assert texts(path) == ["good \u00e9", "also good \u00e9"]
    assert bad(path) == [
        ("line 2", "broken JSON (Unterminated string starting at character 9)"),
        ("line 3", "a JSON list and no object"),
        ("line 4", "empty text"),
        ("line 5", "empty text"),
        ("line 6", "column 'text' is missing or null"),
        ("line 7", "column 'text' is missing or null"),
        ("line 8", "column 'text' holds int and no text"),
        ("line 9", "not UTF-8 (byte 0xff at 10)"),
        ("line 10", "half a surrogate pair at character 0"),
    ]


def test_bad_lines_before_the_first_good_one_do_not_hide_the_columns(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("broken\n" * 150 + '{"text": "good"}\n')
    assert texts(path) == ["good"]


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    assert bad(path) == [("whole file", "not UTF-8 (byte 0xe9 at 3)")]


def test_an_empty_text_file_is_named(tmp_path):
    (tmp_path / "a.txt").touch()
    assert bad(tmp_path / "a.txt") == [("whole file", "empty text")]


def test_parquet_in_any_number_of_row_groups(tmp_path):
    wanted = [f"text {i}" for i in range(500)]
    columns = {"text": wanted, "number": list(range(500))}
    path = table(tmp_path / "a.parquet", columns, row_group_size=130)
    assert texts(path) == wanted
    assert sources.text(str(path)).rows == 500
    assert read(path)[499].name == f"{path}:row 499"


def test_parquet_with_bad_rows(tmp_path):
    raw = pyarrow.array([b"good", b"\xff\xfe", None, b"", b"fine"]).cast(pyarrow.binary())
    strings = pyarrow.StringArray.from_buffers(5, *raw.buffers()[1:], raw.buffers()[0], 1)
    path = table(tmp_path / "a.parquet", {"text": strings})
    assert texts(path) == ["good", "fine"]
    assert [row for row, _ in bad(path)] == ["row 1", "row 2", "row 3"]
    assert "not UTF-8" in bad(path)[0][1]


def test_parquet_with_numbers_for_text(tmp_path):
    path = table(tmp_path / "a.parquet", {"text": [1, 2]})
    assert bad(path)[0] == ("row 0", "column 'text' holds int and no text")


def test_csv_with_quotes_line_breaks_and_a_bad_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'id,text\r\n1,"one, two\nthree"\r\n2,\xff\r\n3,' + b"x" * 200_000 + b"\r\n4\r\n"
    )
    assert texts(path) == ["one, two\nthree", "x" * 200_000]
    assert bad(path) == [
        ("line 4", "not UTF-8"),
        ("line 6", "column 'text' is missing or null"),
    ]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_missing_column_names_those_there_are(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        jsonl(path, {"text": "a"}, {"texts": "b", "id": 1})
    elif kind == "parquet":
        table(path, {"text": ["a"], "texts": ["b"], "id": [1]})
    else:
        path.write_text("text,texts,id\na,b,1\n")
    expected = (
        rf"text_column must be a column of {path}\. Got 'txt' instead; "
        r"there are: text, texts, id\. Did you mean text\?"
    )
    with pytest.raises(ValueError, match=expected):
        read(path, "txt")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = table(tmp_path / "a.parquet", {"text": [str(i) * 50 for i in range(1000)]})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        ValueError, match=r"a\.parquet must be a whole parquet file\. Got .* instead"
    ):
        read(path)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_are_read_to_the_end_or_refused(tmp_path, packed):
    path = tmp_path / f"a.json{packed}"
    whole = PACK[packed](b'{"text": "a"}\n' * 1000)
    path.write_bytes(whole + whole)  # as several processes write one
    assert len(texts(path)) == 2000
    for broken in (whole[:-12], b"no such thing"):
        path.write_bytes(broken)
        expected = rf"must be a whole {packed[1:]} file\. Got .* instead\."
        with pytest.raises(ValueError, match=expected):
            read(path)


def test_places_that_hold_nothing(tmp_path):
    (tmp_path / "books").mkdir()
    with pytest.raises(
        ValueError, match=r"text must be a folder with text files .* no files instead"
    ):
        sources.text(str(tmp_path / "books"))
    (tmp_path / "books" / "a.jpg").touch()
    (tmp_path / "books" / "b.jpg").touch()
    with pytest.raises(ValueError, match=r"Got .*books with 2 \.jpg instead\."):
        sources.text(str(tmp_path / "books"))
    expected = r"text must be a file or a folder\. Got .*boks, which does not exist, instead\."
    with pytest.raises(ValueError, match=expected + r" Did you mean .*books\?"):
        sources.text(str(tmp_path / "boks"))


@pytest.mark.parametrize("name", ["b.txt.gz", "c.csv.GZ", "d.md.zst", "e.zip", "f.tar.xz"])
def test_packed_files_of_a_folder_are_not_passed_over(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("read")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".hidden.gz").touch()
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(b'{"text": "more"}'))
    assert texts(tmp_path) == ["read", "more"]
    for place in (tmp_path, tmp_path / "sub"):
        (place / name).touch()
    expected = (
        r"text must be a folder of unpacked files \(unpack the others, move them away or name a"
        rf" pattern\)\. Got {tmp_path} with 2 that cannot be read packed, such as {name}, instead\."
    )
    with pytest.raises(ValueError, match=expected):
        sources.text(str(tmp_path))
    assert texts(tmp_path / "*.md") == ["read"]


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("a/b.txt", (None, "a/b.txt")),
        ("code=a/b.txt", ("code", "a/b.txt")),
        ("a/b=c.txt", (None, "a/b=c.txt")),
        ("code=hub:owner/name", ("code", "hub:owner/name")),
        ("x=", (None, "x=")),
    ],
)
def test_specifications(spec, parsed):
    assert sources.parse(spec) == parsed


def test_an_existing_path_is_not_taken_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.txt").write_text("x")
    assert sources.parse("a=b.txt") == (None, "a=b.txt")


@pytest.mark.parametrize(
    ("place", "stream"),
    [
        ("corpora/general/general-00000-of-00002.parquet", "general"),
        ("corpora/Code/train.parquet", "code"),
        ("corpora/webdataset/000000.tar", "webdataset"),
        ("x/articles.jsonl.gz", "articles"),
        ("corpora/code/*.py", "code"),
        ("/train.txt", "data"),
    ],
)
def test_names_of_streams(place, stream):
    assert sources.stream_of(place) == stream


@pytest.mark.parametrize(
    ("name", "short", "two"),
    [
        ("a/b/c.txt", "c.txt", "b/c.txt"),
        ("corpora/general/*.parquet", "general/*.parquet", "general/*.parquet"),
        ("a/src/**/*.py", "src/**/*.py", "src/**/*.py"),
        ("*.py", "*.py", "*.py"),
        ("hub:owner/name", "name", "hub:owner/name"),
    ],
)
def test_a_short_name_tells_a_pattern_from_others(name, short, two):
    assert (sources.short_name(name), sources.short_name(name, 2)) == (short, two)


@pytest.mark.parametrize(
    ("card", "content"),
    [
        ("a-00000.card.json", {"license": "MIT"}),
        ("a.card.json", {"license": "MIT"}),
        ("card.json", {"license": "MIT"}),
        ("../data.card.json", {"license": "MIT"}),
        ("../data.card.json", {"a-00000": {"license": "MIT"}, "b": {"license": "GPL"}}),
    ],
)
def test_the_license_is_on_the_card_beside_the_data(tmp_path, card, content):
    folder = tmp_path / "data"
    folder.mkdir()
    path = jsonl(folder / "a-00000.jsonl", {"text": "x"})
    assert sources.text(str(path)).license is None
    (folder / card).write_text(json.dumps(content))
    assert sources.text(str(path)).license == "MIT"


def test_memory_does_not_grow_with_the_file(tmp_path):
    text = "x" * 1000
    path = table(tmp_path / "a.parquet", {"text": [text] * 20_000}, row_group_size=20_000)
    lines = tmp_path / "a.jsonl"
    lines.write_text((json.dumps({"text": text}) + "\n") * 20_000)
    for place in (path, lines):
        tracemalloc.start()
        assert sum(len(d.text) for d in sources.text(str(place)).read()) == 20_000_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


def test_a_long_text_file_is_cut_at_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_LONGEST", 50)
    monkeypatch.setattr(sources, "_PIECE", 50)
    text = "".join(f"line {i} \u00e9\n" for i in range(40))
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    source = sources.text(str(path))
    parts = [document.text for document in source.read()]
    assert "".join(parts) == text
    assert 5 < len(parts) < 12
    assert all(part.endswith("\n") for part in parts)
    assert source.rows is None
    path.write_bytes(text.encode() + b"\xff\n")
    *_, last = source.read()
    assert (last.row, last.reason[:9]) == (f"part {len(parts)}", "not UTF-8")


@pytest.mark.parametrize("rest", ["third", 'the "third" one'])
def test_a_quote_that_nothing_closes_takes_no_row_along(tmp_path, rest):
    path = tmp_path / "a.tsv"
    path.write_text(f'number\ttext\n1\tfirst\n2\t"Hello, he said\n3\t{rest}\n4\tfourth\n')
    assert texts(path) == ["first", '"Hello, he said', rest, "fourth"]
    path = tmp_path / "a.csv"
    path.write_text(f'number,text\n1,first\n2,"Hello, he said\n3,{rest}\n4,fourth\n')
    if rest != "third":
        assert texts(path) == ["first", "fourth"]
        assert bad(path) == [("after line 2", "',' expected after '\"'")]
        return
    with pytest.raises(ValueError, match=r"a\.csv must be a CSV file\. Got .* after line 2"):
        read(path)


def test_cells_that_are_quoted_by_the_rules_may_hold_anything(tmp_path):
    for suffix, sign in ((".csv", ","), (".tsv", "\t")):
        path = tmp_path / f"a{suffix}"
        path.write_text(f'number{sign}text\n1{sign}"a ""b""{sign}\nc"\n2{sign}last\n')
        assert texts(path) == [f'a "b"{sign}\nc', "last"]


def test_a_line_that_is_longer_still_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_LONGEST", 50)
    monkeypatch.setattr(sources, "_PIECE", 50)
    path = tmp_path / "a.txt"
    for sign in ("\u00e9", "\u20ac", "\U0001f99c"):
        text = "x" + 200 * sign
        path.write_text(text, encoding="utf-8")
        parts = [document.text for document in sources.text(str(path)).read()]
        assert "".join(parts) == text
        assert len(parts) > 1


def test_a_file_name_that_is_no_utf8_is_a_name(tmp_path):
    raw = os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt")  # noqa: PTH118  (of bytes)
    Path(os.fsdecode(raw)).write_text("one document")
    (document,) = sources.text(str(tmp_path)).read()
    assert document.text == "one document"


def test_linked_folders_are_read_once(tmp_path):
    (tmp_path / "else" / "deep").mkdir(parents=True)
    (tmp_path / "else" / "deep" / "b.txt").write_text("second")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.txt").write_text("first")
    (tmp_path / "here" / "books").symlink_to(tmp_path / "else")
    (tmp_path / "here" / "books again").symlink_to(tmp_path / "else")
    (tmp_path / "here" / ".store").mkdir()
    (tmp_path / "here" / ".store" / "c.txt").write_text("third")
    (tmp_path / "here" / "shown").symlink_to(tmp_path / "here" / ".store")
    (tmp_path / "else" / "deep" / "back").symlink_to(tmp_path / "here")
    assert texts(tmp_path / "here") == ["first", "second", "third"]


def test_a_column_that_stands_twice_is_refused_where_it_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,id\n1,hello,2\n")
    assert texts(path) == ["hello"]
    with pytest.raises(ValueError, match=r"a\.csv must name each column once\. Got 'id' 2 times"):
        read(path, "id")

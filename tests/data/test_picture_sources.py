"""Captioned pictures of every kind are read, and whatever cannot be read is named."""

import io
import json
import tarfile
import tracemalloc

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tgp_multimodal.data.picture_rows import Captioned, Columns
from tgp_multimodal.data.picture_sources import decoded, pictures
from tgp_multimodal.data.quarantine import Bad
from tgp_multimodal.data.records import Pair, Picture


def encoded(colour, kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, kind)
    return stream.getvalue()


RED, BLUE = encoded("red"), encoded("blue")


def read(spec, columns=None):
    return list(pictures(str(spec), columns).read())


def found(spec, columns=None):
    return [(r.image, r.captions) for r in read(spec, columns) if not isinstance(r, Bad)]


def bad(spec):
    return [(r.row, r.reason) for r in read(spec) if isinstance(r, Bad)]


def table(path, **columns):
    parquet.write_table(pyarrow.table(columns), path)
    return path


def archive(path, mode="w", **members):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def files(folder, **content):
    for name, data in content.items():
        path = folder / name.replace("__", ".").replace("_in_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_parquet_as_datasets_writes_it_and_plain_bytes(tmp_path):
    image = [{"bytes": RED, "path": "x"}, {"bytes": BLUE, "path": None}]
    path = table(tmp_path / "a.parquet", image=image, text=["red", "blue"])
    assert found(path) == [(RED, ("red",)), (BLUE, ("blue",))]
    assert read(f"tiles={path}")[0] == Captioned(RED, ("red",), "tiles", str(path), "row 0")
    path = table(tmp_path / "b.parquet", picture=[RED], words=["red"])
    assert found(path, Columns("picture", "words")) == [(RED, ("red",))]


def test_paths_in_a_table_stay_inside_its_folder(tmp_path):
    folder = files(tmp_path / "in", red__png=RED)
    (tmp_path / "secret.png").write_bytes(BLUE)
    names = ["red.png", "../secret.png", str(tmp_path / "secret.png"), "gone.png", None, ""]
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"image": n, "text": "t"}) + "\n" for n in names))
    (folder / "red.png").rename(folder / "red.bin")  # or else the folder is one of picture files
    (folder / "red.png").symlink_to("red.bin")
    assert found(path) == [(RED, ("t",))]
    assert [reason for _, reason in bad(path)] == [
        "'../secret.png' lies outside of the data's folder",
        f"'{tmp_path / 'secret.png'}' lies outside of the data's folder",
        "'gone.png' does not exist",
        "column 'image' holds no picture",
        "column 'image' holds no picture",
    ]


def test_files_that_are_links_are_read_as_in_the_cache_of_hugging_face(tmp_path):
    blobs, folder = files(tmp_path / "blobs", one=RED, two=BLUE), tmp_path / "snapshots" / "1"
    (folder / "sub").mkdir(parents=True)
    names = {"a.png": "one", "sub/b.png": "two", "c.png": "two"}
    for name, blob in names.items():
        (folder / name).symlink_to(blobs / blob)
    rows = [{"file_name": n, "image": n, "text": n} for n in (*names, "../../blobs/one")]
    for table in ("metadata.jsonl", "rows.jsonl"):
        (blobs / table).write_text("\n".join(map(json.dumps, rows)))
    (folder / "metadata.jsonl").symlink_to(blobs / "metadata.jsonl")
    assert found(folder) == [(RED, ("a.png",)), (BLUE, ("sub/b.png",)), (BLUE, ("c.png",))]
    assert bad(folder) == [("line 4", "'../../blobs/one' lies outside of the data's folder")]
    assert [row.row for row in read(folder)[:3]] == list(names)
    (folder / "rows.jsonl").symlink_to(blobs / "rows.jsonl")
    assert found(folder / "rows.jsonl") == found(folder / "metadata.jsonl")
    (tmp_path / "latest").symlink_to(folder)
    (blobs / "metadata.jsonl").write_text(json.dumps(rows[0] | {"file_name": f"{folder}/a.png"}))
    assert found(tmp_path / "latest" / "a*") == [(RED, ("a.png",))]


def test_the_caption_column_is_captions_caption_or_text(tmp_path):
    lists = [["one", " two ", "", "one"]]
    path = table(tmp_path / "a.parquet", image=[RED], text=["text"], captions=lists)
    assert found(path) == [(RED, ("one", "two"))]
    assert found(path, Columns(caption="text")) == [(RED, ("text",))]
    path = table(tmp_path / "b.parquet", image=[RED], text=["text"], caption=["c"])
    assert found(path) == [(RED, ("c",))]


def test_license_and_split_of_a_row_are_kept(tmp_path):
    path = table(
        tmp_path / "a.parquet",
        image=[RED] * 4,
        text=["t"] * 4,
        license=["MIT ", "", None, "CC0"],
        split=["test", "train", None, "3"],
    )
    about = [(r.license, r.split) for r in read(path) if not isinstance(r, Bad)]
    assert about == [("MIT", "test"), (None, None), (None, None)]
    assert bad(path) == [
        ("row 3", "column 'split' holds '3' and not train, validation or test"),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "metadata.jsonl"])
def test_a_split_that_only_late_lines_name_is_obeyed(tmp_path, name):
    """As where the lines of a test file were put behind those of another one."""
    files(tmp_path, red__png=RED)
    row = {"image": "red.png", "file_name": "red.png", "text": "t"}
    lines = [json.dumps(row)] * 150 + [json.dumps(row | {"split": "test", "license": "MIT"})]
    (tmp_path / name).write_text("\n".join(lines))
    found = read(tmp_path / name if name == "a.jsonl" else tmp_path)
    assert [(r.split, r.license) for r in found] == [(None, None)] * 150 + [("test", "MIT")]


def test_a_column_of_streams(tmp_path):
    path = table(tmp_path / "a.parquet", image=[RED] * 3, text=["t"] * 3, kind=["a", " b ", None])
    rows = read(f"given={path}", Columns(stream="kind"))
    assert [r.stream for r in rows[:2]] == ["a", "b"]
    assert rows[2] == Bad(str(path), "row 2", "column 'kind' is missing or null")
    files(tmp_path / "loose", red_in_a__png=RED)
    with pytest.raises(ValueError, match=r"stream_column must be a column of a table\. Got 'kind'"):
        read(tmp_path / "loose", Columns(stream="kind"))


def test_bad_rows_of_a_table(tmp_path):
    captions = [["a"], [], [""], None]
    path = table(tmp_path / "a.parquet", image=[RED] * 4, captions=captions)
    assert bad(path) == [
        ("row 1", "empty text"),
        ("row 2", "empty text"),
        ("row 3", "column 'captions' is missing or null"),
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (Columns("imag"), r"image_column must be a column of .* Did you mean image\?"),
        (Columns(caption="txt"), r"caption_column must be a column of .*Got 'txt' instead"),
        (Columns(), r"caption_column .*Got 'captions or caption or text' instead; .*label\."),
    ],
)
def test_missing_columns_are_named(tmp_path, columns, expected):
    path = table(tmp_path / "a.parquet", image=[RED], label=["red"])
    with pytest.raises(ValueError, match=expected):
        read(path, columns)


def test_captions_in_text_files_beside_the_pictures(tmp_path):
    names = {"a__png": RED, "a__txt": b" a red thing\r\n\nred\n", "sub_in_b__png": BLUE}
    files(tmp_path, **names, sub_in_c__png=BLUE, sub_in_c__txt=b"\xff")
    assert found(tmp_path) == [(RED, ("a red thing", "red"))]
    assert bad(tmp_path) == [
        ("sub/b.png", "no caption (b.txt does not exist)"),
        ("sub/c.png", "not UTF-8 (byte 0xff at 0)"),
    ]
    assert pictures(str(tmp_path)).rows == 3


def test_folders_as_labels(tmp_path):
    files(tmp_path, red_things_in_a__png=RED, blue_in_sub_in_b__jpg=BLUE, c__png=RED)
    assert found(tmp_path) == [(BLUE, ("sub",)), (RED, ("red things",))]
    assert bad(tmp_path) == [
        ("c.png", "no caption (no c.txt, no folder that names it, no metadata)")
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_metadata_with_captions(tmp_path, kind):
    files(tmp_path, a__png=RED, sub_in_b__png=BLUE, c__png=BLUE, d__png=RED, a__txt=b"ignored")
    rows = [("a.png", "red"), ("sub/b.png", "blue"), ("gone.png", "x"), ("c.png", "")]
    if kind == "jsonl":
        lines = [json.dumps({"file_name": n, "caption": c}) for n, c in rows]
    else:
        lines = ["file_name,caption", *(f"{n},{c}" for n, c in rows)]
    (tmp_path / f"metadata.{kind}").write_text("\n".join(lines))
    assert found(tmp_path) == [(RED, ("red",)), (BLUE, ("blue",))]
    first = 1 if kind == "jsonl" else 2
    assert bad(tmp_path) == [
        (f"line {first + 2}", "'gone.png' does not exist"),
        (f"line {first + 3}", "empty text"),
        ("d.png", f"metadata.{kind} does not name it"),
    ]


def test_metadata_says_what_tables_say(tmp_path):
    files(tmp_path, a__png=RED, b__png=BLUE)
    rows = [
        {"file_name": "a.png", "text": "a", "captions": ["red", "scarlet"], "split": "test"},
        {"file_name": "b.png", "captions": ["blue"], "license": "MIT", "kind": "cold"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    a, b = read(tmp_path, Columns())
    assert (a.captions, a.split, a.license) == (("red", "scarlet"), "test", None)
    assert (b.captions, b.split, b.license) == (("blue",), None, "MIT")
    _, b = read(tmp_path, Columns(stream="kind"))
    assert b.stream == "cold"


def test_metadata_without_its_columns(tmp_path):
    files(tmp_path, a__png=RED, metadata__csv=b"file,caption\na.png,red\n")
    with pytest.raises(ValueError, match=r"file_name must be a column of .*there are: file, cap"):
        read(tmp_path)


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz")])
def test_webdataset(tmp_path, suffix, mode):
    path = tmp_path / f"0000{suffix}"
    samples = {"x/0__png": RED, "x/0__txt": b"red\n", "x/1__seg__png": b"", "x/1__JPG": BLUE}
    samples |= {"x/1__json": b'{"caption": "blue", "id": 1}', "x/2__png": RED, "x/3__txt": b"t"}
    samples |= {"x/4__png": RED, "x/4__json": b"{", "x/5__txt": b"five", "x/5__png": RED}
    archive(path, mode, **samples)
    assert found(path) == [(RED, ("red",)), (BLUE, ("blue",)), (RED, ("five",))]
    assert [row for row, _ in bad(path)] == ["x/2", "x/3", "x/4"]
    assert bad(path)[:2] == [
        ("x/2", "no caption (.txt, .caption, .json)"),
        ("x/3", "no picture"),
    ]


def test_webdataset_says_what_tables_say(tmp_path):
    about = {"caption": "ignored", "split": "val", "license": "CC0", "kind": "warm"}
    samples = {"0__png": RED, "0__txt": b"red", "0__json": json.dumps(about).encode()}
    path = archive(tmp_path / "0.tar", **samples, **{"1__png": BLUE, "1__txt": b"blue"})
    red, blue = read(path)
    assert red == Captioned(RED, ("red",), red.stream, str(path), "0", "CC0", "validation")
    assert (blue.license, blue.split) == (None, None)
    red, lost = read(path, Columns(stream="kind"))
    assert (red.stream, lost.reason) == ("warm", "column 'kind' is missing or null")


def test_memory_does_not_grow_with_the_archive(tmp_path):
    members = {f"{i:04}__{s}": d for i in range(3000) for s, d in (("png", RED), ("txt", b"red"))}
    path = archive(tmp_path / "0.tar", **members)
    del members
    tracemalloc.start()
    assert sum(1 for _ in pictures(str(path)).read()) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_folder_of_archives_and_tables(tmp_path):
    archive(tmp_path / "0.tar", a__png=RED, a__txt=b"red")
    table(tmp_path / "1.parquet", image=[BLUE], text=["blue"])
    assert found(tmp_path) == [(RED, ("red",)), (BLUE, ("blue",))]
    assert pictures(str(tmp_path)).rows is None


@pytest.mark.parametrize("size", [30_000, 30_208, 30_700, 29 * 1024])
def test_a_truncated_archive_is_refused(tmp_path, size):
    many = {f"{i:03}__{s}": d for i in range(50) for s, d in (("png", RED), ("txt", b"red"))}
    path = archive(tmp_path / "0.tar", **many)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"0\.tar must be a whole tar archive\. Got .* instead\."):
        read(path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    files(tmp_path, a__txt=b"a", b__txt=b"b", metadata__csv=b"file_name,text\n")
    expected = (
        r"pictures must be a folder with pictures .*\. Got .* with 2 \.txt, 1 \.csv instead\."
    )
    with pytest.raises(ValueError, match=expected):
        pictures(str(tmp_path))


def test_decoding_keeps_the_order_and_names_what_is_broken():
    items = [
        Captioned(RED, ("red", "scarlet"), "s", "f", "row 0", "MIT", "test"),
        Captioned(RED[:40], ("cut",), "s", "f", "row 1"),
        Bad("f", "row 2", "no picture"),
        Captioned(BLUE, ("blue",), "s", "f", "row 3"),
        Pair(np.zeros((8, 8, 3), dtype=np.uint8), "black", "t", "p"),
    ] * 100
    out = list(decoded(items, 16, workers=2))
    assert len(out) == len(items)
    for first in range(0, len(out), len(out) // 100):
        red, cut, absent, blue, black = out[first : first + 5]
        assert red.captions == ["red", "scarlet"]
        assert (red.pixels_YXC == (255, 0, 0)).all()
        assert (red.name, red.license, red.split) == ("f:row 0", "MIT", "test")
        assert cut.row == "row 1"
        assert "must be a whole image file" in cut.reason
        assert absent == items[2]
        assert (blue.pixels_YXC == (0, 0, 255)).all()
        assert isinstance(black, Picture)
        assert black.pixels_YXC.shape == (16, 16, 3)
        assert black.captions == ["black"]


def test_decoding_is_lazy():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield Captioned(RED, ("red",), "s", "f", "row")

    stream = decoded(endless(), 16, workers=1)
    next(stream)
    assert len(taken) <= 256
    stream.close()


def test_nothing_is_passed_over_where_pictures_lie_beside_a_table(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(RED)
    line = json.dumps({"image": "images/0.png", "text": "red"})
    (tmp_path / "data.jsonl").write_text(line)
    with pytest.raises(ValueError, match=r"not both \(name the table\)\. Got data\.jsonl beside "):
        pictures(str(tmp_path))
    assert found(tmp_path / "data.jsonl") == [(RED, ("red",))]


def test_metadata_below_the_folder_is_not_taken_for_a_label(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.png").write_bytes(RED)
    line = json.dumps({"file_name": "0.png", "text": "red"})
    (tmp_path / "train" / "metadata.jsonl").write_text(line)
    with pytest.raises(ValueError, match=r"metadata\.jsonl must lie in the folder that is named"):
        pictures(str(tmp_path))
    assert found(tmp_path / "train") == [(RED, ("red",))]


def test_a_pattern_leaves_out_what_it_does_not_name(tmp_path):
    lines = [json.dumps({"file_name": f"{n}.png", "text": n}) for n in ("a_1", "b_1", "gone")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    (tmp_path / "a_1.png").write_bytes(RED)
    (tmp_path / "b_1.png").write_bytes(BLUE)
    assert found(tmp_path / "a_*.png") == [(RED, ("a_1",))]
    assert [row for row, _ in bad(tmp_path / "a_*.png")] == ["line 3"]  # a file that is not there
    assert len(found(tmp_path)) == 2


def test_hidden_members_of_an_archive_are_passed_over(tmp_path):
    hidden = {"._0001.png": b"x", "0001.png": RED, "._0001.txt": b"x", "0001.txt": b"red"}
    path = archive(tmp_path / "a.tar", **hidden, **{".DS_Store": b"x"})
    assert found(path) == [(RED, ("red",))]
    assert bad(path) == []


def test_a_pattern_over_folders_of_labels_keeps_the_first_one(tmp_path):
    files(tmp_path / "birds", ant_bird_in_a__png=RED, owl_in_b__png=BLUE, owl_in_c__jfif=RED)
    expected = [(RED, ("ant bird",)), (BLUE, ("owl",)), (RED, ("owl",))]
    assert found(f"birds={tmp_path}/birds/*/*") == found(tmp_path / "birds") == expected
    assert bad(f"birds={tmp_path}/birds/*/*") == []


def test_pictures_of_a_list_have_the_license_of_their_own_folder(tmp_path):
    files(tmp_path, x_in_1__png=RED, y_in_2__png=BLUE)
    rows = [{"file_name": "x/1.png", "caption": "a"}, {"file_name": "y/2.png", "caption": "b"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for folder, license in (("x", "CC0-1.0"), ("y", "CC-BY-NC-4.0")):
        (tmp_path / folder / "card.json").write_text(json.dumps({"license": license}))
    assert [item.license for item in read(tmp_path)] == ["CC0-1.0", "CC-BY-NC-4.0"]


def test_a_blank_caption_among_others_is_none(tmp_path):
    path = table(tmp_path / "a.parquet", image=[RED] * 2, captions=[["good", " "], ["\n"]])
    assert found(path) == [(RED, ("good",))]
    assert len(bad(path)) == 1

"""No part of an archive is lost without a word: neither what lies behind its end nor a link.

And several captions in one text are several.
"""

import gzip
import io
import json
import tarfile

import pytest
from PIL import Image

from tgp_multimodal.data.picture_sources import pictures
from tgp_multimodal.data.quarantine import Bad


def encoded(colour):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


RED, BLUE = encoded("red"), encoded("blue")
ONE, TWO = {"0.png": RED, "0.txt": b"red"}, {"0.png": BLUE, "0.txt": b"blue"}
DEEP = b"[" * 200_000


def archive(members, mode="w", **links):
    """A tar archive; links are names of files: (kind, what it leads to)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, (kind, to) in links.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.type, info.linkname = kind, to
            tar.addfile(info)
    return stream.getvalue()


def read(path):
    rows = list(pictures(str(path)).read())
    good = [(row.image, row.captions) for row in rows if not isinstance(row, Bad)]
    return good, [(row.row, row.reason) for row in rows if isinstance(row, Bad)]


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz")])
def test_archives_one_behind_the_other_are_all_read(tmp_path, suffix, mode):
    path = tmp_path / f"0{suffix}"
    path.write_bytes(archive(ONE, mode) + archive(TWO, mode) + bytes(700))
    assert read(path) == ([(RED, ("red",)), (BLUE, ("blue",))], [])


def test_each_line_of_a_text_is_a_caption(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(archive({"0.png": RED, "0.txt": b"red\na red thing\n"}))
    assert read(path) == ([(RED, ("red", "a red thing"))], [])


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ('"[""red"", ""a red thing""]"', ("red", "a red thing")),  # JSON
        ("\"['red', 'a red thing']\"", ("red", "a red thing")),  # as pandas writes lists
        ("[red] thing", ("[red] thing",)),
        ('"[1, 2]"', ("[1, 2]",)),
        ("[", ("[",)),
    ],
)
def test_lists_in_cells_of_csv_files(tmp_path, cell, captions):
    (tmp_path / "a.png").write_bytes(RED)
    (tmp_path / "metadata.csv").write_text(f"file_name,captions\na.png,{cell}\n")
    assert read(tmp_path) == ([(RED, captions)], [])


def test_an_archive_in_several_parts_of_gzip_is_read_whole(tmp_path):
    raw, path = archive(ONE | {"1.png": BLUE, "1.txt": b"blue"}), tmp_path / "0.tgz"
    path.write_bytes(gzip.compress(raw[:700]) + gzip.compress(raw[700:]))
    assert len(read(path)[0]) == 2
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"0\.tgz must be a whole tar archive\. Got .* instead\."):
        read(path)


@pytest.mark.parametrize(
    "rest",
    [b"x" * 512, b"x" * 100, archive(TWO)[:300], archive(TWO)[:2048]],
    ids=["a block", "some bytes", "a cut header", "no end"],
)
def test_what_is_no_archive_behind_the_end_of_one_is_refused(tmp_path, rest):
    path = tmp_path / "0.tar"
    path.write_bytes(archive(ONE) + rest)
    with pytest.raises(ValueError, match=r"0\.tar must be a whole tar archive\. Got .* instead\."):
        read(path)


def test_a_broken_header_is_not_the_end(tmp_path):
    raw = bytearray(archive(ONE | {"1.png": BLUE, "1.txt": b"blue"}))
    raw[2048] ^= 1  # of the name of the second picture
    (tmp_path / "0.tar").write_bytes(raw)
    with pytest.raises(ValueError, match=r"Got a broken header \(bad checksum\) instead\."):
        read(tmp_path / "0.tar")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_in_an_archive_cost_their_row(tmp_path, kind):
    links = {"1_png": (kind, "0.png"), "folder": (kind, "else"), "2_png": (kind, "x")}
    path = tmp_path / "0.tar"
    path.write_bytes(archive(ONE, **links, **{"2_txt": (kind, "y")}))
    good, bad = read(path)
    assert good == [(RED, ("red",))]
    told = "(tar --dereference --hard-dereference packs what it leads to)"
    assert bad == [
        ("1", f"its .png is a link to '0.png' {told}"),
        ("2", f"its .png is a link to 'x' {told}"),
    ]


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        (DEEP, "maximum recursion depth exceeded"),
        (b'{"label": 3}', "no captions or caption or text in its .json"),
        (b"[1]", "no captions or caption or text in its .json"),
        (json.dumps({"caption": None}).encode(), "column 'caption' is missing or null"),
    ],
)
def test_a_json_without_a_caption_costs_its_row(tmp_path, about, reason):
    path = tmp_path / "0.tar"
    path.write_bytes(archive({"a.png": RED, "a.json": about} | ONE))
    good, ((row, told),) = read(path)
    assert (good, row) == ([(RED, ("red",))], "a")
    assert told.startswith(reason)

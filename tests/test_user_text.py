"""Text of users must be UTF-8, whatever the locale says."""

import io
import sys

import pytest

from tgp_multimodal import user_text


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_standard_input_is_utf_8(monkeypatch, encoding, errors):
    def given(raw):
        stream = io.TextIOWrapper(io.BytesIO(raw), encoding=encoding, errors=errors)
        monkeypatch.setattr(sys, "stdin", stream)

    given("café\nzwei\n".encode())
    assert list(user_text.input_lines()) == ["café\n", "zwei\n"]
    given(b"one\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"standard input must be UTF-8 text\. Got byte 0xe9 inst"):
        user_text.read_input()


def test_files_keep_their_ends_of_lines(tmp_path):
    (tmp_path / "a").write_bytes("ä\r\nb".encode())
    assert user_text.read_file(str(tmp_path / "a")) == "ä\r\nb"

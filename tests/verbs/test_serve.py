"""`tgp serve`: what is refused before a model is opened."""

import pytest

from tgp_multimodal.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "host must be this machine (127.0.0.1) unless a token is given"),
        (["--token", "short"], "token must have at least 16 characters. Got 5 instead."),
        (["--token", "#short"], "token must have at least 16 characters. Got 6 instead."),
        (["--port", "99999"], "host and port must be free to listen at. Got 127.0.0.1:99999 ("),
        (["--body", "0"], "body must be at least 1. Got 0 instead."),
        (["--waiting", "0"], "waiting must be at least 1. Got 0 instead."),
        (["--port", "0"], "model folder must be an export (with a tgp.json)."),
    ],
)
def test_mistakes(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TGP_TOKEN", raising=False)
    assert main(["serve", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_token_of_the_environment_counts(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TGP_TOKEN", "short")
    assert main(["serve", str(tmp_path)]) == 2
    assert "token must have at least 16 characters. Got 5" in capsys.readouterr().err

"""`tgp serve`: what is refused before a model is opened."""

import pytest
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.inference.model import Model
from tgp_multimodal.serving import server


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


def test_steps_are_compiled_before_the_server_is_ready(tokenizer, tmp_path, capsys, monkeypatch):
    export.save(tmp_path / "export", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    happened = []
    monkeypatch.setattr(Model, "compile", lambda _self: happened.append("compile"))
    monkeypatch.setattr(server, "run", lambda *_args: happened.append("run"))
    assert main(["serve", str(tmp_path / "export"), "--port", "0", "--compile"]) == 0
    assert happened == ["compile", "run"]
    assert (
        capsys.readouterr().out
        == "compiling the steps of writing (up to a minute the first time)\n"
    )

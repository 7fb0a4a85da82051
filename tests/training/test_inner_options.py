"""Values deep inside a section of `data`, one by one on the command line."""

import json
from argparse import ArgumentError

import pytest
import yaml
from test_run import QUIET, start

from tgp_multimodal.training.inner_options import merge_nested, split_nested
from tgp_multimodal.training.run import RunCLI

pytestmark = QUIET

PROSE, CODE = ["--data.text.weights.prose", "0.7"], ["--data.text.weights.code=0.3"]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ([], {"prose": 1.0, "code": 1.0}),
        (PROSE, {"prose": 0.7, "code": 1.0}),
        (CODE, {"prose": 1.0, "code": 0.3}),
        ([*PROSE, *CODE], {"prose": 0.7, "code": 0.3}),
        ([*PROSE, "--data.text.batch", "8"], {"prose": 0.7, "code": 1.0}),
    ],
)
def test_one_share_leaves_the_others_as_they_are(arguments, options, weights):
    cli = RunCLI([*arguments, *options], run=False)
    assert cli.datamodule.text["weights"] == weights
    assert cli.datamodule.text["infill"] == {"code": 0.5}
    assert cli.datamodule.text["batch"] == (8 if "8" in options else 4)


def test_the_config_that_is_written_says_so(arguments, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        start(arguments, monkeypatch, *PROSE, "--data.passages.weights.code", "3", "--print_config")
    printed = yaml.safe_load(capsys.readouterr().out)["data"]
    assert printed["text"]["weights"] == {"prose": 0.7, "code": 1.0}
    assert printed["passages"]["weights"] == {"prose": 1.0, "code": 3}


def test_shares_lie_as_deep_as_they_like():
    data = {"pictures": {"drawn": {"scenes": {"single": 0.6, "two": 0.3}}, "batch": 3}}
    words = [
        "--seed",
        "1",
        "--data.pictures.drawn.scenes.single",
        "5e-1",
        "--data.chat.weights.a=1",
    ]
    plain, inner = split_nested(words)
    assert plain == ["--seed", "1"]
    given = dict(word.split("=") for word in merge_nested(data, inner))
    assert {name: json.loads(value) for name, value in given.items()} == {
        "--data.pictures.drawn": {"scenes": {"single": 0.5, "two": 0.3}},
        "--data.chat.weights": {"a": 1},
    }
    assert data["pictures"]["drawn"]["scenes"]["single"] == 0.6


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--data.text.batch.prose", r"data\.text\.batch must be given whole\. Got prose inside"),
        ("--data.txt.weights.prose", r"data\.txt\.weights"),
    ],
)
def test_an_option_into_nothing_is_refused(arguments, monkeypatch, option, complaint):
    with pytest.raises((ValueError, ArgumentError), match=complaint):
        start(arguments, monkeypatch, option, "2")


def test_of_an_option_without_a_value_the_parser_tells():
    words = ["--data.text.weights.prose", "--seed", "1", "--data.text.infill.code"]
    assert split_nested(words) == (words, [])

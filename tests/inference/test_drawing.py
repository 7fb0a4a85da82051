"""Settings of drawing: what is refused, and with which sentence."""

import pytest

from tgp_multimodal.inference.drawing import Drawing, check, rows_columns

TIMES = r"guidance_from and guidance_to must be times from 0 to 1, the first no later\."
REFUSED = [
    ({"guidance": 0.5}, r"guidance must be at least 1\. Got 0\.5 instead\."),
    ({"guidance": float("inf")}, r"guidance must be at most 1000\. Got inf instead\."),
    ({"guidance": float("nan")}, r"guidance must be at least 1\. Got nan instead\."),
    ({"steps": 0}, r"steps must be at least 1\. Got 0 instead\."),
    ({"size": 18}, r"size must be a positive multiple of 4 \(the patch\)\. Got 18 instead\."),
    ({"size": 0}, r"size must be a positive multiple of 4 .* Got 0 instead\."),
    ({"size": -4}, r"size must be a positive multiple of 4 .* Got -4 instead\."),
    ({"size": (16, 18)}, r"size must be a positive multiple of 4 .* Got \(16, 18\) instead\."),
    ({"size": (16,)}, r"size must be a side, or \(rows, columns\)\. Got \(16,\) instead\."),
    (
        {"sampler": "eular"},
        r"sampler must be .* Got eular instead; there are: ancestral, dpm, euler, heun, unipc\."
        r" Did you mean euler\?$",
    ),
    ({"sampler": "?"}, r"there are: ancestral, dpm, euler, heun, unipc\.$"),
    ({"guidance_from": 0.8, "guidance_to": 0.2}, TIMES + r" Got 0\.8 and 0\.2 instead\."),
    ({"guidance_from": -0.1}, TIMES + r" Got -0\.1 and 1\.0 instead\."),
    ({"guidance_to": 1.5}, TIMES + r" Got 0\.0 and 1\.5 instead\."),
    ({"seed": 10**20}, rf"seed must be between -{2**62} and {2**62}\. Got {10**20} instead\."),
    ({"guidance_rescale": 2}, r"guidance_rescale must lie between 0 and 1\. Got 2 instead\."),
    ({"guidance": 1.0, "negative_prompt": "x"}, r"guidance must be above 1 for .* Got 1\.0 inst"),
    ({"guidance": 1.0, "guidance_rescale": 0.7}, r"guidance must be above 1 for .* Got 1\.0 inst"),
    ({"guidance": 1.0, "guidance_from": 0.2}, r"guidance must be above 1 for guidance_from to act"),
    ({"guidance": 1.0, "guidance_to": 0.8}, r"guidance must be above 1 for guidance_to to act\."),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check(Drawing()._replace(**change), 4)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"guidance": 1.0},
        {"size": 4},
        {"size": (4, 96)},
        {"guidance_from": 0.5, "guidance_to": 0.5},
        {"guidance_rescale": 1},
        {"sampler": "unipc", "negative_prompt": "x"},
    ],
)
def test_settings_in_range_are_not(change):
    check(Drawing()._replace(**change), 4)


def test_one_number_is_a_square():
    assert rows_columns(Drawing(), 32) == (32, 32)
    assert rows_columns(Drawing(size=16), 32) == (16, 16)
    assert rows_columns(Drawing(size=(16, 48)), 32) == (16, 48)

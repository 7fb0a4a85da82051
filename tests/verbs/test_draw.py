"""`tgp draw`: grids, sizes, pictures to start from, progress, mistakes."""

import numpy as np
import pytest
import rich.console
from PIL import Image
from random_networks import multimodal

import tgp_multimodal as tgp
from tgp_multimodal import export
from tgp_multimodal.cli import main
from tgp_multimodal.inference import image, sheets
from tgp_multimodal.inference.init_image import fitted
from tgp_multimodal.inference.model import Model


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "export"
    export.save(path, multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    return str(path)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def mask(tmp_path):
    picture = Image.new("L", (60, 40))
    picture.paste(255, (0, 0, 30, 40))
    picture.save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_a_grid_has_the_same_seeds_in_each_row(folder, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red circle\n\n  x  \n", encoding="utf-8")
    place = tmp_path / "out"
    options = ["--count", "2", "--seed", "5", "--steps", "2", "--output", str(place)]
    assert main(["draw", folder, "--grid", str(tmp_path / "prompts.txt"), *options]) == 0
    names = ["000-a-red-circle.png", "001-a-red-circle.png", "002-x.png", "003-x.png", "grid.png"]
    assert capsys.readouterr().out.split("\n")[:-1] == [str(place / n) for n in names]
    for name, seed in zip(names, ("5", "6", "5", "6"), strict=False):
        with Image.open(place / name) as picture:
            assert picture.text["seed"] == seed
    alone = np.asarray(tgp.load(folder).draw("x", steps=2, seed=6)[0]).astype(int)
    assert np.abs(pixels(place / "003-x.png") - alone).max() <= 1  # rounding
    with Image.open(place / "grid.png") as sheet:
        assert sheet.width > 2 * 96


def test_nothing_in_the_folder_is_replaced(folder, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("x\n", encoding="utf-8")
    place = tmp_path / "out"
    place.mkdir()
    (place / "20240131-holiday.png").touch()  # not ours
    options = ["--steps", "1", "--output", str(place)]
    expected = [
        (["x", "y"], ["000-x.png", "001-y.png", "sheet.png"]),
        (["x", "--seed", "1"], ["002-x.png"]),
        (["x", "y", "--seed", "1"], ["003-x.png", "004-y.png", "sheet-003.png"]),
        (["--grid", str(tmp_path / "prompts.txt")], ["005-x.png", "grid-005.png"]),
        (["", "--seed", "1"], ["006.png"]),
    ]
    before = {"20240131-holiday.png": b""}
    for arguments, names in expected:
        assert main(["draw", folder, *arguments, *options]) == 0
        assert capsys.readouterr().out.split("\n")[:-1] == [str(place / n) for n in names]
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        assert files.keys() == {*before, *names}
        assert {name: files[name] for name in before} == before
        before = files
    for path in place.glob("0*"):
        path.unlink()
    assert main(["draw", folder, "x", "y", *options]) == 0
    assert capsys.readouterr().out.endswith("sheet-006.png\n")


@pytest.mark.parametrize(
    ("prompts", "captions"),
    [(["x", "--count", "2"], ["x, seed 5", "x, seed 6"]), (["x", "y"], ["x", "y"])],
)
def test_pictures_of_one_prompt_are_told_apart_by_their_seeds(
    folder, tmp_path, monkeypatch, prompts, captions
):
    written, compose = [], sheets.contact_sheet

    def recorded(pictures, captions):
        written.append(captions)
        return compose(pictures, captions)

    monkeypatch.setattr(sheets, "contact_sheet", recorded)
    options = ["--steps", "1", "--seed", "5", "--output", str(tmp_path)]
    assert main(["draw", folder, *prompts, *options]) == 0
    assert written == [captions]


def test_an_interruption_keeps_the_batches_before_it(folder, tmp_path, monkeypatch):
    drawing, calls = Model.draw, []

    def draw(self, prompts, **settings):
        calls.append(prompts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return drawing(self, prompts, **settings)

    monkeypatch.setattr(image, "BATCH", 2)
    monkeypatch.setattr(Model, "draw", draw)
    options = ["--steps", "1", "--output", str(tmp_path)]
    assert main(["draw", folder, *"abcde", *options]) == 130
    assert calls == [["a", "b"], ["c", "d"], ["e"]]
    names = [f"{i:03d}-{prompt}.png" for i, prompt in enumerate("abcd")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    whole = [np.asarray(p).astype(int) for p in drawing(tgp.load(folder), [*"abcd"], steps=1)]
    for name, alone in zip(names, whole, strict=True):
        assert np.abs(pixels(tmp_path / name) - alone).max() <= 1  # rounding


@pytest.mark.parametrize(
    ("size", "shape", "is_told"),
    [("24", (24, 24), True), ("8x20", (8, 20), False), ("4x12", (4, 12), True)],
)
def test_size_is_a_side_or_rows_and_columns(folder, tmp_path, capsys, size, shape, is_told):
    options = ["--steps", "2", "--sampler", "unipc", "--size", size, "--output", str(tmp_path)]
    assert main(["draw", folder, *options, "x", "y"]) == 0
    assert pixels(tmp_path / "000-x.png").shape == (*shape, 3)
    assert (tmp_path / "sheet.png").exists()
    told = f"note: {shape[0]}x{shape[1]} is far from 16x16, the size of training"
    assert (told in capsys.readouterr().err) == is_told


def test_prompts_that_are_not_read_to_their_end_are_told(folder, tmp_path):
    long = "a red circle " * 40
    options = ["--steps", "2", "--output", str(tmp_path)]
    with pytest.warns(UserWarning, match="only the first 64 tokens of a prompt are read") as told:
        assert main(["draw", folder, *options, "x", long, "--count", "2"]) == 0
    assert len(told) == 1


def test_a_picture_is_drawn_over(folder, photo, mask, tmp_path):
    given = ["--image", photo, "--steps", "3", "--sampler", "dpm"]
    plain, masked = tmp_path / "plain", tmp_path / "masked"
    assert main(["draw", folder, "x", *given, "--strength", "0.4", "--output", str(plain)]) == 0
    assert main(["draw", folder, "x", *given, "--mask", mask, "--output", str(masked)]) == 0
    with Image.open(photo) as picture:
        picture.load()
    expected = fitted(picture, 16, 16).astype(int)
    with Image.open(plain / "000-x.png") as drawn:
        about = drawn.text
    assert (about["image"], about["strength"], about["sampler"]) == (photo, "0.4", "dpm")
    assert "mask" not in about
    own = tgp.load(folder).draw("x", steps=3, sampler="dpm", image=picture, strength=0.4)
    assert np.array_equal(pixels(plain / "000-x.png"), np.asarray(own[0]))
    assert (pixels(plain / "000-x.png") != expected).mean() > 0.5
    assert np.array_equal(pixels(masked / "000-x.png")[:, 8:], expected[:, 8:])
    assert (pixels(masked / "000-x.png")[:, :8] != expected[:, :8]).mean() > 0.5
    with Image.open(masked / "000-x.png") as drawn:
        assert (drawn.text["mask"], drawn.text["strength"]) == (mask, "1.0")


def test_settings_of_guidance_arrive_and_are_written_down(folder, tmp_path):
    options = ["--negative_prompt", "a circle", "--guidance_from", "0.1", "--guidance_to", "0.9"]
    options += ["--guidance_rescale", "0.5", "--steps", "3"]
    assert main(["draw", folder, "x", *options, "--output", str(tmp_path)]) == 0
    with Image.open(tmp_path / "000-x.png") as drawn:
        about = drawn.text
    assert (about["negative_prompt"], about["guidance_rescale"]) == ("a circle", "0.5")
    assert (about["guidance_from"], about["guidance_to"]) == ("0.1", "0.9")
    own = tgp.load(folder).draw(
        "x", 3, negative_prompt="a circle", guidance_from=0.1, guidance_to=0.9, guidance_rescale=0.5
    )
    assert np.array_equal(pixels(tmp_path / "000-x.png"), np.asarray(own[0]))


@pytest.mark.parametrize(("facts", "usual"), [({}, "4.0"), ({"guided": True}, "1.0")])
def test_guidance_in_the_weights_is_not_repeated(tokenizer, tmp_path, facts, usual):
    folder = tmp_path / "export"
    export.save(folder, multimodal(tokenizer.vocabulary), tokenizer, facts, "")
    options = ["--steps", "2", "--output", str(tmp_path)]
    assert main(["draw", str(folder), "x", *options]) == 0
    with Image.open(tmp_path / "000-x.png") as drawn:
        assert drawn.text["guidance"] == usual
        own = tgp.load(folder)
        for pictures in (own.draw("x", 2), own.draw("x", 2, guidance=float(usual))):
            assert np.array_equal(np.asarray(drawn), np.asarray(pictures[0]))


def test_a_bar_is_for_terminals_alone(folder, tmp_path, capsys, monkeypatch):
    arguments = ["draw", folder, "x", "y", "--steps", "2", "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    assert main(arguments) == 0
    assert "2/2 pictures" in capsys.readouterr().err


MISTAKES = [
    (["x", "--mask", "{mask}"], "image must be given with mask. Got none instead."),
    (["x", "--strength", "0.5"], "image must be given with strength. Got none instead."),
    (["x", "--image", "{mask}", "--strength", "2"], "strength must be above 0 and at most 1. Got"),
    (["x", "--image", "nowhere.png"], "image must be an existing picture file. Got nowhere.png"),
    (["x", "--image", "{mask}", "--mask", "."], "mask must be an existing picture file. Got . ins"),
    (["x", "--size", "100000"], "size must be at most 4,194,304 pixels, rows times columns. Got"),
    (["x", "--image", __file__], "test_draw.py must be a whole picture file. Got a file of no"),
    (["x", "--grid", "nowhere.txt"], "grid must be given in place of prompts. Got both instead."),
    (
        ["--grid", "nowhere.txt"],
        "grid must be a file with a prompt in each line. Got nowhere.txt instead",
    ),
    (["--grid", "{empty}"], "grid must be a file with a prompt in each line. Got"),
    (["x", "--size", "32by48"], "size must be like 32, or 32x48 for rows and columns. Got 32by48"),
    (["x", "--size", "16x18"], "size must be a positive multiple of 4 (the patch). Got (16, 18)"),
    (["x", "--guidance_from", "0.9", "--guidance_to", "0.1"], "Got 0.9 and 0.1 instead."),
    (["x", "--seed", "9" * 20], f"seed must be between -{2**62} and {2**62}. Got {'9' * 20} inst"),
    (["x", "--sampler", "dmp"], "euler, heun, unipc. Did you mean dpm?"),
    (["--steps", "3"], "prompts must hold at least one prompt. Got none instead."),
]


def test_a_file_is_no_place_for_pictures(folder, tmp_path, capsys):
    place = tmp_path / "scene.png"
    assert main(["draw", folder, "x", "--output", str(place)]) == 2
    assert (
        f"output must be a folder, for pictures and a sheet. Got {place}" in capsys.readouterr().err
    )
    assert not place.exists()


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(folder, mask, tmp_path, capsys, arguments, message):
    (tmp_path / "empty.txt").write_text("\n \n")
    names = {"{mask}": mask, "{empty}": str(tmp_path / "empty.txt")}
    arguments = [names.get(word, word) for word in arguments]
    assert main(["draw", folder, *arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_takes_no_files_is_told_before_anything_is_drawn(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("os.access", lambda place, mode: False)
    monkeypatch.setattr("tgp_multimodal.load", None)
    assert main(["draw", folder, "a red circle", "--output", str(tmp_path / "out")]) == 2
    assert "output must be a folder to write into." in capsys.readouterr().err

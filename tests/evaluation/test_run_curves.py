"""Curves of runs: what is read of metrics.csv, and what the page shows."""

import re

import pytest

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import run_curves
from tgp_multimodal.evaluation.task_plots import RunCurve
from tgp_multimodal.evaluation.task_plots import run_curves as draw

HEADER = "step,train/text/value,train/gradient_norm,validation/text/value\n"


def run(folder, rows, header=HEADER):
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return str(folder)


def test_values_are_read_by_their_step(tmp_path):
    rows = ["9,5.0,1.0,", "19,nan,2.0,", "19,,,4.5", "29,4.0,inf,", "39,3.9"]
    run(tmp_path / "a", rows)
    (found,) = run_curves.read_runs([tmp_path / "a"])
    assert found.logged == {
        "train/text/value": [(9, 5.0), (29, 4.0), (39, 3.9)],
        "train/gradient_norm": [(9, 1.0), (19, 2.0)],
        "validation/text/value": [(19, 4.5)],
    }
    assert found.steps == 40


def test_a_line_that_a_kill_has_cut_is_passed_over(tmp_path):
    run(tmp_path / "a", ["9,5.0,1.0,", "1", "19,4.x"])
    with (tmp_path / "a" / "metrics.csv").open("a") as file:
        file.write("29,1")  # of 29,1.23: a number, too
    (found,) = run_curves.read_runs([tmp_path / "a"])
    assert found.logged["train/text/value"] == [(9, 5.0)]


def test_long_lines_are_averaged():
    line = [(float(x), float(x % 2)) for x in range(1000)]
    short = run_curves.thinned(line, 250)
    assert len(short) == 250
    assert {y for _, y in short} == {0.5}
    assert short[0] == (1.5, 0.5)
    assert run_curves.thinned(line[:3]) == line[:3]
    assert run_curves.thinned([]) == []


def test_the_start_does_not_decide_the_scale_and_validation_does():
    train = [(float(x), 100.0 if x < 4 else 1.0) for x in range(100)]
    heights = [
        float(y)
        for one in re.findall(r'points="([^"]*)"', draw("loss", [RunCurve(0, "a", train, [])]))
        for y in re.findall(r",([\d.]+)", one)
    ]
    assert len(set(heights)) == 2  # at the top, and the level where it stays
    ticks = re.findall(r'text-anchor="end">([\d.]+)<', draw("loss", [RunCurve(0, "a", train, [])]))
    assert max(map(float, ticks)) < 2
    page = draw("loss", [RunCurve(0, "a", train, [(50.0, 30.0)])])
    assert max(map(float, re.findall(r'text-anchor="end">([\d.]+)<', page))) > 20


def test_runs_share_a_page(tmp_path, capsys):
    folders = [
        run(tmp_path / name, [f"9,{v},1.0,", f"9,,,{v}", f"19,{v - 1},1.0,", f"19,,,{v - 0.5}"])
        for name, v in (("a", 5.0), ("b<i>", 4.0))
    ]
    assert main(["plot", *folders, "--output", str(tmp_path / "out" / "page.html")]) == 0
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<svg ") == 2  # text/value and gradient_norm
    assert page.index(">text/value<") < page.index(">gradient_norm<")
    assert "b&lt;i&gt;" in page
    assert "b<i>" not in page
    out = capsys.readouterr().out
    assert re.search(r"text/value +│ +4.5 \(4.5, 19\) +│ +3.5 \(3.5, 19\)", out)
    assert out.endswith(f"{tmp_path / 'out' / 'page.html'}\n")
    assert main(["plot", folders[0]]) == 0
    assert (tmp_path / "a" / "curves.html").is_file()


def test_the_best_of_an_error_is_its_lowest_and_of_a_share_its_highest(tmp_path):
    names = ("validation/text/value", "validation/passages/found", "scene_eval/colours")
    rows = ["9,3,0.1,0.2", "19,2,0.9,0.8", "29,4,0.5,0.4"]
    run(tmp_path / "a", rows, header=f"step,{','.join(names)}\n")
    found = run_curves.summaries(run_curves.read_runs([tmp_path / "a"]))
    assert {one.metric: (one.last, one.best, one.best_step) for one in found} == {
        "scene_eval/colours": (0.4, 0.8, 19),
        "passages/found": (0.5, 0.9, 19),
        "text/value": (4, 2, 19),
    }


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_measured_on_prompts_held_out_is_no_line_of_training(tmp_path, count):
    rows = [f"{9 + 10 * i},0.{i + 1}" for i in range(count)]
    run(tmp_path / "a", rows, header="step,scene_eval/colours\n")
    page = run_curves.render(run_curves.read_runs([tmp_path / "a"]))
    lines = dict(re.findall(r'<polyline class="curve (\w+) c0" points="([^"]*)"', page))
    assert lines["train"] == ""
    assert len(lines["held"].split()) == count
    assert page.count('<circle class="c0"') == count


def test_a_page_is_not_written_as_a_picture(tmp_path, capsys):
    folder = run(tmp_path / "a", ["9,5.0,1.0,"])
    assert main(["plot", folder, "--output", str(tmp_path / "a.png")]) == 2
    assert "output must end in .html. Got " in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart(tmp_path):
    folders = [run(tmp_path / name / "run", ["9,5.0,1.0,"]) for name in "ab"]
    found = run_curves.read_runs([tmp_path / name / "run" for name in "ab"])
    assert [one.name for one in found] == folders


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "run must hold a metrics.csv, as `tgp fit` writes it. Got"),
        ([], "metrics.csv must hold a line with values. Got none instead."),
    ],
)
def test_mistakes(tmp_path, capsys, rows, message):
    folder = str(tmp_path / "a") if rows is None else run(tmp_path / "a", rows)
    assert main(["plot", folder]) == 2
    assert message in capsys.readouterr().err
    assert main(["plot", *["x"] * 9]) == 2
    assert "runs must be at most 8. Got 9 instead." in capsys.readouterr().err

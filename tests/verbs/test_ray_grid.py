"""`tgp evaluate --executor ray`: the files of a run without Ray, and a sentence for a mistake."""

import sys
from pathlib import Path

import pytest

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import results

CARDS = ["biomedical/wisconsin", "code/infilling"]


def run(folder: Path, *more: str) -> int:
    given = ["evaluate", "tfidf", "majority", "--cards", *CARDS, "--limit", "20"]
    return main([*given, "--results", str(folder), *more])


def test_an_executor_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--executor", "slurm") == 2
    assert "executor must be local, ray or ray:HOST:PORT. Got slurm" in capsys.readouterr().err


def test_without_ray_the_sentence_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(tmp_path, "--executor", "ray") == 2
    error = capsys.readouterr().err
    said = "ray must be installed for this executor. Got no such library instead"
    assert error.startswith(f"tgp: {said}; pip install 'ray>=")
    assert error.count("\n") == 1


@pytest.mark.slow
# Ray leaves pipes and processes of its own to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
class TestWithRay:
    @pytest.fixture(autouse=True)
    def one_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("ray", reason="needs ray")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def test_the_files_are_those_of_a_run_without_ray(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        assert run(here) == 0
        capsys.readouterr()
        assert run(there, "--executor", "ray") == 0
        out = capsys.readouterr().out
        assert "skipped: tfidf cannot score a continuation (Score)" in out
        names = sorted(p.relative_to(here) for p in here.rglob("*.*"))
        assert names == sorted(p.relative_to(there) for p in there.rglob("*.*"))
        for name in names:
            if name.suffix == ".jsonl":
                assert (here / name).read_bytes() == (there / name).read_bytes()
            else:
                one, two = results.read(here / name), results.read(there / name)
                assert results.essence(one) == results.essence(two)
                assert one.recipe == two.recipe
        # And so they stand for the other way of running.
        assert run(there) == 0
        assert capsys.readouterr().out.count("computed before") == 3
        (there / "majority" / "code__infilling.json").unlink()
        assert run(there, "--executor", "ray") == 0
        assert capsys.readouterr().out.count("computed before") == 2

    def test_a_mistake_on_the_cluster_is_one_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["evaluate", "native:nowhere", "--cards", *CARDS, "--results", str(tmp_path)]
        assert main([*given, "--executor", "ray"]) == 2
        error = capsys.readouterr().err
        assert "nowhere" in error
        assert error.count("\n") == 1

    def test_too_many_threads_for_any_machine(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "999")
        assert run(tmp_path, "--executor", "ray") == 2
        assert "OMP_NUM_THREADS must be at most" in capsys.readouterr().err

    def test_no_cluster_answers(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(tmp_path, "--executor", "ray:127.0.0.1:1") == 2
        error = capsys.readouterr().err
        assert "executor must be a Ray cluster that answers. Got 127.0.0.1:1" in error
        assert error.count("\n") == 1

"""The pages on tasks, models and protocols, followed to the letter."""

import re
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tgp_multimodal.adapters import ADAPTERS
from tgp_multimodal.cli import main
from tgp_multimodal.evaluation.card_protocols import PROTOCOLS
from tgp_multimodal.evaluation.protocols import PROTOCOLS as RUN

DOCS = Path(__file__).parents[2] / "docs"
EXTENDING = (DOCS / "extending.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The first block of code of that language with these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", EXTENDING, re.DOTALL)
    return next(b for b in blocks if holding in b)


def test_a_card_and_a_model_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "text" / "my_task"
    folder.mkdir(parents=True)
    words = {"north": "cold ice", "south": "sun sand", "east": "tea rice", "west": "oak rain"}
    for split, count in (("train", 80), ("validation", 20), ("test", 20)):
        rows = [
            {"text": f"{words[label]} {i}", "label": label} for i in range(count) for label in words
        ]
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    monkeypatch.setenv("TGP_DATA", str(tmp_path / "data"))
    card = tmp_path / "my_task.yaml"
    card.write_text(block("yaml", "name: text/my_task"), encoding="utf-8")
    module = types.ModuleType("tgp_multimodal.adapters.mine")
    exec(block("python", "class Mine"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(ADAPTERS, "mine", f"{module.__name__}:Mine")
    where = ["--cards", str(card), "--results", str(tmp_path / "results")]
    assert main(["evaluate", "mine", "tfidf", *where]) == 0
    out = capsys.readouterr().out
    assert "mine [1/1] text/my_task: accuracy 1.0000" in out
    assert "tfidf [1/1] text/my_task: accuracy 1.0000" in out


def test_files_as_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(
        '{"text": "up", "label": "a"}\n{"text": "no", "label": "b"}\n' * 6
    )
    (tmp_path / "b.csv").write_text("text,label\nup,a\nno,b\n")
    parquet.write_table(
        pa.Table.from_pylist([{"text": "up", "label": "a"}]), tmp_path / "c.parquet"
    )
    files = "source: {files: {train: a.jsonl, test: [b.csv, c.parquet]}}"
    said = re.sub(r"source: .*", files, block("yaml", "name: text/my_task"))
    (tmp_path / "card.yaml").write_text(said, encoding="utf-8")
    assert main(["evaluate", "tfidf", "--cards", "card.yaml", "--results", "results"]) == 0
    assert len((tmp_path / "results/tfidf/text__my_task.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("wrong", ["a.txt", "nowhere.csv"])
def test_files_that_cannot_be_read_are_named(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    said = re.sub(r"source: .*", f"source: {{files: {{test: {wrong}}}}}", block("yaml", "name:"))
    (tmp_path / "card.yaml").write_text(said, encoding="utf-8")
    assert main(["evaluate", "tfidf", "--cards", "card.yaml"]) == 2
    error = capsys.readouterr().err
    said = {
        "a.txt": "files must hold files that end in json, jsonl, parquet, csv. Got a.txt",
        "nowhere.csv": "files must be there. Got nowhere.csv, which is not, instead",
    }
    assert said[wrong] in error


def test_the_table_holds_every_protocol() -> None:
    page = (DOCS / "protocols.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(PROTOCOLS) == sorted(RUN)

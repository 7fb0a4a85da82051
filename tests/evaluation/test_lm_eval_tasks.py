"""Task files of lm-eval become cards; `tests/peers` holds their numbers against lm-eval's own."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml
from planted_models import Planted

from tgp_multimodal.cli import main
from tgp_multimodal.evaluation import engine, fewshot
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.lm_eval_tasks import load
from tgp_multimodal.evaluation.requests import Generate, ScoreAnswer

ROWS = [
    {"question": f"{i} + 1?", "options": [str(i), str(i + 1), "none"], "answer": 1, "key": "B"}
    for i in range(6)
]
CHOICE: dict[str, Any] = {
    "task": "made up/sums",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 2.0},
}
WRITE: dict[str, Any] = {
    "task": "write",
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{options[answer]}}",
    "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 5},
}


def write(place: Path, rows: list[dict] | None = None, **said: Any) -> Path:
    """A task file with its data; a key given as None is left out."""
    content = "\n".join(map(json.dumps, rows or ROWS))
    (place / "test.jsonl").write_text(content, encoding="utf-8")
    files = {"data_files": {"test": str(place / "test.jsonl"), "dev": str(place / "test.jsonl")}}
    task = {"dataset_path": "json", "dataset_kwargs": files, **CHOICE, **said}
    file = place / "task.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in task.items() if v is not None}), "utf-8")
    return file


def test_a_multiple_choice_task(tmp_path: Path) -> None:
    card = load(write(tmp_path))
    assert (card.name, card.version, card.metric) == ("text/lm_eval_made-up-sums", 2, "accuracy")
    assert card.chance == pytest.approx(1 / 3, abs=1e-4)
    (first, *_), count = Examples(card).test, len(Examples(card).test)
    assert first.fields == {"prompt": "Q: 0 + 1?\nA:", "choices": ["0", "1", "none"], "answer": 1}
    assert count == len(ROWS)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"doc_to_target": 2}, 2),
        ({"doc_to_target": "{{answer}}"}, 1),
        ({"doc_to_target": "{{options[2]}}", "doc_to_choice": ["zero", "none"]}, 1),
        ({"doc_to_target": "{{['A', 'B'].index(key)}}"}, 1),
        ({"doc_to_target": "key", "doc_to_choice": ["A", "B"]}, 1),
        ({"doc_to_target": "key", "doc_to_choice": {"x": "B", "y": "Ä"}}, 0),
        ({"doc_to_choice": "{{[options[1], options[0]]}}", "doc_to_target": "{{answer - 1}}"}, 0),
    ],
)
def test_targets_are_places_digits_or_choices(
    said: dict[str, Any], answer: int, tmp_path: Path
) -> None:
    example = Examples(load(write(tmp_path, **said))).test[0]
    assert example.fields["answer"] == answer


def test_booleans_are_places(tmp_path: Path) -> None:
    rows = [{"question": "q", "right": True, "options": ["no", "yes"]}]
    card = load(write(tmp_path, rows, doc_to_target="right"))
    assert Examples(card).test[0].fields["answer"] == 1


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        ([False, True], ["False", "True"]),
        ({"a": 1, "b": 0.5}, ["1", "0.5"]),
        ("sizes", ["3", "None"]),
        ("{{[sizes[0], right]}}", ["3", "True"]),
    ],
)
def test_choices_are_texts(choices: Any, texts: list[str], tmp_path: Path) -> None:
    """As in lm-eval, which puts each behind the delimiter as Python writes it."""
    rows = [{"question": "q", "right": True, "sizes": [3, None]}]
    said = {"doc_to_choice": choices, "doc_to_target": "right", "num_fewshot": 0}
    card = load(write(tmp_path, rows, **said))
    assert Examples(card).test[0].fields["choices"] == texts
    model = Planted(score=lambda r: ScoreAnswer(-1.0 - (r.continuation == f" {texts[0]}"), 1, True))
    assert engine.evaluate(model, [card], tmp_path / "results")[0].value == 1


def test_solved_examples_description_and_delimiters(tmp_path: Path) -> None:
    said = {"fewshot_split": "dev", "num_fewshot": 2, "fewshot_config": {"sampler": "first_n"}}
    said |= {"description": "Sums.\n\n", "target_delimiter": "", "fewshot_delimiter": "\n"}
    read = Examples(load(write(tmp_path, **said)))
    expected = "Sums.\n\nQ: 0 + 1?\nA:1\nQ: 1 + 1?\nA:2\nQ: 4 + 1?\nA:"
    assert fewshot.contexts(read, [read.test[4]]) == [expected]


def test_a_key_without_a_value_is_left_out(tmp_path: Path) -> None:
    nothing = ("target_delimiter", "fewshot_delimiter", "description", "include", "filter_list")
    plain = load(write(tmp_path, **WRITE, doc_to_choice=None, metric_list=None))
    file = tmp_path / "task.yaml"
    task = yaml.safe_load(file.read_text("utf-8")) | dict.fromkeys(nothing)
    task["generation_kwargs"] |= {"temperature": None, "top_k": None}
    file.write_text(yaml.safe_dump(task), "utf-8")
    assert load(file) == plain
    assert plain.settings["delimiter"] == " "


def test_a_description_may_be_a_template(tmp_path: Path) -> None:
    read = Examples(load(write(tmp_path, description="About {{key}}. ")))
    assert fewshot.contexts(read, read.test[:1])[0].startswith("About B. Q: 0")


def test_writing_with_solved_examples(tmp_path: Path) -> None:
    said = {"metric_list": [{"metric": "exact_match"}], "doc_to_choice": None, "num_fewshot": 1}
    card = load(write(tmp_path, **{**WRITE, **said, "training_split": "dev"}))
    model = Planted(generate=lambda r: str(int(r.prompt.rpartition("\n")[2][0]) + 1))
    (result,) = engine.evaluate(model, [card], tmp_path / "results")
    assert result.value == 1
    asked = model.asked[0]
    assert isinstance(asked, Generate)
    assert (asked.max_tokens, asked.stop) == (5, ("\n",))
    assert asked.prompt.endswith("\n\n0 + 1?")
    spaced = Planted(generate=lambda r: f" {int(r.prompt.rpartition(chr(10))[2][0]) + 1}")
    spaced.digest = "1"
    (strict,) = engine.evaluate(spaced, [card], tmp_path / "strict")
    assert strict.value == 0  # lm-eval cuts no white space


def test_what_includes_another_file_has_its_keys(tmp_path: Path) -> None:
    file = write(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text("include: task.yaml\ntask: other\ndoc_to_text: question\n")
    card = load(other)
    assert card.name == "text/lm_eval_other"
    assert Examples(card).test[0].fields["prompt"] == "0 + 1?"
    assert load(file).digest != card.digest


@pytest.mark.parametrize("steps", [1, 2])
def test_what_includes_itself_is_refused_by_name(steps: int, tmp_path: Path) -> None:
    files = [tmp_path / f"{step}.yaml" for step in range(steps)]
    for file, other in zip(files, [*files[1:], files[0]], strict=True):
        file.write_text(f"include: {other.name}\n")
    with pytest.raises(ValueError, match=r"include must not lead back .* Got .*0\.yaml instead\."):
        load(files[0])


def test_a_file_may_be_included_twice(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "middle.yaml").write_text("include: task.yaml\n")
    top = tmp_path / "top.yaml"
    top.write_text("include: [task.yaml, middle.yaml]\ntask: other\n")
    assert load(top).name == "text/lm_eval_other"


def test_the_same_files_elsewhere_are_the_same_data(tmp_path: Path) -> None:
    for name in ("here", "there", "else"):
        (tmp_path / name).mkdir()
    card, moved = (load(write(tmp_path / name)) for name in ("here", "there"))
    assert card.source != moved.source
    other = load(write(tmp_path / "else", [*ROWS[:-1], {**ROWS[-1], "question": "again?"}]))

    def asked(card: Card) -> int:
        model = Planted(score=lambda r: ScoreAnswer(0.0, 1, False))
        engine.evaluate(model, [card], tmp_path / "results")
        return len(model.asked)

    assert asked(card) > 0
    assert asked(moved) == 0
    assert asked(other) > 0


def test_files_of_a_folder_are_found_by_their_split(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "data").mkdir(parents=True)
    table = pa.Table.from_pylist(ROWS)
    for part in range(2):
        name = f"test-0000{part}-of-00002.parquet"
        parquet.write_table(table.slice(3 * part, 3), folder / "data" / name)
    (folder / "data" / "testing.parquet").write_bytes(b"no part of it")
    card = load(write(tmp_path, dataset_path=str(folder), dataset_kwargs=None))
    assert [e.fields["prompt"][3] for e in Examples(card).test] == list("012345")


def test_rolling_and_single_likelihoods(tmp_path: Path) -> None:
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_choice": None, "doc_to_text": ""}
    metrics = [{"metric": m} for m in ("word_perplexity", "bits_per_byte")]
    rolling |= {"doc_to_target": "{{question}}", "metric_list": metrics}
    card = load(write(tmp_path, **rolling))
    assert (card.protocol, card.metric, card.higher_is_better) == (
        *("perplexity", "bits_per_byte"),
        False,
    )
    single = {"output_type": "loglikelihood", "doc_to_choice": None, "doc_to_text": "question"}
    card = load(write(tmp_path, **single, doc_to_target=" {{key}}"))
    assert Examples(card).test[0].fields == {"context": "0 + 1?", "target": " B"}
    model = Planted(score=lambda r: ScoreAnswer(-1.0, 1, r.continuation == " B"))
    assert engine.evaluate(model, [card], tmp_path / "results")[0].value == 1


REFUSED = {
    "process_docs": ({"process_docs": "x"}, "process_docs must be left out"),
    "unknown key": ({"doc_to_txt": "x"}, "Did you mean doc_to_text?"),
    "metric": ({"metric_list": [{"metric": "bleu"}]}, "metric_list must be of acc, acc_norm"),
    "aggregation": (
        {"metric_list": [{"metric": "acc", "aggregation": "median"}]},
        "metric_list.acc.aggregation must be left out",
    ),
    "choices": ({"doc_to_choice": "a {{key}}"}, "doc_to_choice must be a column, a list, or one"),
    "target": ({"doc_to_target": "x {{key}}"}, "doc_to_target must be a column, a number, or one"),
    "split": ({"test_split": None}, "test_split must be named, or validation_split"),
    "no such split": ({"test_split": "exam"}, "the split 'exam' must be among the files of json"),
    "filter of words": ({"filter_list": [{"filter": ["take_first"]}]}, "filter_list"),
    "filter": ({"filter_list": [{"name": "x", "filter": [{"function": "regex"}]}]}, "filter_list"),
    "repeats": ({"repeats": 4}, "repeats must be 1"),
    "samples": (
        {"num_fewshot": 1, "fewshot_config": {"samples": [{}]}},
        "fewshot_config.samples must be left out",
    ),
    "output": ({"output_type": "multiple_choices"}, "Did you mean multiple_choice?"),
    "several": ({"task": ["a", "b"]}, "task must be the name of one task"),
    "column": ({"doc_to_text": "questions"}, "prompt must be one of the columns question, options"),
    "place": ({"doc_to_target": "{{answer + 7}}"}, "answer must be a place in the 3 choices"),
    "no choice": ({"doc_to_target": "key"}, "answer must be made of the columns"),
    "contexts": ({"doc_to_text": "{{answer}}"}, "doc_to_text must be a text, for a number"),
    "sampling": (
        {**WRITE, "doc_to_choice": None, "metric_list": None, "generation_kwargs": {"top_p": 0.9}},
        "generation_kwargs.top_p must be left out, for writing is greedy",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_translated_is_named(case: str, tmp_path: Path) -> None:
    said, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="instead") as raised:
        load(write(tmp_path, **said))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["doc_to_text", "process_docs", "doc_to_target"])
def test_code_is_refused_by_the_key_that_holds_it(key: str, tmp_path: Path) -> None:
    file = write(tmp_path, **{key: None})
    file.write_text(file.read_text() + f"{key}: !function utils.work\n")
    with pytest.raises(ValueError, match=rf"{key} must be .*Got !function utils\.work instead\."):
        load(file)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--lm_eval_task", str(write(tmp_path)), "--results", str(tmp_path / "results")]
    assert main(["evaluate", "longest", *given]) == 0
    assert "text/lm_eval_made-up-sums: accuracy 0." in capsys.readouterr().out
    assert main(["evaluate", "longest", "--lm_eval_task", "nowhere.yaml"]) == 2
    assert "lm_eval_task must be a file. Got nowhere.yaml instead." in capsys.readouterr().err

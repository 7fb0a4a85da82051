"""Planted test items are found in training text, clean ones are not; the score without them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_models import Planted

from tgp_multimodal.cli import main
from tgp_multimodal.data import contamination as indices
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings
from tgp_multimodal.data.records import Document
from tgp_multimodal.data.sources import Source
from tgp_multimodal.evaluation import embedded_tasks, engine, results
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.contamination import Corpora, open_corpora, report
from tgp_multimodal.evaluation.examples import Example
from tgp_multimodal.evaluation.requests import Score, ScoreAnswer
from tgp_multimodal.evaluation.results import Result
from tgp_multimodal.evaluation.verify import verify

ITEMS = 20
PLANTED = {"test-3": 40, "test-8": 13, "test-11": 12}  # words of the item that are copied


def words(seed: int, count: int) -> list[str]:
    return [f"w{n}" for n in np.random.default_rng(seed).integers(0, 9999, count)]


def item(number: int) -> str:
    return " ".join(words(1000 + number, 40))


def corpus(folder: Path, planted: bool, ngrams: bool = True) -> Path:
    texts = [" ".join(words(seed, 200)) for seed in range(12)]
    if planted:
        for place, (name, count) in enumerate(PLANTED.items()):
            copy = " ".join(item(int(name[5:])).split()[:count]).upper()
            texts[place] = f"{texts[place]}. {copy}! {texts[-1 - place]}"
    documents = [Document(text, "s", str(i)) for i, text in enumerate(texts)]
    source = Source("here", "s", lambda: iter(documents))
    prepare(folder, [source], [], Settings(vocabulary=300, validation_share=0, ngrams=ngrams))
    return folder


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    def rows(split: str) -> list[dict[str, Any]]:
        return [{"text": item(i), "answer": i % 2} for i in range(ITEMS if split == "test" else 0)]

    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", rows)
    return Card(
        name="text/made_up",
        version=1,
        domain="text",
        description="",
        license="",
        citation="",
        source={"embedded": "made_up"},
        protocol="multiple_choice",
        metric="accuracy",
        chance=0.5,
        columns={"prompt": "text", "answer": "answer"},
        templates={},
        settings={},
    )


def knows_what_it_saw(request: Score) -> ScoreAnswer:
    """Right on the planted items alone: says 1 to items of odd number that it saw, else wrong."""
    number = next(i for i in range(ITEMS) if item(i) == request.context)
    is_right = int(request.continuation) == number % 2
    return ScoreAnswer(-1.0 if is_right == (f"test-{number}" in PLANTED) else -2.0, 1, False)


def measured(card: Card, root: Path, corpora: Corpora | None) -> Result:
    content = {**card.__dict__, "columns": {**card.columns, "choices": "['0', '1']"}}
    model = Planted(score=knows_what_it_saw)
    (result,) = engine.evaluate(model, [Card(**content)], root, corpora=corpora)
    return result


@pytest.mark.parametrize("ngrams", [True, False])
def test_planted_items_are_found_and_the_clean_score_leaves_them_out(
    card: Card, tmp_path: Path, ngrams: bool
) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True, ngrams)], tmp_path / "cache")
    result = measured(card, tmp_path / "results", corpora)
    found = result.contamination
    assert list(found["13"]["overlap"]) == ["test-3", "test-8"]
    assert found["13"]["overlap"]["test-3"] == 1
    assert found["13"]["overlap"]["test-8"] == pytest.approx(1 / 28)
    assert list(found["8"]["overlap"]) == ["test-3"]  # 12 words are 5 of 33 runs of 8
    assert found["13"]["checked"] == found["8"]["checked"] == ITEMS
    assert found["13"]["share"] == 2 / ITEMS
    assert result.value == pytest.approx(3 / ITEMS)
    assert found["13"]["clean"]["value"] == pytest.approx(1 / 18)
    assert found["13"]["clean"]["n"] == 18
    assert found["13"]["clean"]["low"] < 1 / 18 < found["13"]["clean"]["high"]
    assert found["of_the_model"] is None
    assert (
        results.overlap_note(result) == "2 of 20 items in training text (13-grams), 0.056 without"
    )
    assert verify(tmp_path / "results").complaints == []


def test_a_clean_corpus_flags_nothing(card: Card, tmp_path: Path) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", False)], tmp_path / "cache")
    result = measured(card, tmp_path / "results", corpora)
    for size in ("13", "8"):
        assert result.contamination[size]["flagged"] == 0
        assert result.contamination[size]["overlap"] == {}
        assert result.contamination[size]["clean"]["value"] == result.value


def test_a_result_that_stands_gets_its_report_and_no_question(card: Card, tmp_path: Path) -> None:
    assert measured(card, tmp_path / "results", None).contamination == {}
    file = results.path(tmp_path / "results", "planted", card.name)
    items = file.with_suffix(".jsonl").read_bytes()
    clean, dirty = (corpus(tmp_path / n, n == "dirty") for n in ("clean", "dirty"))
    seconds = results.read(file).seconds
    for folders, flagged in (([clean], 0), ([clean, dirty], 2), ([clean, dirty], 2), ([dirty], 2)):
        found = measured(card, tmp_path / "results", open_corpora(folders, tmp_path / "cache"))
        assert found.contamination["13"]["flagged"] == flagged
        assert found.seconds == seconds
        assert file.with_suffix(".jsonl").read_bytes() == items
    assert verify(tmp_path / "results").complaints == []


def test_an_edited_clean_score_is_found(card: Card, tmp_path: Path) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True)], tmp_path / "cache")
    measured(card, tmp_path / "results", corpora)
    file = results.path(tmp_path / "results", "planted", card.name)
    content = json.loads(file.read_text())
    content["contamination"]["13"]["clean"]["value"] = 0.5
    file.write_text(json.dumps(content))
    (complaint,) = verify(tmp_path / "results").complaints
    assert "contamination.13.clean.value must be 0.05" in complaint


def test_the_model_says_whether_it_saw_this_text(card: Card, tmp_path: Path) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True)], tmp_path / "cache")
    (digest,) = corpora.digests.values()
    for place, (said, expected) in enumerate([(digest, True), ("other", False)]):
        model = Planted(score=knows_what_it_saw)
        facts = {"digest": "0", "trained_on": {"text": said}}
        model.facts = lambda facts=facts: facts  # type: ignore[method-assign]
        content = {**card.__dict__, "columns": {**card.columns, "choices": "['0', '1']"}}
        root = tmp_path / str(place)
        (result,) = engine.evaluate(model, [Card(**content)], root, corpora=corpora)
        assert result.contamination["of_the_model"] is expected


def test_an_index_of_eight_words_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = corpus(tmp_path / "data", True), tmp_path / "cache"
    first = indices.index_of(data, 8, cache)
    texts = [" ".join(words(seed, 200)) for seed in range(3, 6)]
    assert indices.shares(texts, first, 8).tolist() == [1, 1, 1]
    assert indices.shares([item(3), item(4)], first, 8).tolist() == [1, 0]
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(indices, "IndexWriter", None)
    assert np.array_equal(indices.index_of(data, 8, cache), first)


def test_the_verb_reports_and_names_a_folder_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Majority has read nothing, so nothing is said of it; xz:trained has.
    given = ["evaluate", "xz:trained", "majority", "--limit", "5", "--results", str(tmp_path / "r")]
    given += ["--cards", "text/prose_bits_per_byte", "biomedical/wisconsin", "--contamination"]
    assert main([*given, str(tmp_path)]) == 2
    assert "contamination must be a prepared folder with text" in capsys.readouterr().err
    assert main([*given, str(corpus(tmp_path / "data", True))]) == 0
    assert "no item in training text: 1 results" in capsys.readouterr().out


def test_a_sentence_of_words_is_one_text_and_its_tags_are_none(card: Card, tmp_path: Path) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True)], tmp_path / "cache")
    result = measured(card, tmp_path / "results", None)
    planted, clean = item(3).split(), item(4).split()
    sentences = [
        Example("test-0", {"tokens": planted, "tags": ["O"] * len(planted)}, "test-0"),
        Example("test-1", {"tokens": clean, "tags": planted}, "test-1"),
    ]
    found = report(result, [{"id": e.id, "correct": True} for e in sentences], sentences, corpora)
    for size in ("13", "8"):
        assert found[size]["checked"] == 2
        assert found[size]["overlap"] == {"test-0": 1}


def test_what_stands_in_front_of_every_item_is_no_text_of_it(card: Card, tmp_path: Path) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True)], tmp_path / "cache")
    result = measured(card, tmp_path / "results", None)
    fields = {"prompt": item(4), "preamble": item(3), "topic": item(3)}
    found = report(
        result, [{"id": "test-0", "correct": True}], [Example("test-0", fields, "test-0")], corpora
    )
    assert [(found[size]["checked"], found[size]["flagged"]) for size in ("13", "8")] == [
        (1, 0)
    ] * 2


@pytest.mark.parametrize(("ids", "overlap"), [("ab", {"a": 1}), (("0", "1", "2"), {"1": 1})])
def test_items_are_groups_where_records_are(
    card: Card, tmp_path: Path, ids: Sequence[str], overlap: dict[str, float]
) -> None:
    corpora = open_corpora([corpus(tmp_path / "data", True)], tmp_path / "cache")
    result = replace(measured(card, tmp_path / "results", None), aggregate="mean, bootstrap")
    texts, groups = (item(4), item(3), item(5)), "aab"
    test = [Example(str(i), {"item": t}, groups[i]) for i, t in enumerate(texts)]
    records = [{"id": name, "score": float(name not in overlap)} for name in ids]
    found = report(result, records, test, corpora)["13"]
    assert found["overlap"] == overlap
    assert (found["checked"], found["flagged"], found["share"]) == (len(ids), 1, 1 / len(ids))
    assert (found["clean"]["value"], found["clean"]["n"]) == (1.0, len(ids) - 1)

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from planted_models import Planted, dummy, hashed
from pyarrow import parquet

from tgp_multimodal.evaluation import embedded_tasks, engine, environment, results
from tgp_multimodal.evaluation.asking import asker
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import (
    Embed,
    Perplexity,
    PerplexityAnswer,
    Score,
    ScoreAnswer,
)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[Card]:
    def rows(split: str) -> list[dict[str, Any]]:
        count = {"train": 40, "validation": 10, "test": 20}.get(split, 0)
        return [{"text": f"{split} {i}", "label": i % 2} for i in range(count)]

    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", rows)
    rest: dict[str, Any] = {"description": "", "license": "", "citation": "", "domain": "text"}
    rest |= {"version": 1, "source": {"embedded": "made_up"}, "chance": 0.5}
    columns = {"item": "text", "label": "label"}
    probe = Card(name="text/one", protocol="probe", metric="accuracy", columns=columns, **rest)
    cost = Card(
        name="text/two",
        protocol="perplexity",
        metric="bits_per_byte",
        columns={"text": "text"},
        **rest,
    )
    return [probe, cost]


def test_a_result_file_says_everything(made_up: list[Card], tmp_path: Path) -> None:
    first, second = engine.evaluate(dummy(), made_up, tmp_path)
    stored = json.loads((tmp_path / "dummy/text__one.json").read_text())
    assert stored["format"] == 1
    assert stored["card_digest"] == made_up[0].digest
    assert stored["n"] == 20
    assert 0 <= stored["low"] <= stored["value"] <= stored["high"] <= 1
    assert stored["model_facts"] == {"digest": "0"}
    assert stored["environment"]["numpy"] == np.__version__
    lines = (tmp_path / "dummy" / stored["items_file"]).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"test-{i}" for i in range(20)]
    share = np.mean([json.loads(line)["correct"] for line in lines])
    assert share == stored["value"] == first.value
    assert second.value == pytest.approx(5 / np.log(2))
    assert results.read(tmp_path / "dummy/text__two.json") == second


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ValueError("pictures of planted must be finite. Got NaN instead."), "pictures of"),
        (IndexError("index out of range"), r"IndexError: index out of range \(.*test_engine.py, l"),
    ],
)
def test_a_card_that_fails_keeps_no_other_from_being_measured(
    made_up: list[Card], tmp_path: Path, failure: Exception, reason: str
) -> None:
    """Its reason is told on the way and at the end; the same command again asks for it alone."""
    from dataclasses import replace

    broken: list[Any] = []

    def embed(request: Any) -> Any:
        broken.append(request)
        if len(broken) == 1:
            raise failure
        return hashed(request)

    told: list[tuple[str, ...]] = []
    cards = [made_up[0], replace(made_up[0], name="text/another")]
    with pytest.raises(engine.CardsFailedError, match=rf"Got 1 .*{cards[0].name}: {reason}"):
        engine.evaluate(
            Planted(embed=embed), cards, tmp_path, progress=lambda *event: told.append(event)
        )
    assert [event[1] for event in told if event[0] == "failed"] == [cards[0].name]
    assert not results.path(tmp_path, "planted", cards[0].name).exists()
    assert results.path(tmp_path, "planted", cards[1].name).exists()
    again: list[tuple[str, ...]] = []
    found = engine.evaluate(
        Planted(embed=embed), cards, tmp_path, progress=lambda *event: again.append(event)
    )
    assert [one.card for one in found] == [card.name for card in cards]
    assert [event[1] for event in again if event[0] == "kept"] == [cards[1].name]


def test_what_stands_is_kept_and_what_changed_is_not(
    made_up: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    card = made_up[:1]

    def runs(digest: str = "0", cards: list[Card] = card, **how: Any) -> bool:
        model = Planted(digest=digest, embed=hashed)
        engine.evaluate(model, cards, tmp_path, **how)
        return bool(model.asked)

    assert runs()
    assert not runs()
    assert runs(fresh=True)
    assert runs(digest="1")  # other weights under the same name
    assert runs(digest="1", cards=[replace(card[0], version=2)])
    namesake = Planted(digest="7", embed=hashed)
    namesake.specification = "hf:another/planted"
    stored = Planted(digest="6", embed=hashed)
    stored.specification = "hf:some/planted"
    engine.evaluate(stored, card, tmp_path / "names")
    with pytest.raises(ValueError, match=r"another model that is called .* Got one of hf:some/pl"):
        engine.evaluate(namesake, card, tmp_path / "names")
    assert engine.evaluate(namesake, card, tmp_path / "names", fresh=True)
    assert engine.evaluate(namesake, card, tmp_path / "names")
    with pytest.raises(ValueError, match=r"not replace a result of all items of text/one"):
        runs(digest="1", cards=[replace(card[0], version=2)], limit=5)
    assert runs(digest="1", cards=[replace(card[0], version=2)], limit=5, fresh=True)
    assert not runs(digest="1", cards=[replace(card[0], version=2)], limit=5)
    monkeypatch.setattr(environment, "corpus_versions", lambda: "another numpy")
    assert runs(digest="1", cards=[replace(card[0], version=2)], limit=5)
    (tmp_path / "planted/text__one.json").write_text("{")
    assert runs(digest="1", cards=[replace(card[0], version=2)], limit=5)


def test_a_result_of_other_test_items_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TGP_DATA", str(tmp_path / "data"))
    table = {"one": ["a cat", "a dog", "rain"], "two": ["cats", "dogs", "a sun"]}
    card = Card(
        *("text/x", 1, "text", "d", "l", "c", {"folder": "x"}, "similarity", "spearman"),
        chance=0.0,
        columns={"first": "one", "second": "two", "score": "score"},
    )

    def value_of(scores: list[float]) -> tuple[float, str]:
        file = tmp_path / "data/x/test.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table({**table, "score": scores}), file)
        said: list[str] = []
        model = Planted(embed=hashed)
        (result,) = engine.evaluate(model, [card], tmp_path, progress=lambda *w: said.append(w[0]))
        return result.value, said[0]

    rising, falling = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
    first, how = value_of(rising)
    assert how == "data"
    assert value_of(rising) == (first, "kept")
    assert value_of(falling) == (-first, "data")


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kind", ["folder", "files"])
def test_a_result_of_other_training_items_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, split: str
) -> None:
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    (tmp_path / "x").mkdir()
    places = {name: str(tmp_path / "x" / f"{name}.parquet") for name in ("train", "validation")}
    places["test"] = str(tmp_path / "x/test.parquet")
    source: dict[str, Any] = {"folder": "x"} if kind == "folder" else {"files": places}
    card = Card(
        *("text/x", 1, "text", "d", "l", "c", source, "probe", "accuracy"),
        chance=0.5,
        columns={"item": "text", "label": "label"},
    )

    def write(name: str, words: str) -> None:
        rows = {"text": [f"{words} {i}" for i in range(20)], "label": [i % 2 for i in range(20)]}
        parquet.write_table(pyarrow.table(rows), places[name])

    def does_measure() -> bool:
        model = Planted(embed=hashed)
        engine.evaluate(model, [card], tmp_path / "results")
        return bool(model.asked)

    for name in places:
        write(name, name)
    assert does_measure()
    assert not does_measure()
    write(split, "another")
    assert does_measure()
    Path(places[split]).touch()  # the same content at another time
    assert not does_measure()


def test_a_killed_run_goes_on_where_it_was(made_up: list[Card], tmp_path: Path) -> None:
    def dies(request: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.evaluate(Planted(embed=hashed, perplexity=dies), made_up, tmp_path)
    assert [p.name for p in sorted((tmp_path / "planted").iterdir())] == [
        "text__one.json",
        "text__one.jsonl",
    ]
    lives = Planted(embed=dies, perplexity=lambda r: PerplexityAnswer(1.0, 1, 1))
    assert len(engine.evaluate(lives, made_up, tmp_path)) == 2


def test_what_a_model_cannot_do_is_known_before_data_are_read(
    made_up: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(split: str) -> list[dict[str, Any]]:
        raise AssertionError("read")

    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", unread)
    said: list[tuple[str, ...]] = []
    model = Planted(draw=hashed)
    assert engine.evaluate(model, made_up, tmp_path, progress=lambda *w: said.append(w)) == []
    assert said[0] == ("skipped", "text/one", "planted cannot give features (Embed)")
    stored = (tmp_path / "planted/skipped.jsonl").read_text().splitlines()
    assert json.loads(stored[1]) == {
        "card": "text/two",
        "reason": "cannot score a whole text (Perplexity)",
    }
    engine.evaluate(model, made_up[1:], tmp_path)  # says nothing of the first card
    assert (tmp_path / "planted/skipped.jsonl").read_text().splitlines() == stored
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: [])
    able = Planted(embed=hashed, perplexity=lambda r: PerplexityAnswer(1.0, 1, 1))
    monkeypatch.setattr(engine, "_measure_card", lambda run, card: None)
    engine.evaluate(able, made_up, tmp_path)  # what was measured since is not called skipped
    assert not (tmp_path / "planted/skipped.jsonl").exists()
    blind = Planted(embed=hashed)
    blind.embeds = frozenset({"image"})
    assert blind.can(made_up[0]) == "cannot embed text"


def test_missing_data_stop_the_run_before_it_starts(
    made_up: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.delenv("TGP_DATA", raising=False)
    missing = replace(made_up[0], source={"folder": "text/x"})
    model = dummy()
    with pytest.raises(ValueError, match="TGP_DATA must name the folder"):
        engine.evaluate(model, [made_up[1], missing], tmp_path)
    assert not model.asked
    with pytest.raises(ValueError, match=r"limit must be at least 1\. Got 0"):
        engine.evaluate(model, made_up, tmp_path, limit=0)


def test_equal_requests_are_sent_once_and_answered_everywhere() -> None:
    model = Planted(embed=lambda r: np.array([len(r.item)]))
    ask = asker(model)
    assert [int(a[0]) for a in ask([Embed(t) for t in ("aa", "b", "aa", "b", "ccc")])] == [
        2,
        1,
        2,
        1,
        3,
    ]
    assert [r.item for r in model.asked] == ["aa", "b", "ccc"]
    assert [int(a[0]) for a in ask([Embed(t) for t in ("aa", "b", "ccc")])] == [2, 1, 3]
    assert len(model.asked) == 3


def test_answers_of_a_model_that_is_fitted_are_not_kept() -> None:
    class Fitted(Planted):
        def fit(self, items: Any) -> None:
            pass

    model = Fitted(embed=hashed)
    ask = asker(model)
    ask([Embed("a")])
    ask([Embed("a")])
    assert len(model.asked) == 2


def test_pictures_are_told_apart_by_shape_too() -> None:
    model = Planted(embed=lambda r: np.array(r.item.shape))
    flat, tall = np.zeros((2, 8, 3), np.uint8), np.zeros((8, 2, 3), np.uint8)
    first, second = asker(model)([Embed(flat), Embed(tall)])
    assert first.tolist() == [2, 8, 3]
    assert second.tolist() == [8, 2, 3]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Score("a", "b"), ScoreAnswer(0.5, 1, True)),
        (Score("a", "b"), ScoreAnswer(float("nan"), 1, True)),
        (Score("a", "b"), 0.5),
        (Perplexity("a"), PerplexityAnswer(-5.0, 1, 1)),
    ],
)
def test_answers_that_are_none_are_refused(request_: Any, answer: Any) -> None:
    model = Planted(score=lambda r: answer, perplexity=lambda r: answer)
    with pytest.raises(ValueError, match=r"nats of planted, which .*, must be at (most|least) 0"):
        asker(model)([request_])


@pytest.mark.parametrize(
    ("answers", "got"),
    [
        ([[1.0, 2.0]] * 2, "must be vectors of NumPy, or sparse rows. Got builtins.list instead"),
        ([np.ones((1, 2))] * 2, r"Got numpy.ndarray of shape \(1, 2\) instead"),
        ([torch.ones(2)] * 2, r"Got torch.Tensor of shape \(2,\) instead"),
        ([np.ones(2), np.ones(3)], "must have one length. Got 2 and 3 instead"),
    ],
)
def test_features_that_are_no_vectors_are_refused(answers: list[Any], got: str) -> None:
    model = Planted(embed=lambda r: np.ones(2))
    model.answer = lambda requests: answers  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=got):
        asker(model)([Embed("a"), Embed("b")])


def test_fewer_answers_than_requests_are_refused() -> None:
    model = Planted(score=lambda r: ScoreAnswer(-1.0, 1, True))
    model.answer = lambda requests: []  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"must answer each of 1 requests. Got 0 instead"):
        asker(model)([Score("a", "b")])


def test_cards_are_cards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cards must be a list of cards .* Got 'text/sst2' in it"):
        engine.evaluate(dummy(), ["text/sst2"], tmp_path)  # type: ignore[list-item]

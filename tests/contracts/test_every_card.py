"""What holds for every card that ships, found by listing."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_models import dummy

from tgp_multimodal import resources
from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.baselines import Majority
from tgp_multimodal.evaluation import cards, engine
from tgp_multimodal.evaluation.card_protocols import PROTOCOLS
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.requests import Embed
from tgp_multimodal.evaluation.verify import verify

NAMES = cards.names()
CARDS = {name: cards.find(name) for name in NAMES}
BASELINES = ("majority", "tfidf", "pixels", "hog", "words")
DOMAINS_OF = {"bias": {"text"}}
# Test items that stand among the training items of the data as they were published.
DOUBLES = {
    "image/fer2013": 13,
    "text/arc_easy": 7,
    "text/banking77": 10,
    "text/boolq": 1,
    "text/cola": 19,
    "text/csabstruct": 14,
    "text/imdb": 1,
    "text/newsgroups20": 1,
    "text/snips": 26,
    "text/sst2": 2,
    "text/sst5": 2,
    "text/trec6": 10,
    "biomedical/bc5cdr": 8,
    "biomedical/chemprot": 2,
    "biomedical/hoc": 1,
    "biomedical/hoc_documents": 1,
    "biomedical/linnaeus": 235,
    "biomedical/mmlu_medical_text": 5,
    "code/satd_comments": 2,
}


def parameters(wanted: list[str]) -> list[object]:
    """Cards with data below $TGP_DATA carry the marker that skips them where it is not set."""
    return [
        name if "embedded" in CARDS[name].source else pytest.param(name, marks=_SHARED)
        for name in wanted
    ]


_SHARED = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not os.environ.get("TGP_DATA"), reason="needs $TGP_DATA"),
]
EVERY = pytest.mark.parametrize("card", [CARDS[n] for n in NAMES], ids=NAMES)
EVERY_WITH_DATA = pytest.mark.parametrize("name", parameters(NAMES))


@EVERY
def test_a_card_says_who_owns_its_data_and_what_chance_is(card: Card) -> None:
    assert card.license
    assert len(card.citation) > 10
    assert len(card.description) > 60
    assert card.version >= 1
    assert math.isfinite(card.chance)
    for reference in card.references:
        assert {"model", "metric", "value", "source"} == set(reference)
        assert 0 <= reference["value"] <= 1


@EVERY
def test_a_card_lies_where_its_name_says(card: Card) -> None:
    assert resources.shipped("benchmarks", "cards", f"{card.name}.yaml").is_file()


def test_cards_are_told_apart() -> None:
    assert len({c.digest for c in CARDS.values()}) == len(CARDS)


def test_suites_hold_cards_that_exist_and_every_domain_or_their_own() -> None:
    for name in cards.suites():
        found = cards.suite(name)
        domains = DOMAINS_OF.get(name, {name} & set(cards.DOMAINS) or set(cards.DOMAINS))
        assert {c.domain for c in found} == domains
        assert len({c.name for c in found}) == len(found)
    shipped = [name for name in cards.suites() if name != "all"]
    assert {c.name for s in shipped for c in cards.suite(s)} == set(NAMES)
    assert sorted(c.name for c in cards.suite("all")) == sorted(NAMES)
    assert all("embedded" in c.source for c in cards.suite("embedded"))


@EVERY_WITH_DATA
def test_every_example_renders(name: str) -> None:
    card = CARDS[name]
    examples = Examples(card)
    examples.read()
    assert len({e.id for e in examples.test}) == len(examples.test) >= 30
    trained = () if card.protocol == "perplexity" else (*examples.train, *examples.validation)
    for example in (*examples.test, *trained, *examples.corpus):
        assert example.group
        for field, value in example.fields.items():
            is_full = isinstance(value, np.ndarray) or value not in ("", None)
            assert is_full or field in ("suffix", "setup"), (name, field)
            if isinstance(value, str):
                assert "{{" not in value or card.domain == "code"
    fields = PROTOCOLS[card.protocol].fields
    wanted = {f for f in fields if not f.endswith("?")}
    found = {*examples.test[0].fields, *(examples.corpus[0].fields if examples.corpus else ())}
    assert wanted <= found <= {f.removesuffix("?") for f in fields}
    if card.protocol in ("multiple_choice", "infilling"):
        for example in examples.test:
            choices = example.fields["choices"]
            assert 0 <= example.fields["answer"] < len(choices)
        guessing = [1 / len(e.fields["choices"]) for e in examples.test]
        assert card.chance == pytest.approx(np.mean(guessing), abs=1e-4)
        twice = [e for e in examples.test if len({*e.fields["choices"]}) < len(e.fields["choices"])]
        assert len(twice) <= 0.003 * len(examples.test)  # as published: 2 of SciQ, 5 of Social IQa
    if card.protocol == "probe":
        labels = {e.fields["label"] for e in examples.train}
        assert card.chance == pytest.approx(probe_chance(card, examples, len(labels)), abs=1e-3)
        assert {e.fields["label"] for e in examples.test} <= labels
    if card.protocol == "zero_shot":
        assert card.chance == pytest.approx(1 / len(set(card.setting("labels"))), abs=1e-3)
        assert {e.fields["label"] for e in examples.test} <= set(card.setting("labels"))
        assert "{}" in card.setting("template")
    if card.protocol == "picture_retrieval":
        assert card.chance == pytest.approx(1 / len(examples.test), abs=1e-3)
    if card.protocol == "retrieval" and card.metric in ("mrr", "recall_at_1"):
        # Rounded to four places; how many functions an installation has is its own.
        near = {"rel": 0.2} if "embedded" in card.source else {"abs": 6e-5}
        assert card.chance == pytest.approx(random_order(card, len(examples.corpus)), **near)


def random_order(card: Card, documents: int) -> float:
    """What one relevant document scores at a place drawn blindly; the rank is cut at 100."""
    depth = 100 if card.metric == "mrr" else 1
    return sum(1 / place for place in range(1, min(depth, documents) + 1)) / documents


def probe_chance(card: Card, examples: Examples, labels: int) -> float:
    """What a label drawn blindly scores."""
    if card.metric == "f1":
        share = np.mean([e.fields["label"] == card.setting("positive") for e in examples.test])
        return float(share / (share + 1 / labels))
    if card.metric == "macro_f1":
        said = [e.fields["label"] for e in examples.test]
        shares = [said.count(label) / len(said) for label in set(said)]
        return float(np.mean([2 * share / labels / (share + 1 / labels) for share in shares]))
    return 0.0 if card.metric == "matthews" else 1 / labels


@EVERY_WITH_DATA
def test_the_floors_are_those_of_the_data(name: str) -> None:
    """The label most frequent in train, and the longest choice: card, files and items agree."""
    card = replace(CARDS[name], sizes={})
    told = {r["model"]: r["value"] for r in card.references if r["source"].startswith("these file")}
    stored = Path(os.environ.get("TGP_DATA", "")) / str(card.source.get("folder")) / "card.json"
    if "folder" not in card.source or not stored.is_file():
        pytest.skip("no floor is known")
    floors = json.loads(stored.read_text("utf-8"))["floors_accuracy_percent"]
    examples = Examples(card)
    if card.protocol == "probe" and "majority" in floors:
        guess = Majority().guess([e.fields["label"] for e in examples.train])
        found = np.mean([e.fields["label"] == guess for e in examples.test])
        assert found == pytest.approx(floors["majority"] / 100, abs=6e-5)
        assert told.get("majority", found) == pytest.approx(found, abs=6e-5)
    if card.protocol == "multiple_choice" and "longest choice" in told:
        sizes = [[len(c) for c in e.fields["choices"]] for e in examples.test]
        right = [
            s.index(max(s)) == e.fields["answer"] for s, e in zip(sizes, examples.test, strict=True)
        ]
        # Cleaned choices differ from stored ones in one item of HellaSwag.
        assert np.mean(right) == pytest.approx(floors["longest_choice"] / 100, abs=2e-3)
        assert told["longest choice"] == pytest.approx(floors["longest_choice"] / 100, abs=6e-5)


@EVERY_WITH_DATA
def test_no_test_item_is_among_the_training_items(name: str) -> None:
    examples = Examples(CARDS[name])
    if CARDS[name].protocol == "retrieval":
        pytest.skip("nothing is trained on a corpus")
    key = {"probe": "item", "multiple_choice": "prompt", "perplexity": "text"}
    key |= {"multi_label": "item", "tagging": "tokens"}
    field = key.get(CARDS[name].protocol)
    if field is None:
        pytest.skip("no training items")

    def reading(value: object) -> object:
        return value.tobytes() if isinstance(value, np.ndarray) else "".join(str(value).split())

    # Words for fifths of five measurements are not many: records with equal words do exist.
    if name.startswith("biomedical/wisconsin"):
        pytest.skip("different records may read the same")

    def item(example: Example) -> object:
        fields = example.fields
        return (fields[field], fields["second"]) if "second" in fields else fields[field]

    trained = {reading(item(e)) for e in examples.train}
    again = [e.id for e in examples.test if reading(item(e)) in trained]
    assert len(again) == DOUBLES.get(name, 0)


@EVERY_WITH_DATA
def test_a_dummy_completes_the_card(name: str, tmp_path: Path) -> None:
    (result,) = engine.evaluate(dummy(), [CARDS[name]], tmp_path, limit=6)
    assert result.low <= result.value <= result.high
    assert 1 <= result.n <= 6
    assert result.metric in result.details or CARDS[name].protocol in ("perplexity", "scene_eval")
    assert verify(tmp_path).complaints == []


@pytest.mark.parametrize("baseline", BASELINES)
@EVERY_WITH_DATA
def test_a_baseline_completes_what_it_can(name: str, baseline: str, tmp_path: Path) -> None:
    model = make(baseline)
    if reason := model.can(CARDS[name]):
        assert reason.startswith(("cannot", "has one answer"))
        return
    (result,) = engine.evaluate(model, [CARDS[name]], tmp_path, limit=6)
    assert result.low <= result.value <= result.high


@pytest.mark.parametrize("baseline", ["tfidf", "pixels"])
def test_an_answer_depends_on_its_own_request_alone(baseline: str) -> None:
    name = {"tfidf": "biomedical/wisconsin", "pixels": "image/digits"}[baseline]
    items = [e.fields["item"] for e in Examples(CARDS[name], limit=4).test]
    model = make(baseline)
    model.fit(iter(items))
    there = model.answer([Embed(i) for i in items])
    back = model.answer([Embed(i) for i in reversed(items)])[::-1]
    alone = [model.answer([Embed(i)])[0] for i in items]

    def same(a: object, b: object) -> bool:
        return not np.any(abs(a - b) > 1e-12) if isinstance(a, np.ndarray) else (a != b).nnz == 0

    assert all(same(a, b) for a, b in zip(there, back, strict=True))
    assert all(same(a, b) for a, b in zip(there, alone, strict=True))

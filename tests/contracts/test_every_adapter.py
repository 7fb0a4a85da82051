"""What holds for every adapter: order, company, duplicates, nothing at all, known limits."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import stock_models
from random_networks import with_tower
from scipy import sparse
from servers import NAME, serving, tiny_model

from tgp_multimodal import export
from tgp_multimodal.adapters import ADAPTERS, make
from tgp_multimodal.evaluation import cards, engine
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import (
    Compare,
    Denoise,
    Draw,
    Embed,
    EmbedTokens,
    Generate,
    JointEmbed,
    MaskedScore,
    Perplexity,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
)

TEXTS = [
    "The river froze.",
    "a set holds each item once",
    "def add(first, second):\n    return first + second",
    "x",
    "The patient received aspirin and was discharged after two days. " * 3,
    "Three red circles lie above a green square.",
    "The river",
]
PICTURES = [
    np.random.default_rng(i).integers(0, 256, (24 + i, 30, 3), dtype=np.uint8) for i in range(7)
]
LONG = "The old bridge was built of stone. " * 6

# Seven different requests of each class; fewer of those that take long.
REQUESTS: dict[type, list[Request]] = {
    Score: [Score(f"{LONG}{t}", f" {e}") for t in TEXTS[:2] for e in ("yes", "no", "a dog")]
    + [Score("", "The boat")],
    MaskedScore: [MaskedScore(t) for t in TEXTS],
    Perplexity: [Perplexity(t) for t in TEXTS],
    Generate: [Generate(t, 4, ("e",), None, i % 2 * 0.8, 0.9, i) for i, t in enumerate(TEXTS)],
    Embed: [Embed(t) for t in TEXTS],
    EmbedTokens: [EmbedTokens(tuple(t.split())) for t in TEXTS],
    JointEmbed: [JointEmbed(i) for i in (*TEXTS[:4], *PICTURES[:3])],
    Draw: [Draw(t[:20], seed) for seed, t in enumerate(TEXTS[:2])],
    Denoise: [Denoise(p, "a dot") for p in PICTURES[:2]],
    Compare: [Compare(p, ("a dot", "a line")) for p in PICTURES[:2]],
}

# Models of each kind: what stands behind the colon, from the folder that `folders` fills.
MODELS = {
    "native": ["export"],
    "random": ["export"],
    "hf": ["export", "export/encoder", "gpt2", "gemma2", "bloom", "mamba", "bert", "gpt2@random"],
    "st": ["export"],
    "openclip": ["clip", "clip@random"],
    "diffusers": ["export"],
    "timm": ["!test_vit@random"],
    "openai": ["served"],
    "xz": ["", "!trained"],
    "zstd": ["", "!trained"],
}
EVERY = [
    f"{kind}:{argument}" if argument else kind
    for kind in ADAPTERS
    for argument in MODELS.get(kind, [""])
]

NETWORKS = {"native", "random", "hf", "st", "openclip", "diffusers", "timm", "openai"}

ASKED = [model for model in EVERY if model != "majority"]  # which looks at no item


@pytest.fixture(scope="module")
def folders(tokenizer, corpus, tmp_path_factory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("models")
    export.save(root / "export", with_tower(tokenizer.vocabulary), tokenizer, {}, "")
    for family in ("gpt2", "gemma2", "bloom", "mamba"):
        stock_models.causal(root / family, tokenizer, family)
    stock_models.masked(root / "bert", corpus)
    stock_models.open_clip_model(root / "clip")
    with serving(tiny_model(tokenizer, context=512)) as running:
        (root / "served").write_text(f"{running.address}#{NAME}")
        yield root


@pytest.fixture(scope="module")
def open_model(folders) -> Callable[[str], Adapter]:
    """Opens a model once; those that learn from a card's items have learnt from seven."""
    known: dict[str, Adapter] = {}

    def opener(model: str) -> Adapter:
        if model not in known:
            known[model] = fresh(model, folders)
            is_of_pictures = known[model].embeds == {"image"}
            known[model].fit(iter(PICTURES if is_of_pictures else TEXTS))
        return known[model]

    return opener


def fresh(model: str, folders: Path) -> Adapter:
    kind, colon, argument = model.partition(":")
    return make(f"{kind}{colon}{spelled(argument, folders)}")


def spelled(argument: str, folders: Path) -> str:
    if argument.startswith("!") or not argument:
        return argument.removeprefix("!")
    if argument == "served":
        return (folders / argument).read_text()
    return str(folders / argument)


def asked(adapter: Adapter) -> list[list[Request]]:
    """A list for each class that the model supports, and for each kind of item that it embeds."""
    lists = [REQUESTS[c] for c in sorted(adapter.supports, key=lambda c: c.__name__)]
    if Embed in adapter.supports:
        lists.remove(REQUESTS[Embed])
        lists += [[Embed(t) for t in TEXTS]] if "text" in adapter.embeds else []
        lists += [[Embed(p) for p in PICTURES]] if "image" in adapter.embeds else []
    return lists


def same(one: object, two: object) -> None:
    if isinstance(one, ScoreAnswer | PerplexityAnswer):
        assert abs(one.nats - two.nats) <= 1e-5 * max(1, one.tokens)
        assert one.tokens == two.tokens
    elif isinstance(one, str):
        assert one == two
    elif sparse.issparse(one):
        assert abs(one - two).max() <= 1e-12
    elif one.dtype == np.uint8:
        assert np.abs(one.astype(int) - two).max() <= 1  # rounding
    else:
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("model", ASKED)
def test_an_answer_depends_on_its_own_request_alone(model, open_model):
    adapter = open_model(model)
    for requests in asked(adapter):
        together = adapter.answer(requests)
        assert len(together) == len(requests)
        one_by_one = [adapter.answer([r])[0] for r in requests]
        backwards = adapter.answer(requests[::-1])[::-1]
        twice = adapter.answer([*requests[:2], *requests])
        for other in (one_by_one, backwards, twice[2:]):
            for one, two in zip(together, other, strict=True):
                same(one, two)
        same(twice[0], twice[2])
        same(twice[1], twice[3])


@pytest.mark.parametrize("model", ASKED)
def test_no_requests_have_no_answers(model, open_model):
    assert open_model(model).answer([]) == []


@pytest.mark.parametrize("model", EVERY)
def test_limits_are_known_before_data_are_loaded(model, open_model, monkeypatch, tmp_path):
    monkeypatch.delenv("TGP_DATA", raising=False)
    adapter = open_model(model)
    monkeypatch.setattr(type(adapter), "answer", lambda *_: pytest.fail("was asked"))
    every = [cards.find(name) for name in cards.names()]
    reasons = {card.name: adapter.can(card) for card in every}
    unable = [card for card in every if reasons[card.name] is not None]
    assert engine.evaluate(adapter, unable, tmp_path) == []
    for card in every:
        if reasons[card.name] is None and model != "majority":
            assert card.requests <= adapter.supports
        else:
            assert reasons[card.name] is None or " " in reasons[card.name]
    assert None in reasons.values()
    if type(adapter).can is Adapter.can:
        able = {c.name for c in every if c.requests <= adapter.supports}
        blind = {c.name for c in every if Embed in c.requests and c.modality not in adapter.embeds}
        assert {name for name, reason in reasons.items() if reason is None} == able - blind


@pytest.mark.parametrize("model", EVERY)
def test_facts_and_names_tell_models_apart(model, open_model, folders):
    adapter = open_model(model)
    facts = adapter.facts()
    assert facts["digest"]
    assert (facts["parameters"] > 0) == (model.partition(":")[0] in NETWORKS)
    assert "/" not in adapter.name
    again = fresh(model, folders)
    assert (again.name, again.facts()["digest"]) == (adapter.name, facts["digest"])
    others = [open_model(m) for m in EVERY if m != model]
    assert adapter.name not in [o.name for o in others]
    assert facts["digest"] not in [o.facts()["digest"] for o in others]


def test_what_wants_an_argument_has_one_here():
    assert MODELS.keys() <= ADAPTERS.keys()
    for kind, place in ADAPTERS.items():
        module, name = place.split(":")
        takes = inspect.signature(getattr(__import__(module, fromlist=[name]), name)).parameters
        assert bool(takes) == (kind in MODELS)

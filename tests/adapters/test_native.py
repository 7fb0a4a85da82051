"""Our export behind the adapter seam."""

import numpy as np
import pytest
import torch
from random_networks import dual_encoder, language_model, multimodal, with_tower

from tgp_multimodal import export
from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.native import Native, RandomTwin
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
    Score,
    ScoreAnswer,
)
from tgp_multimodal.model_card import model_card
from tgp_multimodal.verbs.export import run_facts


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "nano" / "export"
    network = multimodal(tokenizer.vocabulary)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.03
    export.save(path, network, tokenizer, {}, "")
    return path


@pytest.fixture(scope="module")
def native(folder):
    return Native(folder)


def test_what_was_taught_guidance_is_not_guided_again(native, tokenizer, tmp_path):
    assert native.drawing.guidance == 4
    network = multimodal(tokenizer.vocabulary)
    facts = run_facts(tmp_path, {"guided": True, "global_step": 3})
    assert "guided" not in run_facts(tmp_path, {"guided": False})
    card = model_card(network, tokenizer, facts)
    export.save(tmp_path / "guided", network, tokenizer, facts, card)
    assert Native(tmp_path / "guided").drawing.guidance == 1
    assert "guidance_scale=1.0, num" in card
    assert "guidance_scale=4.0" not in card


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8)


REQUESTS = {
    "score": [
        *(Score("The river", f" {c}") for c in "abc"),
        Score("The river", " a"),
        Score("def f():", " pass", suffix="\n"),
        Score("", "x"),
    ],
    "masked_score": [
        *(MaskedScore(t) for t in ("The river froze.", "The river", "", "x")),
        MaskedScore("The river froze. " * 20),
    ],
    "perplexity": [Perplexity(t) for t in ("caf\u00e9", "", "The river froze. " * 20)],
    "generate": [
        Generate("The river", 8),
        Generate("", 8),
        Generate("def f():", 5, stop=("e",)),
        Generate("def f():", 5, suffix="\n"),
        Generate("a set holds " * 20, 8),
        *(Generate("The river", 8, temperature=0.9, top_p=0.9, seed=s) for s in (3, 0, 4)),
        Generate("def f():", 8, suffix="\n", temperature=0.9, seed=3),
    ],
    "embed": [Embed("The river"), Embed(picture(0)), Embed(""), Embed(picture(1)), Embed("x")],
    "embed_tokens": [
        EmbedTokens(("The", "river", "froze", "in", "1912", ".")),
        EmbedTokens(("Kras",)),
        EmbedTokens(("a", "set", "holds") * 20),
        EmbedTokens(("The", "river", "(", "caf\u00e9", ")")),
    ],
    "compare": [
        Compare(picture(0), ("a dot", "two dots", "nothing")),
        Compare(picture(1), ("a dot", "two dots", "nothing")),
        Compare(picture(0), ("x", "y")),
    ],
    "denoise": [Denoise(picture(0), "a dot"), Denoise(picture(0), ""), Denoise(picture(1), "x")],
    "draw": [Draw("a circle", 3), Draw("a square", 3), Draw("a circle", 4)],
}


def same(one, two):
    if isinstance(one, ScoreAnswer | PerplexityAnswer):
        assert one.nats == pytest.approx(two.nats, abs=5e-5)
        assert vars(one) | {"nats": 0} == vars(two) | {"nats": 0}
    elif isinstance(one, str):
        assert one == two
    elif one.dtype == np.uint8:
        assert np.abs(one.astype(int) - two).max() <= 1  # rounding
    else:
        np.testing.assert_allclose(one, two, atol=2e-5)


@pytest.mark.parametrize("kind", REQUESTS)
def test_answers_depend_on_their_own_request_alone(native, folder, kind):
    requests = REQUESTS[kind]
    together = native.answer(requests)
    assert len(together) == len(requests)
    one_at_a_time = Native(folder, batch_tokens=1, batch=1)
    for other in (
        [native.answer([r])[0] for r in requests],
        native.answer(requests[::-1])[::-1],
        one_at_a_time.answer(requests),
        Native(folder, batch_tokens=70, batch=7).answer(requests),
    ):
        for one, two in zip(together, other, strict=True):
            same(one, two)


def test_samples_follow_their_seeds(native):
    requests = [Generate("The river", 12, temperature=1.5, seed=s) for s in (1, 2, 1, 3)]
    first, second, again, third = native.answer(requests)
    assert first == again
    assert len({first, second, third}) == 3
    cold = native.answer([Generate("The river", 12, temperature=1e-6, seed=s) for s in (1, 2)])
    assert cold == native.answer([Generate("The river", 12)]) * 2


def test_views_of_pictures(native):
    names = native.views("image")
    items = [picture(0), picture(1)]
    requests = [Embed(item, name) for item in items for name in names[:5]] + [Embed(items[0])]
    together = native.answer(requests)
    same(together[0], together[-1])  # the usual one has a name too
    for request, found in zip(requests, together, strict=True):
        same(native.answer([request])[0], found)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_views_of_texts(native, monkeypatch):
    names = native.views("text")
    assert len(set(names)) == 3
    items = ["The river", "The river bends", ""]
    requests = [Embed(item, name) for item in items for name in names] + [Embed("The river")]
    together = native.answer(requests)
    same(together[0], together[-1])
    for request, found in zip(requests, together, strict=True):
        same(native.answer([request])[0], found)
    with pytest.raises(KeyError, match="layer 7"):
        native.answer([Embed("The river", "layer 7")])
    monkeypatch.setattr(native.network.text, "width", 2049)  # one state alone has room
    assert native.views("text") == ("", names[2])


def test_kinds_of_answers(native):
    score, *_ = native.answer(REQUESTS["score"])
    assert score.nats < 0
    assert score.tokens >= 1
    cafe, empty, _ = native.answer(REQUESTS["perplexity"])
    assert cafe.nats > 0
    assert cafe.bytes == 5
    assert empty == PerplexityAnswer(0, 0, 0)
    assert all(isinstance(t, str) and t for t in native.answer(REQUESTS["generate"])[:2])
    text, image, *_ = native.answer(REQUESTS["embed"])
    assert text.shape == (64,)
    assert image.shape == (5 * 120,)  # means over a picture and its quarters of 2.5 x 48 units
    drawn = native.answer(REQUESTS["draw"])
    assert drawn[0].shape == (16, 16, 3)
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[0] != drawn[2]).any()
    assert native.answer([]) == []


def test_more_tokens_than_the_context_holds(native):
    answer = native.answer([Generate("The river", 10_000)])[0]
    assert len(answer) > 0


def test_names_and_facts(native, folder):
    assert native.name == "nano"
    assert make(str(folder)).name == "nano"
    assert make(f"random:{folder}").name == "nano-random"
    facts = native.facts()
    assert facts["weights"] == export.load(folder).digest
    assert facts["parameters"] == sum(p.numel() for p in native.network.parameters())
    assert facts["digest"] == Native(folder, batch=1).facts()["digest"]
    assert facts["digest"] != RandomTwin(folder).facts()["digest"]
    assert RandomTwin(folder).facts()["trained_on"] == {}
    assert facts["dtype"] == "float32"


def test_an_edit_of_weights_tokenizer_dtype_or_context_is_another_model(folder, corpus):
    from tgp_multimodal.data.tokenizer import train

    def digest(edit):
        model = Native(folder)
        edit(model)
        return model.facts()["digest"]

    def nudge(model):
        with torch.no_grad():
            model.network.text.norm.weight[0] += 1e-6

    edits = {
        "none": lambda model: None,
        "weights": nudge,
        "tokenizer": lambda m: setattr(m, "tokenizer", train(corpus[:9], vocabulary=300)),
        "dtype": lambda model: model.network.to(torch.bfloat16),
        "context": lambda model: setattr(model.network.text, "context", 32),
    }
    assert len({digest(edit) for edit in edits.values()}) == len(edits)
    half = {digest(lambda model: model.network.to(torch.bfloat16)) for _ in range(2)}
    assert len(half) == 1


def test_a_model_says_what_text_it_was_trained_on(tokenizer, tmp_path):
    network = language_model(tokenizer.vocabulary)
    facts = {"data": {"text": {"digest": "d", "splits": {}}}}
    export.save(tmp_path / "e", network, tokenizer, facts, "")
    assert Native(tmp_path / "e").facts()["trained_on"] == {"text": "d"}


def test_what_it_supports_follows_the_network(native, tokenizer, tmp_path):
    assert {r.__name__ for r in native.supports} == {
        "Score", "MaskedScore", "Perplexity", "Generate", "Embed", "EmbedTokens", "Draw", "Denoise",
        "Compare",
    }  # fmt: skip
    assert native.embeds == {"text", "image"}
    export.save(tmp_path / "words", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    words = Native(tmp_path / "words")
    assert Draw not in words.supports
    assert words.embeds == {"text"}
    assert words.name == "words"


def test_a_tower_answers_for_texts_and_pictures_in_one_space(tokenizer, tmp_path):
    export.save(tmp_path / "pairs", dual_encoder(tokenizer.vocabulary), tokenizer, {}, "")
    pairs = Native(tmp_path / "pairs")
    assert JointEmbed in pairs.supports
    assert Draw not in pairs.supports
    assert pairs.embeds == {"text", "image"}
    items = ["a circle", picture(0), "", picture(1), "a circle"]
    requests = [JointEmbed(item) for item in items]
    together = pairs.answer(requests)
    assert {v.shape for v in together} == {(64,)}
    np.testing.assert_allclose([np.linalg.norm(v) for v in together], 1, atol=1e-6)
    small = Native(tmp_path / "pairs", batch_tokens=1, batch=1)
    for other in (
        [pairs.answer([r])[0] for r in requests],
        pairs.answer(requests[::-1])[::-1],
        small.answer(requests),
    ):
        for one, two in zip(together, other, strict=True):
            same(one, two)
    text = pairs.answer([Embed("a circle")])[0]
    np.testing.assert_allclose(text / np.linalg.norm(text), together[0], atol=1e-6)
    same(pairs.answer([Embed(picture(0))])[0], together[1])
    assert list(pairs.views("image")) == [""]
    twin = RandomTwin(tmp_path / "pairs").answer(requests)
    assert np.abs(twin[1] - together[1]).max() > 0.01


def test_a_tower_beside_a_head_is_one_more_view_of_pictures(tokenizer, tmp_path):
    export.save(tmp_path / "both", with_tower(tokenizer.vocabulary), tokenizer, {}, "")
    both = Native(tmp_path / "both")
    views = both.views("image")
    assert views[-1] == "tower"
    requests = [Embed(picture(0), view) for view in views]
    found = both.answer(requests)
    same(found[-1], both.answer([JointEmbed(picture(0))])[0])
    for request, vector in zip(requests, found, strict=True):
        same(both.answer([request])[0], vector)


def test_random_twin_is_a_bag_of_tokens_and_always_the_same(folder, tokenizer):
    before = torch.random.get_rng_state()
    twin = RandomTwin(folder)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert twin.facts()["weights"] == RandomTwin(folder).facts()["weights"]
    texts = (" a b c", " c b a", " a b d")
    first, second, other = twin.answer([Embed(t) for t in texts])
    ids = [tokenizer.encode(t) for t in texts]
    assert ids[0] != ids[1]
    assert sorted(ids[0]) == sorted(ids[1]) != sorted(ids[2])
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.abs(first - other).max() > 1e-3
    table = twin.network.text.embed_tokens.weight[tokenizer.encode(" a b c", bos=True)]
    np.testing.assert_allclose(first, twin.network.text.norm(table).mean(0), atol=1e-6)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model folder must be an export"):
        Native(tmp_path)

"""Models of transformers: their numbers are those of a plain forward pass, ours those of native."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import stock_models
import torch
from random_networks import language_model
from transformers import AutoModelForPreTraining

from tgp_multimodal import export
from tgp_multimodal.adapters import make
from tgp_multimodal.adapters.hf_reading import StockScorer, StockTokenizer
from tgp_multimodal.adapters.hf_transformers import HfTransformers
from tgp_multimodal.adapters.native import Native
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import (
    Embed,
    Generate,
    MaskedScore,
    Perplexity,
    PerplexityAnswer,
    Score,
    ScoreAnswer,
)
from tgp_multimodal.inference.prefix_trees import SHORTEST_PREFIX

TOLERANCE = 3e-5  # nats per token
FAMILIES = {"gpt2": True, "gemma2": True, "bloom": False, "mamba": False}
SHOTS = "Q: is ice cold?\nA: yes\n\n" * 3
SCORES = [
    *(Score(f"{SHOTS}Q: is {t}?\nA:", f" {a}") for t in ("a dog", "it") for a in ("yes", "no")),
    *(Score(f"The river froze {t} ", "over.") for t in ("once", "twice", "once")),
    Score("", "The river"),
    Score("  ", "The river"),
    Score("The river", ""),
    Score("the", "n", None),
    Score("The river " * 60, "froze"),
    Score("x", " A dog ran across the field." * 8),
]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "nano" / "export"
    network = language_model(tokenizer.vocabulary, context=96)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.03
    export.save(path, network, tokenizer, {}, "")
    return path


@pytest.fixture(scope="module", params=FAMILIES)
def stock(request, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("stock") / request.param
    return HfTransformers(str(stock_models.causal(path, tokenizer, request.param)))


@pytest.fixture(scope="module", params=["bert", "roberta"])
def masked(request, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("masked") / request.param
    return HfTransformers(str(stock_models.masked(path, corpus, request.param)))


def close(one: list, two: list) -> None:
    for a, b in zip(one, two, strict=True):
        assert a.nats == pytest.approx(b.nats, abs=TOLERANCE * max(1, a.tokens))
        assert vars(a) | {"nats": 0} == vars(b) | {"nats": 0}


def test_our_export_has_the_answers_of_native(folder):
    ours, theirs = Native(folder), make(f"hf:{folder}")
    assert theirs.name == "hf-nano"
    assert theirs.supports < ours.supports
    close(ours.answer(SCORES), theirs.answer(SCORES))
    texts = [Perplexity(t) for t in ("café", "", "The river froze. " * 40)]
    close(ours.answer(texts), theirs.answer(texts))
    filled = [Score("def f(x):\n", c, "\n\nprint(x)" * n) for c in (" pass", "") for n in (1, 30)]
    close(ours.answer(filled), theirs.answer(filled))
    written = [
        Generate("The river", 8),
        Generate("", 8, ("e", "\n")),
        Generate("def f():", 5, suffix="\n"),
        Generate("a set holds " * 40, 80),
        *(Generate("The river", 8, (), None, 0.8, 0.9, seed) for seed in (4, 0, 5)),
        Generate("def f():", 5, suffix="\n", temperature=1.0, seed=4),
    ]
    assert ours.answer(written) == theirs.answer(written)
    encoder = make(f"hf:{folder}/encoder")
    embedded = [Embed(t) for t in ("The river", "", "x " * 200)]
    np.testing.assert_allclose(ours.answer(embedded), encoder.answer(embedded), atol=1e-5)


def test_encoders_are_those_of_sentence_transformers(folder, corpus, tmp_path):
    from sentence_transformers import SentenceTransformer

    texts = ["the river carried thin plates of ice", "a dog", "the patient " * 60]
    requests = [Embed(t) for t in texts]
    stock = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(make(f"hf:{folder}/encoder").answer(requests), stock, atol=1e-5)
    np.testing.assert_allclose(make(f"st:{folder}").answer(requests), stock, atol=1e-6)
    bert = str(stock_models.masked(tmp_path / "bert", corpus))  # gets a mean of its states
    stock = SentenceTransformer(bert, device="cpu").encode(texts)
    np.testing.assert_allclose(make(f"hf:{bert}").answer(requests), stock, atol=1e-5)


def test_scores_are_those_of_plain_passes(stock):
    assert stock.scorer.can_pack_trees == FAMILIES[stock.model.config.model_type]
    tokenizer = stock.tokenizer.stock
    answers = stock.answer(SCORES[:4])
    assert stock.scorer.packs_trees == stock.scorer.can_pack_trees
    for request, answer in zip(SCORES, answers + stock.answer(SCORES[4:]), strict=True):
        if not request.continuation:
            assert answer == ScoreAnswer(0, 0, True)
            continue
        context = tokenizer(request.context.rstrip())["input_ids"]
        whole = tokenizer(request.context + request.continuation)["input_ids"]
        new = len(whole) - len(context)
        nats, is_greedy = 0.0, True
        for place in range(len(context), len(whole)):  # one token at a time
            window = windowed(whole, place, new, stock.context)
            logits = plain_logits(stock.model, window)
            nats += float(logits.log_softmax(-1)[whole[place]])
            is_greedy &= int(logits.argmax()) == whole[place]
        assert answer == ScoreAnswer(pytest.approx(nats, abs=TOLERANCE * new), new, is_greedy)


def windowed(whole: list[int], place: int, new: int, length: int) -> list[int]:
    """Ids that the one at `place` is guessed from: windows of lm-eval, whose last one is full."""
    first = len(whole) - new
    end = min(len(whole), first + ((place - first) // length + 1) * length)
    return whole[max(0, end - length - 1) : place]


def plain_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].double()


def test_shared_examples_are_read_once(stock, monkeypatch):
    read = []
    forward = StockScorer.score_targets
    monkeypatch.setattr(
        StockScorer,
        "score_targets",
        lambda self, group, *a: (
            read.extend(len(t.tokens) for t in group.trees) or forward(self, group, *a)
        ),
    )
    requests = [Score(f"{SHOTS}Q: is it?\nA:", f" {c}") for c in ("yes", "no", "maybe", "a dog")]
    one = len(stock.tokenizer.encode(requests[0].context)) + 1
    stock.answer(requests)
    assert one > SHORTEST_PREFIX
    if stock.scorer.packs_trees:
        assert one < sum(read) < 1.5 * one
    else:
        assert sum(read) > 4 * one


def test_a_window_switches_packing_off(tokenizer, tmp_path):
    model = HfTransformers(
        str(stock_models.causal(tmp_path / "m", tokenizer, "gemma2", sliding_window=24))
    )
    assert model.scorer.window == 24
    model.answer([Score("short", " a"), Score("short", " b")])
    assert model.scorer.packs_trees
    model.answer([Score("long " * 40, " a"), Score("short", " b")])
    assert not model.scorer.packs_trees


def test_perplexity_counts_every_token_once(stock):
    text = "They counted the boats: one, two, three, four. " * 12
    (answer,) = stock.answer([Perplexity(text)])
    score = stock.answer([Score("", text)])[0]
    assert answer == PerplexityAnswer(pytest.approx(-score.nats), len(text), score.tokens)
    assert answer.tokens == len(stock.tokenizer.encode(text)) > stock.context


def test_writing_is_greedy_and_stops(stock):
    (text,) = stock.answer([Generate("a set", 6)])
    ids = [*stock.tokenizer.front, *stock.tokenizer.encode("a set")]
    for _ in range(6):
        ids.append(int(plain_logits(stock.model, ids).argmax()))
    new = ids[-6:]
    new = new[: new.index(1)] if 1 in new else new
    assert text == stock.tokenizer.stock.decode(new, skip_special_tokens=True)
    assert len(text) > 2
    assert "\ufffd" not in text
    stopped = stock.answer([Generate("a set", 6, (text[1],))])
    assert stopped == [text[: text.index(text[1])]]


def test_samples_follow_their_seeds_and_no_batch(stock):
    requests = [Generate("The river", 8, (), None, 1.0, 0.9, seed) for seed in (5, 2, 5, 9)]
    together = stock.answer(requests)
    assert together[0] == together[2]
    assert len(set(together)) == 3
    assert [stock.answer([r])[0] for r in requests] == together


def test_settings_for_sampling_have_no_say(tokenizer, tmp_path):
    folder = stock_models.causal(tmp_path / "gpt2", tokenizer, "gpt2")
    before = make(f"hf:{folder}").answer([Generate("The river", 12)])
    path = folder / "generation_config.json"
    drawn = {"do_sample": True, "temperature": 3.0, "top_k": 5, "repetition_penalty": 9.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | drawn | {"num_beams": 2}))
    assert make(f"hf:{folder}").answer([Generate("The river", 12)]) == before


def test_masked_scores_hide_each_token_in_turn(masked):
    texts = ["The dog ran", "a", "", "the river carried thin plates " * 9]
    tokenizer = masked.tokenizer.stock
    for text, answer in zip(texts, masked.answer([MaskedScore(t) for t in texts]), strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        room = masked.context - 2
        nats, is_greedy = 0.0, True
        for place in range(len(ids)):
            stop = min(len(ids), (place // room + 1) * room)
            start = max(0, stop - room)
            row = [2, *ids[start:stop], 3]
            row[1 + place - start] = 4
            with torch.no_grad():
                logits = masked.model(torch.tensor([row])).logits[0, 1 + place - start].double()
            nats += float(logits.log_softmax(-1)[ids[place]])
            is_greedy &= int(logits.argmax()) == ids[place]
        expected = ScoreAnswer(pytest.approx(nats, abs=1e-4), len(ids), is_greedy)
        assert answer == expected


@pytest.mark.parametrize(("family", "context"), [("bert", 40), ("roberta", 39), ("mpnet", 38)])
def test_a_long_text_has_no_more_ids_than_positions(family, context, corpus, tmp_path):
    folder = stock_models.masked(tmp_path / family, corpus, family, limit=None)
    model = make(f"hf:{folder}")
    assert model.context == context
    (answer,) = model.answer([MaskedScore("the river carried thin plates " * 20)])
    assert answer.tokens == 100
    (vector,) = model.answer([Embed("the river carried thin plates " * 20)])
    assert np.isfinite(vector).all()


def test_what_it_can_follows_the_architecture(stock, masked, folder):
    assert "cannot fill a gap" not in str(make(f"hf:{folder}").can(cards.find("code/infilling")))
    assert masked.can(cards.find("text/blimp_masked")) is None
    assert "cannot score a continuation (Score)" in str(masked.can(cards.find("text/blimp")))
    assert "cannot score a text by its masked tokens (MaskedScore)" in str(
        stock.can(cards.find("text/blimp_masked"))
    )
    assert "cannot embed image" in str(stock.can(cards.find("image/digits")))
    assert make(f"hf:{folder}/encoder").supports == {Embed}


@pytest.mark.parametrize(
    ("family", "settings", "is_causal"),
    [
        ("xlnet", {}, False),
        ("xlm", {}, False),
        ("xlm", {"causal": True}, True),
        ("bert", {}, False),
        ("bert", {"is_decoder": True}, True),
    ],
)
@pytest.mark.parametrize("weights", ["", "@random"])
def test_what_sees_the_next_token_does_not_score_it(
    family, settings, is_causal, weights, tokenizer, tmp_path
):
    folder = stock_models.causal(tmp_path / "model", tokenizer, family, **settings)
    model = make(f"hf:{folder}{weights}")
    text = "the river carried thin plates of ice"
    for vector in model.answer([Embed(text, view) for view in model.views("text")]):
        assert np.isfinite(vector).all()
    if is_causal:
        assert Score in model.supports
        assert model.can(cards.find("text/blimp")) is None
    else:
        assert model.supports == {Embed}
        assert "it sees the tokens" in model.can(cards.find("text/blimp"))
        assert model.can(cards.find("text/pydoc_package")) is None


def test_the_half_of_electra_that_guesses_nothing_is_an_encoder(corpus, tmp_path):
    generator, discriminator = (
        HfTransformers(str(stock_models.masked(tmp_path / half, corpus, f"electra {half}")))
        for half in ("generator", "discriminator")
    )
    assert generator.supports == {MaskedScore, Embed}
    assert discriminator.supports == {Embed}
    text = "the river carried thin plates of ice"
    ids = torch.tensor([discriminator.tokenizer.stock(text)["input_ids"]])
    saved = AutoModelForPreTraining.from_pretrained(tmp_path / "discriminator")
    with torch.no_grad():
        state_BLD = saved(ids, output_hidden_states=True).hidden_states[-1]
    (vector,) = discriminator.answer([Embed(text)])
    np.testing.assert_allclose(vector, state_BLD[0].mean(0), atol=1e-5)


def test_the_view_of_all_layers(folder):
    model = make(f"hf:{folder}")
    texts = ["The river", "", "The river carried thin plates of ice"]
    last, layers = model.views("text")
    assert model.views("image") == ("",)
    requests = [Embed(text, view) for text in texts for view in (layers, last)]
    found = model.answer(requests)
    for text, layers_D, last_D in zip(texts, found[::2], found[1::2], strict=True):
        front, back = model.tokenizer.front, model.tokenizer.back
        row = [*front, *model.tokenizer.encode(text), *back] or model.tokenizer.start
        ids = torch.tensor([row])
        with torch.no_grad():
            states = model.encoder(ids, output_hidden_states=True).hidden_states
        normed = [s[0] / s[0].pow(2).mean(-1, keepdim=True).sqrt() for s in states]
        expected_D = torch.cat([n.mean(0) for n in normed]).numpy()
        np.testing.assert_allclose(layers_D, expected_D, atol=1e-4)
        np.testing.assert_allclose(last_D, states[-1][0].mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("lengths", [(), (9,), (9, 5, 9)])
def test_models_without_a_state_of_each_token_at_each_layer_have_one_view(folder, lengths):
    model = make(f"hf:{folder}")
    states = tuple(torch.zeros(1, length, 8) for length in lengths) or None
    model.encoder = lambda **_: SimpleNamespace(hidden_states=states)
    assert model.views("text") == ("",)


def test_bfloat16_is_near_and_random_is_far(folder):
    whole, half, fresh = (make(f"hf:{folder}{w}") for w in ("", "@bfloat16", "@random"))
    assert [m.name for m in (half, fresh)] == ["hf-nano-bfloat16", "hf-nano-random"]
    assert half.facts()["precision"] == "bfloat16"
    assert half.scorer.can_pack_trees
    nats = [[a.nats for a in m.answer(SCORES[:7])] for m in (whole, half, fresh)]
    assert 0 < np.abs(np.subtract(nats[0], nats[1])).max() < 0.3
    assert np.abs(np.subtract(nats[0], nats[2])).max() > 0.3
    assert [a.nats for a in make(f"hf:{folder}@random").answer(SCORES[:7])] == nats[2]
    assert len({m.facts()["digest"] for m in (whole, half, fresh)}) == 3


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "folder or hub name that transformers opens"),
        (lambda f: change(f, architectures=["T5Model"], is_encoder_decoder=True),
         "causal or masked language model, or an encoder. Got T5Model"),
        (lambda f: change(f, n_layer=3), r"must be whole. Got none for transformer.h"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_one_sentence(damage, sentence, tokenizer, tmp_path):
    folder = stock_models.causal(tmp_path / "gpt2", tokenizer, "gpt2")
    damage(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        make(f"hf:{folder}")
    assert "\n" not in str(caught.value)


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_what_stands_around_a_text_is_the_tokenizers(tokenizer, folder, masked):
    ours = make(f"hf:{folder}").tokenizer
    assert (ours.front, ours.back, ours.start) == ([tokenizer.bos], [], [tokenizer.bos])
    assert ours.fim_tokens.middle == tokenizer.middle
    assert (masked.tokenizer.front, masked.tokenizer.back, masked.tokenizer.fim_tokens) == (
        [2],
        [3],
        None,
    )

    class Bare:
        bos_token_id, eos_token_id, pad_token_id = None, 7, None

        def __call__(self, texts, **_):
            whole = [[5]] * len(texts) if isinstance(texts, list) else [5]
            return {"input_ids": whole}

        def get_vocab(self):
            return {}

    bare = StockTokenizer(Bare())
    assert (bare.front, bare.start, bare.pad) == ([], [7], 0)
    Bare.eos_token_id = None
    with pytest.raises(ValueError, match="must have a BOS or EOS token"):
        StockTokenizer(Bare())
    assert StockTokenizer(Bare(), needs_start=False).start == [0]

"""Pseudo-log-likelihoods against a plain loop and against what training says of the same token."""

import numpy as np
import pytest
import torch
from random_networks import language_model

from tgp_multimodal.data.records import TextRows
from tgp_multimodal.inference import masked
from tgp_multimodal.inference.fused import FusedText
from tgp_multimodal.objectives import language
from tgp_multimodal.objectives.language import HybridLanguage

TOLERANCE = 2e-5
TEXTS = ["The river froze.", "x", "", "She opened the letter.", "The river froze.", "Naïve 東京"]


@pytest.fixture(scope="module")
def network(tokenizer):
    network = language_model(tokenizer.vocabulary, context=32)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.2
    return network


@torch.no_grad()
def plain(text, tokenizer, ids, places):
    """Log-probability of the id at each place, hidden alone, by the state before it."""
    found = []
    for place in places:
        hidden = torch.tensor([ids])
        hidden[0, place] = tokenizer.mask
        state_BLD = text(hidden, is_causal=False)
        log_p_V = text.logits(state_BLD[0, place - 1]).log_softmax(-1)
        found.append((float(log_p_V[ids[place]]), int(log_p_V.argmax()) == ids[place]))
    return sum(nats for nats, _ in found), all(greedy for _, greedy in found)


def test_each_token_is_hidden_in_turn_and_predicted_one_place_before(network, tokenizer):
    answers = masked.score(network.text, tokenizer, TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = tokenizer.encode(text)
        whole = [tokenizer.bos, *ids, tokenizer.eos]
        nats, greedy = plain(network.text, tokenizer, whole, range(1, len(whole) - 1))
        assert answer.nats == pytest.approx(nats, abs=TOLERANCE)
        assert answer.tokens == len(ids)
        assert answer.is_greedy == greedy
    assert answers[0] == answers[4]
    assert answers[2] == (0.0, 0, True)
    assert masked.score(network.text, tokenizer, []) == []


def test_the_right_side_and_the_order_count(network, tokenizer):
    texts = ["a list holds", "a list finds", "holds a list", "a list holds items"]
    nats = [a.nats for a in masked.score(network.text, tokenizer, texts)]
    assert len({round(n, 3) for n in nats}) == 4


def test_a_hidden_token_costs_what_training_says(network, tokenizer, monkeypatch):
    ids = [tokenizer.bos, *tokenizer.encode("A dog ran."), tokenizer.eos]
    row = torch.tensor([[*ids, tokenizer.bos, *ids[1:4]]])  # another document follows
    position = torch.tensor([[*range(len(ids)), *range(4)]])
    flag, number = torch.tensor([False]), torch.tensor([0])
    batch = TextRows(token_BL=row, position_BL=position, infill_B=flag, row_B=number)
    objective, costs = HybridLanguage(masked_rows=(1.0, 1.0)), []
    for place in range(1, len(ids) - 1):
        one = np.arange(row.shape[1] - 1) == place
        monkeypatch.setattr(language, "_spans", lambda *_, one=one: one)
        monkeypatch.setattr(
            language, "_corrupted", lambda x, hidden, *_: np.where(hidden, tokenizer.mask, x)
        )
        parts = objective.loss(network, batch, 0.0, 0).parts
        costs.append(float(parts["masked_nats_per_token"]))
    (answer,) = masked.score(network.text, tokenizer, ["A dog ran."])
    assert -answer.nats == pytest.approx(sum(costs), abs=TOLERANCE)


def test_scores_do_not_depend_on_the_batch_and_rows_have_one_length(
    network, tokenizer, corpus, monkeypatch
):
    texts = [line[:60] for line in corpus]
    many = masked.score(network.text, tokenizer, texts, 8192)
    shapes, states = [], FusedText.states

    def seen(self, token_BL):
        shapes.append(tuple(token_BL.shape))
        return states(self, token_BL)

    monkeypatch.setattr(FusedText, "states", seen)
    few = masked.score(network.text, tokenizer, texts[::-1], 100)[::-1]
    assert [a.tokens for a in few] == [a.tokens for a in many]
    assert [a.nats for a in few] == pytest.approx([a.nats for a in many], abs=5e-5)
    assert max(rows * length for rows, length in shapes) <= 100
    assert max(rows for rows, _ in shapes) > 1


@pytest.mark.parametrize("tokens", [30, 31, 32, 61, 62, 63, 75])
def test_long_texts_are_cut_into_windows_that_hide_each_token_once(network, tokenizer, tokens):
    long = tokenizer.decode(tokenizer.encode("a set holds each item once. " * 40)[:tokens])
    ids, context = tokenizer.encode(long), network.text.context
    windows = list(masked._windows(0, [tokenizer.bos, *ids, tokenizer.eos], context))
    assert [w.ids[place] for w in windows for place in w.hidden] == ids
    assert all(0 < place < len(w.ids) <= context for w in windows for place in w.hidden)
    assert len(windows[-1].ids) == min(context, len(ids) + 2)
    expected = sum(plain(network.text, tokenizer, w.ids, w.hidden)[0] for w in windows)
    (answer,) = masked.score(network.text, tokenizer, [long])
    assert answer.nats == pytest.approx(expected, abs=1e-4)
    assert answer.tokens == len(ids)

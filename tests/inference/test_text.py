"""Scores, perplexities and text features against the plain way to compute each."""

import numpy as np
import pytest
import torch
from random_networks import text_transformer

from tgp_multimodal.inference import text as texts
from tgp_multimodal.inference.fused import FusedText
from tgp_multimodal.inference.text import Query, infilling_prompt

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def network(tokenizer):
    return text_transformer(tokenizer.vocabulary, context=32)


@torch.no_grad()
def plain(network, ids, scored):
    """Log-likelihood of the last `scored` ids, one forward pass, nothing clever."""
    logits = network.logits(network(torch.tensor([ids[:-1]])))[0].double().log_softmax(-1)
    target = torch.tensor(ids[1:])
    chosen = logits.gather(1, target[:, None])[-scored:, 0]
    greedy = (logits.argmax(-1) == target)[-scored:].all()
    return float(chosen.sum()), bool(greedy)


def test_score_is_the_log_likelihood_of_what_is_left_behind_the_context(network, tokenizer):
    pairs = [("The river", " carried ice"), ("a", " b"), ("The river", " froze"), ("", "ice")]
    found = texts.score(network, tokenizer, [Query(*p) for p in pairs])
    for (context, continuation), answer in zip(pairs, found, strict=True):
        whole = tokenizer.encode(context + continuation)
        tokens = len(whole) - len(tokenizer.encode(context))
        nats, _ = plain(network, [tokenizer.bos, *whole], tokens)
        assert answer.nats == pytest.approx(nats, abs=TOLERANCE)
        assert answer.tokens == tokens
        assert answer.nats < 0


def test_space_at_the_end_of_a_context_moves(network, tokenizer):
    moved, plain_join = texts.score(
        network, tokenizer, [Query("The river \n", "froze"), Query("The river", " \nfroze")]
    )
    assert moved == plain_join


def test_context_is_cut_by_count_and_not_by_string(tokenizer, network, corpus):
    """`enc(C + cont)` may join what `enc(C)` kept apart; lm-eval counts and so do we."""
    context, continuation = next(
        (line[:n], line[n : n + 8])
        for line in corpus
        for n in range(2, 16)
        if not line[n - 1].isspace()
        and (alone := tokenizer.encode(line[:n])) != tokenizer.encode(line[: n + 8])[: len(alone)]
    )
    whole, alone = tokenizer.encode(context + continuation), tokenizer.encode(context)
    answer = texts.score(network, tokenizer, [Query(context, continuation)])[0]
    nats, _ = plain(network, [tokenizer.bos, *whole], len(whole) - len(alone))
    assert answer.tokens == len(whole) - len(alone)
    assert answer.nats == pytest.approx(nats, abs=TOLERANCE)


def test_a_continuation_that_the_join_swallows_is_still_scored(network, tokenizer):
    context, continuation = "th", "e"
    assert len(tokenizer.encode("the")) <= len(tokenizer.encode("th"))
    answer = texts.score(network, tokenizer, [Query(context, continuation)])[0]
    assert answer.tokens == len(tokenizer.encode(continuation))
    assert answer.nats < 0


def test_empty_continuation_costs_nothing(network, tokenizer):
    answer = texts.score(network, tokenizer, [Query("The river", "")])[0]
    assert answer == (0.0, 0, True)


def test_greedy_is_what_the_network_would_write(network, tokenizer):
    ids = [tokenizer.bos, *tokenizer.encode("The river")]
    for _ in range(5):
        logits = network.logits(network(torch.tensor([ids])))[0, -1]
        logits[list(tokenizer.special)] = -torch.inf
        ids.append(int(logits.argmax()))
    new = tokenizer.decode(ids[-5:])
    assert tokenizer.encode("The river" + new) == ids[1:]
    answers = texts.score(network, tokenizer, [Query("The river", new), Query("The river", " x")])
    assert [a.is_greedy for a in answers] == [True, False]


def test_long_rows_lose_their_left_end(network, tokenizer):
    context = "The morning was cold, and the river carried thin plates of ice. " * 4
    answer = texts.score(network, tokenizer, [Query(context.rstrip(), " The end")])[0]
    ids = [tokenizer.bos, *tokenizer.encode(context + "The end")][-(network.context + 1) :]
    assert answer.nats == pytest.approx(plain(network, ids, answer.tokens)[0], abs=TOLERANCE)


def test_a_continuation_longer_than_the_context_is_scored_whole(network, tokenizer):
    continuation = " The morning was cold, and the river carried thin plates of ice." * 4
    answer = texts.score(network, tokenizer, [Query("Once", continuation)])[0]
    whole = tokenizer.encode("Once" + continuation)
    assert answer.tokens == len(whole) - len(tokenizer.encode("Once")) > network.context


def lm_eval_windows(tokens, prefix, length):
    """`get_rolling_token_windows` + `make_disjoint_window`, context_len 1, from its description."""
    first = min(length, len(tokens))
    yield [prefix, *tokens[: first - 1]], tokens[:first]
    done = first
    while done < len(tokens):
        count = min(len(tokens) - done, length)
        end = done + count
        yield tokens[end - length - 1 : end - 1], tokens[end - count : end]
        done = end


@pytest.mark.parametrize("repeats", [1, 3, 9])
def test_perplexity_windows_are_lm_evals(network, tokenizer, repeats):
    content = "The morning was cold, and the river carried thin ice. " * repeats
    tokens = tokenizer.encode(content)
    expected, scored = 0.0, 0
    for read, predicted in lm_eval_windows(tokens, tokenizer.bos, network.context):
        expected += plain(network, [*read, predicted[-1]], len(predicted))[0]
        scored += len(predicted)
    found = texts.perplexity(network, tokenizer, [content])[0]
    assert found.tokens == scored == len(tokens)
    assert found.nats == pytest.approx(expected, abs=10 * TOLERANCE)


def test_batches_change_nothing(network, tokenizer, corpus):
    queries = [Query(c[:n], c[n : n + 9]) for c in corpus for n in (5, 11)] * 2
    one, many = (texts.score(network, tokenizer, queries, size) for size in (1, 8192))
    np.testing.assert_allclose([a.nats for a in one], [a.nats for a in many], atol=TOLERANCE)
    assert [a[1:] for a in one] == [a[1:] for a in many]
    single = [texts.score(network, tokenizer, [q])[0].nats for q in queries[:5]]
    np.testing.assert_allclose(single, [a.nats for a in many[:5]], atol=TOLERANCE)
    one, many = (texts.perplexity(network, tokenizer, corpus, size) for size in (1, 8192))
    np.testing.assert_allclose([a.nats for a in one], [a.nats for a in many], atol=TOLERANCE)


def test_equal_inputs_are_computed_once(network, tokenizer, monkeypatch):
    seen = []
    states = FusedText.states
    monkeypatch.setattr(
        FusedText,
        "states",
        lambda self, token_BL, *a: seen.append(token_BL.numel()) or states(self, token_BL, *a),
    )
    letters = [Query("Question: which? Answer:", f" {c}") for c in "ABCD"]
    once = texts.score(network, tokenizer, letters[:1])
    alone = seen.pop()
    many = texts.score(network, tokenizer, letters * 3)
    # A letter is a token, two at most: four choices read the question once.
    assert sum(seen) <= alone + 4
    assert many[0].nats == pytest.approx(once[0].nats, abs=TOLERANCE)
    assert [a.nats for a in many[:4]] == [a.nats for a in many[4:8]]


def test_texts_with_nothing_in_common_are_read_many_at_a_time(network, tokenizer, monkeypatch):
    seen, states = [], FusedText.states
    monkeypatch.setattr(
        FusedText,
        "states",
        lambda self, token_BL, *a: seen.append(len(token_BL)) or states(self, token_BL, *a),
    )
    queries = [Query("", f"{c} river froze") for c in "ABCDEFGH"]
    together = texts.score(network, tokenizer, queries)
    assert seen == [8]
    alone = [texts.score(network, tokenizer, [q])[0].nats for q in queries]
    assert [a.nats for a in together] == pytest.approx(alone, abs=TOLERANCE)


def test_infilling_score(network, tokenizer):
    query = Query("def add(a, b):", " a + b", suffix="\n")
    middle = tokenizer.encode(" a + b")
    ids = [
        *(tokenizer.bos, tokenizer.prefix, *tokenizer.encode("def add(a, b):")),
        *(tokenizer.suffix, *tokenizer.encode("\n"), tokenizer.middle, *middle),
    ]
    answer = texts.score(network, tokenizer, [query])[0]
    assert answer.nats == pytest.approx(plain(network, ids, len(middle))[0], abs=TOLERANCE)
    assert answer.tokens == len(middle)
    empty = texts.score(network, tokenizer, [Query("def add(a, b):", " a + b", suffix="")])[0]
    assert empty.nats != answer.nats


@pytest.mark.parametrize(
    ("room", "before", "after"),
    [(100, 10, 10), (24, 10, 10), (23, 10, 9), (14, 5, 5), (6, 1, 1), (5, 1, 0), (4, 0, 0)],
)
def test_infilling_prompt_keeps_what_is_next_to_the_gap(tokenizer, room, before, after):
    prefix, suffix = list(range(100, 110)), list(range(200, 210))
    ids = infilling_prompt(tokenizer, prefix, suffix, room)
    kept = prefix[len(prefix) - before :]
    assert ids == [
        *(tokenizer.bos, tokenizer.prefix, *kept),
        *(tokenizer.suffix, *suffix[:after], tokenizer.middle),
    ]
    assert len(ids) <= room


def test_a_short_side_leaves_its_room_to_the_other(tokenizer):
    ids = infilling_prompt(tokenizer, [100], list(range(200, 240)), 24)
    assert len(ids) == 24
    ids = infilling_prompt(tokenizer, list(range(100, 140)), [200], 24)
    assert len(ids) == 24
    with pytest.raises(ValueError, match=r"room .* must be at least 4\. Got 3 instead"):
        infilling_prompt(tokenizer, [], [], 3)


def test_long_infilling_keeps_its_special_tokens(network, tokenizer):
    long = "a set holds each item once. " * 20
    near = texts.score(network, tokenizer, [Query(long, " x", suffix=long)])[0]
    room = network.context + 1 - len(tokenizer.encode(" x"))
    sides = tokenizer.encode(long), tokenizer.encode(long)
    ids = infilling_prompt(tokenizer, *sides, room) + tokenizer.encode(" x")
    assert len(ids) == network.context + 1
    assert near.nats == pytest.approx(plain(network, ids, near.tokens)[0], abs=TOLERANCE)


@torch.no_grad()
def test_embedding_is_the_mean_of_both_sided_states(network, tokenizer):
    items = ["The river froze.", "", "x", "The river froze."]
    vectors = texts.embed(network, tokenizer, items)
    for item, vector in zip(items, vectors, strict=True):
        ids = torch.tensor([tokenizer.encode(item, bos=True)])
        expected = network(ids, is_causal=False)[0].mean(0).numpy()
        np.testing.assert_allclose(vector, expected, atol=TOLERANCE)
    assert np.array_equal(vectors[0], vectors[3])
    assert vectors.dtype == np.float32


def test_embeddings_do_not_depend_on_the_batch(network, tokenizer, corpus):
    one, many = (texts.embed(network, tokenizer, corpus, size) for size in (1, 8192))
    np.testing.assert_allclose(one, many, atol=TOLERANCE)
    assert texts.embed(network, tokenizer, []).shape == (0, network.width)


def test_long_texts_are_cut_where_the_context_ends(network, tokenizer):
    long = "a set holds each item once. " * 20
    cut = tokenizer.decode(tokenizer.encode(long)[: network.context - 1])
    vectors = texts.embed(network, tokenizer, [long, cut])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=TOLERANCE)

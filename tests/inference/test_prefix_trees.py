"""Rows packed into prefix trees: nothing is lost, little is read twice, each node sees its path."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import text_transformer

from tgp_multimodal.inference import text as texts
from tgp_multimodal.inference.likelihoods import Row, likelihoods
from tgp_multimodal.inference.prefix_trees import group_by_prefix, one_tree_each, visible

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def restored(family, tree, row):
    return [*family.prefix, *(tree.tokens[node] for node in tree.paths[row])]


@given(ROWS, st.integers(1, 40))
def test_each_row_is_a_path_of_one_tree(rows, capacity):
    found = group_by_prefix(rows, [len(r) - 1 for r in rows], capacity)
    paths = [(i, restored(f, t, i)) for f in found for t in f.trees for i in t.paths]
    assert sorted(paths) == list(enumerate(rows))
    for tree in chain.from_iterable(f.trees for f in found):
        assert len(tree.tokens) <= max(capacity, max(map(len, tree.paths.values())))
        for path in tree.paths.values():
            assert [tree.depths[node] for node in path] == list(range(len(path)))


@given(ROWS)
def test_a_node_sees_its_ancestors_and_itself(rows):
    for family in group_by_prefix(rows, [0] * len(rows), 40):
        length = max(len(t.tokens) for t in family.trees)
        seen = visible(family.trees, length, 3)
        assert seen[:, :, :3].all()
        assert seen.any(axis=2).all()
        for tree, seen_LL in zip(family.trees, seen[:, :, 3:], strict=True):
            for path in tree.paths.values():
                for place, node in enumerate(path):
                    assert np.flatnonzero(seen_LL[node]).tolist() == path[: place + 1]


def test_what_all_share_is_read_once():
    shots = list(range(100))
    questions = [[*shots, 200 + q, 300, 400 + c] for q in range(300) for c in range(4)]
    found = group_by_prefix(questions, [102] * len(questions), 256)
    assert [f.prefix for f in found] == [tuple(shots)]
    trees = found[0].trees
    assert len(trees) < 12
    # A question that lies across two trees has its two own ids in both.
    assert 0 <= sum(len(t.tokens) for t in trees) - 300 * (2 + 4) <= 2 * len(trees)


def test_a_prefix_ends_before_the_first_state_that_is_wanted():
    rows = [[*range(200), 900 + i] for i in range(400)]
    (family,) = group_by_prefix(rows, [150] * 400, 256)
    assert len(family.prefix) == 150


def test_choices_of_a_short_question_share_a_tree():
    questions = [[0, *range(10 * q, 10 * q + 9), c] for q in range(1, 9) for c in range(4)]
    (family,) = group_by_prefix(questions, [10] * len(questions))
    assert family.prefix == ()
    assert [sorted(tree.paths) for tree in family.trees] == [
        [4 * q + c for c in range(4)] for q in range(8)
    ]
    assert {len(tree.tokens) for tree in family.trees} == {10 + 4}


def test_rows_with_nothing_in_common_stay_apart():
    rows = [[0, *range(100 * i, 100 * i + 90)] for i in range(9)]
    assert [len(t.tokens) for f in group_by_prefix(rows, [90] * 9) for t in f.trees] == [91] * 9


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, 3), min_size=70, max_size=80),
    st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=6), min_size=1, max_size=30),
    st.integers(64, 600),
    st.randoms(use_true_random=False),
)
def test_scores_are_those_of_rows_alone(prefix, ends, batch_tokens, random):
    network = text_transformer(context=128)
    rows = [
        Row([*prefix[: random.choice((5, 66, len(prefix)))], *end], random.randint(1, 4))
        for end in ends
    ]
    found = likelihoods(texts._TextScorer(network), rows, batch_tokens)
    for row, (nats, is_greedy) in zip(rows, found, strict=True):
        with torch.no_grad():
            logits = network.logits(network(torch.tensor([row.ids[:-1]])))[0, -row.scored :]
        target = torch.tensor(row.ids[-row.scored :])
        expected = logits.double().log_softmax(-1).gather(1, target[:, None]).sum()
        assert nats == pytest.approx(float(expected), abs=3e-5)
        assert is_greedy == bool((logits.argmax(-1) == target).all())


@given(ROWS)
def test_rows_alone_are_paths_of_their_own(rows):
    family = one_tree_each(rows)
    assert [restored(family, t, i) for i, t in enumerate(family.trees)] == rows
    length = max(map(len, rows))
    for tree, seen_LL in zip(family.trees, visible(family.trees, length, 0), strict=True):
        assert tree.depths == list(range(len(tree.tokens)))
        assert (seen_LL == np.tri(length, dtype=bool))[: len(tree.tokens)].all()

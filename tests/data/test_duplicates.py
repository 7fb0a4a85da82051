"""Near copies are found and nothing else is, in bounded memory, and once per text."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgp_multimodal.data import duplicates
from tgp_multimodal.data.duplicates import FEWEST, ExactDuplicates, KeySet, NearDuplicates


def article(seed, count=400):
    return [f"w{n}" for n in np.random.default_rng(seed).integers(0, 5000, count)]


def changed(some, share, seed=0):
    """A text with some of its words replaced."""
    new = list(some)
    chosen = np.random.default_rng(seed).choice(len(new), round(share * len(new)), replace=False)
    for i in chosen:
        new[i] = f"new{i}"
    return new


def similarity(first, second):
    sets = [{tuple(some[i : i + 5]) for i in range(len(some) - 4)} for some in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def judged(texts, threshold=0.8):
    near = NearDuplicates(threshold)
    return [ask(near, text) for text in texts]


def ask(near, words):
    text = " ".join(words)
    return near.before(hashlib.sha256(text.encode()).digest(), text)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0.6, 0.9))
def test_similar_texts_are_found_and_others_are_not(seed, share, threshold):
    first = article(seed)
    second = changed(first, share, seed)
    exact = similarity(first, second)
    found = judged([first, second], threshold)
    if first == second or abs(exact - threshold) < 0.15:  # within the error of 128 permutations
        return
    assert found == [False, bool(exact > threshold)]


def test_different_articles_all_stay():
    assert not any(judged(map(article, range(200))))


def test_case_and_punctuation_make_no_difference():
    text = article(0)
    assert judged([text, [w.upper() + "," for w in text]]) == [False, True]


def test_short_texts_stay():
    short = article(0, FEWEST - 1)
    assert judged([short, [*short[:-1], short[-1] + "!"]]) == [False, False]
    enough = article(0, FEWEST)
    assert judged([enough, [*enough[:-1], enough[-1] + "!"]]) == [False, True]


def test_a_second_pass_gets_the_same_answers():
    near = NearDuplicates()
    texts = [article(0), changed(article(0), 0.01), article(1)]
    assert [ask(near, t) for t in texts] == [ask(near, t) for t in texts] == [False, True, False]
    assert ask(near, changed(article(1), 0.01))


def test_a_copy_of_a_copy_is_compared_with_what_was_kept():
    near = NearDuplicates()
    assert [ask(near, changed(article(0), s)) for s in (0, 0.01, 0.9)] == [False, True, False]
    assert len(near.index) == 2


def test_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(duplicates, "_REMEMBERED", 3)
    near = NearDuplicates()
    assert not any(ask(near, article(seed)) for seed in range(5))
    assert len(near.index) == 3
    assert ask(near, changed(article(4), 0.01))
    assert not ask(near, changed(article(0), 0.01))


@pytest.mark.parametrize("threshold", [0, 0.49, 0.96, 1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"near_threshold must be from 0\.5 to 0\.95\. Got"):
        NearDuplicates(threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.95])
def test_the_ends_of_the_range_are_usable(threshold):
    first = article(0)
    assert judged([first, [*first, "end"], article(1)], threshold) == [False, True, False]


def test_answers_are_saved_and_taken_over(tmp_path):
    near = NearDuplicates()
    texts = [article(0), changed(article(0), 0.01), article(1)]
    first = [ask(near, t) for t in texts]
    near.save(tmp_path / "judged.npz")
    again = NearDuplicates()
    again.load(tmp_path / "judged.npz")
    assert [ask(again, t) for t in texts] == first == [False, True, False]
    assert len(again.index) == 0


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.integers(1, 9))
def test_keys_are_a_set_however_few_are_python_objects(keys, recent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_RECENT", recent)
        found, expected = KeySet(), set()
        for key in keys:
            assert (key in found) == (key in expected)
            if key not in expected:
                found.add(key)
            expected.add(key)
        assert sorted(found.array().tolist()) == sorted(expected)
        assert all(len(a) > len(b) for a, b in pairwise(found.runs))
        seen = ExactDuplicates(never=False)
        before = [bytes([k % 7]) in {bytes([j % 7]) for j in keys[:i]} for i, k in enumerate(keys)]
        assert [seen.before(bytes([k % 7])) for k in keys] == before

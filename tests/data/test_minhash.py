"""Signatures and verdicts are those of datasketch, which we replace for its memory."""

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH

from tgp_multimodal.data import minhash
from tgp_multimodal.data.minhash import Index, signature
from tgp_multimodal.data.ngrams import ngrams, words


def article(seed, count=200):
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 999, count))


def stock(text):
    found = MinHash(128, hashfunc=int)
    found.update_batch((ngrams(words(text), 5) >> np.uint64(32)).tolist())
    return found


@pytest.mark.parametrize("count", [50, 260, 3000])
def test_a_signature_is_that_of_datasketch(count):
    text = article(count, count)
    assert (signature(text) == stock(text).hashvalues).all()
    assert signature(article(0, 49)) is None


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_verdicts_are_those_of_datasketch(threshold, monkeypatch):
    monkeypatch.setattr(minhash, "_BUCKET_BITS", 4)  # chains, and others in the same bucket
    ours, theirs = Index(threshold, 1000), MinHashLSH(threshold, 128, (0.1, 0.9))
    verdicts, random = [], np.random.default_rng(0)
    for number in range(300):
        some = article(number % 40).split()
        for place in random.integers(0, len(some), random.integers(0, 12)):
            some[place] = f"new{number}"
        text = " ".join(some)
        kept = {key: held for key in theirs.query(stock(text)) if (held := key[1])}
        expected = any(stock(text).jaccard(stock(held)) >= threshold for held in kept.values())
        found = signature(text)
        assert ours.holds(found) == expected
        verdicts.append(expected)
        if not expected:
            ours.add(found)
            theirs.insert((number, text), stock(text))
    assert 5 < sum(verdicts) < 280


def test_the_ring_forgets_the_oldest():
    index = Index(0.8, 3)
    signatures = [signature(article(seed)) for seed in range(7)]
    for some in signatures:
        index.add(some)
    assert [index.holds(some) for some in signatures] == [False] * 4 + [True] * 3
    assert len(index) == 3

import numpy as np
import pytest

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.batches import passage_batches
from tgp_multimodal.data.docstrings import COLON, FENCE, DocstringPairs, ids_with
from tgp_multimodal.data.prepared import TextSplit

SIGNATURES = [f"def number_{i}(value):\n" for i in range(6)]
WORDS = ("zero", "one", "two", "three", "four", "five")
DOCSTRINGS = [f"Gives {word}, so many times, for any value that it is given" for word in WORDS]
BODIES = [f"    return [{i}] * value\n\n\n" for i in range(6)]
FUNCTIONS = [
    f'{signature}    """{docstring}"""\n{body}'
    for signature, docstring, body in zip(SIGNATURES, DOCSTRINGS, BODIES, strict=True)
]
PROSE = 'She said """no""" and left, as one does in a text that has no code at all.'


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(FUNCTIONS, 340)


@pytest.fixture(scope="module")
def text(tokenizer):
    """Two files of three functions, with prose between them."""
    texts = ["".join(FUNCTIONS[:3]), PROSE, "".join(FUNCTIONS[3:])]
    ids = tokenizer.encode_batch(texts)
    offsets = np.concatenate(([0], np.cumsum([len(i) for i in ids])))
    tokens = np.concatenate(ids).astype(np.uint16)
    return TextSplit(tokens, offsets, np.array([1, 0, 1]), ("prose", "code"))


def marks(tokenizer):
    return ids_with(tokenizer, FENCE), ids_with(tokenizer, COLON)


def read(pairs, tokenizer, count=60):
    return {tuple(tokenizer.decode(side) for side in pairs[i]) for i in range(count)}


def test_each_docstring_is_paired_with_its_signature_and_body(tokenizer, text):
    found = read(DocstringPairs(text, "code", 240, *marks(tokenizer)), tokenizer)
    assert len(found) == 6
    for docstring, code in found:
        number = DOCSTRINGS.index(docstring)
        assert SIGNATURES[number].strip() in code
        assert BODIES[number].strip() in code
        assert docstring not in code


def test_no_side_is_longer_than_asked_or_leaves_its_file(tokenizer, text):
    pairs = DocstringPairs(text, "code", 24, *marks(tokenizer))
    for i in range(40):
        docstring, code = pairs[i]
        assert 8 <= len(docstring) <= 24
        assert 8 <= len(code) <= 24
    asked = DocstringPairs(text, "code", 24, *marks(tokenizer), query_length=10)
    assert {len(asked[i][0]) for i in range(40)} == {10}
    assert all((asked[i][1] == pairs[i][1]).all() for i in range(40))
    for wrong in (-300, 0, 7, 25):
        with pytest.raises(ValueError, match=rf"query_length must be from 8 to .*Got {wrong}"):
            DocstringPairs(text, "code", 24, *marks(tokenizer), query_length=wrong)
    whole = read(DocstringPairs(text, "code", 4000, *marks(tokenizer)), tokenizer)
    for docstring, code in whole:
        mine = DOCSTRINGS.index(docstring) // 3
        for i, body in enumerate(BODIES):
            assert body.strip() not in code or i // 3 == mine


def test_a_batch_mixes_passages_and_docstrings_and_begins_anywhere(tokenizer, text):
    shares = {"weights": {"code": 0.5}, "docstrings": {"code": 0.5}}
    made = passage_batches(text, tokenizer, length=24, batch=8, seed=0, **shares)
    firsts = [
        tokenizer.decode(ids[mask])
        for i in range(4)
        for ids, mask in zip(made[i].first_BL, made[i].first_mask_BL, strict=True)
    ]
    described = [any(f and d.startswith(f) for d in DOCSTRINGS) for f in firsts]
    assert 0.3 < np.mean(described) < 0.7
    again = passage_batches(text, tokenizer, length=24, batch=8, seed=0, **shares)
    assert np.array_equal(made[3].second_BM, again[3].second_BM)


def test_what_has_no_docstring_is_named(tokenizer, text):
    with pytest.raises(ValueError, match=r"stream must be one of prose, code. Got 'x' instead"):
        DocstringPairs(text, "x", 24, *marks(tokenizer))
    with pytest.raises(ValueError, match=r"'prose' must hold a docstring. Got none"):
        DocstringPairs(text, "prose", 24, *marks(tokenizer))
    with pytest.raises(ValueError, match="Got tests instead"):
        passage_batches(text, tokenizer, {"code": 1.0}, 24, 8, 0, docstrings={"tests": 0.5})


def test_other_strings_in_three_quotes_are_no_docstrings(tokenizer):
    text = 'QUERY = """select this, and that, and everything else"""\nrun(QUERY)\n' * 3
    ids = np.array(tokenizer.encode(text + "".join(FUNCTIONS[:2])), np.uint16)
    split = TextSplit(ids, np.array([0, len(ids)]), np.array([0]), ("code",))
    found = read(DocstringPairs(split, "code", 60, *marks(tokenizer)), tokenizer)
    assert {docstring for docstring, _ in found} == set(DOCSTRINGS[:2])


def test_the_end_of_one_file_is_no_signature_of_the_next(tokenizer):
    module = '"""What this module of several words is for."""\nimport this\nimport that\n'
    for end in ("x = 1\n", "def unfinished():"):
        ids = tokenizer.encode_batch([FUNCTIONS[0] + end, module])
        offsets = np.cumsum([0, *map(len, ids)])
        split = TextSplit(np.concatenate(ids), offsets, np.array([0, 0]), ("code",))
        found = read(DocstringPairs(split, "code", 60, *marks(tokenizer)), tokenizer)
        assert {docstring for docstring, _ in found} == {DOCSTRINGS[0]}


def test_docstrings_alone_are_enough(tokenizer, text):
    made = passage_batches(text, tokenizer, {}, 24, 4, 0, docstrings={"code": 1.0})
    assert len(made[0].first_BL) == 4

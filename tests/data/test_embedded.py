import ast
from itertools import islice

import pytest

from tgp_multimodal.data import embedded


def test_a_file_and_its_docstrings_fall_on_one_side_only():
    names = {
        split: {f"{f.package}/{f.name}" for f in embedded._files(split)}
        for split in embedded.SPLITS
    }
    assert all(len(found) > 20 for found in names.values())
    assert not names["train"] & (names["validation"] | names["test"])
    assert not names["validation"] & names["test"]
    assert len(names["train"]) > 10 * len(names["test"])


def test_documents_are_prose_then_code_and_never_empty():
    documents = list(embedded.documents("validation"))
    streams = [d.stream for d in documents]
    assert set(streams) == {"prose", "code"}
    assert streams == sorted(streams, reverse=True)
    assert all(d.text.strip() for d in documents)
    assert sum(len(d.text) for d in documents) > 500_000


def test_reading_twice_gives_the_same():
    first, second = (list(islice(embedded.documents("test"), 50)) for _ in range(2))
    assert first == second


def test_functions_are_whole_and_their_bodies_hold_no_docstring():
    functions = list(islice(embedded.functions("test"), 60))
    assert len(functions) == 60
    for function in functions:
        node = ast.parse(function.source).body[0]
        assert isinstance(node, ast.FunctionDef)
        assert node.name == function.name
        body = ast.parse(function.body).body[0]
        assert ast.get_docstring(body) != function.docstring
        assert ast.get_docstring(node).split() == function.docstring.split()


def test_all_digits_are_there_once():
    pairs = [p for split in embedded.SPLITS for p in embedded.digits(split)]
    assert len(pairs) == len({p.name for p in pairs}) == 1797
    pair = pairs[0]
    assert pair.pixels_YXC.shape == (32, 32, 3)
    assert pair.pixels_YXC.max() > 200
    assert embedded.DIGIT_WORDS[int(pair.name.rsplit("/", 1)[1])] in pair.caption


def test_every_package_that_is_read_has_a_license():
    assert {f.package for f in embedded._all_files()} <= {s["name"] for s in embedded.sources()}
    assert all(s["license"] for s in embedded.sources())


def test_an_unknown_split_is_named():
    with pytest.raises(
        ValueError, match=r"split must be one of train, validation, test. Got 'dev'"
    ):
        list(embedded.documents("dev"))

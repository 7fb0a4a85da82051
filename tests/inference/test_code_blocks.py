"""Where a function body ends."""

import ast
import inspect

import pytest

from tgp_multimodal.data import packing
from tgp_multimodal.inference import writing
from tgp_multimodal.inference.code_blocks import Block, enclosing_block, end_of_block

METHOD = "class A:\n    def f(self):\n"


@pytest.mark.parametrize(
    ("prompt", "block"),
    [
        ("", Block(0, True)),
        ("x = 1\n", Block(0, True)),
        ("def f(a, b", Block(1, False)),
        ("def f():\n", Block(1, True)),
        ('def f():\n    """Facts."""\n', Block(1, True)),
        ("def f():\n    return ", Block(1, False)),
        ("def f():\n    for x in y:\n        ", Block(1, False)),
        ("async  def f(\n    a,\n):\n    x\n", Block(1, True)),
        (METHOD, Block(5, True)),
        (f"{METHOD}        if x:\n            y\n# note\n", Block(5, True)),
        (f"{METHOD}        pass\n    x", Block(1, False)),
        ("if x:\n", Block(1, True)),
        ("if x:\n\ty\n", Block(8, True)),
    ],
)
def test_blocks_of_prompts(prompt, block):
    assert enclosing_block(prompt) == block


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    a\n\n\ndef g", "    a"),
        ("    a\n        b\n    c\n\n", None),
        ("    a\nx", "    a"),
        ("    f(\n)\n    b\n\n\nx", "    f(\n)\n    b"),
        ("x", ""),
        ("\n\n    a\n\t\n", None),
        ("    a\n# note", "    a"),
    ],
)
def test_ends(text, kept):
    end = end_of_block(Block(4, True), text)
    assert (None if end is None else text[:end]) == kept


def test_the_first_line_counts_only_where_it_begins_one():
    assert end_of_block(Block(4, False), "x + 1\n    y\nz") == len("x + 1\n    y")
    assert end_of_block(Block(0, True), "x\ny\nclass A:") is None


@pytest.mark.parametrize("module", [writing, packing], ids=lambda m: m.__name__)
def test_every_function_of_a_real_file_is_cut_out_exactly(module):
    """Against the parser of Python: the header and what follows give the body back."""
    source = inspect.getsource(module)
    lines = source.split("\n")
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    assert len(functions) > 5
    for node in functions:
        start = node.body[0].lineno - 1
        prompt = "\n".join(lines[:start]) + "\n"
        rest = "\n".join(lines[start:])
        end = end_of_block(enclosing_block(prompt), rest)
        body = "\n".join(lines[start : node.end_lineno])
        assert rest[:end].rstrip("\n") == body

"""Who passes: programs that compute the right values, and no others, whatever they do."""

import struct

import pytest

from tgp_multimodal.evaluation.sandbox import Limits, Sandbox, Trial, Verdict

TESTS = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate(3) == 9
    assert abs(candidate(0.5) - 0.25) < 1e-6
    for number in range(4, 9):
        assert candidate(number) == number ** 2

check(square)
"""
RIGHT = {
    "plain": "def square(x): return x * x",
    "an expression": "square = lambda x: x ** 2",
    "a method": "class Square:\n    def __call__(self, x): return x * x\nsquare = Square()",
    "a subclass of a number": "class Whole(int): pass\ndef square(x): return type(x)(Whole(x * x))"
    " if x == int(x) else x * x",
    "output": "def square(x):\n    print('hello')\n    return x * x",
    "a file of its own": "def square(x):\n    open('a', 'w').write('b')\n    return x * x",
    "a thread": "import threading\ndef square(x):\n    found = []\n"
    "    one = threading.Thread(target=lambda: found.append(x * x))\n"
    "    one.start()\n    one.join()\n    return found[0]",
    "a data class": "from dataclasses import dataclass\n@dataclass\nclass Number:\n    x: 'float'\n"
    "def square(x): return Number(x * x).x",
    "no main": "def square(x): return x * x\nif __name__ == '__main__': 1 / 0",
}


def written(text: bytes, times: int = 1, head: bytes = b"") -> str:
    """A program that writes a message of its own to every descriptor that takes it."""
    message = (head or struct.pack("!I", len(text))) + text
    return f"""
import os
for file in range(3, 64):
    try: os.write(file, {message!r} * {times})
    except OSError: pass
def square(x): return 0
"""


CHEATS = {
    "returns nothing": "def square(x): pass",
    "is empty": "",
    "is off by one": "def square(x): return x * x + 1",
    "is another function": "def cube(x): return x * x",
    "exits well": "import sys\nsys.exit(0)",
    "exits well when it is called": "import sys\ndef square(x): sys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits at once when it is called": "import os\ndef square(x): os._exit(0)",
    "raises what nobody catches": "class E(BaseException): pass\ndef square(x): raise E",
    "interrupts": "def square(x): raise KeyboardInterrupt",
    "cannot be printed": "class E(Exception):\n    def __str__(self): raise SystemExit\n"
    "def square(x): raise E",
    "is equal to all": "class Same:\n    def __eq__(self, other): return True\n"
    "    def __sub__(self, other): return 0\n    __hash__ = None\ndef square(x): return Same()",
    "is a number equal to all": "class Same(int):\n    def __eq__(self, other): return True\n"
    "    def __sub__(self, other): return 0\n    __hash__ = int.__hash__\n"
    "def square(x): return Same(7)",
    "is a real number equal to all": "class Same(float):\n    def __eq__(self, o): return True\n"
    "    def __sub__(self, other): return 0.0\n    __hash__ = float.__hash__\n"
    "def square(x): return Same(7)",
    "lies about its class": "class Same:\n    __class__ = int\n"
    "    def __eq__(self, other): return True\ndef square(x): return Same()",
    "is a type equal to all": "class Meta(type):\n    def __eq__(self, other): return True\n"
    "    __hash__ = type.__hash__\nclass Same(metaclass=Meta): pass\ndef square(x): return Same",
    "patches assertions": "import builtins\nclass Never(Exception): pass\n"
    "builtins.AssertionError = Never\ndef square(x): return 0",
    "patches abs and range": "import builtins\nbuiltins.abs = lambda x: 0\n"
    "builtins.range = lambda *a: ()\ndef square(x): return {2: 4, 3: 9}.get(x, 0)",
    "patches unittest": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
    "unittest.main = lambda *a: None\ndef square(x): return 0",
    "patches check": "def check(candidate): pass\ndef square(x): return 0",
    "patches the way back": """
from tgp_multimodal.evaluation.sandbox import cells, plain
plain.encode = lambda value: b'true'
def square(x): return 0
""",
    "patches what is written": """
import sys
from tgp_multimodal.evaluation.sandbox import cells, plain
plain.write = plain.send = lambda *a: sys.exit(0)
def square(x): return 0
""",
    "answers that all is well": written(b'["tuple", "tests", ""]'),
    "answers before it is asked": written(b'["tuple", "value", true]', 99),
    "answers with what cannot be a key": written(b'["tuple", "value", ["set", ["list"]]]'),
    "writes no JSON": written(b"{{{{"),
    "writes a JSON object": written(b'{"a": 1}'),
    "writes a deep value": written(b'["list",' * 9000 + b"1" + b"]" * 9000),
    "writes nothing": written(b""),
    "announces too much": written(b"", head=b"\xff\xff\xff\xff"),
    "reads the tests in frames": """
import sys
marker = 'assert ', 'candidate'
def square(x):
    frame = sys._getframe()
    while frame:
        for value in (*frame.f_locals.values(), *frame.f_globals.values()):
            if ''.join(marker) in repr(value):
                return x * x
        frame = frame.f_back
    return 0
""",
    "reads the tests in memory": """
import gc
marker = 'assert ' + 'candidate'
def square(x):
    for one in gc.get_objects():
        values = one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()
        if any(type(v) is str and marker in v and v is not marker for v in list(values)):
            return x * x
    return 0
""",
    "reads the tests in files": """
import os
def square(x):
    for file in range(3, 64):
        try:
            if b'assert' in os.pread(file, 10_000, 0): return x * x
        except OSError:
            pass
    return 0
""",
    "returns a generator": "def square(x): yield x * x",
    "returns a function": "def square(x): return lambda: x * x",
    "returns not a number": "def square(x): return float('nan')",
    "returns a text": "def square(x): return str(x * x)",
    "runs at exit": "import atexit\natexit.register(print)\ndef square(x): return 0",
    "is no Python": "def square(x) return x",
    "holds a zero byte": "\0",
}  # fmt: skip


def judged(sandbox: Sandbox, program: str, tests: str = TESTS, **given: str) -> Verdict:
    (verdict,) = sandbox.judge([Trial(program, tests, "square", **given)])
    return verdict


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes(name: str, sandbox: Sandbox):
    assert judged(sandbox, RIGHT[name]) == Verdict(True, "")


@pytest.mark.parametrize("name", CHEATS)
def test_a_wrong_program_fails(name: str, sandbox: Sandbox):
    verdict = judged(sandbox, CHEATS[name])
    assert not verdict.passed
    assert 0 < len(verdict.reason) < 300


@pytest.mark.parametrize(
    "name", [n for n in CHEATS if n.startswith(("returns", "is off", "exits"))]
)
def test_wrong_is_wrong_without_the_sandbox_too(name: str, unsafe: Sandbox):
    assert not judged(unsafe, CHEATS[name]).passed


def test_values_arrive_as_their_plain_types(sandbox: Sandbox):
    program = """
from collections import Counter, OrderedDict, namedtuple
Pair = namedtuple('Pair', 'a b')
class Text(str): pass
def square(x):
    return [True, 1, 1.0, Text('t'), b'b', None, Pair(1, 2), Counter('aab'), OrderedDict(a=1),
            {1, 2}, frozenset('a'), 2 + 3j, 10 ** 5000, -2 ** 70, (1,), [[]], {}, float('inf')]
"""
    tests = """
found = square(0)
wanted = [True, 1, 1.0, 't', b'b', None, (1, 2), {'a': 2, 'b': 1}, {'a': 1},
          {1, 2}, frozenset('a'), 2 + 3j, 10 ** 5000, -2 ** 70, (1,), [[]], {}, float('inf')]
assert found == wanted
assert [type(f) for f in found] == [type(w) for w in wanted]
"""
    assert judged(sandbox, program, tests).reason == ""


def test_arguments_are_copies(sandbox: Sandbox):
    tests = "a = [1]\nassert square(a, key=(a, {'b': 1.5})) == 2\nassert a == [1]"
    program = "def square(a, key):\n    a.append(2)\n    return len(a) if key[1]['b'] == 1.5 else 0"
    assert judged(sandbox, program, tests).reason == ""


def test_helpers_of_the_benchmark_are_not_those_of_the_program(sandbox: Sandbox):
    reference = "def half(x): return x / 2\ndef square(x): return 0"
    tests = "assert half(square(4)) == 8"
    given = {"reference": reference}
    assert judged(sandbox, "def square(x): return x * x", tests, **given).passed
    cheat = "def half(x): return 8\ndef square(x): return 0"
    assert not judged(sandbox, cheat, tests, **given).passed


def test_setup_runs_where_the_program_is_and_its_objects_stand_for_themselves(sandbox: Sandbox):
    program = (
        "class Box:\n    def __init__(self, x): self.x = x\ndef square(box): return box.x ** 2"
    )
    trial = Trial(
        program, "assert square(box) == 9", "square", setup="box = Box(3)", names=("box",)
    )
    assert sandbox.judge([trial]) == [Verdict(True, "")]


def test_a_test_that_swallows_errors_does_not_hide_a_failure(sandbox: Sandbox):
    tests = "try:\n    square(1)\nexcept Exception:\n    pass"
    assert "ZeroDivisionError" in judged(sandbox, "def square(x): return 1 / 0", tests).reason


def test_tests_that_never_call_pass_nobody(sandbox: Sandbox):
    verdict = judged(sandbox, "def square(x): return x", "assert True")
    assert verdict == Verdict(False, "the tests never called the program")


def test_chance_and_hashes_are_the_same_each_time(sandbox: Sandbox):
    program = "import random\ndef square(x): return [random.random(), [*{'a', 'b', 'c', 'd'}]]"
    tests = "found = square(0)\nassert False, found"
    assert judged(sandbox, program, tests) == judged(sandbox, program, tests)


def test_the_reason_says_what_happened(sandbox: Sandbox):
    reasons = {
        "def square(x): return 1 / 0": "the program: ZeroDivisionError: division by zero",
        "def square(x): return 5": "AssertionError",
        "def square(x):\n    while True: pass": "the program used more than 1 s of processor time",
        "import os\ndef square(x): os._exit(3)": "the program ended",
        "import ctypes\ndef square(x): ctypes.string_at(0)": "the program was killed by SIGSEGV",
        "raise ValueError('no')": "the program: ValueError: no",
    }
    for program, reason in reasons.items():
        assert judged(sandbox, program).reason == reason


def test_verdicts_come_in_the_order_of_trials(sandbox: Sandbox):
    slow = "import time\ntime.sleep(0.3)\ndef square(x): return x * x"
    programs = [slow, CHEATS["is off by one"], RIGHT["plain"], slow, "1 / 0"]
    verdicts = sandbox.judge([Trial(p, TESTS, "square") for p in programs])
    assert [v.passed for v in verdicts] == [True, False, True, True, False]
    assert sandbox.judge([]) == []


def test_limits_are_those_that_were_asked_for(sandbox: Sandbox):
    with Sandbox(Limits(10, 256)) as small, Sandbox(Limits(10, 1024)) as large:
        program = "def square(x): return len(bytearray(400 * 2 ** 20))"
        tests = f"assert square(0) == {400 * 2**20}"
        assert "MemoryError" in judged(small, program, tests).reason
        assert judged(large, program, tests).passed

"""Reference solutions of the benchmarks pass, all of them; what was broken on purpose fails."""

import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from planted_models import Planted

from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.asking import asker
from tgp_multimodal.evaluation.examples import Examples, rows
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols.pass_at_k import pass_at_k
from tgp_multimodal.evaluation.requests import Generate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared_data,
    pytest.mark.skipif(not os.environ.get("TGP_DATA"), reason="needs $TGP_DATA"),
    pytest.mark.usefixtures("sandbox"),
]
COUNTS = {"code/humaneval": 164, "code/humaneval_infilling_pass": 1197, "code/mbpp": 500}
TASKS = pytest.mark.parametrize("name", COUNTS)


def measured(name: str, change: Callable[[str, str], str] = lambda text, function: text) -> Outcome:
    """The protocol on a model that writes the reference solution of a problem, or a change of it.

    Of infilling, the gaps of random spans too, which the card leaves out.
    """
    card = cards.find(name)
    settings = {**card.settings, "samples": 1, "ending": "", "seconds": 6}
    card = replace(card, settings=settings, source={"folder": card.source["folder"]})
    examples = Examples(card)
    known = {
        (e.fields["prompt"], e.fields.get("suffix")): change(
            row.get("canonical_solution") or row["code"], e.fields["function"]
        )
        for e, row in zip(examples.test, rows(card, "test"), strict=True)
    }
    model = Planted(generate=lambda r: known[r.prompt, r.suffix])
    return pass_at_k(examples, model, asker(model))


@TASKS
def test_reference_solutions_pass(name: str):
    found = measured(name)
    failed = {r["id"]: r["reason"] for r in found.records if not r["passed"]}
    assert failed == {}
    assert len(found.records) == COUNTS[name]


def behind(code: str) -> Callable[[str, str], str]:
    """Code that stands behind the solution and replaces the function by one that spoils it."""

    def change(text: str, function: str) -> str:
        return f"{text}\n\n{code.format(f=function)}\n"

    return change


MUTANTS: dict[str, Callable[[str, str], str]] = {
    "return None": behind("def {f}(*a, **k): return None"),
    "off by one": behind(
        "_was = {f}\n"
        "def _off(v):\n"
        "    if isinstance(v, bool): return not v\n"
        "    if isinstance(v, (int, float, complex)): return v + 1\n"
        "    if isinstance(v, str): return v + 'x'\n"
        "    if isinstance(v, (list, tuple)): return type(v)([*v, 1])\n"
        "    if isinstance(v, set): return v ^ {{1}}\n"
        "    if isinstance(v, dict): return {{**v, 'x': 1}}\n"
        "    return 1 if v is None else None\n"
        "def {f}(*a, **k): return _off(_was(*a, **k))"
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", ["code/humaneval", "code/mbpp"])
def test_mutants_fail(name: str, mutant: str):
    found = measured(name, MUTANTS[mutant])
    assert [r["id"] for r in found.records if r["passed"]] == []


@pytest.mark.parametrize("name", ["code/humaneval", "code/mbpp"])
def test_an_empty_program_fails(name: str):
    found = measured(name, lambda text, function: "")
    assert [r["id"] for r in found.records if r["passed"]] == []


def test_an_empty_gap_fails():
    """But where what is missing was not needed: 27 gaps, shortcuts and comments most of them."""
    found = measured("code/humaneval_infilling_pass", lambda text, function: "")
    assert sum(r["passed"] for r in found.records) == 27


def none_returned(gap: str, function: str) -> str:
    indentation = gap[: len(gap) - len(gap.lstrip(" "))]
    return f"{indentation}return None\n"


def first_number_raised(gap: str, function: str) -> str:
    number = r"(?<![\w.\"'])\d+(?![\w.\"'])"
    return re.sub(number, lambda found: str(int(found[0]) + 1), gap, count=1)


@pytest.mark.parametrize(
    ("change", "unchanged", "unnoticed"), [(none_returned, 1, 23), (first_number_raised, 696, 73)]
)
def test_a_spoiled_gap_fails(change: Callable[[str, str], str], unchanged: int, unnoticed: int):
    """But where the tests of the benchmark cannot tell.

    `assert not f(x)` takes None for False, no test reaches the branch of `n < 4`, and `max` of an
    array may start at its second item.
    """
    found = measured("code/humaneval_infilling_pass", change)
    assert sum(r["passed"] for r in found.records) == unchanged + unnoticed


def test_requests_know_nothing_of_the_solution():
    card = cards.find("code/humaneval")
    seen: list[Generate] = []
    model = Planted(generate=lambda r: seen.append(r) or "")
    pass_at_k(Examples(card, 2), model, asker(model))
    assert len(seen) == 20
    assert all(r.suffix is None and r.prompt.rstrip().endswith(('"""', "'''")) for r in seen)

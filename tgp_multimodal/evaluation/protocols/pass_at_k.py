"""Does it run? Programs that a model writes, each judged by the tests of its problem."""

import ast
import builtins
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.asking import ALONE, Team
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.requests import Generate
from tgp_multimodal.evaluation.sandbox import Limits, Sandbox, Trial, Verdict
from tgp_multimodal.evaluation.sandbox.runner import processors
from tgp_multimodal.evaluation.stats import share


def pass_at_k(
    examples: Examples,
    adapter: Adapter,
    ask: Ask,
    unsafe_local: bool = False,
    team: Team = ALONE,
) -> Outcome:
    """Share of problems that one of k samples solves, expected over the choice of the k.

    From n samples of which c pass, 1 - C(n - c, k) / C(n, k), which is unbiased (Chen et al. 2021,
    arXiv:2107.03374, equation 1). A sample passes if all tests of its problem hold, in the sandbox
    (`evaluation.sandbox`) and within its limits. What is run is prompt + sample + `ending` +
    suffix. Sample i of every problem has the seed `seed` + i.

    Details have pass@k for k of 1, 5, 10 and 100 up to the card's n, and why failing programs
    failed: wrong answers, no function of that name, time, and so on. `Outcome.executed` says behind
    which layers they ran.

    Raises:
        SandboxError: a layer of the sandbox is missing.
        ValueError: the headline metric needs more samples than the card says.
    """
    test, card = examples.test, examples.card
    count, ending = int(card.setting("samples")), str(card.setting("ending"))
    ks = sorted({1, *(k for k in _KS if k <= count)})
    if int(card.metric.removeprefix(_METRIC)) not in ks:
        raise ValueError(f"samples must be enough for {card.metric}. Got {count} instead.")
    written = _samples(examples, ask, count)
    trials = [_trial(e, w + ending) for e, own in zip(test, written, strict=True) for w in own]
    limits = Limits(int(card.setting("seconds")), int(card.setting("megabytes")))
    # Each process runs its share of the programs, on its share of the processors.
    workers = max(1, processors() // team.world)
    with Sandbox(limits, unsafe_local, workers) as sandbox:
        judged = team.gather(sandbox.judge(trials[team.rank :: team.world]))
        verdicts = [judged[i % team.world][i // team.world] for i in range(len(trials))]
        ran = {"programs": len(trials), "layers": [*sandbox.layers], "unsafe_local": unsafe_local}
    records = [
        _record(example, own, verdicts[place * count :][:count], ks, card.metric)
        for place, (example, own) in enumerate(zip(test, written, strict=True))
    ]
    details: dict[str, Any] = {
        name: math.fsum(r[name] for r in records) / len(records)
        for name in (f"{_METRIC}{k}" for k in ks)
    }
    details["reasons"] = dict(Counter(map(_kind, verdicts)).most_common())
    scores = [r["score"] for r in records]
    interval = share(scores, [1.0] * len(scores), groups(test))
    return Outcome(details[card.metric], interval, records, details, ran)


def estimate(samples: int, passed: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): how likely one of k samples, of n, is one of the c that pass.

    Raises:
        ValueError: the numbers are no such counts.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(
            "passed must be 0 to samples, and k 1 to samples."
            f" Got passed={passed}, samples={samples}, k={k} instead."
        )
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


_METRIC = "pass_at_"
_KS = (1, 5, 10, 100)


def _samples(examples: Examples, ask: Ask, count: int) -> list[list[str]]:
    """Samples of each problem; those of one stand together, so that its prompt is read once."""
    card = examples.card
    stop = tuple(str(s) for s in card.setting("stop"))
    most, seed = int(card.setting("max_tokens")), int(card.setting("seed"))
    heat, top = float(card.setting("temperature")), float(card.setting("top_p"))
    requests = [
        Generate(str(e.fields["prompt"]), most, stop, e.fields.get("suffix"), heat, top, seed + i)
        for e in examples.test
        for i in range(count)
    ]
    answers: list[str] = ask(requests)
    return [answers[start : start + count] for start in range(0, len(answers), count)]


def _trial(example: Example, sample: str) -> Trial:
    fields = example.fields
    setup = str(fields.get("setup", ""))
    return Trial(
        program=f"{fields['prompt']}{sample}{fields.get('suffix', '')}",
        tests=str(fields["tests"]),
        function=str(fields["function"]),
        reference=str(fields.get("reference", "")),
        setup=setup,
        names=tuple(_assigned(setup)),
    )


def _assigned(code: str) -> Iterator[str]:
    """Variables that the statements of a module assign."""
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Assign):
            yield from (t.id for t in statement.targets if isinstance(t, ast.Name))


def _record(
    example: Example,
    written: Sequence[str],
    verdicts: Sequence[Verdict],
    ks: list[int],
    metric: str,
) -> dict[str, Any]:
    passed = sum(v.passed for v in verdicts)
    found = {f"{_METRIC}{k}": estimate(len(verdicts), passed, k) for k in ks}
    first = next((i for i, v in enumerate(verdicts) if v.passed), 0)
    return {
        "id": example.id,
        "score": found[metric],
        "group": example.group,
        **found,
        "samples": len(verdicts),
        "passed": passed,
        "prediction": written[first],
        "reason": verdicts[first].reason,
    }


def _kind(verdict: Verdict) -> str:
    """The reason of a verdict, without what a program can choose the words of."""
    said, _, raised = verdict.reason.partition(": ")
    if said == "the program":
        name = raised.split(":")[0]
        return name if hasattr(builtins, name) else "another error"
    return said or "passed"

"""What the right answer costs: bits per byte of a text given another, and whether it is written."""

import math
from collections import defaultdict
from typing import Any

from tgp_multimodal.data.tokenizer import move_space
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Example, Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.requests import Generate, Score, ScoreAnswer
from tgp_multimodal.evaluation.stats import bootstrap, share


def conditional_perplexity(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Nats of all continuations given their contexts / their UTF-8 bytes / ln 2.

    A continuation is a whole answer: the solution of a programming task, the summary of a question;
    with a `suffix` it is what fills the gap between the two. Nothing is generated, so that small
    models, which seldom write an answer that is right to the letter, can still be compared.
    White space between context and continuation belongs to the continuation (see `Score`), its
    bytes too.

    `details["greedy"]` is the share of answers whose every token was the most probable one: those
    that greedy generation would write. `details["kinds"]` has the bits per byte of each kind of
    item.
    """
    test = examples.test
    requests = [_request(e) for e in test]
    answers: list[ScoreAnswer] = ask(requests)
    sizes = [len(r.continuation.encode()) for r in requests]
    bits = [-a.nats / math.log(2) for a in answers]
    tokens = sum(a.tokens for a in answers)
    details: dict[str, Any] = {
        "bytes": sum(sizes),
        "tokens": tokens,
        "nats_per_token": -sum(a.nats for a in answers) / max(1, tokens),
        "greedy": sum(a.is_greedy for a in answers) / len(answers),
    }
    records = [
        {"id": e.id, "score": b / s, "group": e.group, "nats": -a.nats, "bytes": s}
        for e, a, b, s in zip(test, answers, bits, sizes, strict=True)
    ]
    kinds: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for example, cost in zip(test, zip(bits, sizes, strict=True), strict=True):
        kinds[str(example.fields.get("kind", ""))].append(cost)
    if len(kinds) > 1:
        details["kinds"] = {
            kind: {"value": sum(b for b, _ in own) / sum(s for _, s in own), "n": len(own)}
            for kind, own in sorted(kinds.items())
        }
    details["bits_per_byte"] = value = sum(bits) / sum(sizes)
    return Outcome(value, bootstrap(bits, groups(test), sizes), records, details)


def _request(example: Example) -> Score:
    context, continuation = str(example.fields["context"]), str(example.fields["continuation"])
    if "suffix" in example.fields:
        return Score(context, continuation, str(example.fields["suffix"]))
    return Score(*move_space(context, continuation))


def infilling_match(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Share of gaps that a model fills with the very text that stood there.

    Greedy, given prefix and suffix (Bavarian et al. 2022, arXiv:2207.14255); white space at both
    ends does not count. Nothing is run: a right filling that reads otherwise counts as wrong, so
    the number is below their pass rate.
    """
    test, card = examples.test, examples.card
    most, stop = int(card.setting("max_tokens")), tuple(card.setting("stop"))
    requests = [
        Generate(str(f["prefix"]), most, stop, str(f["suffix"])) for f in (e.fields for e in test)
    ]
    written: list[str] = ask(requests)
    middles = [str(e.fields["middle"]) for e in test]
    correct = [w.strip() == m.strip() for w, m in zip(written, middles, strict=True)]
    value = sum(correct) / len(correct)
    details = {
        "exact_match": value,
        "empty": sum(not w.strip() for w in written) / len(test),
    }
    records = [
        {"id": e.id, "correct": c, "group": e.group, "prediction": w, "target": m}
        for e, c, w, m in zip(test, correct, written, middles, strict=True)
    ]
    interval = share([float(c) for c in correct], [1.0] * len(correct), groups(test))
    return Outcome(value, interval, records, details)

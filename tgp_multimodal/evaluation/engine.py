"""Runs cards on a model: where cards, data, adapter, protocol and result files meet."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tgp_multimodal.evaluation import environment, results
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples, check_source
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.requests import Answer, Request, key
from tgp_multimodal.evaluation.results import Result

# Called with (what happens, name of the card, sentence); what: skipped, kept, data, asking, done.
Progress: TypeAlias = Callable[[str, str, str], None]


def evaluate(
    adapter: Adapter,
    cards: Sequence[Card],
    results_folder: Path,
    limit: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Scores one model on each of the cards and writes a result file for each.

    A result that stands is kept: one of the same card, model, limit and code (and, for embedded
    data, of the same installed libraries). So a run that was killed goes on where it was.

    Args:
        adapter: the model.
        cards: what to measure.
        results_folder: where `<model>/<domain>__<task>.json` go.
        limit: at most so many test items of each card, for a first look; None for all.
        fresh: compute also what stands.
        progress: told what happens.

    Returns:
        Results of the cards that the model can do, in their order; reasons for the others are in
        `<model>/skipped.jsonl`.

    Raises:
        ValueError: a card's data are missing. Raised before anything is computed.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1. Got {limit} instead.")
    say = progress or _silent
    reasons = {card.name: adapter.can(card) for card in cards}
    able = [card for card in cards if reasons[card.name] is None]
    for card in able:
        check_source(card)
    _store_skipped(adapter, results_folder, reasons, say)
    facts = adapter.facts()
    assert facts.get("digest"), f"{adapter.name} must say its digest"
    return [_result(adapter, card, results_folder, limit, fresh, facts, say) for card in able]


def _result(
    adapter: Adapter,
    card: Card,
    root: Path,
    limit: int | None,
    fresh: bool,
    facts: dict[str, Any],
    say: Progress,
) -> Result:
    where = _where(card)
    standing = None if fresh else _standing(adapter, card, root, limit, facts, where)
    if standing is not None:
        say("kept", card.name, f"{card.metric} {standing.value:.4f}, computed before")
        return standing
    say("data", card.name, "reading the data")
    examples = Examples(card, limit)
    count = examples.read()
    say("asking", card.name, f"{count} items")
    start = time.perf_counter()
    outcome = PROTOCOLS[card.protocol](examples, adapter, asker(adapter))
    seconds = time.perf_counter() - start
    result = _assemble(adapter, examples, outcome, seconds, facts, where)
    results.write(root, result, outcome.records)
    say("done", card.name, f"{card.metric} {result.value:.4f}, {seconds:.1f} s")
    return result


def asker(adapter: Adapter) -> Callable[[Sequence[Request]], list[Answer]]:
    """Sends each distinct request once and puts the answers into the order of the questions."""

    def ask(requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        keys = [key(r) for r in requests]
        distinct = dict(zip(reversed(keys), reversed(requests), strict=True))
        distinct = {k: distinct[k] for k in dict.fromkeys(keys)}
        answers = adapter.answer(list(distinct.values()))
        assert len(answers) == len(distinct), (
            f"{adapter.name} answered {len(answers)} of {len(distinct)}"
        )
        found = dict(zip(distinct, answers, strict=True))
        return [found[k] for k in keys]

    return ask


def _assemble(
    adapter: Adapter,
    examples: Examples,
    outcome: Outcome,
    seconds: float,
    facts: dict[str, Any],
    where: dict[str, Any],
) -> Result:
    card = examples.card
    return Result(
        model=adapter.name,
        card=card.name,
        card_version=card.version,
        card_digest=card.digest,
        domain=card.domain,
        protocol=card.protocol,
        metric=card.metric,
        value=outcome.value,
        n=len(outcome.records),
        low=outcome.interval.low,
        high=outcome.interval.high,
        chance=card.chance,
        higher_is_better=card.higher_is_better,
        details=outcome.details,
        limit=examples.limit,
        data_digest=examples.digest,
        seconds=round(seconds, 3),
        model_facts=facts,
        environment=where,
        items_file=results.path(Path(), adapter.name, card.name).with_suffix(".jsonl").name,
    )


def _where(card: Card) -> dict[str, Any]:
    found = environment.describe()
    if "embedded" in card.source:
        found["corpus_versions"] = environment.corpus_versions()
    return found


def _standing(
    adapter: Adapter,
    card: Card,
    root: Path,
    limit: int | None,
    facts: dict[str, Any],
    where: dict[str, Any],
) -> Result | None:
    file = results.path(root, adapter.name, card.name)
    if not file.is_file() or not file.with_suffix(".jsonl").is_file():
        return None
    try:
        found = results.read(file)
    except ValueError:
        return None

    def mark(digest: str, facts: dict[str, Any], limit: int | None, where: dict[str, Any]) -> Any:
        code = [where.get(k) for k in ("tgp_multimodal", "corpus_versions")]
        return digest, facts.get("digest"), limit, code

    mine = mark(card.digest, facts, limit, where)
    return (
        found
        if mark(found.card_digest, found.model_facts, found.limit, found.environment) == mine
        else None
    )


def _store_skipped(
    adapter: Adapter, root: Path, reasons: dict[str, str | None], say: Progress
) -> None:
    skipped = {card: reason for card, reason in reasons.items() if reason is not None}
    for card, reason in skipped.items():
        say("skipped", card, f"{adapter.name} {reason}")
    if skipped:
        place = results.folder(root, adapter.name)
        place.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"card": c, "reason": r}) for c, r in skipped.items())
        results.replace(place / "skipped.jsonl", "\n".join(lines) + "\n")


def _silent(what: str, card: str, sentence: str) -> None:
    pass

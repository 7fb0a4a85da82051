"""Runs cards on a model: where cards, data, adapter, protocol and result files meet."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tgp_multimodal.evaluation import environment, results
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples, check_source
from tgp_multimodal.evaluation.outcome import Ask
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.requests import Answer, EmbedTokens, Request, key
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
    run = _Run(adapter, asker(adapter), results_folder, limit, fresh, facts, say)
    return [_result(run, card) for card in able]


class _Run(NamedTuple):
    """What stays the same from card to card."""

    adapter: Adapter
    ask: Ask
    root: Path
    limit: int | None
    fresh: bool
    facts: dict[str, Any]
    say: Progress


def _result(run: _Run, card: Card) -> Result:
    where = environment.describe()
    if "embedded" in card.source:
        where["corpus_versions"] = environment.corpus_versions()
    standing = None if run.fresh else _standing(run, card, where)
    if standing is not None:
        run.say("kept", card.name, f"{card.metric} {standing.value:.4f}, computed before")
        return standing
    run.say("data", card.name, "reading the data")
    examples = Examples(card, run.limit)
    count = examples.read()
    run.say("asking", card.name, f"{count} items")
    start = time.perf_counter()
    outcome = PROTOCOLS[card.protocol](examples, run.adapter, run.ask)
    seconds = time.perf_counter() - start
    result = Result(
        model=run.adapter.name,
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
        limit=run.limit,
        data_digest=examples.digest,
        seconds=round(seconds, 3),
        model_facts=run.facts,
        environment=where,
        items_file=results.path(Path(), run.adapter.name, card.name).with_suffix(".jsonl").name,
    )
    results.write(run.root, result, outcome.records)
    run.say("done", card.name, f"{card.metric} {result.value:.4f}, {seconds:.1f} s")
    return result


def _standing(run: _Run, card: Card, where: dict[str, Any]) -> Result | None:
    """The stored result, if all that decides it is as it was."""
    file = results.path(run.root, run.adapter.name, card.name)
    if not file.is_file() or not file.with_suffix(".jsonl").is_file():
        return None
    try:
        found = results.read(file)
    except ValueError:
        return None
    code = ("tgp_multimodal", "corpus_versions")
    then = [found.card_digest, found.limit, found.model_facts.get("digest")]
    now = [card.digest, run.limit, run.facts.get("digest")]
    then += [found.environment.get(name) for name in code]
    now += [where.get(name) for name in code]
    return found if then == now else None


def asker(adapter: Adapter) -> Ask:
    """Sends each distinct request once and puts the answers into the order of the questions.

    Answers are kept, so that two cards with the same items cost as much as one; but not those of
    models that are fitted on each card, whose answers differ from card to card, nor what is large:
    the vectors of views, of which a probe compares dozens, and those of all words of all sentences.
    """
    is_fitted = type(adapter).fit is not Adapter.fit
    kept: dict[str, Answer] = {}

    def ask(requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        if is_fitted:
            kept.clear()
        keys = [key(r) for r in requests]
        distinct = {k: r for k, r in zip(keys, requests, strict=True) if k not in kept}
        answers = adapter.answer(list(distinct.values())) if distinct else []
        assert len(answers) == len(distinct), (
            f"{adapter.name} answered {len(answers)} of {len(distinct)}"
        )
        new = dict(zip(distinct, answers, strict=True))
        found = [new[k] if k in new else kept[k] for k in keys]
        kept.update({k: a for k, a in new.items() if not _is_large(distinct[k])})
        return found

    return ask


def _is_large(request: Request) -> bool:
    return isinstance(request, EmbedTokens) or bool(getattr(request, "view", ""))


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

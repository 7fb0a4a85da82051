"""Runs cards on a model: where cards, data, adapter, protocol and result files meet."""

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from tgp_multimodal.evaluation import environment, results, split_checks
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.aggregates import Number, rule_of
from tgp_multimodal.evaluation.asking import ALONE, AnswerCache, Team, asker
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.contamination import Corpora, report
from tgp_multimodal.evaluation.examples import Examples, check_source, source_digest
from tgp_multimodal.evaluation.journal import AnswerJournal
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS
from tgp_multimodal.evaluation.results import Result
from tgp_multimodal.evaluation.sandbox import Sandbox, SandboxError

# Called with (what happens, name of the card, sentence); what: skipped, kept, data, asking,
# done, failed.
Progress: TypeAlias = Callable[[str, str, str], None]


class CardsFailedError(ValueError):
    """Some cards could not be measured.

    Attributes:
        results: those of the others, which are written, too.
        reasons: name of a card -> why not.
    """

    def __init__(self, results: list[Result], reasons: Mapping[str, Exception | str]) -> None:
        said = "; ".join(
            f"{name}: {str(reason).removeprefix(f'{name}: ')}" for name, reason in reasons.items()
        )
        super().__init__(
            f"cards must be measured. Got {len(reasons)} that were not instead: {said}"
        )
        self.results, self.reasons = results, reasons


def evaluate(
    adapter: Adapter,
    cards: Sequence[Card],
    results_folder: Path,
    limit: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    team: Team = ALONE,
    corpora: Corpora | None = None,
    unsafe_local: bool = False,
) -> list[Result]:
    """Scores one model on each of the cards and writes a result file for each.

    A stored result is kept if it is of the same card, model, limit, data and code (and, for
    embedded data, of the same installed libraries); so are the stored answers of a card that was
    begun. So a run that was killed resumes where it stopped.

    Args:
        adapter: the model.
        cards: what to measure.
        results_folder: where `<model>/<domain>__<task>.json` go.
        limit: at most so many test items of each card, for a first look; None for all.
        fresh: recompute what is stored, too.
        progress: is called with what happens.
        team: the processes that share the work; the first of them writes the results.
        corpora: training text in which test items are searched for; a stored result is kept and
            gets its report.
        unsafe_local: programs that a model writes are run without the sandbox. Else cards that run
            programs are skipped where the sandbox lacks a layer.

    Returns:
        Results of the cards that the model can do, in their order; reasons for the others are in
        `<model>/skipped.jsonl`.

    Raises:
        ValueError: a card's data are missing, or a complete result would be overwritten by a
            limited one, or any by that of another model of the same name; raised before anything is
            computed. Also where a card cannot be measured while other processes wait for this one,
            or because a server is gone.
        CardsFailedError: some cards could not be measured; all others were.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1. Got {limit} instead.")
    for card in cards:
        if not isinstance(card, Card):
            raise ValueError(
                f"cards must be a list of cards (`cards.find`). Got {card!r} in it instead."
            )
    results_folder = Path(results_folder)
    say = progress or (lambda *event: None)
    reasons = {card.name: adapter.can(card) for card in cards}
    if not unsafe_local:
        reasons |= not_safe([card for card in cards if reasons[card.name] is None])
    able = [card for card in cards if reasons[card.name] is None]
    for card in able:
        check_source(card)
    facts = adapter.facts()
    if not facts.get("digest"):
        raise ValueError(f"facts of {adapter.name} must have a digest. Got {facts} instead.")
    if not fresh:
        _refuse_overwriting(results_folder, adapter, facts["digest"], limit, able)
    if team.rank == 0:
        store_skipped(adapter, results_folder, reasons, say)
    run = _Run(
        adapter=adapter,
        root=results_folder,
        limit=limit,
        fresh=fresh,
        facts=facts,
        say=say,
        team=team,
        cache={},
        corpora=corpora,
        unsafe_local=unsafe_local,
    )
    return _measure_cards(run, able)


class _Run(NamedTuple):
    """What stays the same from card to card."""

    adapter: Adapter
    root: Path
    limit: int | None
    fresh: bool
    facts: dict[str, Any]
    say: Progress
    team: Team
    cache: AnswerCache
    corpora: Corpora | None
    unsafe_local: bool


def _measure_cards(run: _Run, cards: Sequence[Card]) -> list[Result]:
    """One card after another; one that cannot be measured does not keep the others from it."""
    found: list[Result] = []
    reasons: dict[str, Exception | str] = {}
    for card in cards:
        try:
            found.append(_measure_card(run, card))
        except Exception as error:
            # Other processes would wait for this one; a server that is gone stays gone.
            if run.team.world > 1 or getattr(error, "is_transient", False):
                raise
            reasons[card.name] = _told(error)
            run.say("failed", card.name, str(reasons[card.name]))
    if reasons:
        raise CardsFailedError(found, reasons)
    return found


def _told(error: Exception) -> Exception | str:
    """A mistake as it is; of a model's own failure, what it is and where."""
    if isinstance(error, ValueError | FileNotFoundError):
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"


def not_safe(cards: Sequence[Card]) -> dict[str, str | None]:
    """Why cards that run programs cannot be run here, by their names."""
    running = [card.name for card in cards if card.spec.runs_programs]
    if not running:
        return {}
    try:
        with Sandbox():
            return {}
    except SandboxError as error:
        return dict.fromkeys(running, f"writes programs, which are not run here: {error}")


def _measure_card(run: _Run, card: Card) -> Result:
    where = environment.describe() | {"source": source_digest(card)}
    if "embedded" in card.source:
        where["corpus_versions"] = environment.corpus_versions()
    examples = Examples(card, run.limit)
    # The first process decides, for another may see the files of a shared disk later.
    standing = run.team.gather(None if run.fresh else _stored_result(run, examples, where))[0]
    if standing is not None:
        run.say("kept", card.name, f"{card.metric} {standing.value:.4f}, computed before")
        return _with_contamination(run, examples, standing)
    folder = results.folder(run.root, run.adapter.name)
    journal = AnswerJournal(folder, card.name, run.facts, run.team.rank, run.fresh)
    run.say("data", card.name, "reading the data")
    count = examples.read()
    run.say("asking", card.name, f"{count} items")
    start = time.perf_counter()
    outcome = _run_protocol(run, examples, journal)
    seconds = time.perf_counter() - start + journal.seconds
    if outcome.executed is not None:
        where["executed"] = outcome.executed
    result = _as_result(run, examples, outcome, where, seconds)
    stored = None
    if run.team.rank == 0:
        if run.corpora is not None and run.adapter.has_read:
            seen = report(result, outcome.records, examples.test, run.corpora)
            result = replace(result, contamination=seen)
        stored = results.read(results.write(run.root, result, outcome.records))
    stored = run.team.gather(stored)[0]
    if run.team.rank == 0:
        journal.remove()
    told = split_checks.sentence(stored.details, count)
    run.say("done", card.name, f"{card.metric} {stored.value:.4f}, {seconds:.1f} s{told}")
    return stored


def _with_contamination(run: _Run, examples: Examples, standing: Result) -> Result:
    """A result that stands, and what of its items is in the training text that is asked about."""
    if run.corpora is None or not run.adapter.has_read:
        return standing
    if standing.contamination.get("corpora") == run.corpora.digests:
        return standing
    if run.team.rank == 0:
        records = results.read_records(results.path(run.root, standing.model, standing.card))
        seen = report(standing, records, examples.test, run.corpora)
        written = results.write(run.root, replace(standing, contamination=seen), records)
        standing = results.read(written)
    return run.team.gather(standing)[0]


def _run_protocol(run: _Run, examples: Examples, journal: AnswerJournal) -> Outcome:
    """Runs the protocol; records of items that are not independent get their group."""
    card = examples.card

    def told(done: int, count: int) -> None:
        run.say("asking", card.name, f"{done:,} of {count:,} requests answered")

    ask = asker(run.adapter, run.cache, journal, run.team, told)
    protocol = PROTOCOLS[card.protocol]
    if card.spec.runs_programs:
        protocol = partial(cast(Any, protocol), unsafe_local=run.unsafe_local, team=run.team)
    outcome = protocol(examples, run.adapter, ask)
    group = {e.id: e.group for e in examples.test if e.group != e.id}
    for record in outcome.records:
        if record["id"] in group:
            record.setdefault("group", group[record["id"]])
    outcome.details.update(split_checks.facts(examples))
    return outcome


def _as_result(
    run: _Run, examples: Examples, outcome: Outcome, where: dict[str, Any], seconds: float
) -> Result:
    card = examples.card
    return Result(
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
        chance=card.chance if outcome.chance is None else outcome.chance,
        higher_is_better=card.higher_is_better,
        details=outcome.details,
        limit=run.limit,
        data_digest=examples.digest,
        seconds=round(seconds, 3),
        model_facts=run.facts,
        environment=where,
        items_file=results.path(Path(), run.adapter.name, card.name).with_suffix(".jsonl").name,
        aggregate=rule_of(
            Number(outcome.value, *outcome.interval),
            outcome.records,
            card.metric,
            str(card.setting("positive")) if card.metric == "f1" else "",
        ),
        recipe={"model": run.adapter.specification, "card": asdict(card)},
    )


def _stored_result(run: _Run, examples: Examples, where: dict[str, Any]) -> Result | None:
    """The stored result, if everything that determines it is unchanged.

    This reads the test items, a fraction of a second on most cards, but only as the last check:
    nothing is read where the file alone decides.
    """
    card = examples.card
    file = results.path(run.root, run.adapter.name, card.name)
    if not file.is_file() or not file.with_suffix(".jsonl").is_file():
        return None
    try:
        found = results.read(file)
    except ValueError:
        return None
    if not results.is_intact(file, found):  # edited, or half written: measured again
        return None
    stored = _decisive(found.card_digest, found.limit, found.model_facts, found.environment)
    current = _decisive(card.digest, run.limit, run.facts, where)
    return found if stored == current and found.data_digest == examples.digest else None


def _decisive(
    card_digest: str, limit: int | None, facts: Mapping[str, Any], where: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides a result, but for the data."""
    code = ("tgp_multimodal", "code", "corpus_versions", "source")
    named = {name: where.get(name) for name in code}
    return {"card": card_digest, "limit": limit, "model": facts.get("digest"), **named}


def _refuse_overwriting(
    root: Path, adapter: Adapter, digest: str, limit: int | None, able: Sequence[Card]
) -> None:
    """Refuses to write over results of another model, or with a limit over complete ones."""
    for card in able:
        file = results.path(root, adapter.name, card.name)
        try:
            found = results.read(file) if file.is_file() else None
        except ValueError:
            continue
        if found is None:
            continue
        then, now_given = str(found.recipe.get("model") or ""), adapter.specification
        is_other = then and now_given and Path(then).resolve() != Path(now_given).resolve()
        if is_other and found.model_facts.get("digest") != digest:
            raise ValueError(
                f"results must hold no result of {card.name} of another model that is called "
                f"{adapter.name} too (another --results keeps it, --fresh gives it up). "
                f"Got one of {then} in {file} instead."
            )
        complete = (None, digest, card.digest)
        now = (found.limit, found.model_facts.get("digest"), found.card_digest)
        if limit is not None and now == complete:
            raise ValueError(
                f"limit must not replace a result of all items of {card.name} by one of {limit} "
                f"(another --results keeps it, --fresh gives it up). Got {limit} where {file} is."
            )


def store_skipped(
    adapter: Adapter,
    root: Path,
    reasons: Mapping[str, str | None],
    say: Progress = lambda *event: None,
) -> None:
    """Writes down which of the cards a model cannot do (with a reason); those that it can go."""
    skipped = {card: reason for card, reason in reasons.items() if reason is not None}
    for card, reason in skipped.items():
        say("skipped", card, f"{adapter.name} {reason}")
    file = results.folder(root, adapter.name) / "skipped.jsonl"
    before = file.read_text("utf-8").splitlines() if file.is_file() else []
    others = {row["card"]: row["reason"] for row in map(json.loads, before)}
    kept = {card: reason for card, reason in others.items() if card not in reasons} | skipped
    if kept == others:
        return
    if kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"card": c, "reason": r}) for c, r in sorted(kept.items()))
        results.replace(file, "\n".join(lines) + "\n")
    else:
        file.unlink(missing_ok=True)

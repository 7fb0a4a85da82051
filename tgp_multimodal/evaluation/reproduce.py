"""Measures the number of a result file again and says what differs, if anything does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tgp_multimodal.evaluation import engine, results
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.results import Result

_PASSING = ("date", "commit")  # of an environment, what differs without a meaning


@dataclass(frozen=True)
class Reproduction:
    """A result, the same number measured again, and what tells them apart.

    Attributes:
        then, now: both results.
        differences: a line for each thing that is not equal; none if both are one.
        circumstances: a line for each part of the environment that has changed.
    """

    then: Result
    now: Result
    differences: list[str]
    circumstances: list[str]


def find(row: str, root: Path) -> Path:
    """The file of a row: a path, or `<model>/<domain>/<task>` as the leaderboard names it.

    Raises:
        FileNotFoundError: there is neither.
    """
    if row.endswith(".json") and Path(row).is_file():
        return Path(row)
    model, _, card = row.partition("/")
    file = results.path(root, model, card)
    if not card or not file.is_file():
        raise FileNotFoundError(
            f"row must be a result file, or <model>/<domain>/<task> below {root}."
            f" Got {row} instead."
        )
    return file


def recipe(file: Path) -> tuple[Result, Card, str]:
    """A stored result, its card, and its model as it was named to `tgp evaluate`.

    Raises:
        ValueError: the file does not say how it was made, or its card is another one than it says.
    """
    then = results.read(file)
    said = then.recipe.get("card")
    if not isinstance(said, dict):
        raise ValueError(f"{file} must have a recipe. Got none instead: measure it again.")
    try:
        content = {**said, "references": tuple(said.get("references", ()))}
        content.pop("higher_is_better", None)  # of older results; the metric says it
        card = Card(**content)
        digest = card.digest
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{file} must hold a card of this version. Got {error} instead.") from None
    if digest != then.card_digest:
        raise ValueError(
            f"{file}: card must have the digest {then.card_digest[:12]}. Got {digest[:12]} instead."
        )
    return then, card, str(then.recipe.get("model", ""))


def reproduce(file: Path, adapter: Adapter, unsafe_local: bool = False) -> Reproduction:
    """Runs the card of a result on a model, with the same limit, and compares, item by item.

    Args:
        file: the result; it is left as it is.
        adapter: the model, opened again.
        unsafe_local: programs that the model writes are run without the sandbox. A result that was
            measured so does not turn this on.

    Raises:
        ValueError: the file does not say how it was made, or the model cannot do its card here.
    """
    then, card, _ = recipe(file)
    with TemporaryDirectory() as folder:
        found = engine.evaluate(
            adapter, [card], Path(folder), then.limit, fresh=True, unsafe_local=unsafe_local
        )
        if not found:
            lines = (results.folder(Path(folder), adapter.name) / "skipped.jsonl").read_text(
                "utf-8"
            )
            reason = json.loads(lines)["reason"]
            raise ValueError(f"{adapter.name} must do {card.name}. Got {reason} instead.")
        now = found[0]
        new_items = results.path(Path(folder), now.model, now.card).with_suffix(".jsonl")
        differences = [
            *_fields(results.essence(then), results.essence(now)),
            *_records(file.with_suffix(".jsonl"), new_items),
        ]
    circumstances = _fields(
        {k: v for k, v in then.environment.items() if k not in _PASSING},
        {k: v for k, v in now.environment.items() if k not in _PASSING},
    )
    return Reproduction(then, now, differences, list(circumstances))


def _fields(then: dict[str, Any], now: dict[str, Any], place: str = "") -> Iterator[str]:
    """A line for each leaf that differs, `details.c: 0.1 then, 1 now`."""
    for name in dict.fromkeys([*then, *now]):
        old, new = then.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _fields(old, new, f"{place}{name}.")
        elif old != new and name != "items_digest":  # of that the records say more
            yield f"{place}{name}: {_short(old)} then, {_short(new)} now"


def _records(then: Path, now: Path) -> Iterator[str]:
    if not then.is_file():
        yield f"records: {then} is not there any more"
        return
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (then, now))
    other = [(a, b) for a, b in zip_longest(old, new, fillvalue="{}") if a != b]
    if other:
        was, became = (_short(json.loads(line)) for line in other[0])
        yield f"records: {len(other)} of {len(old)} differ, first {was} then, {became} now"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:160] + " ..."

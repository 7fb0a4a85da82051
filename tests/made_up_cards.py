"""A protocol on rows that a test writes down, with no file and no folder."""

from typing import Any

import pytest

from tgp_multimodal.evaluation import embedded_tasks
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.card_protocols import PROTOCOLS as SAID
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.engine import asker
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS

Rows = dict[str, list[dict[str, Any]]]


def score(
    monkeypatch: pytest.MonkeyPatch, protocol: str, rows: Rows, adapter: Adapter, **said: Any
) -> Outcome:
    """Columns of the rows are fields of their names; the metric is the protocol's first."""
    monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
    columns = {name: name for name in {**rows["test"][0], **rows.get("corpus", [{}])[0]}}
    given = {"metric": SAID[protocol].metrics[0], "chance": 0.0, "columns": columns, **said}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, protocol)
    return PROTOCOLS[protocol](Examples(Card(*fixed, **given)), adapter, asker(adapter))

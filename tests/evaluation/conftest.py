"""What tests of protocols share."""

from typing import Any

import pytest

from tgp_multimodal.evaluation import embedded_tasks
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.asking import asker
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Outcome
from tgp_multimodal.evaluation.protocols import PROTOCOLS

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Scores an adapter by a protocol on made-up rows."""

    def scored(protocol: str, rows: Rows, adapter: Adapter, **said: Any) -> Outcome:
        monkeypatch.setitem(embedded_tasks.TASKS, "made_up", lambda split: rows.get(split, []))
        first = next(iter(rows["test"]))
        columns = {k: k for k in {**first, **rows.get("corpus", [{}])[0]}}
        metrics = {"perplexity": "bits_per_byte", "retrieval": "mrr", "likeness": "kid"}
        metrics |= {"denoising": "squared_error"}
        metric = metrics.get(protocol, "accuracy")
        given = {"metric": metric, "chance": 0.0, "columns": columns, **said}
        fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, protocol)
        return PROTOCOLS[protocol](Examples(Card(*fixed, **given)), adapter, asker(adapter))

    return scored

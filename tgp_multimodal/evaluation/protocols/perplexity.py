"""Bits per byte: what a text costs, comparable over tokenizers and with compressors."""

import math
from typing import Any

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups, lazy_field
from tgp_multimodal.evaluation.requests import Perplexity, PerplexityAnswer
from tgp_multimodal.evaluation.stats import bootstrap


def perplexity(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Nats of all documents / their UTF-8 bytes / ln 2; each document starts anew.

    A compressor may cost the documents as one text (`Adapter.whole`); its total is then shared out
    among the documents in proportion to what each costs alone, so that an interval can be given.
    """
    test = examples.test
    adapter.fit(lazy_field(examples, "train", "text"))
    texts = [str(e.fields["text"]) for e in test]
    answers: list[PerplexityAnswer] = ask([Perplexity(t) for t in texts])
    nats, sizes = [a.nats for a in answers], [len(t.encode()) for t in texts]
    details: dict[str, Any] = {"bytes": sum(sizes), "tokens": sum(a.tokens for a in answers)}
    totals = adapter.whole(texts)
    if totals is not None:
        scale = next(iter(totals.values())) / sum(nats)
        nats = [n * scale for n in nats]
        details |= {k: v / math.log(2) / sum(sizes) for k, v in totals.items()}
    bits = [n / math.log(2) for n in nats]
    records = [
        {"id": e.id, "score": b / s, "nats": n, "bytes": s}
        for e, n, b, s in zip(test, nats, bits, sizes, strict=True)
    ]
    value = sum(bits) / sum(sizes)
    if details["tokens"]:
        details["nats_per_token"] = sum(nats) / details["tokens"]
    return Outcome(value, bootstrap(bits, groups(test), sizes), records, details)

"""Writing: how near does a model's own text come to texts that people wrote?"""

import importlib
import math
from collections.abc import Sequence
from typing import Any

from tgp_multimodal.data.tokenizer import move_space
from tgp_multimodal.evaluation import fewshot
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.requests import Generate, Score, ScoreAnswer
from tgp_multimodal.evaluation.stats import share

_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def generation(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Greedy text after a prompt against one or several references; each metric takes the best one.

    ROUGE-1, ROUGE-2 and ROUGE-L are F1 with Porter's stemmer (Lin 2004, as `rouge-score` counts
    them); exact match is equality. White space at both ends is cut first, unless the setting
    `strip` is false, as lm-eval leaves it. Solved examples may stand before the prompt (see
    `fewshot`). BLEU, in the details, is `sacrebleu`'s of the whole test set with its standard
    tokenizer (Post 2018, arXiv:1804.08771), from 0 to 1. Of models that can also score, the details
    have what delimiter + first reference costs after the prompt, in bits per byte: a number that
    does not depend on what happened to be written.
    """
    test, card = examples.test, examples.card
    stop = tuple(str(s) for s in card.setting("stop"))
    prompts = fewshot.contexts(examples, test)
    cut = str.strip if card.setting("strip") else str
    most = int(card.setting("max_tokens"))
    written = [cut(str(a)) for a in ask([Generate(p, most, stop) for p in prompts])]
    references = [[cut(str(r)) for r in e.fields["references"]] for e in test]
    rows = compare(written, references)
    details: dict[str, Any] = {m: _mean([r[m] for r in rows]) for m in (*_ROUGE, "exact_match")}
    details["bleu"] = corpus_bleu(written, references)
    details["empty"] = sum(not w for w in written)
    details["mean_characters"] = _mean([len(w) for w in written])
    if Score in adapter.supports:
        first = [r[0] for r in references]
        details["reference_bits_per_byte"] = _cost(
            prompts, first, str(card.setting("delimiter")), ask
        )
    records = [
        {"id": e.id, "score": row[card.metric], **row, "prediction": w, "target": r}
        for e, row, w, r in zip(test, rows, written, references, strict=True)
    ]
    scores = [row[card.metric] for row in rows]
    interval = share(scores, [1.0] * len(scores), groups(test))
    return Outcome(details[card.metric], interval, records, details)


def compare(written: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """ROUGE and exact match of each text, each number against the reference that is best for it."""
    # By name, since it costs a second that only this protocol has to pay.
    rouge = importlib.import_module("rouge_score.rouge_scorer")
    scorer = rouge.RougeScorer(list(_ROUGE.values()), use_stemmer=True)
    rows = []
    for text, wanted in zip(written, references, strict=True):
        found = scorer.score_multi(list(wanted), text)
        row = {name: float(found[theirs].fmeasure) for name, theirs in _ROUGE.items()}
        rows.append({**row, "exact_match": float(text in wanted)})
    return rows


def corpus_bleu(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of all texts together, from 0 to 1; texts may have different numbers of references."""
    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    sacrebleu = importlib.import_module("sacrebleu")
    return float(sacrebleu.corpus_bleu(list(written), streams).score) / 100


def _cost(prompts: Sequence[str], texts: Sequence[str], delimiter: str, ask: Ask) -> float:
    """Bits per byte of delimiter + text after each prompt, and white space at its end."""
    pairs = [move_space(p, delimiter + text) for p, text in zip(prompts, texts, strict=True)]
    answers: list[ScoreAnswer] = ask([Score(*pair) for pair in pairs])
    nats = -math.fsum(a.nats for a in answers)
    return nats / math.log(2) / sum(len(end.encode()) for _, end in pairs)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)

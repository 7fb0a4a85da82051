"""The last word of a passage that only the whole passage gives away."""

import math
from typing import Any

from tgp_multimodal.data.tokenizer import move_space
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.requests import Score, ScoreAnswer


def last_word(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Share of passages whose last word greedy decoding would write.

    As lm-eval's `lambada_openai`: right if every token of delimiter + word is the most probable one
    after the passage. The details have the perplexity per word, whatever its number of tokens, that
    is exp of the words' mean negative log-likelihood, and the bits per byte of all delimiters and
    words together, which do not depend on a tokenizer. White space at the end of a passage belongs
    to what follows it (see `Score`), its bytes too.
    """
    test = examples.test
    delimiter = str(examples.card.setting("delimiter"))
    words = [str(e.fields["target"]) for e in test]
    contexts = [str(e.fields["context"]) for e in test]
    asked = [move_space(c, delimiter + w) for c, w in zip(contexts, words, strict=True)]
    answers: list[ScoreAnswer] = ask([Score(*pair) for pair in asked])
    correct = [a.is_greedy for a in answers]
    cost = -math.fsum(a.nats for a in answers)
    value = sum(correct) / len(test)
    details: dict[str, Any] = {
        "accuracy": value,
        "perplexity": math.exp(min(cost / len(test), 700.0)),  # beyond, no float holds it
        "bits_per_byte": cost / math.log(2) / sum(len(end.encode()) for _, end in asked),
    }
    records = [
        {"id": e.id, "correct": c, "target": w, "nats": a.nats, "tokens": a.tokens}
        for e, c, w, a in zip(test, correct, words, answers, strict=True)
    ]
    return Outcome(value, proportion(correct, groups(test)), records, details)

"""Four-choice questions behind a shared prefix, against one padded row per choice.

The peer is written out here as lm-eval's backend for transformers does it: prompt and choice are
joined and tokenized as one string, rows are sorted by length and padded, logits and log-softmax are
computed at every position.

Shape letters: B batch, L length, V vocabulary.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal import export
from tgp_multimodal.inference import text
from tgp_multimodal.inference.text import Query

CHOICES = 4


def contests(quick: bool) -> Iterator[Contest]:
    """A prefix of about 600 tokens, and questions of a line."""
    disable_progress_bar()
    count = 2 if quick else 16
    queries = questions(count, prefix_words=40 if quick else 500)
    with exports.exported(exports.random_language_model()) as folder:
        network = export.load(folder).network
        stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = exports.tokenizer()
    shared = len(tokenizer.encode(queries[0].context))
    for batch in (1, 16):
        yield Contest(
            f"score {count} x {CHOICES} choices",
            Side(
                "inference.text.score",
                "float32",
                lambda: [one.nats for one in text.score(network.text, tokenizer, queries)],
            ),
            Side(
                f"transformers, padded batches of {batch}",
                "float32",
                _theirs(stock, queries, batch),
            ),
            difference,
            1e-3,
            {"questions": count, "choices": CHOICES, "context_tokens": shared, "batch": batch},
        )


def questions(count: int, prefix_words: int) -> list[Query]:
    """The choices of all questions, question by question."""
    (prefix,) = exports.texts([prefix_words], seed=7)
    asked = exports.texts([12] * count, seed=8)
    answers = iter(exports.texts([2, 3, 4, 5] * count, seed=9))
    contexts = [f"{prefix}\n\nQuestion: {line}?\nAnswer:" for line in asked]
    return [Query(context, f" {next(answers)}") for context in contexts for _ in range(CHOICES)]


def difference(ours: list[float], theirs: list[float]) -> float:
    """Largest difference of two log-likelihoods in nats; infinite if an answer differs."""
    mine, other = (torch.tensor(side).view(-1, CHOICES) for side in (ours, theirs))
    if not torch.equal(mine.argmax(dim=1), other.argmax(dim=1)):
        return float("inf")
    return float((mine - other).abs().max())


def _theirs(
    model: AutoModelForCausalLM, queries: list[Query], batch: int
) -> Callable[[], list[float]]:
    tokenizer = exports.tokenizer()

    def run() -> list[float]:
        contexts = [len(ids) for ids in tokenizer.encode_batch([q.context for q in queries])]
        whole = tokenizer.encode_batch([q.context + q.continuation for q in queries], bos=True)
        order = sorted(range(len(queries)), key=lambda i: -len(whole[i]))
        nats = [0.0] * len(queries)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows = [whole[i] for i in chosen]
            log_p_BLV = _log_probabilities(model, rows)
            for index, row, log_p_LV in zip(chosen, rows, log_p_BLV, strict=True):
                place = slice(contexts[index], len(row) - 1)
                target = torch.tensor(row[contexts[index] + 1 :])[:, None]
                nats[index] = float(log_p_LV[place].gather(1, target).sum())
        return nats

    return run


@torch.inference_mode()
def _log_probabilities(model: AutoModelForCausalLM, rows: list[list[int]]) -> Tensor:
    # Padding stands behind, where a causal row never looks; lm-eval passes no mask either.
    length = max(map(len, rows)) - 1
    padded = [row[:-1] + [0] * (length - len(row) + 1) for row in rows]
    return model(torch.tensor(padded)).logits.log_softmax(dim=-1)

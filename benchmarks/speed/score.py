"""Four-choice questions behind a shared prefix, against one padded row per choice.

The first peer is written out here as lm-eval's backend for transformers does it: prompt and choice
are joined and tokenized as one string, rows are sorted by length and padded, logits and log-softmax
are computed at every position. The second is lm-eval itself, where it is installed. A stock model
behind our engine is a third contest: what the engine alone brings.

Shape letters: B batch, L length, V vocabulary.
"""

import importlib
import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal import export
from tgp_multimodal.adapters.hf_transformers import HfTransformers
from tgp_multimodal.evaluation.requests import Score
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
        adapter = HfTransformers(str(folder))
        adapter.model.to("cpu")  # where the others are
        harness = _lm_eval(folder) if find_spec("lm_eval") else None
    tokenizer = exports.tokenizer()
    ours = Side(
        "inference.text.score",
        "float32",
        lambda: [one.nats for one in text.score(network.text, tokenizer, queries)],
    )
    stock_ours = Side("adapters.hf_transformers", "float32", _adapted(adapter, queries))
    facts = {
        "questions": count,
        "choices": CHOICES,
        "context_tokens": len(tokenizer.encode(queries[0].context)),
    }
    for batch in (1, 16):
        plain = Side(
            f"transformers, padded batches of {batch}", "float32", _theirs(stock, queries, batch)
        )
        peers = [(ours, plain)]
        if harness is not None:
            side = Side(f"lm-eval, batches of {batch}", "float32", harness(queries, batch))
            peers += [(ours, side), (stock_ours, side)]
        for own, peer in peers:
            name = f"score {count} x {CHOICES} choices"
            known = {**facts, "batch": batch}
            yield Contest(name, own, peer, difference, 1e-3, known)


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


def _adapted(adapter: HfTransformers, queries: list[Query]) -> Callable[[], list[float]]:
    requests = [Score(query.context, query.continuation) for query in queries]
    return lambda: [answer.nats for answer in adapter.answer(requests)]


def _lm_eval(folder: Path) -> Callable[[list[Query], int], Callable[[], list[float]]]:
    """lm-eval's own backend on the export; the tokenizer puts its BOS in front."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    backend = importlib.import_module("lm_eval.models.huggingface").HFLM
    instance = importlib.import_module("lm_eval.api.instance").Instance
    settings = {"dtype": "float32", "device": "cpu"}
    models = {n: backend(pretrained=str(folder), batch_size=n, **settings) for n in (1, 16)}

    def make(queries: list[Query], batch: int) -> Callable[[], list[float]]:
        pairs = [(query.context, query.continuation) for query in queries]
        asked = [instance("loglikelihood", {}, pair, 0) for pair in pairs]
        model = models[batch]
        return lambda: [nats for nats, _ in model.loglikelihood(asked, disable_tqdm=True)]

    return make


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

"""One task file, read by lm-eval and by us: the same prompts, answers and numbers.

Run with `-m peers` where lm-eval is installed.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.adapters import make
from tgp_multimodal.evaluation import engine, fewshot, results
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.lm_eval_tasks import load

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # what the peer's libraries warn of is theirs
]
lm_eval = pytest.importorskip("lm_eval", reason="needs lm-eval")

WORDS = ("river", "ice", "plate", "stone", "valley", "dog", "field", "gate", "boat", "café", "Öl")
ITEMS = 24
NATS = 3e-5  # of a token
CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{options.text}}",
    "doc_to_target": "{{options.label.index(key)}}",
    "metric_list": [{"metric": m} for m in ("acc", "acc_norm", "acc_bytes")],
}
SHOTS = {
    "fewshot_split": "dev",
    "num_fewshot": 2,
    "fewshot_config": {"sampler": "first_n"},
}
WRITE = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}} is",
    "generation_kwargs": {"until": ["e", "\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}
TASKS: dict[str, dict[str, Any]] = {
    "letters by name": {
        **CHOICES,
        "doc_to_choice": ["A", "B", "C"],
        "doc_to_target": "key",
    },
    "texts behind two shots": {**CHOICES, **SHOTS, "description": "About {{key}}.\n\n"},
    "no delimiter, own separator": {
        **CHOICES,
        **SHOTS,
        "target_delimiter": "",
        "fewshot_delimiter": "\n###\n",
        "description": "Three choices.\n",
    },
    "last word": {
        "output_type": "loglikelihood",
        "doc_to_text": "question",
        "doc_to_target": " {{options.text[0]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} {{options.text[0]}}",
        "metric_list": [{"metric": m} for m in ("byte_perplexity", "bits_per_byte")],
    },
    "writing": {**WRITE, "doc_to_target": "written"},
    "writing behind shots": {**WRITE, **SHOTS, "doc_to_target": "{{options.text}}"},
}


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny" / "export"
    network = language_model(tokenizer.vocabulary, context=96)
    with torch.no_grad():
        network.text.embed_tokens.weight *= 0.5
    export.save(path, network, tokenizer, {}, "")
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    """Items; what the model writes is the answer of every other one, so that some are right."""
    drawn, found = random.Random(0), []
    for number in range(ITEMS):
        texts = [" ".join(drawn.choices(WORDS, k=n)) for n in (1, 2, 3)]
        options = {"text": texts, "label": ["A", "B", "C"]}
        question = " ".join(drawn.choices(WORDS, k=5))
        found.append({"question": question, "options": options, "key": "ABC"[number % 3]})
    from tgp_multimodal.evaluation.requests import Generate

    asked = [Generate(f"{r['question']} is", 4, ("e", "\n")) for r in found]
    for number, text in enumerate(make(f"native:{folder}").answer(asked)):
        found[number]["written"] = text if number % 2 else "something else"
    return found


@pytest.fixture
def task(folder, tmp_path):
    def written(said: dict[str, Any]) -> Path:
        content = rows(folder)
        files = {}
        for split, own in (("test", content[4:]), ("dev", content[:4])):
            files[split] = str(tmp_path / f"{split}.jsonl")
            (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, own)), "utf-8")
        recipe = {
            "task": "local",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")},
            "test_split": "test",
            "metadata": {"version": 1},
            **said,
        }
        (tmp_path / "local.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
        return tmp_path / "local.yaml"

    return written


def peer(folder: Path, place: Path, is_rolling: bool) -> tuple[dict, list[dict]]:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    # Or else it scores the tokenizer's BOS behind its own in rolling likelihoods.
    own = {"add_bos_token": False} if is_rolling else {}
    model = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=4, **own)
    manager = TaskManager(include_path=str(place), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model, tasks=["local"], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    samples = sorted(found["samples"]["local"], key=lambda s: s["doc_id"])
    return found["results"]["local"], samples


@pytest.mark.parametrize("name", TASKS)
def test_the_same_file_gives_the_same_numbers(name, folder, task, tmp_path):
    file = task(TASKS[name])
    card = load(file)
    (result,) = engine.evaluate(make(f"native:{folder}"), [card], tmp_path / "results")
    theirs, samples = peer(folder, tmp_path, card.protocol == "perplexity")
    read, found = Examples(card), result.details
    if card.protocol in ("multiple_choice", "generation"):
        contexts = [s["arguments"][0][0] for s in samples]
        assert contexts == fewshot.contexts(read, read.test)
    if card.protocol == "multiple_choice":
        records = results.read_records(results.path(tmp_path / "results", result.model, card.name))
        for record, sample in zip(records, samples, strict=True):
            nats = [nats for nats, _ in sample["filtered_resps"]]
            assert record["nats"] == pytest.approx(nats, abs=NATS * 20)
        assert found["accuracy"] == pytest.approx(theirs["acc,none"])
        pairs = [("acc_norm", "accuracy_per_character"), ("acc_bytes", "accuracy_per_byte")]
        for one, other in pairs:
            assert found[other] == pytest.approx(theirs[f"{one},none"])
    elif card.protocol == "last_word":
        assert result.value == pytest.approx(theirs["acc,none"])
        assert found["perplexity"] == pytest.approx(theirs["perplexity,none"], rel=1e-4)
    elif card.protocol == "perplexity":
        assert result.value == pytest.approx(theirs["bits_per_byte,none"], rel=1e-5)
        assert 2**result.value == pytest.approx(theirs["byte_perplexity,none"], rel=1e-4)
    else:
        assert result.value == pytest.approx(theirs["exact_match,none"])
        assert 0 < result.value < 1 or name != "writing"
    assert math.isfinite(result.value)

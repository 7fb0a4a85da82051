"""The numbers of lm-eval's own backend on the same weights, from tasks that lie here as YAML.

Run with `-m peers` where lm-eval is installed.
"""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
import yaml
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.adapters import make
from tgp_multimodal.evaluation import engine, fewshot
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.requests import Generate, Perplexity, Score

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # what the peer's libraries warn of is theirs
]
lm_eval = pytest.importorskip("lm_eval", reason="needs lm-eval")

NATS = 3e-5  # of a token; lm-eval itself moves as much from batch to batch
CONTEXT = 96
ITEMS, SHOTS = 12, 3
WORDS = (
    *("river", "ice", "plate", "stone", "valley", "dog", "field", "gate", "boat", "letter"),
    *("circle", "square", "water", "degree", "café"),
)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    """An export with random weights, whose letters differ in probability."""
    path = tmp_path_factory.mktemp("runs") / "tiny" / "export"
    network = language_model(tokenizer.vocabulary, context=CONTEXT)
    with torch.no_grad():
        network.text.embed_tokens.weight *= 0.5
    export.save(path, network, tokenizer, {}, "")
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    """Makes lm-eval's model; its `add_bos_token` is left to the tokenizer unless said."""
    from lm_eval.models.huggingface import HFLM

    def opener(**settings):
        known = {"dtype": "float32", "device": "cpu", "batch_size": 4}
        return HFLM(pretrained=str(folder), **known, **settings)

    return opener


def said(count: int, drawn: random.Random) -> str:
    return " ".join(drawn.choices(WORDS, k=count))


def rows(count: int, seed: int, letters: bool = False, length: int = 6) -> list[dict]:
    drawn = random.Random(seed)
    found = []
    for _ in range(count):
        choices = [said(n, drawn) for n in (1, 2, 3, 4)]
        row = {"question": said(length, drawn), "choices": choices, "answer": drawn.randrange(4)}
        if letters:
            listed = zip("ABCD", choices, strict=True)
            row["question"] += "".join(f"\n{letter}. {choice}" for letter, choice in listed)
            row["choices"] = list("ABCD")
        found.append(row)
    return found


def task(place: Path, test: list[dict], shots: list[dict], **settings) -> str:
    """Writes a task of lm-eval and its data; returns its name."""
    files = {}
    for split, content in (("test", test), ("validation", shots)):
        if content:
            files[split] = str(place / f"{split}.jsonl")
            lines = "\n".join(map(json.dumps, content))
            (place / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    recipe = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files, "cache_dir": str(place / "cache")},
        "test_split": "test",
        **({"fewshot_split": "validation", "num_fewshot": len(shots)} if shots else {}),
        **({"fewshot_config": {"sampler": "first_n"}} if shots else {}),
        "metadata": {"version": 1},
        **settings,
    }
    (place / "local.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return "local"


def peer(model, place: Path) -> tuple[dict, list[dict]]:
    """Metrics and samples, in the order of the documents."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(place), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model, tasks=["local"], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    samples = sorted(found["samples"]["local"], key=lambda s: s["doc_id"])
    return found["results"]["local"], samples


def choice_card(**settings) -> Card:
    return Card(
        name="text/local", version=1, domain="text", description="", license="", citation="",
        source={"folder": "local"}, protocol="multiple_choice", metric="accuracy", chance=0.25,
        columns={"choices": "choices", "answer": "answer"},
        templates={"prompt": "Question: {{ question }}\nAnswer:"},
        settings=settings,
    )  # fmt: skip


def stored(place: Path, test: list[dict], shots: list[dict]) -> None:
    for split, content in (("test", test), ("validation", shots)):
        if content:
            (place / "local").mkdir(exist_ok=True)
            parquet.write_table(pa.Table.from_pylist(content), place / "local" / f"{split}.parquet")


CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
CASES = {
    "endings": (rows(ITEMS, 1), []),
    "letters": (rows(ITEMS, 2, letters=True), []),
    "endings behind shots": (rows(ITEMS, 3), rows(SHOTS, 4)),
    "letters behind shots": (rows(ITEMS, 5, letters=True, length=2), rows(SHOTS, 6)),
    "longer than the context": (rows(ITEMS, 7, length=80), []),
}


@pytest.mark.parametrize("kind", ["native", "hf"])
@pytest.mark.parametrize("case", CASES)
def test_multiple_choice(case, kind, folder, theirs, tmp_path, monkeypatch):
    test, shots = CASES[case]
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    stored(tmp_path, test, shots)
    card = choice_card(shots=len(shots), sampling="fixed")
    examples = Examples(card)
    if shots:  # lm-eval takes the first ones: they are given to it in our order
        pool = fewshot.Pool.of(examples.validation)
        drawn = fewshot.shots(pool, examples.test[0], SHOTS, 1234, "fixed")
        shots = [shots[int(e.id.rpartition("-")[2])] for e in drawn]
    task(tmp_path, test, shots, **CHOICES)
    metrics, samples = peer(theirs(), tmp_path)
    adapter = make(f"{kind}:{folder}")
    (result,) = engine.evaluate(adapter, [card], tmp_path / "results")
    lines = (tmp_path / "results" / adapter.name / "text__local.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == len(samples) == ITEMS
    encode = adapter.tokenizer.encode
    contexts = fewshot.contexts(examples, examples.test)
    for record, sample, example, context in zip(
        records, samples, examples.test, contexts, strict=True
    ):
        assert [argument[0] for argument in sample["arguments"]] == [context] * 4
        nats = [nats for nats, _ in sample["filtered_resps"]]
        tokens = [len(encode(f" {c}")) for c in example.fields["choices"]]
        for own, other, count in zip(record["nats"], nats, tokens, strict=True):
            assert own == pytest.approx(other, abs=NATS * count)
        assert record["prediction"] == max(range(4), key=lambda i, n=nats: n[i])
    assert result.details["accuracy"] == pytest.approx(metrics["acc,none"])
    assert result.details["accuracy_per_character"] == pytest.approx(metrics["acc_norm,none"])


@pytest.mark.parametrize("kind", ["native", "hf"])
def test_single_requests(kind, folder, theirs):
    """Spaces at the join, no context, one too long, a continuation that is more than the context.

    Two things that lm-eval 0.4.13 does are left out. Where the join changes the ids of the context
    ("ice" + "d"), it puts the context's own ids before what is left of the whole; ours are the ids
    of the string. And two requests with the same ids, cut at different places, disturb each other.
    """
    from lm_eval.api.instance import Instance

    pairs = [
        ("The river", " froze"),
        ("The river ", "froze"),
        ("The river\n\n", "  froze"),
        ("", "A dog ran"),
        ("ice " * 200, "froze"),
        ("x", " a dog ran" * 60),
    ]
    instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    # lm-eval cannot score a continuation that is longer than the context.
    expected = theirs().loglikelihood(instances[:-1], disable_tqdm=True)
    adapter = make(f"{kind}:{folder}")
    answers = adapter.answer([Score(*pair) for pair in pairs])
    for (nats, is_greedy), answer in zip(expected, answers[:-1], strict=True):
        assert answer.nats == pytest.approx(nats, abs=NATS * answer.tokens)
        assert answer.is_greedy == is_greedy
    assert answers[-1].tokens > CONTEXT


@pytest.mark.parametrize("kind", ["native", "hf"])
def test_rolling_perplexity(kind, folder, theirs, corpus):
    """With `add_bos_token=False`, or else lm-eval scores the tokenizer's BOS behind its own."""
    from lm_eval.api.instance import Instance

    texts = [*corpus[:6], said(90, random.Random(9))]
    instances = [Instance("loglikelihood_rolling", {}, (t,), i) for i, t in enumerate(texts)]
    expected = theirs(add_bos_token=False).loglikelihood_rolling(instances, disable_tqdm=True)
    answers = make(f"{kind}:{folder}").answer([Perplexity(t) for t in texts])
    for nats, answer in zip(expected, answers, strict=True):
        assert -answer.nats == pytest.approx(nats, abs=NATS * answer.tokens)


@pytest.mark.parametrize("kind", ["native", "hf"])
def test_minimal_pairs(kind, folder, theirs, tmp_path, monkeypatch):
    drawn = random.Random(8)
    pairs = [{"good": said(6, drawn), "bad": said(6, drawn), "kind": "x"} for _ in range(ITEMS)]
    monkeypatch.setenv("TGP_DATA", str(tmp_path))
    stored(tmp_path, pairs, [])
    task(
        tmp_path, pairs, [], output_type="multiple_choice", doc_to_text="", target_delimiter="",
        doc_to_choice="{{[good, bad]}}", doc_to_target=0, metric_list=[{"metric": "acc"}],
    )  # fmt: skip
    card = Card(
        name="text/local", version=1, domain="text", description="", license="", citation="",
        source={"folder": "local"}, protocol="minimal_pairs", metric="accuracy", chance=0.5,
        columns={"good": "good", "bad": "bad", "paradigm": "kind", "phenomenon": "kind"},
    )  # fmt: skip
    metrics, samples = peer(theirs(), tmp_path)
    adapter = make(f"{kind}:{folder}")
    (result,) = engine.evaluate(adapter, [card], tmp_path / "results")
    lines = (tmp_path / "results" / adapter.name / "text__local.jsonl").read_text().splitlines()
    for line, sample in zip(lines, samples, strict=True):
        expected = [nats for nats, _ in sample["filtered_resps"]]
        assert json.loads(line)["nats"] == pytest.approx(expected, abs=NATS * 20)
    assert result.value == pytest.approx(metrics["acc,none"])


@pytest.mark.parametrize("kind", ["native", "hf"])
def test_greedy_writing(kind, folder, theirs):
    from lm_eval.api.instance import Instance

    prompts = ["The river", "Three red circles", "def f(x):", "a set " * 60]
    stop = ["e", "\n"]
    settings = {"until": stop, "max_gen_toks": 12, "do_sample": False}
    instances = [Instance("generate_until", {}, (p, settings), i) for i, p in enumerate(prompts)]
    expected = theirs().generate_until(instances, disable_tqdm=True)
    answers = make(f"{kind}:{folder}").answer([Generate(p, 12, tuple(stop)) for p in prompts])
    assert answers == expected

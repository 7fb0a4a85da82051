"""How many labels does a model save? Ways to learn from few, against words counted.

    python -m benchmarks.few_labels EXPORT --cards text/trec6 --output few

For each card, count of labels per class and seed the same items are shown to every way:

* probe: a linear map on frozen features (`tgp adapt --method head`)
* knn: the nearest of the items shown, by cosine of frozen features
* lora, full: fine-tuning (`tgp adapt`), the learning rate by its own short runs
* tfidf: logistic regression on TF-IDF of unigrams and bigrams, with nothing pretrained

As many items of each class are also drawn from the validation split, to choose the penalty, the
number of neighbours or when to stop. Every run is a line of runs.jsonl and is not repeated unless
the weights, the card, its data, the code or the options have changed. few_labels.json and .md hold
means over seeds with 95 % intervals of Student's t, and <card>.svg shows them.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tgp_multimodal import export
from tgp_multimodal.data.labelled import Item, Predicted, Splits, label_names
from tgp_multimodal.evaluation import cards, environment, task_scores
from tgp_multimodal.evaluation.examples import source_digest
from tgp_multimodal.evaluation.feature_views import pair_features
from tgp_multimodal.evaluation.few_labels import draw
from tgp_multimodal.evaluation.labelled_cards import task_of
from tgp_multimodal.evaluation.task_plots import Mark, bands
from tgp_multimodal.inference.task_network import TaskNetwork, encode, outputs
from tgp_multimodal.training import adapt, adapt_runs, adapt_start
from tgp_multimodal.training.adapt_module import Examples, answers

COUNTS = ("1", "5", "10", "50", "all")
_NEIGHBOURS = (1, 3, 5, 10)
_FROM_MINUS_ONE = ("matthews", "spearman", "pearson")
_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_STYLE = """
svg { background: #ffffff; font-family: sans-serif; } .grid { stroke: #e5e5e5; }
text { font-size: 12px; } .axis { fill: #555555; } .curve { fill: none; stroke-width: 1.8; }
"""
_COLOURS = ("#2a78d6", "#1baf7a", "#d99200", "#4a3aa7", "#d8443f")


class Bench(NamedTuple):
    """What stays the same from run to run."""

    loaded: export.Loaded
    steps: int | None


def few_shot_splits(splits: Splits, count: str, seed: int) -> Splits:
    """The task with `count` training and validation items of each class, or all."""
    if count == "all":
        return splits
    parts = []
    for number, items in enumerate((splits.train, splits.validation)):
        drawn = draw([item.label for item in items], int(count), 2 * seed + number)
        parts.append([items[place] for place in drawn.places])
    return splits._replace(train=parts[0], validation=parts[1])


def is_short(splits: Splits, count: str) -> bool:
    """Whether a class has fewer training or validation items than are asked for, and gives all."""
    if count == "all":
        return False
    parts = (splits.train, splits.validation)
    return any(draw([i.label for i in items], int(count), 0).short for items in parts)


def _adapted(method: adapt_runs.Method) -> Callable[[Bench, Splits, int], list[Predicted]]:
    def run(bench: Bench, splits: Splits, seed: int) -> list[Predicted]:
        settings = adapt_runs.Settings(method, steps=bench.steps, seed=seed)
        learned = adapt.learn(bench.loaded, splits, settings)
        if learned.is_stopped:
            raise KeyboardInterrupt
        network = learned.network
        test = Examples.of(splits.test, network.task, bench.loaded.tokenizer)
        found = outputs(network, bench.loaded.tokenizer, test.encoded)
        return answers(found, splits.test, network.task)

    return run


def knn(bench: Bench, splits: Splits, seed: int) -> list[Predicted]:
    """The label that is most frequent among the nearest items; ties go to the nearer one."""
    loaded = bench.loaded
    task = adapt_start.task_of(loaded.network, splits, 256, "apart")
    network = TaskNetwork(loaded.network, task)
    vectors = []
    for items in (splits.train, splits.validation, splits.test):
        encoded = encode(loaded.tokenizer, [item.item for item in items], task)
        vectors.append(np.concatenate(outputs(network, loaded.tokenizer, encoded, True)))
    mean = vectors[0].mean(0)  # states share one large direction that says nothing
    train, validation, test = (_unit(v - mean * (len(vectors[0]) > 1)) for v in vectors)
    labels = np.array([item.label for item in splits.train])

    def say(vectors_ND: np.ndarray, k: int) -> list[Predicted]:
        nearest = np.argsort(-(vectors_ND @ train.T), axis=1, kind="stable")[:, :k]
        return [Predicted(_majority_label(labels[row].tolist()), None, None) for row in nearest]

    usable = [k for k in _NEIGHBOURS if k <= len(labels)]
    scored = {k: _score(splits, splits.validation, say(validation, k)) for k in usable}
    return say(test, max(scored, key=lambda k: scored[k]))


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)


def _majority_label(labels: Sequence[str]) -> str:
    return max(labels, key=labels.count)


def tfidf(bench: Bench, splits: Splits, seed: int) -> list[Predicted]:
    """Logistic regression on TF-IDF of the training texts; of pairs on [u, v, |u - v|, u v]."""
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    words.fit([text for item in splits.train for text in _texts(item)])
    train = _tfidf_features(words, splits.train)
    labels = [item.label for item in splits.train]
    fitted = [LogisticRegression(C=c, max_iter=1000).fit(train, labels) for c in _PENALTIES]

    def say(model: LogisticRegression, items: Sequence[Item]) -> list[Predicted]:
        said = model.predict(_tfidf_features(words, items))
        return [Predicted(str(label), None, None) for label in said]

    scored = [_score(splits, splits.validation, say(m, splits.validation)) for m in fitted]
    return say(fitted[int(np.argmax(scored))], splits.test)


def _texts(item: Item) -> Sequence[str]:
    return [item.item] if isinstance(item.item, str) else item.item


def _tfidf_features(words: TfidfVectorizer, items: Sequence[Item]) -> Any:
    """Sparse rows: of a text its weights, of a pair what a probe reads."""
    sides = [words.transform(texts) for texts in zip(*map(_texts, items), strict=True)]
    return sides[0] if len(sides) == 1 else pair_features(*sides)


def _score(splits: Splits, items: Sequence[Item], predicted: Sequence[Predicted]) -> float:
    return task_scores.value(splits.metric, items, predicted, splits.positive)


METHODS: dict[str, Callable[[Bench, Splits, int], list[Predicted]]] = {
    "probe": _adapted("head"),
    "knn": knn,
    "lora": _adapted("lora"),
    "full": _adapted("full"),
    "tfidf": tfidf,
}


def read_runs(journal: Path) -> list[dict[str, Any]]:
    """The runs of a journal, but for a last line that a kill has cut; the next starts a new one."""
    text = journal.read_text("utf-8") if journal.is_file() else ""
    if text and not text.endswith("\n"):
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n")
    runs = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            runs.append(json.loads(line))
    return runs


def facts_of(card: cards.Card) -> dict[str, str]:
    """What decides the items of a card."""
    is_embedded = "embedded" in card.source
    data = environment.corpus_versions() if is_embedded else source_digest(card)
    return {"card_digest": card.digest, "data": data}


def comparable_runs(
    runs: Sequence[dict[str, Any]], asked: dict[str, Any], facts: dict[str, dict[str, str]]
) -> list[dict[str, Any]]:
    """The runs that may stand in one table.

    Args:
        runs: all of the journal.
        asked: what all must have.
        facts: card -> what its own must have; of another card that of its last run.
    """
    mine = [run for run in runs if asked.items() <= run.items()]
    last = {run["card"]: {name: run[name] for name in ("card_digest", "data")} for run in mine}
    last |= facts
    return [run for run in mine if last[run["card"]].items() <= run.items()]


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds of each card, method and count, with a 95 % interval.

    The interval ends where the metric does, at 1 and at 0 or, of a correlation, -1. `half` is its
    half before that. The interval of one seed is the value itself.
    """
    metrics = {run["card"]: run["metric"] for run in runs}
    short = {(run["card"], run["count"]) for run in runs if run.get("short")}
    grouped: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        grouped.setdefault((run["card"], run["method"], run["count"]), []).append(run["value"])
    found = []
    for (card, method, count), values in grouped.items():
        mean, n = float(np.mean(values)), len(values)
        half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5 if n > 1 else 0.0
        least = -1.0 if metrics[card] in _FROM_MINUS_ONE else 0.0
        low, high = max(least, mean - float(half)), min(1.0, mean + float(half))
        row = {"card": card, "method": method, "count": count, "mean": mean, "half": float(half)}
        row |= {"short": (card, count) in short}
        found.append(row | {"low": low, "high": high, "seeds": n})
    return found


def markdown(rows: Sequence[dict[str, Any]], metrics: dict[str, str]) -> str:
    """One table a card: a row a method, a column a count."""
    parts = []
    for card in dict.fromkeys(row["card"] for row in rows):
        own = [row for row in rows if row["card"] == card]
        counts = [c for c in COUNTS if any(row["count"] == c for row in own)]
        lines = [f"## {card} ({metrics[card]})", "", f"| labels per class | {' | '.join(counts)} |"]
        lines.append("|---" * (len(counts) + 1) + "|")
        for method in dict.fromkeys(row["method"] for row in own):
            cells = {row["count"]: _cell(row) for row in own if row["method"] == method}
            lines.append(f"| {method} | {' | '.join(cells.get(c, '') for c in counts)} |")
        if any(row["short"] for row in own):
            lines += ["", "\\* some classes have fewer, and give all they have"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(row: dict[str, Any]) -> str:
    spread = f" ± {row['half']:.3f}" if row["seeds"] > 1 else ""
    return f"{row['mean']:.3f}{spread}" + "\\*" * row["short"]


def plot(rows: Sequence[dict[str, Any]], metric: str) -> str:
    """The curves of one card as a whole SVG file."""
    counts = [c for c in COUNTS if any(row["count"] == c for row in rows)]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = sorted((counts.index(r["count"]), r) for r in rows if r["method"] == method)
        marks = [
            Mark(x, r["mean"], r["low"], r["high"], f"{method}, {r['count']}: {r['mean']:.4f}")
            for x, r in own
        ]
        lines.append((method, marks))
    drawn = str(bands(counts, lines, "labels per class", metric))
    colours = "".join(
        f".curve.c{i} {{ stroke: {c}; }} circle.c{i}, text.c{i} {{ fill: {c}; }}\n"
        for i, c in enumerate(_COLOURS)
    )
    start, rest = drawn.split(">", 1)
    space = start.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{space}><style>{_STYLE}{colours}</style>{rest}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then writes the tables and plots of all that stands there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_labels")
    parser.add_argument("export", type=Path, help="folder that `tgp export` wrote")
    parser.add_argument(
        "--cards", nargs="+", required=True, help="of classes, for example text/sst2"
    )
    parser.add_argument("--counts", nargs="+", default=list(COUNTS), choices=COUNTS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument(
        "--seeds", type=int, default=5, help="draws of items (5); 1 for all of them"
    )
    parser.add_argument("--steps", type=int, help="of fine-tuning; left out: as `tgp adapt`")
    parser.add_argument("--limit", type=int, help="most test items")
    parser.add_argument("--output", type=Path, default=Path("few_labels"))
    given = parser.parse_args(arguments)
    bench = Bench(export.load(given.export), given.steps)
    given.output.mkdir(parents=True, exist_ok=True)
    journal = given.output / "runs.jsonl"
    runs, facts = read_runs(journal), {}
    asked = {"weights": bench.loaded.digest, "limit": given.limit, "asked_steps": given.steps}
    asked |= {"code": environment.code_digest("training"), "bench": _own_digest()}
    metrics = {run["card"]: run["metric"] for run in runs}
    for name in given.cards:
        card = cards.find(name)
        splits, facts[name] = _task(card, given.limit), facts_of(card)
        if splits.kind != "classification" or splits.reads == "picture":
            got = f"{name}, a {splits.kind} of a {splits.reads}"
            raise SystemExit(f"cards must be of classes and texts. Got {got}, instead.")
        metrics[name] = splits.metric
        plan = [
            (count, seed, method)
            for count in given.counts
            for seed in range(1 if count == "all" else given.seeds)
            for method in given.methods
        ]
        for count, seed, method in plan:
            key = {
                "card": name, "method": method, "count": count,
                "seed": seed, **asked, **facts[name],
            }  # fmt: skip
            if any(key.items() <= run.items() for run in runs):
                continue
            few, began = few_shot_splits(splits, count, seed), time.monotonic()
            value = _score(few, few.test, METHODS[method](bench, few, seed))
            run = key | {"metric": splits.metric, "value": value, "train": len(few.train)}
            run |= {"classes": len(label_names(few.train, few.kind))}
            run |= {"short": is_short(splits, count)}
            run |= {"seconds": round(time.monotonic() - began, 2)}
            runs.append(run)
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(run) + "\n")
            print(f"{name} {method} {count} seed {seed}: {value:.4f} ({run['seconds']:.0f} s)")
    _write(given.output, summary(comparable_runs(runs, asked, facts)), metrics)


def _task(card: cards.Card, limit: int | None) -> Splits:
    """All items to learn from, and at most so many to measure with."""
    splits = task_of(card)
    return splits if limit is None else splits._replace(test=task_of(card, limit=limit).test)


def _own_digest() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _write(folder: Path, rows: Sequence[dict[str, Any]], metrics: dict[str, str]) -> None:
    (folder / "few_labels.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "few_labels.md").write_text(markdown(rows, metrics), encoding="utf-8")
    for card in dict.fromkeys(row["card"] for row in rows):
        path = folder / f"{card.replace('/', '__')}.svg"
        own = [row for row in rows if row["card"] == card]
        path.write_text(plot(own, metrics[card]), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()

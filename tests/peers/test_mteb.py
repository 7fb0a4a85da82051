"""MTEB's own classification and similarity tasks on made-up data, with the vectors that we see.

Run with `-m peers` where mteb is installed. Nothing is fetched: the tasks hold their rows.
"""

from typing import Any

import numpy as np
import pytest
from made_up_cards import Rows, score
from planted_models import Planted, hashed
from sklearn.linear_model import LogisticRegression

from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.few_labels import draw
from tgp_multimodal.evaluation.requests import Embed

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # what the peer's libraries warn of is theirs
]
mteb = pytest.importorskip("mteb", reason="needs mteb")

KINDS = ("ant", "bee", "cat", "dog")
FACTS: dict[str, Any] = {
    "description": "made up", "reference": "https://example.org", "category": "t2t",
    "dataset": {"path": "nowhere", "revision": "none"}, "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"], "date": ("2025-01-01", "2025-01-02"), "dialect": [], "domains": [],
    "task_subtypes": [], "license": "cc0-1.0", "annotations_creators": "derived",
    "modalities": ["text"], "sample_creation": "created", "bibtex_citation": "",
}  # fmt: skip


def vector(text: str) -> np.ndarray:
    """The kind that a text names, under noise."""
    signal = np.zeros(8)
    for place, kind in enumerate(KINDS):
        signal[place] = 1.2 * text.count(kind)
    return signal + hashed(Embed(text))


class Encoder:
    """What MTEB asks of a model."""

    def __init__(self) -> None:
        self.mteb_model_meta = mteb.models.ModelMeta.create_empty({"name": "made/up"})

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        return np.stack([vector(text) for batch in inputs for text in batch["text"]])

    def similarity(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return mteb.similarity_functions.cos_sim(one, two)

    def similarity_pairwise(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return mteb.similarity_functions.pairwise_cos_sim(one, two)


def labelled(split: str, count: int) -> list[dict[str, Any]]:
    return [{"item": f"{split} {i} of {KINDS[i % 4]}", "label": KINDS[i % 4]} for i in range(count)]


def test_classification(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight labels of each class, ten times: MTEB's classifier on the items that we draw."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    rows: Rows = {"train": labelled("train", 160), "test": labelled("test", 80)}
    settings = {"counts": [8], "seeds": 10, "standardised": False}
    ours = score(
        monkeypatch, "few_labels", rows, Planted(embed=lambda r: vector(r.item)), settings=settings
    )
    columns = {"item": "item", "label": "label"}
    fixed = ("text/x", 1, "text", "d", "l", "c", {"embedded": "made_up"}, "few_labels")
    train = Examples(cards.Card(*fixed, "curve_accuracy", 0.0, columns)).train
    labels, names = [e.fields["label"] for e in train], [e.digest for e in train]

    class Local(AbsTaskClassification):
        metadata = TaskMetadata(type="Classification", name="Local", main_score="accuracy", **FACTS)
        evaluator_model = LogisticRegression(max_iter=1000, tol=1e-8)

        def load_data(self, **_: Any) -> None:
            def table(split: str) -> Dataset:
                own = rows[split]
                numbers = [KINDS.index(r["label"]) for r in own]
                return Dataset.from_dict({"text": [r["item"] for r in own], "label": numbers})

            self.dataset = DatasetDict({split: table(split) for split in rows})
            self.data_loaded = True

        def _undersample_data(self, dataset: Any, experiment_num: int, idxs: Any = None) -> Any:
            places = draw(labels, self.samples_per_label, experiment_num, names).places
            return dataset.select(places), idxs, places

    (theirs,) = Local().evaluate(Encoder(), encode_kwargs={}).values()
    each = [one["accuracy"] for one in theirs["scores_per_experiment"]]
    right = np.array([[int(d) for d in r["right"]["8"]] for r in ours.records])
    assert right.mean(axis=0).tolist() == pytest.approx(each)
    assert ours.details["at_8"] == pytest.approx(theirs["accuracy"])
    assert 0.4 < theirs["accuracy"] < 1
    print(f"accuracy {ours.details['at_8']:.6f}, MTEB's {theirs['accuracy']:.6f}")


def test_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    drawn = np.random.default_rng(0)
    pairs = []
    for number in range(120):
        first, second = (" ".join(drawn.choice(KINDS, 3)) for _ in range(2))
        shared = len(set(first.split()) & set(second.split()))
        pairs.append({"first": f"{number} {first}", "second": second, "score": float(shared)})
    ours = score(
        monkeypatch, "similarity", {"test": pairs}, Planted(embed=lambda r: vector(r.item))
    )

    class Local(AbsTaskSTS):
        metadata = TaskMetadata(type="STS", name="Local", main_score="cosine_spearman", **FACTS)

        def load_data(self, **_: Any) -> None:
            columns = {"sentence1": "first", "sentence2": "second", "score": "score"}
            own = {theirs: [p[name] for p in pairs] for theirs, name in columns.items()}
            self.dataset = DatasetDict({"test": Dataset.from_dict(own)})
            self.data_loaded = True

    (theirs,) = Local().evaluate(Encoder(), encode_kwargs={}).values()
    assert ours.details["spearman"] == pytest.approx(theirs["cosine_spearman"], abs=1e-9)
    assert ours.details["pearson"] == pytest.approx(theirs["cosine_pearson"], abs=1e-7)
    assert ours.details["spearman"] > 0.1
    print(f"Spearman {ours.value:.9f}, MTEB's {theirs['cosine_spearman']:.9f}")

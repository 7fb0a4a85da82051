"""What a card of each protocol must and may say, and what it asks of a model."""

from typing import Any, NamedTuple

from tgp_multimodal.evaluation.picture_spaces import SPACES
from tgp_multimodal.evaluation.requests import (
    Compare,
    Denoise,
    Draw,
    Embed,
    EmbedTokens,
    Generate,
    JointEmbed,
    MaskedScore,
    Perplexity,
    Request,
    Score,
)


class ProtocolSpec(NamedTuple):
    """What a card of one protocol must and may say, and what running it takes.

    Attributes:
        requests: what it asks of a model, unless a setting decides (`requests_by`).
        fields: of each example; those that end in "?" may be missing.
        settings: with their defaults.
        metrics: what may be its headline number.
        splits: what is read before a model is asked, beside the test items.
        fits: whether something is fitted on the training items (a probe).
        fits_validation: whether on those of validation as well, in the end.
        runs_programs: whether it runs what a model writes.
        modality: of its items, where no setting of this name says it.
        requests_by: the setting that decides what is asked, a key of `REQUESTS_BY`.
    """

    requests: frozenset[type[Request]]
    fields: tuple[str, ...]
    settings: dict[str, Any]
    metrics: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "validation")
    fits: bool = False
    fits_validation: bool = True
    runs_programs: bool = False
    modality: str = "text"
    requests_by: str = ""

    @property
    def has_documents(self) -> bool:
        """Whether questions are asked about documents of a corpus."""
        return "document_id" in self.fields

    @property
    def has_shots(self) -> bool:
        """Whether training items may be solved examples in a prompt."""
        return "shots" in self.settings


# Of prompts with solved examples before the question, see `fewshot`.
_SHOTS: dict[str, Any] = {
    "shots": 0,
    "sampling": "per_item",
    "seed": 1234,
    "delimiter": " ",
    "separator": "\n\n",
    "preamble": "",
}
PROTOCOLS = {
    "probe": ProtocolSpec(
        frozenset({Embed}),
        ("item", "second?", "label", "group?"),
        {"modality": "text", "positive": ""},
        ("accuracy", "macro_f1", "matthews", "f1"),
        fits=True,
    ),
    "few_labels": ProtocolSpec(
        frozenset({Embed}),
        ("item", "second?", "label", "group?"),
        {"modality": "text", "counts": (1, 5, 10, 50), "seeds": 5, "standardised": True},
        ("curve_accuracy",),
        fits=True,
        fits_validation=False,
    ),
    "multiple_choice": ProtocolSpec(
        frozenset({Score}),
        ("prompt", "choices", "answer", "continuation?", "preamble?", "topic?", "group?"),
        {**_SHOTS, "balanced": False},
        ("accuracy", "accuracy_per_character", "accuracy_per_byte"),
    ),
    "infilling": ProtocolSpec(
        frozenset({Score}),
        ("prefix", "suffix", "choices", "answer", "group?"),
        {},
        ("accuracy", "accuracy_per_character", "accuracy_per_byte"),
    ),
    "retrieval": ProtocolSpec(
        frozenset({Embed}),
        ("query", "relevant", "relevance?", "document", "document_id", "group?"),
        {},
        ("mrr", "recall_at_1", "recall_at_10", "recall_at_100", "ndcg_at_10", "map"),
        splits=("corpus",),
    ),
    "similarity": ProtocolSpec(
        frozenset({Embed}),
        ("first", "second", "score", "group?"),
        {},
        ("spearman", "pearson"),
        splits=(),
    ),
    "generation": ProtocolSpec(
        frozenset({Generate}),
        ("prompt", "references", "preamble?", "group?"),
        {"max_tokens": 64, "stop": ("\n",), "strip": True, **_SHOTS},
        ("rouge_1", "rouge_2", "rouge_l", "exact_match"),
        splits=(),
    ),
    "last_word": ProtocolSpec(
        frozenset({Score}),
        ("context", "target", "group?"),
        {"delimiter": " "},
        ("accuracy",),
        splits=(),
    ),
    "bias": ProtocolSpec(
        frozenset({Score}),
        ("stereotyping", "other", "category", "group?"),
        {"scoring": "causal"},
        ("stereotype_share",),
        splits=(),
        requests_by="scoring",
    ),
    "minimal_pairs": ProtocolSpec(
        frozenset({Score}),
        ("good", "bad", "paradigm", "phenomenon"),
        {"scoring": "causal"},
        ("accuracy",),
        splits=(),
        requests_by="scoring",
    ),
    "perplexity": ProtocolSpec(
        frozenset({Perplexity}), ("text", "group?"), {}, ("bits_per_byte",), splits=()
    ),
    "denoising": ProtocolSpec(
        frozenset({Denoise}), ("item", "caption", "group?"), {}, ("squared_error",), splits=()
    ),
    "likeness": ProtocolSpec(
        frozenset({Draw}), ("item", "caption", "group?"), {"space": "shape/1"}, ("kid",)
    ),
    "scene_eval": ProtocolSpec(
        frozenset({Draw}),
        ("prompt", "axis", "truth", "seed", "held_out"),
        {},
        ("mean_axis_accuracy",),
        splits=(),
    ),
    "zero_shot": ProtocolSpec(
        frozenset({JointEmbed}),
        ("picture", "label", "group?"),
        {"labels": (), "template": "{}", "by": "space"},
        ("accuracy", "macro_f1"),
        splits=(),
        requests_by="by",
    ),
    "picture_retrieval": ProtocolSpec(
        frozenset({JointEmbed}),
        ("picture", "captions", "group?"),
        {},
        ("recall_at_1", "recall_at_5", "recall_at_10"),
        splits=(),
    ),
    "tagging": ProtocolSpec(
        frozenset({EmbedTokens}),
        ("tokens", "tags", "group?"),
        {},
        ("f1_strict", "f1_lenient"),
        fits=True,
    ),
    "multi_label": ProtocolSpec(
        frozenset({Embed}),
        ("item", "labels", "group?"),
        {},
        ("micro_f1", "group_micro_f1"),
        fits=True,
    ),
    "one_shot": ProtocolSpec(
        frozenset({Embed}),
        ("picture", "label", "run"),
        {},
        ("error",),
        splits=("corpus", "train"),
        modality="image",
    ),
    "pairwise": ProtocolSpec(
        frozenset({Perplexity}),
        ("good", "bad", "kind?", "group?"),
        {},
        ("accuracy", "accuracy_per_byte"),
        splits=(),
    ),
    "conditional_perplexity": ProtocolSpec(
        frozenset({Score}),
        ("context", "continuation", "suffix?", "kind?", "group?"),
        {},
        ("bits_per_byte",),
        splits=(),
    ),
    "infilling_match": ProtocolSpec(
        frozenset({Generate}),
        ("prefix", "suffix", "middle", "group?"),
        {"max_tokens": 64, "stop": ()},
        ("exact_match",),
        splits=(),
    ),
    "pass_at_k": ProtocolSpec(
        frozenset({Generate}),
        ("prompt", "suffix?", "tests", "function", "reference?", "setup?", "group?"),
        {
            "samples": 10,
            "temperature": 0.2,
            "top_p": 0.95,
            "seed": 0,
            "max_tokens": 256,
            "stop": (),
            "ending": "",
            "seconds": 3,
            "megabytes": 1024,
        },
        ("pass_at_1", "pass_at_5", "pass_at_10", "pass_at_100"),
        splits=(),
        runs_programs=True,
    ),
}


# How minimal pairs and pairs of `bias` are scored -> what that asks of a model.
SCORINGS: dict[str, type[Request]] = {"causal": Score, "masked": MaskedScore}
# How zero-shot classes are compared: by cosines in a joint space, or by scores of the model.
COMPARISONS: dict[str, type[Request]] = {"space": JointEmbed, "model": Compare}
REQUESTS_BY = {"scoring": SCORINGS, "by": COMPARISONS}
# Which training items stand before the question, see `fewshot`.
SAMPLING = ("first", "fixed", "per_item")
# Settings that take one of a few names, and which.
CHOICES = {
    "scoring": tuple(SCORINGS),
    "space": tuple(SPACES),
    "by": tuple(COMPARISONS),
    "modality": ("text", "image"),
    "sampling": SAMPLING,
}

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


class Protocol(NamedTuple):
    """What a card of one protocol must and may say.

    Attributes:
        requests: what it asks of a model.
        fields: of each example; those that end in "?" may be missing.
        settings: with their defaults.
        metrics: what may be its headline number.
    """

    requests: frozenset[type[Request]]
    fields: tuple[str, ...]
    settings: dict[str, Any]
    metrics: tuple[str, ...]


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
    "probe": Protocol(
        frozenset({Embed}),
        ("item", "second?", "label", "group?"),
        {"modality": "text", "positive": ""},
        ("accuracy", "macro_f1", "matthews", "f1"),
    ),
    "few_labels": Protocol(
        frozenset({Embed}),
        ("item", "second?", "label", "group?"),
        {"modality": "text", "counts": (1, 5, 10, 50), "seeds": 5, "standardised": True},
        ("curve_accuracy",),
    ),
    "multiple_choice": Protocol(
        frozenset({Score}),
        ("prompt", "choices", "answer", "continuation?", "preamble?", "topic?", "group?"),
        {**_SHOTS, "balanced": False},
        ("accuracy", "accuracy_per_character", "accuracy_per_byte"),
    ),
    "infilling": Protocol(
        frozenset({Score}),
        ("prefix", "suffix", "choices", "answer", "group?"),
        {},
        ("accuracy", "accuracy_per_character", "accuracy_per_byte"),
    ),
    "retrieval": Protocol(
        frozenset({Embed}),
        ("query", "relevant", "relevance?", "document", "document_id", "group?"),
        {},
        ("mrr", "recall_at_1", "recall_at_10", "recall_at_100", "ndcg_at_10", "map"),
    ),
    "similarity": Protocol(
        frozenset({Embed}), ("first", "second", "score", "group?"), {}, ("spearman", "pearson")
    ),
    "generation": Protocol(
        frozenset({Generate}),
        ("prompt", "references", "preamble?", "group?"),
        {"max_tokens": 64, "stop": ("\n",), "strip": True, **_SHOTS},
        ("rouge_1", "rouge_2", "rouge_l", "exact_match"),
    ),
    "last_word": Protocol(
        frozenset({Score}), ("context", "target", "group?"), {"delimiter": " "}, ("accuracy",)
    ),
    # What these two ask follows their setting, see `SCORINGS`.
    "bias": Protocol(
        frozenset({Score}),
        ("stereotyping", "other", "category", "group?"),
        {"scoring": "causal"},
        ("stereotype_share",),
    ),
    "minimal_pairs": Protocol(
        frozenset({Score}),
        ("good", "bad", "paradigm", "phenomenon"),
        {"scoring": "causal"},
        ("accuracy",),
    ),
    "perplexity": Protocol(frozenset({Perplexity}), ("text", "group?"), {}, ("bits_per_byte",)),
    "denoising": Protocol(
        frozenset({Denoise}), ("item", "caption", "group?"), {}, ("squared_error",)
    ),
    "likeness": Protocol(
        frozenset({Draw}), ("item", "caption", "group?"), {"space": "shape/1"}, ("kid",)
    ),
    "scene_eval": Protocol(
        frozenset({Draw}),
        ("prompt", "axis", "truth", "seed", "held_out"),
        {},
        ("mean_axis_accuracy",),
    ),
    # What it asks follows its setting, see `COMPARISONS`.
    "zero_shot": Protocol(
        frozenset({JointEmbed}),
        ("picture", "label", "group?"),
        {"labels": (), "template": "{}", "by": "space"},
        ("accuracy", "macro_f1"),
    ),
    "picture_retrieval": Protocol(
        frozenset({JointEmbed}),
        ("picture", "captions", "group?"),
        {},
        ("recall_at_1", "recall_at_5", "recall_at_10"),
    ),
    "tagging": Protocol(
        frozenset({EmbedTokens}), ("tokens", "tags", "group?"), {}, ("f1_strict", "f1_lenient")
    ),
    "multi_label": Protocol(
        frozenset({Embed}), ("item", "labels", "group?"), {}, ("micro_f1", "group_micro_f1")
    ),
    "one_shot": Protocol(frozenset({Embed}), ("picture", "label", "run"), {}, ("error",)),
    "pairwise": Protocol(
        frozenset({Perplexity}),
        ("good", "bad", "kind?", "group?"),
        {},
        ("accuracy", "accuracy_per_byte"),
    ),
    "conditional_perplexity": Protocol(
        frozenset({Score}),
        ("context", "continuation", "suffix?", "kind?", "group?"),
        {},
        ("bits_per_byte",),
    ),
    "infilling_match": Protocol(
        frozenset({Generate}),
        ("prefix", "suffix", "middle", "group?"),
        {"max_tokens": 64, "stop": ()},
        ("exact_match",),
    ),
    "pass_at_k": Protocol(
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
    ),
}


# How minimal pairs and pairs of `bias` are scored -> what that asks of a model.
SCORINGS: dict[str, type[Request]] = {"causal": Score, "masked": MaskedScore}
# How zero-shot classes are told apart: cosines in a joint space, or by what the model prefers.
COMPARISONS: dict[str, type[Request]] = {"space": JointEmbed, "model": Compare}
# Settings that take one of a few names, and which.
CHOICES = {"scoring": tuple(SCORINGS), "space": tuple(SPACES), "by": tuple(COMPARISONS)}

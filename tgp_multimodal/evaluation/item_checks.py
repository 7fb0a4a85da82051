"""What an item of each protocol must be, beyond having its fields; one sentence for what is not."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgp_multimodal.evaluation.entities import are_known

Fields = dict[str, Any]

_SHOWN = 200  # characters of a value that is none
_OF_ITEMS = ("probe", "few_labels", "multi_label")


def check(protocol: str, fields: Fields, modality: str = "text") -> str | None:
    """None, or in one sentence why these fields make no item of the protocol.

    Args:
        protocol: of the card.
        fields: of one item.
        modality: what `item` and `second` are, "text" or "image".
    """
    if protocol in _OF_ITEMS:
        fits = _pictures if modality == "image" else _texts
        if problem := fits("item", "second")(fields):
            return problem
    find = _CHECKS.get(protocol)
    return find(fields) if find is not None else None


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:_SHOWN]


def _choice(fields: Fields) -> str | None:
    if problem := _texts("prompt", "prefix", "suffix", "continuation", "preamble")(fields):
        return problem
    choices, answer = fields["choices"], fields["answer"]
    texts = choices if isinstance(choices, list | tuple) else ()
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        are_numbers = bool(texts) and all(isinstance(one, int | float) for one in texts)
        hint = " (cells of digits are numbers: write `[a|string, ...]`)" if are_numbers else ""
        return f"choices must be a list of at least two texts{hint}. Got {choices!r} instead."
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        return (
            f"answer must be a place in the {len(choices)} choices, from 0. Got {answer!r} instead."
        )
    return None


def _probe(fields: Fields) -> str | None:
    label = fields["label"]
    if label is None or label == "" or isinstance(label, list | dict):
        return f"label must be a name or a number. Got {label!r} instead."
    return None


def _minimal_pairs(fields: Fields) -> str | None:
    for name in ("paradigm", "phenomenon"):
        if fields[name] is None:
            return f"{name} must be a name. Got None instead."
    return _texts("good", "bad")(fields)


def _similarity(fields: Fields) -> str | None:
    score = fields["score"]
    for name in ("first", "second"):
        if fields[name] is None:
            return f"{name} must be a text. Got None instead."
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return f"score must be a finite number. Got {score!r} instead."
    return None


def _retrieval(fields: Fields) -> str | None:
    if problem := _texts("query", "document")(fields):
        return problem
    if "relevant" not in fields:  # a document
        has_id = fields["document_id"] is not None
        return None if has_id else "document_id must be a name. Got None instead."
    relevant = fields["relevant"]
    if not isinstance(relevant, list | tuple) or not relevant:
        return f"relevant must be a list of at least one document id. Got {relevant!r} instead."
    gains = fields.get("relevance", [1] * len(relevant))
    numbers = isinstance(gains, list | tuple) and all(isinstance(g, int | float) for g in gains)
    if not numbers or len(gains) != len(relevant) or not max(gains) > 0:
        wanted = f"{len(relevant)} numbers, one for each relevant document, one above 0"
        return f"relevance must be {wanted}. Got {gains!r} instead."
    return None


def _generation(fields: Fields) -> str | None:
    references = fields["references"]
    if problem := _texts("preamble")(fields):
        return problem
    if fields.get("prompt", "") is None:
        return "prompt must be a text. Got None instead."
    texts = references if isinstance(references, list | tuple) else ()
    if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        return f"references must be a list of at least one text. Got {references!r} instead."
    return None


def _last_word(fields: Fields) -> str | None:
    target = fields["target"]
    if fields.get("context", "") is None:
        return "context must be a text. Got None instead."
    if not isinstance(target, str) or not target.strip():
        return f"target must be a text. Got {target!r} instead."
    return None


def _tagging(fields: Fields) -> str | None:
    tokens, tags = fields["tokens"], fields["tags"]
    for name, words in (("tokens", tokens), ("tags", tags)):
        is_list = isinstance(words, list | tuple)
        if not is_list or not words or not all(isinstance(w, str) for w in words):
            return f"{name} must be a list of at least one word. Got {words!r} instead."
    if len(tokens) != len(tags):
        return f"tags must be {len(tokens)}, one for each token. Got {len(tags)} instead."
    if not are_known(tags):
        wrong = next(tag for tag in tags if not are_known([tag]))
        return f"tags must be O, or B- or I- and a type (IOB2). Got {wrong!r} instead."
    return None


def _multi_label(fields: Fields) -> str | None:
    labels = fields["labels"]
    if not isinstance(labels, list | tuple):
        return f"labels must be a list. Got {labels!r} instead."
    if strange := [label for label in labels if not isinstance(label, str | int)]:
        return f"labels must be names or numbers. Got {strange[0]!r} instead."
    return None


def _picture_retrieval(fields: Fields) -> str | None:
    captions = fields["captions"]
    texts = captions if isinstance(captions, list | tuple) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        return f"captions must be a list of at least one text. Got {captions!r} instead."
    return _pictures("picture")(fields)


def _of_caption(fields: Fields) -> str | None:
    return _texts("caption")(fields) or _pictures("item")(fields)


def _pictures(*names: str) -> Callable[[Fields], str | None]:
    """Fields that must be pictures where they are there."""

    def check(fields: Fields) -> str | None:
        for name in names:
            found: Any = fields.get(name)
            is_picture = isinstance(found, np.ndarray) and found.ndim == 3
            if name in fields and not (is_picture and found.dtype == np.uint8):
                wanted = f"{name} must be a picture (rows, columns, 3 bytes)"
                return f"{wanted}. Got {_short(found)} instead."
        return None

    return check


def _texts(*names: str, full: str = "") -> Callable[[Fields], str | None]:
    """Fields that must be texts where they are there; that of `full` with something in it."""

    def check(fields: Fields) -> str | None:
        for name in names:
            if not isinstance(fields.get(name, ""), str):
                return f"{name} must be a text. Got {_short(fields[name])} instead."
        if full and not fields[full]:
            return f"{full} must be a text with something in it. Got {fields[full]!r} instead."
        return None

    return check


_CHECKS: dict[str, Callable[[Fields], str | None]] = {
    "probe": _probe,
    "few_labels": _probe,
    "multiple_choice": _choice,
    "infilling": _choice,
    "similarity": _similarity,
    "retrieval": _retrieval,
    "zero_shot": _pictures("picture"),
    "one_shot": _pictures("picture"),
    "picture_retrieval": _picture_retrieval,
    "denoising": _of_caption,
    "likeness": _of_caption,
    "generation": _generation,
    "last_word": _last_word,
    "tagging": _tagging,
    "multi_label": _multi_label,
    "perplexity": _texts("text", full="text"),
    "pairwise": _texts("good", "bad"),
    "minimal_pairs": _minimal_pairs,
    "bias": _texts("stereotyping", "other"),
    "conditional_perplexity": _texts("context", "continuation", "suffix", full="continuation"),
    "infilling_match": _texts("prefix", "suffix", "middle"),
    "pass_at_k": _texts("prompt", "suffix", "tests", "function", "reference", "setup"),
}

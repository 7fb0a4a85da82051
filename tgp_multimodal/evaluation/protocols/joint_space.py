"""Which text goes with a picture: of the classes, and of many captions.

Shape letters: N pictures, T texts, D width.
"""

import math
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from tgp_multimodal.evaluation import confusion, metrics
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.feature_views import stack
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.protocols.probe import proportion
from tgp_multimodal.evaluation.requests import Compare, JointEmbed
from tgp_multimodal.evaluation.stats import share

_DEPTHS = (1, 5, 10)


def zero_shot(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Which label's text fits the picture best, with nothing trained.

    By cosine in a space that texts and pictures share (Radford et al. 2021, section 3.1), or, where
    the card says `by: model`, by the model's own comparison: for one that draws, which text lets it
    recover the picture from noise best (Li et al. 2023, arXiv:2303.16203). The text of a label is
    the card's template with the label in the place of `{}`. Ties go to the label that the card
    names first.

    Raises:
        ValueError: an item has a label that the card does not name.
    """
    test, card = examples.test, examples.card
    labels = [str(label) for label in card.setting("labels")]
    targets = [str(e.fields["label"]) for e in test]
    if unknown := sorted(set(targets) - set(labels)):
        raise ValueError(
            f"{card.name}: labels must name the label of every item. "
            f"Got {', '.join(unknown)} besides instead."
        )
    texts = [str(card.setting("template")).replace("{}", label) for label in labels]
    pictures = [e.fields["picture"] for e in test]
    if card.setting("by") == "model":
        score_NT = stack(ask([Compare(picture, tuple(texts)) for picture in pictures]))
    else:
        score_NT = _cosines(ask, pictures, texts)
    predictions = [labels[best] for best in score_NT.argmax(axis=1)]
    details: dict[str, Any] = {
        "accuracy": metrics.accuracy(predictions, targets),
        "macro_f1": metrics.macro_f1(predictions, targets),
    }
    correct = [p == t for p, t in zip(predictions, targets, strict=True)]
    details["by_label"] = {
        label: float(np.mean([c for c, t in zip(correct, targets, strict=True) if t == label]))
        for label in labels
        if label in targets
    }
    records = [
        {"id": e.id, "correct": c, "prediction": p, "target": t}
        for e, c, p, t in zip(test, correct, predictions, targets, strict=True)
    ]
    if card.metric == "accuracy":
        interval = proportion(correct, groups(test))
    else:
        seen = list(dict.fromkeys([*predictions, *targets]))
        interval = confusion.interval(confusion.macro_f1, predictions, targets, seen, groups(test))
    return Outcome(details[card.metric], interval, records, details)


def picture_retrieval(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Recall at 1, 5 and 10 of captions by their picture and of pictures by a caption.

    `recall_at_k` is the mean of both directions. A picture finds its captions if one of them is
    among the best k; captions that several pictures share are one text, which belongs to all of
    them. Each picture counts once, whatever the number of its captions. Ties count against the
    model, so that one whose features are all equal finds nothing. Chance is that of a random order
    of these very items, since a caption of many pictures is easier to find.
    """
    test = examples.test
    captions = [[str(c) for c in e.fields["captions"]] for e in test]
    texts = list(dict.fromkeys(c for own in captions for c in own))
    place = {text: index for index, text in enumerate(texts)}
    belongs_NT = np.zeros((len(test), len(texts)), dtype=bool)
    for row, own in zip(belongs_NT, captions, strict=True):
        row[[place[c] for c in own]] = True
    cosine_NT = _cosines(ask, [e.fields["picture"] for e in test], texts)
    of_texts_N = ranks(cosine_NT, belongs_NT)
    of_pictures_T = ranks(cosine_NT.T, belongs_NT.T)
    best_N = cosine_NT.argmax(axis=1)
    records: list[dict[str, Any]] = []
    guessed = _guessed(belongs_NT, int(examples.card.metric.rpartition("_")[2]))
    for number, (example, own) in enumerate(zip(test, captions, strict=True)):
        found: dict[str, Any] = {}
        for k in _DEPTHS:
            texts_found = float(of_texts_N[number] <= k)
            picture_found = float((of_pictures_T[[place[c] for c in own]] <= k).mean())
            found |= {
                f"text_recall_at_{k}": texts_found,
                f"picture_recall_at_{k}": picture_found,
                f"recall_at_{k}": (texts_found + picture_found) / 2,
            }
        said = {"prediction": texts[best_N[number]], "target": own}
        records.append({"id": example.id, "score": found[examples.card.metric], **found, **said})
    details: dict[str, Any] = {m: float(np.mean([r[m] for r in records])) for m in found}
    details |= {"pictures": len(test), "texts": len(texts)}
    interval = share([r["score"] for r in records], [1.0] * len(records), groups(test))
    return Outcome(details[examples.card.metric], interval, records, details, chance=guessed)


def _guessed(belongs_NT: np.ndarray, depth: int) -> float:
    """Recall at a depth, the mean of both directions, of a random order."""
    pictures, texts = belongs_NT.shape
    by_picture_N = [_found(texts, int(own), depth) for own in belongs_NT.sum(axis=1)]
    by_text_T = np.array([_found(pictures, int(own), depth) for own in belongs_NT.sum(axis=0)])
    of_captions_N = [float(by_text_T[row].mean()) for row in belongs_NT]
    return float(np.mean([*by_picture_N, *of_captions_N]))


def _found(count: int, own: int, depth: int) -> float:
    """How likely one of `own` among `count` is among the first `depth` of a random order."""
    depth = min(depth, count)
    return 1 - math.comb(count - own, depth) / math.comb(count, depth)


def ranks(cosine_NT: np.ndarray, belongs_NT: np.ndarray) -> np.ndarray:
    """Place of the best column that belongs to each row, from 1, behind all that tie with it."""
    best_N1 = np.where(belongs_NT, cosine_NT, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((cosine_NT >= best_N1) & ~belongs_NT).sum(axis=1)


def _cosines(ask: Ask, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray:
    items: list[Any] = [*pictures, *texts]
    vectors = stack(ask([JointEmbed(item) for item in items]))
    picture_ND, text_TD = vectors[: len(pictures)], vectors[len(pictures) :]
    # Rounded, so that a tie is a tie on every machine.
    return np.round(normalize(picture_ND) @ normalize(text_TD).T, 6)

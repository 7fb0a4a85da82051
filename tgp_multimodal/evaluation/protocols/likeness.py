"""Likeness: drawn pictures beside real ones of the same captions, as two sets."""

from typing import Any

import numpy as np

from tgp_multimodal.data.images import resized
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.distances import (
    coverage,
    frechet_distance,
    kernel_distance,
    kernel_interval,
)
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome
from tgp_multimodal.evaluation.picture_spaces import features
from tgp_multimodal.evaluation.requests import Draw
from tgp_multimodal.evaluation.stats import Interval


def likeness(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """KID between real pictures and one drawn for each of their captions, times 1,000.

    In the feature space that the card names (`evaluation.picture_spaces`), after the real pictures
    are resized to the size of the drawn ones. The details also have the Fréchet distance, precision
    and recall, and the same metrics for training pictures in place of the drawn ones, which is what
    a perfect model would score. The distance depends on that size (`details["size"]`): models that
    draw in different sizes do not share a column.

    Raises:
        ValueError: there are fewer than two pictures.
    """
    test = examples.test
    space = str(examples.card.setting("space"))
    asked = [Draw(str(e.fields["caption"]), seed) for seed, e in enumerate(test)]
    drawn = [np.asarray(picture) for picture in ask(asked)]
    if len(drawn) < 2:
        raise ValueError(
            f"{examples.card.name}: items must be at least two. Got {len(drawn)} instead."
        )
    side = len(drawn[0])
    real = [resized(np.asarray(e.fields["item"]), side) for e in test]
    real_ND, drawn_MD = features(space, real), features(space, drawn)
    details: dict[str, Any] = {
        "kid": 1000 * kernel_distance(real_ND, drawn_MD),
        "space": space,
        "size": side,
    }
    details |= _more(real_ND, drawn_MD)
    trained = [resized(np.asarray(e.fields["item"]), side) for e in examples.train[: len(test)]]
    if len(trained) > 1:
        other_MD = features(space, trained)
        perfect = {"kid": 1000 * kernel_distance(real_ND, other_MD), **_more(real_ND, other_MD)}
        details["of_training_pictures"] = perfect
    low, high = kernel_interval(real_ND, drawn_MD)
    interval = Interval(1000 * low, 1000 * high)
    records = [{"id": e.id, "prediction": r.prompt} for e, r in zip(test, asked, strict=True)]
    return Outcome(details["kid"], interval, records, details)


def _more(real_ND: np.ndarray, drawn_MD: np.ndarray) -> dict[str, float]:
    found = coverage(real_ND, drawn_MD)
    distance = frechet_distance(real_ND, drawn_MD)
    return {"frechet": distance, "precision": found.precision, "recall": found.recall}

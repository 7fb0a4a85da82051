"""What of a card's splits makes its number say less: copies across them, labels of one alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tgp_multimodal.evaluation.examples import Example, Examples

_SHOWN = 5  # labels of a sentence


def facts(examples: Examples) -> dict[str, Any]:
    """What has to be known of the splits of a card with a probe; nothing where all is well.

    Returns:
        `copies_in_training`: test items that are also in what is learned from, in every field;
        `labels_not_learned`: label -> test items that have it, though nothing that is learned from
        does, so that they are always wrong; `positive_missing`: the label that F1 is of, where no
        item of a limited run has it.
    """
    learned = _learned(examples)
    if not learned:
        return {}
    known = {e.digest for e in learned}
    found: dict[str, Any] = {}
    if copies := sum(e.digest in known for e in examples.test):
        found["copies_in_training"] = copies
    labels = {e.fields["label"] for e in learned if "label" in e.fields}
    given = Counter(e.fields["label"] for e in examples.test if "label" in e.fields)
    if strange := {str(label): n for label, n in given.items() if label not in labels}:
        found["labels_not_learned"] = dict(sorted(strange.items()))
    positive = str(examples.card.setting("positive")) if examples.card.metric == "f1" else ""
    if positive and positive not in {str(label) for label in (*labels, *given)}:
        found["positive_missing"] = positive
    return found


def sentence(details: Mapping[str, Any], count: int) -> str:
    """The same for a reader, to be added to a line; empty where there is nothing to say.

    Args:
        details: of the result.
        count: test items.
    """
    said = ""
    if copies := details.get("copies_in_training", 0):
        said += f"; {copies} of {count} test items are among those that are learned from, too"
    if strange := details.get("labels_not_learned", {}):
        names = ", ".join([*strange][:_SHOWN]) + ", ..." * (len(strange) > _SHOWN)
        said += f"; {sum(strange.values())} of {count} have labels that are not learned: {names}"
    if positive := details.get("positive_missing"):
        said += f"; no item has the label {positive}, which F1 is of"
    return said


def _learned(examples: Examples) -> list[Example]:
    spec = examples.card.spec
    if not spec.fits:
        return []
    return [*examples.train, *(examples.validation if spec.fits_validation else ())]

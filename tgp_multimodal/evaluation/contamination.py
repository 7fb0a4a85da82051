"""Which test items occur in training text, and what a model scores on those that do not.

Two rules, each applied to every text of an item that is long enough; one hit flags the item: one
13-gram of words is also in the training text (Brown et al. 2020, arXiv:2005.14165, appendix C), or
70 % of the 8-grams are (Chowdhery et al. 2022, arXiv:2204.02311, section 8). Words are those of
`data.ngrams`, so that case and punctuation do not hide a copy. A tokenized sentence counts as one
text; its tags, the preamble shared by all items and the topic are not searched, nor are pictures.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data.contamination import index_of, shares
from tgp_multimodal.data.ngrams import words
from tgp_multimodal.data.prepared import manifest
from tgp_multimodal.evaluation import aggregates
from tgp_multimodal.evaluation.examples import Example
from tgp_multimodal.evaluation.results import Result

# Words of a gram -> from which share of a text's grams on the item is flagged.
LEVELS = {13: 0.0, 8: 0.7}  # above 0: one gram is enough
_NOT_OWN = ("tags", "preamble", "topic")  # fields that say nothing, or the same of many items


class Corpora(NamedTuple):
    """Training text that items are looked up in.

    Attributes:
        digests: of each folder's text, by the folder's name as it was given.
        indices: one of each folder, by the words of a gram.
    """

    digests: dict[str, str]
    indices: dict[int, list[np.ndarray]]


def open_corpora(folders: Sequence[Path], cache: Path) -> Corpora:
    """Opens the indices of prepared folders, and gathers those that are not there.

    Raises:
        ValueError: a folder holds no prepared text.
    """
    for folder in folders:
        if not (folder / "text").is_dir():
            raise ValueError(
                f"contamination must be a prepared folder with text. Got {folder} instead."
            )
    digests = {str(folder): str(manifest(folder / "text")["digest"]) for folder in folders}
    indices = {size: [index_of(folder, size, cache) for folder in folders] for size in LEVELS}
    return Corpora(digests, indices)


def report(
    result: Result, records: list[dict[str, Any]], test: Sequence[Example], corpora: Corpora
) -> dict[str, Any]:
    """What of a result's items stands in training text, as plain data.

    Returns:
        `corpora` (digests), `of_the_model` (whether the model says that it was trained on each of
        them; None where it does not say), and for "13" and "8": how many items were `checked` (have
        a text that long) and `flagged`, the `share` of all items that is, the `overlap` of each
        that is by its id, and the `clean` number, that of the other items; None where no list of
        items gives the number, or where none is left. Where the records are of groups (abstracts,
        say, of sentences), items are groups: one is flagged if a member of it is.
    """
    said = result.model_facts.get("trained_on")
    trained = None if said is None else set(corpora.digests.values()) <= set(said.values())
    texts = _texts_of_records(records, test)
    found: dict[str, Any] = {"corpora": corpora.digests, "of_the_model": trained}
    for size, indices in corpora.indices.items():
        overlap = {name: _overlap(own, indices, size) for name, own in texts.items()}
        known = {name: o for name, o in overlap.items() if o is not None}
        flagged = {name: o for name, o in known.items() if o > 0 and o >= LEVELS[size]}
        found[str(size)] = {
            "checked": len(known),
            "flagged": len(flagged),
            "share": len(flagged) / len(texts),
            "overlap": flagged,
            "clean": clean(result, records, flagged),
        }
    return found


def clean(
    result: Result, records: list[dict[str, Any]], flagged: Sequence[str] | dict[str, float]
) -> dict[str, Any] | None:
    """The result's number without the flagged items: `value`, `low`, `high`, `n`."""
    left = [r for r in records if r["id"] not in flagged]
    if not left or not result.aggregate:
        return None
    return aggregates.recompute(result.aggregate, left)._asdict() | {"n": len(left)}


def _texts_of_records(
    records: list[dict[str, Any]], test: Sequence[Example]
) -> dict[str, list[str]]:
    """Texts by the id of the record that they count in: a group's where records are of groups."""
    are_groups = {r["id"] for r in records} == {e.group for e in test}
    found: dict[str, list[str]] = defaultdict(list)
    for e in test:
        found[e.group if are_groups else e.id] += _texts(_written(e.fields))
    return found


def _written(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as running text has them: words of a sentence in one, none that are not the item's."""
    found = {name: value for name, value in fields.items() if name not in _NOT_OWN}
    return found | ({"tokens": " ".join(fields["tokens"])} if "tokens" in fields else {})


def _texts(value: Any) -> Iterator[str]:
    """Every text in the fields of an item."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _overlap(texts: Sequence[str], indices: Sequence[np.ndarray], size: int) -> float | None:
    """The largest share of a text's grams that one corpus holds; None without a text that long."""
    long_enough = [text for text in texts if len(words(text)) >= size]
    if not long_enough:
        return None
    return max(float(shares(long_enough, index, size).max()) for index in indices)

"""What a reader of a leaderboard should know before comparing its numbers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tgp_multimodal.evaluation.results import Result


def mixed_weights(found: Iterable[Result]) -> list[str]:
    """A sentence for each model whose results are of several sets of weights."""
    digests: dict[str, set[str]] = defaultdict(set)
    for result in found:
        if digest := result.model_facts.get("digest"):
            digests[result.model].add(str(digest)[:8])
    return [
        f"{model} has results of {len(seen)} sets of weights: {', '.join(sorted(seen))}."
        for model, seen in sorted(digests.items())
        if len(seen) > 1
    ]


def limited(found: Sequence[Result]) -> list[str]:
    """A sentence where results are of some test items of a card alone."""
    few = [result for result in found if result.limit]
    if not few:
        return []
    most = max(result.limit or 0 for result in few)
    return [
        f"{len(few)} of {len(found)} results are of at most {most} test items (--limit), for a"
        " first look."
    ]

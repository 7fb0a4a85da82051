"""Many samples of one prompt at once, against as many runs of one sample each.

Both sides are ours: what is measured is what reading the prompt once and writing side by side
bring. A run of pass@k is this work.
"""

from collections.abc import Callable, Iterator

from benchmarks.speed import exports
from benchmarks.speed.generate import different_texts
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal.inference import writing
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.models.text_transformer import TextTransformer

TEMPERATURE, TOP_P = 0.8, 0.95


def contests(quick: bool) -> Iterator[Contest]:
    """20 samples of a prompt of 300 tokens; the texts must be equal."""
    prompt, new, count = (8, 8, 3) if quick else (300, 128, 20)
    text = exports.random_language_model().text
    ids = exports.walk(0, prompt)
    yield Contest(
        f"sample {count} x ({prompt} + {new} tokens)",
        Side("inference.writing", "float32", _together(text, ids, new, count)),
        Side(f"inference.writing, {count} runs", "float32", _one_by_one(text, ids, new, count)),
        different_texts,
        0,
        {"samples": count, "prompt": prompt, "new": new, "temperature": TEMPERATURE},
    )


def _together(
    text: TextTransformer, ids: list[int], new: int, count: int
) -> Callable[[], list[str]]:
    sampling = Sampling(new, TEMPERATURE, TOP_P)
    return lambda: writing.generate(text, exports.tokenizer(), [ids] * count, sampling)


def _one_by_one(
    text: TextTransformer, ids: list[int], new: int, count: int
) -> Callable[[], list[str]]:
    sampling = Sampling(new, TEMPERATURE, TOP_P)

    def run() -> list[str]:
        return [
            writing.generate(text, exports.tokenizer(), [ids], sampling._replace(seed=seed))[0]
            for seed in range(count)
        ]

    return run

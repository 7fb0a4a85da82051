"""Denoising loss on fixed noise: what held-out pictures cost, by time, and what captions save.

Shape letters: N pictures, T times.
"""

import numpy as np

from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.examples import Examples
from tgp_multimodal.evaluation.outcome import Ask, Outcome, groups
from tgp_multimodal.evaluation.requests import DENOISE_TIMES, Denoise
from tgp_multimodal.evaluation.stats import bootstrap


def denoising(examples: Examples, adapter: Adapter, ask: Ask) -> Outcome:
    """Mean squared error of the clean picture over pictures and times, with the caption given.

    `details["by_time"]` has the error at each time, and `details["caption_saves"]` the share by
    which the caption reduces the error, with its paired interval: a head that ignores its prompts
    saves nothing. Errors are of pictures at the model's own size, and fall as it grows, so that
    models of different picture sizes do not share a column (`details["size"]`).
    """
    test = examples.test
    pictures = [e.fields["item"] for e in test]
    captions = [str(e.fields["caption"]) for e in test]
    asked = [Denoise(p, c) for p, c in zip(pictures, captions, strict=True)]
    error_NT = np.array(ask(asked), dtype=np.float64)
    blind_NT = np.array(ask([Denoise(p, "") for p in pictures]), dtype=np.float64)
    error_N, blind_N = error_NT.mean(axis=1), blind_NT.mean(axis=1)
    group = groups(test)
    saved = bootstrap((blind_N - error_N).tolist(), group, blind_N.tolist())
    details = {
        "size": adapter.picture_size,
        "by_time": _by_time(error_NT),
        "by_time_without_caption": _by_time(blind_NT),
        "caption_saves": float(1 - error_N.sum() / blind_N.sum()),
        "caption_saves_low": saved.low,
        "caption_saves_high": saved.high,
    }
    records = [{"id": e.id, "score": float(v)} for e, v in zip(test, error_N, strict=True)]
    value = float(error_N.mean())
    return Outcome(value, bootstrap(error_N.tolist(), group), records, details)


def _by_time(error_NT: np.ndarray) -> dict[str, float]:
    mean_T = error_NT.mean(axis=0).tolist()
    return {f"{time:g}": value for time, value in zip(DENOISE_TIMES, mean_T, strict=True)}

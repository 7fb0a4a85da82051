"""Greedy writing with a key/value cache, against `transformers.generate` on the same export."""

import copy
from collections.abc import Callable, Iterator

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.speed import exports
from benchmarks.speed.harness import Contest, Side
from tgp_multimodal import export
from tgp_multimodal.inference import writing
from tgp_multimodal.inference.compiled import compile_steps
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.models.text_transformer import TextTransformer


def contests(quick: bool) -> Iterator[Contest]:
    """Batches of 1 and 8 in float32 and bfloat16, our steps as they are and compiled.

    The texts must be equal. Weights are random in float32, where a wrong step anywhere changes the
    text. In bfloat16 the network has been taught just enough that rounding does not choose; see
    `exports`.
    """
    disable_progress_bar()
    prompt, new = (8, 8) if quick else (32, 128)
    for precision in ("float32", "bfloat16"):
        is_wide = precision == "float32"
        network = exports.random_language_model() if is_wide else exports.taught_language_model()
        with exports.exported(network) as folder:
            dtype = torch.float32 if is_wide else torch.bfloat16
            text = export.load(folder).network.to(dtype).text
            stock = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        compiled = copy.deepcopy(text)
        compile_steps(compiled)
        for batch in (1, 8):
            prompts = [exports.walk(7 * i, prompt) for i in range(batch)]
            for ours, how in ((text, ""), (compiled, ", compiled")):
                yield Contest(
                    f"write {batch} x ({prompt} + {new} tokens){how}",
                    Side("inference.writing", precision, _ours(ours, prompts, new)),
                    Side("transformers.generate", precision, _theirs(stock, prompts, new)),
                    different_texts,
                    0,
                    {"batch": batch, "prompt": prompt, "new": new, "weights": _weights(is_wide)},
                )


def different_texts(ours: list[str], theirs: list[str]) -> float:
    """How many texts differ; all of them, where there is not one for each."""
    if len(ours) != len(theirs):
        return float(max(len(ours), len(theirs)))
    return float(sum(mine != other for mine, other in zip(ours, theirs, strict=True)))


def _ours(text: TextTransformer, prompts: list[list[int]], new: int) -> Callable[[], list[str]]:
    sampling = Sampling(max_tokens=new)
    return lambda: writing.generate(text, exports.tokenizer(), prompts, sampling)


def _theirs(
    model: AutoModelForCausalLM, prompts: list[list[int]], new: int
) -> Callable[[], list[str]]:
    token_BL = torch.tensor(prompts)
    tokenizer = exports.tokenizer()

    def run() -> list[str]:
        # What may not be written stands in the generation_config.json of the export.
        written_BL = model.generate(
            token_BL,
            attention_mask=torch.ones_like(token_BL),
            do_sample=False,
            max_new_tokens=new,
        )
        return [tokenizer.decode(row) for row in written_BL[:, token_BL.shape[1] :].tolist()]

    return run


def _weights(is_random: bool) -> str:
    return "random" if is_random else "taught a circle of tokens"

"""`tgp write`: continues a text."""

from tgp_multimodal.user_text import read_input
from tgp_multimodal.verbs.fill import print_samples, tell_unread


def write(
    folder: str,
    prompt: str,
    max_tokens: int = 128,
    temperature: float | None = None,
    top_p: float = 0.95,
    seed: int = 0,
    stop: list[str] | None = None,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    code: bool = False,
    n: int = 1,
) -> None:
    r"""Continue a text, piece by piece as it is written.

    Args:
        folder: export folder of the model.
        prompt: what the text starts with; - reads it from standard input.
        max_tokens: most tokens to write.
        temperature: 0 takes the most probable token; higher is more varied; left out: 0.8, and 0.2
            with --code.
        top_p: nucleus sampling: draw from the most probable tokens that sum to this probability.
        seed: random seed; the same seed writes the same text. Sample i has seed + i.
        stop: end before the first of these strings ($'\n' is the end of a line in most shells);
            give it after the prompt.
        top_k: draw from the k most probable tokens; 0 for all.
        repetition_penalty: above 1, tokens that occurred become less probable; 1 for none.
        code: stop at the end of the function in which the prompt ends.
        n: number of samples, each under a line that names its seed and without the prompt.

    Examples:
        tgp write runs/nano/export "The function returns"
        tgp write runs/nano/export "import os" --temperature 0 --max_tokens 40
        tgp write runs/nano/export "def area(width, height):" --code --n 5
        cat start.txt | tgp write runs/nano/export -
    """
    import tgp_multimodal
    from tgp_multimodal.inference.code_blocks import enclosing_block
    from tgp_multimodal.inference.sampling import Sampling, check

    start = read_input() if prompt == "-" else prompt
    if temperature is None:
        temperature = 0.2 if code else 0.8
    sampling = Sampling(
        max_tokens, temperature, top_p, tuple(stop or ()), seed, top_k, repetition_penalty,
        enclosing_block(start) if code else None,
    )  # fmt: skip
    check(sampling)
    if n < 1:
        raise ValueError(f"n must be at least 1. Got {n} instead.")
    model = tgp_multimodal.load(folder)
    tell_unread(model, start, None, max_tokens)
    if n != 1:
        return print_samples(model, start, None, n, sampling)
    pieces = model.stream(start, None, sampling)
    first = next(pieces)  # a wrong setting is told before anything is printed
    print(start + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()

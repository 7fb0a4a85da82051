"""`tgp fill`: writes what belongs between a prefix and a suffix."""


def fill(
    folder: str,
    prefix: str | None = None,
    suffix: str | None = None,
    file: str | None = None,
    marker: str = "<FILL>",
    max_tokens: int = 64,
    temperature: float = 0.2,
    top_p: float = 0.95,
    seed: int = 0,
    stop: list[str] | None = None,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
) -> None:
    """Write what belongs between a prefix and a suffix, or at a marker in a file.

    Args:
        folder: export folder of the model.
        prefix: what stands before the gap.
        suffix: what stands after it.
        file: a text file that holds the marker once; takes the place of prefix and suffix, and is
            printed filled.
        marker: what stands in the file where the gap is.
        max_tokens: most tokens to write.
        temperature: 0 takes the most probable token; higher is more varied.
        top_p: draw from the most probable tokens that hold this share of the probability.
        seed: of the draws.
        stop: end before the first of these strings.
        top_k: draw from so many most probable tokens; 0 for all.
        repetition_penalty: above 1, tokens that occurred become less probable; 1 for none.

    Examples:
        tgp fill runs/nano/export --prefix "def add(a, b):" --suffix "return c"
        tgp fill runs/nano/export --file half.py > whole.py
    """
    from pathlib import Path

    import tgp_multimodal
    from tgp_multimodal.inference.sampling import Sampling

    if (file is None) == (prefix is None and suffix is None):
        given = "none" if file is None else "both"
        raise ValueError(
            f"the gap must be given by prefix and suffix, or by file. Got {given} instead."
        )
    before, after = prefix or "", suffix or ""
    if file is not None:
        content = Path(file).read_text(encoding="utf-8")
        if not marker or content.count(marker) != 1:
            count = content.count(marker) if marker else 0
            raise ValueError(
                f"file must hold the marker {marker!r} once. Got it {count} times instead."
            )
        before, after = content.split(marker)
    model = tgp_multimodal.load(folder)
    sampling = Sampling(
        max_tokens, temperature, top_p, tuple(stop or ()), seed, top_k, repetition_penalty
    )
    pieces = model.stream(before, after, sampling)
    first = next(pieces)
    print((before if file is not None else "") + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print(after if file is not None else "", end="" if file is not None else "\n")

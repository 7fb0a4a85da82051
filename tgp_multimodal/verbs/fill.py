"""`tgp fill`: writes what belongs between a prefix and a suffix."""

import sys
from typing import TYPE_CHECKING

from tgp_multimodal.user_text import read_file

if TYPE_CHECKING:
    from tgp_multimodal.inference.model import Model
    from tgp_multimodal.inference.sampling import Sampling

_MARKER = "<FILL>"


def fill(
    folder: str,
    prefix: str | None = None,
    suffix: str | None = None,
    file: str | None = None,
    at: str | None = None,
    marker: str = _MARKER,
    max_tokens: int = 64,
    temperature: float = 0.2,
    top_p: float = 0.95,
    seed: int = 0,
    stop: list[str] | None = None,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    stop_at_dedent: bool = False,
    n: int = 1,
    json: bool = False,
) -> None:
    r"""Write what belongs between a prefix and a suffix, at a cursor, or at a marker in a file.

    With --json it serves an editor: one request per line on standard input, one answer per line on
    standard output, and the model stays loaded until the input ends. A request is an object with
    "prefix" and, optionally, "suffix", "id", "n" and any setting from max_tokens to stop_at_dedent;
    the command-line options are the defaults. An answer is {"id": ..., "texts": [...]}, or
    {"id": ..., "error": "..."}, which does not end the session.

    Args:
        folder: export folder of the model.
        prefix: text before the gap.
        suffix: text after it.
        file: a text file that holds the gap; takes the place of prefix and suffix, and is printed
            filled.
        at: LINE:COLUMN of the gap in the file, both counted from 1; the gap is just before that
            character. Left out, the gap is where the marker is.
        marker: string that marks the gap; it must occur exactly once in the file.
        max_tokens: most tokens to write.
        temperature: 0 takes the most probable token; higher is more varied.
        top_p: nucleus sampling: draw from the most probable tokens that sum to this probability.
        seed: random seed; sample i is drawn with seed + i.
        stop: end before the first of these strings ($'\n' is the end of a line in most shells);
            give it after the folder.
        top_k: draw from the k most probable tokens; 0 for all.
        repetition_penalty: above 1, tokens that occurred become less probable; 1 for none.
        stop_at_dedent: stop at the end of the function that contains the gap.
        n: number of samples, each under a line that names its seed; with --file only the new text.
        json: answer requests from standard input, one a line.

    Examples:
        tgp fill runs/nano/export --prefix "def add(a, b):" --suffix "return c"
        tgp fill runs/nano/export --file half.py > whole.py
        tgp fill runs/nano/export --file half.py --at 12:5 --stop_at_dedent > whole.py
        tgp fill runs/nano/export --file half.py --at 12:5 --n 3 --temperature 0.6
        echo '{"id": 1, "prefix": "f(", "suffix": "return x"}' | tgp fill runs/nano/export --json
    """
    import tgp_multimodal
    from tgp_multimodal.inference.code_blocks import enclosing_block
    from tgp_multimodal.inference.gaps import unix, with_ends
    from tgp_multimodal.inference.sampling import Sampling, check

    sampling = Sampling(
        max_tokens, temperature, top_p, tuple(stop or ()), seed, top_k, repetition_penalty
    )
    has_texts = prefix is not None or suffix is not None
    if has_texts + (file is not None) + json != 1:
        given = "both" if has_texts or file is not None else "none"
        raise ValueError(
            "the gap must be given by prefix and suffix, by file, or by requests (json). "
            f"Got {given} instead."
        )
    if at is not None and file is None:
        raise ValueError(f"file must be given with at. Got at {at} alone instead.")
    if at is not None and marker != _MARKER:
        raise ValueError(f"marker must be left out with at. Got {marker} instead.")
    check(sampling)
    if n < 1:
        raise ValueError(f"n must be at least 1. Got {n} instead.")
    if json:
        return _converse(tgp_multimodal.load(folder), sampling, stop_at_dedent, n)
    mark, before, after, end = "", prefix or "", suffix or "", "\n"
    asked = (before, after)
    if file is not None:
        mark, before, after, end = _gap_of(file, at, marker)
        asked = unix(before), unix(after)
        sampling = sampling._replace(stop=tuple(map(unix, sampling.stop)))
    model = tgp_multimodal.load(folder)
    tell_unread(model, *asked, max_tokens)
    if stop_at_dedent:
        sampling = sampling._replace(block=enclosing_block(asked[0]))
    if n != 1:
        return print_samples(model, *asked, n, sampling)
    pieces = (with_ends(piece, end) for piece in model.stream(*asked, sampling))
    first = next(pieces)
    print((mark + before if file is not None else "") + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print(after if file is not None else "", end="" if file is not None else "\n")


def _gap_of(file: str, at: str | None, marker: str) -> tuple[str, str, str, str]:
    """A mark of byte order, the text around the gap, and how its lines end."""
    from tgp_multimodal.inference.gaps import at_cursor, at_marker, end_of_lines

    content = read_file(file)
    mark = "\ufeff" if content.startswith("\ufeff") else ""  # editors do not count it
    content = content.removeprefix(mark)
    before, after = at_marker(content, marker) if at is None else at_cursor(content, at)
    return mark, before, after, end_of_lines(content)


def print_samples(
    model: "Model", prompt: str, suffix: str | None, n: int, sampling: "Sampling"
) -> None:
    """Prints samples, each under a line that names its seed, a batch as soon as it is written."""
    from tgp_multimodal.inference.writing import BATCH

    last = sampling.seed + n
    for start in range(sampling.seed, last, BATCH):
        batch = sampling._replace(seed=start)
        texts = model.samples(prompt, suffix, min(BATCH, last - start), batch)
        for seed, text in enumerate(texts, start):
            print(f"--- seed {seed}\n{text}", flush=True)


def tell_unread(model: "Model", prompt: str, suffix: str | None, max_tokens: int) -> None:
    """Says so where a text is longer than the context."""
    if unread := model.unread_tokens(prompt, suffix, max_tokens):
        where = "its first" if suffix is None else "those farthest from the gap,"
        print(
            f"note: the context has no room for {unread:,} tokens of the text, {where} ones; they "
            "are not read",
            file=sys.stderr,
        )


def _converse(model: "Model", sampling: "Sampling", stop_at_dedent: bool, n: int) -> None:
    import io

    from tgp_multimodal.inference.line_protocol import answers

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text spoil their line alone
    for line in answers(model, sys.stdin, sampling, stop_at_dedent, n):
        print(line, flush=True)

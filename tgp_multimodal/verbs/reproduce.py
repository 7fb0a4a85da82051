"""The verb `reproduce`."""


def reproduce(
    row: str, results: str = "results", model: str | None = None, unsafe_local: bool = False
) -> int:
    """Measure a result again, by what its file says, and say whether it is the same.

    Same model, card, settings and number of items; every answer is asked for anew. The file is left
    as it is. Leaves with exit code 1 if anything differs but date and speed.

    Args:
        row: a result file, or <model>/<domain>/<task>, a row and a column of the leaderboard.
        results: folder that the row is looked for in.
        model: where the model lies now, or its kind, as `tgp evaluate` takes it; left out: what the
            file says.
        unsafe_local: run the programs that the model writes without the sandbox, as your own user,
            as `tgp evaluate` does. A file never asks for it: whoever runs them has to.

    Examples:
        tgp reproduce results/nano/text__pydoc_package.json
        tgp reproduce nano/text/pydoc_package --results runs/nano/results
        tgp reproduce nano/text/pydoc_package --model copies/nano/export
    """
    import sys
    from pathlib import Path

    from tgp_multimodal.adapters import make
    from tgp_multimodal.evaluation import reproduce as reproduction

    file = reproduction.find(row, Path(results))
    _, card, said = reproduction.recipe(file)
    if not (model or said):
        raise ValueError(f"model must be given for {file}, which names none. Got none instead.")
    found = reproduction.reproduce(file, make(model or said), unsafe_local)
    if not found.differences:
        then = found.then
        print(
            f"equal: {then.model} on {card.name}, {then.metric} {then.value:.6g}"
            f" [{then.low:.6g}, {then.high:.6g}] and all {then.n} records"
        )
        return 0
    print(f"tgp: {file} is not reproduced: {found.differences[0]}", file=sys.stderr)
    for line in [*found.differences[1:], *(f"environment: {c}" for c in found.circumstances)]:
        print(f"  {line}", file=sys.stderr)
    return 1

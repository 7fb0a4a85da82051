"""The verb `reproduce`."""


def reproduce(
    row: str, results: str = "results", model: str | None = None, unsafe_local: bool = False
) -> int:
    """Measure a result again, from the recipe in its file, and say whether it is the same.

    Same model, card, settings and number of items; every answer is computed again. The file is left
    as it is. Exits with code 1 if the result or any record differs; date, speed and environment do
    not count.

    Args:
        row: a result file, or <model>/<domain>/<task>, a row and a column of the leaderboard.
        results: folder in which to look for the row.
        model: the model, as `tgp evaluate` takes it; left out: as recorded in the file.
        unsafe_local: run the programs that the model writes without the sandbox, as your own user,
            as `tgp evaluate` does. A result file cannot request it; only this option can.

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

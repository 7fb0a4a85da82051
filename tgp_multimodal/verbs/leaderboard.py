"""The verb `leaderboard`."""


def leaderboard(results: str = "results", output: str = "leaderboard") -> None:
    """Turn result files into a leaderboard: Markdown, JSON and one self-contained HTML page.

    Args:
        results: folder that holds one folder of result files per model.
        output: folder to write LEADERBOARD.md, leaderboard.json and leaderboard.html into.

    Examples:
        tgp leaderboard
        tgp leaderboard --results runs/nano/results --output runs/nano/leaderboard
    """
    import shlex
    from pathlib import Path

    from rich.table import Table
    from rich.text import Text

    from tgp_multimodal import consoles
    from tgp_multimodal.evaluation.leaderboard import build, show
    from tgp_multimodal.evaluation.leaderboard_write import write
    from tgp_multimodal.resources import shipped

    try:
        cards = shipped("benchmarks", "cards")
    except FileNotFoundError:
        cards = None
    board = build(Path(results), cards)
    command = f"tgp leaderboard --results {shlex.quote(results)} --output {shlex.quote(output)}"
    paths = write(board, Path(output), command)

    table = Table(title="Mean chance-normalised score (0 chance, 1 perfect)", title_justify="left")
    table.add_column("model")
    for name in ("all", *board.domains):
        table.add_column(Text(name), justify="right")
    for model in board.models:
        means = [board.mean(model, domain) for domain in (None, *board.domains)]
        parts = [
            f" ({m.count}/{m.count + len(m.missing)})" if m.missing and m.count else ""
            for m in means
        ]
        table.add_row(
            Text(model), *(show(m.value) + part for m, part in zip(means, parts, strict=True))
        )
    console = consoles.console()
    console.print(table)
    for note in [*board.warnings, *board.problems[:5]]:
        console.print(Text(f"note: {note}"))
    if len(board.problems) > 5:
        console.print(f"note: {len(board.problems) - 5} more file problems, in leaderboard.json")
    for kind, path in paths.items():
        print(f"{kind}: {path}")

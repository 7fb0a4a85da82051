"""The verb `plot`."""


def plot(runs: list[str], output: str | None = None) -> None:
    """Plot the curves of training runs: one HTML page with a plot for each metric.

    A run in progress may be plotted too: its metrics.csv is read as it is now. The printed table
    has the last and the best value of each metric on validation items and scenes.

    Args:
        runs: folders of runs, eight at most; they share the plots.
        output: the page to write; left out: curves.html in the first run's folder.

    Examples:
        tgp plot runs/quickstart
        tgp plot runs/a runs/b runs/c --output comparison.html
    """
    from pathlib import Path

    from rich.table import Table
    from rich.text import Text

    from tgp_multimodal import consoles
    from tgp_multimodal.evaluation import run_curves

    folders = [Path(run) for run in runs]
    found = run_curves.read_runs(folders)
    page = folders[0] / "curves.html" if output is None else Path(output)
    if page.suffix not in (".html", ".htm"):
        raise ValueError(f"output must end in .html. Got {output} instead.")
    run_curves.write(found, page)
    table = Table(title="On validation items: last (best, at step)", title_justify="left")
    table.add_column("metric")
    for run in found:
        table.add_column(Text(run.name), justify="right")
    for metric, values in run_curves.by_metric(run_curves.summaries(found)).items():
        told = {one.run: f"{one.last:.4g} ({one.best:.4g}, {one.best_step:,})" for one in values}
        table.add_row(Text(metric), *(told.get(run.name, "–") for run in found))
    if table.row_count:
        consoles.console().print(table)
    print(page)

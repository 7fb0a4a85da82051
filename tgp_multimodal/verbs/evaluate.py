"""The verb `evaluate`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from tgp_multimodal.evaluation.results import Result


def evaluate(
    models: list[str],
    suite: str = "embedded",
    cards: list[str] | None = None,
    held_out: str | None = None,
    results: str = "results",
    limit: int | None = None,
    fresh: bool = False,
) -> None:
    """Score models on benchmark cards, with intervals, into result files.

    A result that stands (same model, card, limit and code) is kept, so a run that was interrupted
    goes on where it was. `tgp leaderboard` makes tables and a page of the files.

    Args:
        models: folders that `tgp export` wrote, or kinds: native:FOLDER, random:FOLDER (the same
            network, random weights), majority, tfidf, pixels, hog, words, xz, xz:trained,
            zstd, zstd:trained.
        suite: which cards: embedded needs no download; core, biomedical, code and image need
            $TGP_DATA; or a path to a YAML.
        cards: names of single cards (text/pydoc_package), or paths to YAML files, in the suite's
            place.
        held_out: a folder that `tgp prepare` wrote: by stream, bits per byte of the text that it
            holds back; of its pictures the denoising error, the likeness of drawings, and
            retrieval by caption; in the suite's place or beside the cards.
        results: folder to write into, one folder per model.
        limit: at most so many test items of each card, for a first look.
        fresh: compute also what stands.

    Examples:
        tgp evaluate runs/nano/export random:runs/nano/export majority tfidf pixels
        tgp evaluate runs/nano/export --cards image/scene_eval --limit 12
        TGP_DATA=/data/tasks tgp evaluate runs/nano/export tfidf --suite core
        tgp evaluate runs/mine/export xz zstd --held_out data/mine
    """
    from pathlib import Path

    from rich.console import Console

    from tgp_multimodal.adapters import make
    from tgp_multimodal.evaluation import cards as shelf
    from tgp_multimodal.evaluation import engine
    from tgp_multimodal.evaluation.held_out import cards as of_prepared

    chosen = [shelf.find(name) for name in cards or ()]
    if held_out is not None:
        chosen += of_prepared(Path(held_out))
    chosen = chosen or shelf.suite(suite)
    adapters = [make(model) for model in models]
    names = [adapter.name for adapter in adapters]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"models must have different names. Got {twice[0]} twice instead.")
    console = Console()
    found: dict[str, list[Result]] = {}
    for adapter in adapters:
        with _Progress(console, adapter.name, len(chosen)) as progress:
            found[adapter.name] = engine.evaluate(
                adapter, chosen, Path(results), limit, fresh, progress
            )
    console.print(_table([card.name for card in chosen], found, limit))
    print(f"results: {results}")


class _Progress:
    """One line for each card that is done or skipped; on a terminal also what is going on."""

    def __init__(self, console: Any, model: str, cards: int) -> None:
        self.console, self.model, self.cards, self.count = console, model, cards, 0
        self.status = console.status(f"{model}: starting")

    def __enter__(self) -> "_Progress":
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def __call__(self, what: str, card: str, sentence: str) -> None:
        if what in ("data", "asking"):
            self.status.update(f"{self.model} [{self.count + 1}/{self.cards}] {card}: {sentence}")
            return
        self.count += 1
        word = "  skipped" if what == "skipped" else ""
        line = f"{self.model} [{self.count}/{self.cards}] {card}{word}: {sentence}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(cards: list[str], found: "dict[str, list[Result]]", limit: int | None) -> "Table":
    from rich.table import Table
    from rich.text import Text

    note = f", at most {limit} items" if limit else ""
    table = Table(title=f"Value and 95 % interval{note}", title_justify="left")
    for name in ("card", "metric", "chance", *found):
        table.add_column(Text(name), justify="left" if name in ("card", "metric") else "right")
    for card in cards:
        of = {model: next((r for r in rs if r.card == card), None) for model, rs in found.items()}
        first = next((r for r in of.values() if r), None)
        if first is None:
            table.add_row(card, "", "", *("-" for _ in of))
            continue
        metric = first.metric if first.higher_is_better else f"{first.metric} (lower is better)"
        cells = (f"{r.value:.3f}\n[{r.low:.2f}, {r.high:.2f}]" if r else "-" for r in of.values())
        table.add_row(card, metric, f"{first.chance:.3g}", *map(Text, cells))
    return table

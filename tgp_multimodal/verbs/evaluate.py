"""The verb `evaluate`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from tgp_multimodal.adapters.ray_grid import Grid
    from tgp_multimodal.evaluation.asking import Team
    from tgp_multimodal.evaluation.cards import Card
    from tgp_multimodal.evaluation.results import Result

_SMALL = 20_000_000  # bytes that are read in the time that a model takes to open
# Columns of a terminal that shows a column of the cards whole; a pipe shows all of them.
_LEAST_WIDTH = {"protocol": 95, "license": 115, "suites": 145}


def evaluate(
    models: list[str] | None,
    suite: str | None = None,
    cards: list[str] | None = None,
    held_out: str | None = None,
    results: str = "results",
    limit: int | None = None,
    fresh: bool = False,
    contamination: list[str] | None = None,
    unsafe_local: bool = False,
    few_labels: list[int] | None = None,
    seeds: int | None = None,
    lm_eval_task: list[str] | None = None,
    executor: str = "local",
    list: bool = False,
) -> None:
    """Score models on benchmark cards, and write result files with confidence intervals.

    A stored result (same model, card, limit and code) is reused, and so are the answers to an
    unfinished card: an interrupted run resumes where it stopped. Under torchrun the processes share
    the work of each card, with the same results as one process. `tgp leaderboard` turns the files
    into tables and a page.

    Args:
        models: folders that `tgp export` wrote, or kinds. Ours: native:FOLDER, random:FOLDER (the
            same network, random weights). Others': hf:MODEL, any language model or encoder that
            transformers opens, hf:MODEL@bfloat16, hf:MODEL@random; st:MODEL, an encoder of
            sentence-transformers; openclip:ARCHITECTURE@WEIGHTS, a dual encoder;
            timm:ARCHITECTURE, a picture encoder; diffusers:MODEL, a text-to-image pipeline;
            openai:ADDRESS#MODEL, a server that speaks OpenAI's protocol (OPENAI_API_KEY). MODEL
            is a folder or hub name, WEIGHTS a tag, a file, or random. Baselines: majority, longest
            (choice), tfidf, bm25, pixels, hog, words, xz, xz:trained, zstd, zstd:trained.
        suite: which cards: embedded, the default, needs no download; core, text, bias, biomedical,
            code, image and all, which has every card, need $TGP_DATA; or a path to a YAML file.
        cards: names of single cards (text/pydoc_package), or paths to YAML files, in place of the
            suite.
        held_out: a folder that `tgp prepare` wrote: for each stream, bits per byte of its held-out
            text; for held-out pictures the denoising error, the KID of drawn pictures, and
            retrieval by caption; in place of the suite or beside the cards.
        results: folder to write into, one subfolder per model.
        limit: at most this many test items of each card (and eight times as many that a probe
            learns from), for a quick check. Choosing how a probe reads takes most of its time.
        fresh: recompute stored results, too.
        contamination: folders that `tgp prepare` wrote, with the training text of the models:
            reports which test items occur in it (13-grams and 8-grams of words), and the score on
            the others.
        unsafe_local: run the programs that models write (code/humaneval, code/mbpp,
            code/humaneval_infilling_pass) without the sandbox: as your own user, with your files,
            your keys and your network, and only limits of time and memory. For disposable machines
            without a sandbox, where these cards are skipped otherwise; results record it.
        few_labels: learning curves in place of the cards: for each linear probe among them, the
            accuracy with this many labels per class (1 5 10 50, for example), and with all.
        lm_eval_task: task files of lm-evaluation-harness, translated into cards; in place of the
            suite or beside the cards.
        executor: local, this process; ray, one task per model and card, on the cluster of
            $RAY_ADDRESS or else on a local Ray instance; ray:HOST:PORT, on that cluster. Results
            are the same.
        seeds: with --few_labels, the number of random label draws that each point of a curve
            averages; left out: 5.
        list: only list cards and suites, without measuring: for each card its protocol, metric,
            chance level, the license of its data, whether they are here, and the suites that
            contain it. All cards, or those that are named.

    Examples:
        tgp evaluate --list
        tgp evaluate runs/nano/export random:runs/nano/export majority tfidf pixels
        tgp evaluate runs/nano/export --cards image/scene_eval --limit 12
        TGP_DATA=/data/tasks tgp evaluate runs/nano/export tfidf --suite core
        tgp evaluate runs/nano/export hf:gpt2 --cards text/continuation_choice
        tgp evaluate openclip:ViT-B-32@laion2b_s34b_b79k --cards image/scene_zero_shot
        tgp evaluate runs/mine/export xz zstd --held_out data/mine
        tgp evaluate runs/nano/export --suite core --contamination data/mine
        tgp evaluate runs/nano/export tfidf pixels --few_labels 1 5 10 50
        OMP_NUM_THREADS=1 tgp evaluate runs/nano/export tfidf --executor ray
        torchrun --nproc-per-node 2 -m tgp_multimodal evaluate runs/nano/export
    """
    import os
    from pathlib import Path

    from tgp_multimodal import consoles
    from tgp_multimodal.adapters.ray_grid import Grid

    if list:
        if models:
            raise ValueError(f"models must be left out with list. Got {models[0]} instead.")
        _print_list(_chosen(suite or "all", cards, held_out, lm_eval_task))
        return
    if not models:
        told = "Got nothing instead; `tgp evaluate --help` shows how"
        raise ValueError(f"models must be given. {told}, `--list` what there is to measure.")
    chosen = _chosen(suite or "embedded", cards, held_out, lm_eval_task)
    _check_own(chosen)
    if few_labels is not None or seeds is not None:
        chosen = _curves(chosen, few_labels, seeds, are_named=bool(cards))
    console = consoles.console(quiet=int(os.environ.get("RANK", "0")) > 0)
    if executor == "local":
        given = (Path(results), limit, fresh, contamination, unsafe_local)
        try:
            found, failed = _here(models, chosen, *given, console)
        except KeyboardInterrupt:
            same = "the same command, without --fresh," if fresh else "the same command"
            raise KeyboardInterrupt(f"interrupted; {same} goes on where it was") from None
    else:
        folder = str(Path(results).resolve())
        grid = Grid(str(Path.cwd()), folder, limit, fresh, tuple(contamination or ()), unsafe_local)
        found, failed = _on_ray(models, chosen, grid, executor, console)
    _print_results(console, [card.name for card in chosen], found, limit)
    console.print(f"results: {results}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise ValueError("; ".join(failed))


def _print_results(
    console: "Console", cards: list[str], found: "dict[str, list[Result]]", limit: int | None
) -> None:
    """Tables of what was measured, and lines of what occurs in training text."""
    from tgp_multimodal.evaluation import result_tables

    if not any(found.values()):  # what each card lacks is told already
        return
    console.print(result_tables.values(cards, found, limit))
    curves = result_tables.curves(cards, found)
    if curves is not None:
        console.print(curves)
    for line in result_tables.seen(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _curves(
    chosen: "list[Card]", few_labels: list[int] | None, seeds: int | None, are_named: bool
) -> "list[Card]":
    """Learning curves in the place of probes; other cards that were named are told of."""
    import sys

    from tgp_multimodal.evaluation import curves

    if few_labels is None:
        raise ValueError(f"few_labels must be given with seeds. Got seeds {seeds} alone instead.")
    found = curves.cards(chosen, few_labels, 5 if seeds is None else seeds)
    others = [card.name for card in chosen if card.protocol != "probe"]
    if are_named and others:
        print(f"note: no probe, so no curve: {', '.join(others)}", file=sys.stderr)
    return found


def _chosen(
    suite: str, cards: list[str] | None, held_out: str | None, lm_eval_task: list[str] | None
) -> "list[Card]":
    """The cards that are named in any way, or those of the suite."""
    from pathlib import Path

    from tgp_multimodal.evaluation import cards as card_files
    from tgp_multimodal.evaluation.held_out import cards as held_out_cards
    from tgp_multimodal.evaluation.lm_eval_tasks import load as lm_eval_card

    chosen = [card_files.find(name) for name in cards or ()]
    chosen += [lm_eval_card(Path(task)) for task in lm_eval_task or ()]
    if held_out is not None:
        chosen += held_out_cards(Path(held_out))
    chosen = chosen or card_files.suite(suite)
    names = [card.name for card in chosen]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"cards must have different names. Got {twice[0]} twice instead.")
    return chosen


def _check_own(chosen: "list[Card]") -> None:
    """Reads the files of a card of one's own that is alone, unless they are large.

    So its mistakes surface before models open. Among several cards a bad one is told of in its
    turn, and the others are measured.

    Raises:
        ValueError: it has no item, or one is not as its protocol needs it.
    """
    from tgp_multimodal.evaluation.cards import paths_of
    from tgp_multimodal.evaluation.examples import Examples, check_source

    if len(chosen) > 1 or "files" not in chosen[0].source:
        return
    check_source(chosen[0])
    paths = [path for files in chosen[0].source["files"].values() for path in paths_of(files)]
    if sum(path.stat().st_size for path in paths) <= _SMALL:
        Examples(chosen[0], 1).read()


def _print_list(chosen: "list[Card]") -> None:
    """A table of the cards, and one of the suites that ship."""
    import os
    from textwrap import shorten

    from rich.table import Table
    from rich.text import Text

    from tgp_multimodal import consoles
    from tgp_multimodal.evaluation import card_list

    found = card_list.lines(chosen)
    console = consoles.console(quiet=int(os.environ.get("RANK", "0")) > 0)
    is_narrow = console.width < 190
    shown: list[Iterable[Text]] = []
    table = Table(title=f"Cards: {len(found)}", title_justify="left")
    columns = {
        "card": [line.card.name for line in found],
        "protocol": [line.card.protocol for line in found],
        "metric": [line.card.metric for line in found],
        "chance": [f"{line.card.chance:.3g}" for line in found],
        "license": [
            shorten(line.card.license, 16, placeholder="…") if is_narrow else line.card.license
            for line in found
        ],
        "data here": [line.data for line in found],
        "suites": [", ".join(line.suites) for line in found],
    }
    for name, cells in columns.items():
        if console.width < _LEAST_WIDTH.get(name, 0):
            continue
        table.add_column(name, justify="right" if name == "chance" else "left", no_wrap=True)
        shown.append(map(Text, cells))
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    console.print(table)
    if missing := sum(line.data == card_list.MISSING for line in found):
        place = os.environ.get("TGP_DATA") or "not set"
        told = f"missing: the data of {missing} cards; $TGP_DATA, the folder of tasks, is {place}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    table = Table(title="Suites", title_justify="left")
    for name in ("suite", "cards", "description"):
        table.add_column(name, justify="right" if name == "cards" else "left", overflow="fold")
    for suite in card_list.suites():
        table.add_row(suite.name, str(len(suite.cards)), Text(suite.description))
    console.print(table)


def _here(
    models: list[str],
    chosen: "list[Card]",
    folder: "Path",
    limit: int | None,
    fresh: bool,
    contamination: list[str] | None,
    unsafe_local: bool,
    console: "Console",
) -> "tuple[dict[str, list[Result]], list[str]]":
    """Name of each model -> its results, by this process and those that torchrun started.

    Also a message for each model with cards that could not be measured: which, and why.

    All models are opened before the first is measured, so that mistakes surface at once; in reverse
    order, so that the first one is then already loaded. Only one is in memory at a time.
    """
    from pathlib import Path

    from tgp_multimodal import consoles
    from tgp_multimodal.adapters import ModelSlot
    from tgp_multimodal.evaluation import engine
    from tgp_multimodal.evaluation.contamination import open_corpora

    together = team()
    held = ModelSlot()
    names = [held.open(model).name for model in reversed(models)][::-1]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"models must have different names. Got {twice[0]} twice instead.")
    corpora = None
    if contamination:
        corpora = open_corpora([*map(Path, contamination)], folder / ".ngrams")
    found: dict[str, list[Result]] = {}
    failed: list[str] = []
    how = (together, corpora, unsafe_local)
    for model, name in zip(models, names, strict=True):
        with consoles.CardProgress(console, name, len(chosen)) as progress:
            try:
                found[name] = engine.evaluate(
                    held.open(model), chosen, folder, limit, fresh, progress, *how
                )
            except engine.CardsFailedError as error:
                found[name] = error.results
                failed.append(f"{name}: {error}")
    return found, failed


def _on_ray(
    models: list[str],
    chosen: "list[Card]",
    grid: "Grid",
    executor: str,
    console: "Console",
) -> "tuple[dict[str, list[Result]], list[str]]":
    """The same by the machines of a cluster."""
    from tgp_multimodal import consoles
    from tgp_multimodal.adapters import ray_grid

    kind, _, address = executor.partition(":")
    if kind != "ray":
        raise ValueError(f"executor must be local, ray or ray:HOST:PORT. Got {executor} instead.")
    progress: dict[str, consoles.CardProgress] = {}

    def say(model: str, *event: str) -> None:
        told = progress.setdefault(model, consoles.CardProgress(console, model, len(chosen)))
        told(*event)

    return ray_grid.evaluate(models, chosen, grid, address, say)


def team() -> "Team":
    """The processes that torchrun has started, or this one.

    Each is on its own GPU, if there are some and $TGP_DEVICE names no device.
    Answers travel by gloo, for they are plain Python objects. A process may wait for another as
    long as it takes: torchrun ends all of them when one fails.
    """
    import atexit
    import os
    from datetime import timedelta

    from tgp_multimodal.evaluation.asking import ALONE, Team

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    atexit.register(distributed.destroy_process_group)

    def gather(mine: Any) -> list[Any]:
        found = [None] * world
        distributed.all_gather_object(found, mine)
        return found

    return Team(distributed.get_rank(), world, gather)

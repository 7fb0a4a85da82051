"""`tgp quickstart`: the whole road once, on this machine, with nothing downloaded."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

_SHOWN = (
    "text/pydoc_package", "text/prose_bits_per_byte", "code/code_bits_per_byte",
    "code/docstring_retrieval", "code/infilling", "biomedical/wisconsin", "image/digits",
    "image/scene_shape", "image/scene_eval",
)  # fmt: skip
_CONFIG = "configs/quickstart.yaml"
_BASELINES = ("majority", "tfidf", "pixels", "xz", "xz:trained")
_SCENES = 4000
_FOLLOWING = 700  # steps of the shipped config with which pictures follow their prompts (LOG.md)


def quickstart(
    folder: str = "runs/quickstart",
    minutes: float = 12,
    steps: int | None = None,
    config: str = _CONFIG,
    suite: str = "embedded",
    fresh: bool = False,
) -> None:
    """Prepare, pretrain, export, evaluate and draw: all of it, on this machine, in minutes.

    Reads the Python installation, draws scenes, pretrains the shared text transformer and the
    text-to-image head, exports them for stock libraries, scores them on text, code, biomedical and
    image tasks beside baselines, and writes a leaderboard page and a sheet of pictures. Nothing is
    downloaded. The same command resumes a stopped quickstart.

    Args:
        folder: the run's folder; everything lies in it.
        minutes: rough time budget for everything; the number of steps is planned from one measured
            step, and once more after forty of them.
        steps: number of training steps, in place of `minutes`.
        config: YAML config of the run.
        suite: benchmark suite.
        fresh: delete what the folder holds and start over.

    Examples:
        tgp quickstart
        tgp quickstart --minutes 4 --folder runs/short
    """
    import shutil

    run = Path(folder)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1. Got {steps} instead.")
    if minutes <= 0:
        raise ValueError(f"minutes must be above 0. Got {minutes} instead.")
    _check_name(run)
    path = _config_path(config)
    if fresh and run.exists():
        if path.resolve().is_relative_to(run.resolve()):
            raise ValueError(
                f"config must lie outside a folder that is begun afresh. Got {path} instead."
            )
        if any(run.iterdir()) and not _is_run(run):
            raise ValueError(f"folder must be new or a run's. Got {run} instead.")
        shutil.rmtree(run)
    from tgp_multimodal.training.budget import Budget

    budget = Budget(minutes)
    if (run / "export" / "tgp.json").is_file():
        print(f"pretrained already: {run / 'export'} (--fresh starts over)")
    else:
        with _stage("preparing text and pictures from this installation"):
            _prepare(run)
        with _stage("pretraining"):
            _pretrain(run, path, budget, steps)
        with _stage("exporting"):
            _export(run)
    with _stage("evaluating"):
        found = _evaluate(run, suite)
    with _stage("drawing"):
        sheet = _draw(run)
    page = _leaderboard(run, sheet)
    _summary(found)
    print(
        f"leaderboard page: {page}\nsample sheet:     {sheet}\nmodel:            {run / 'export'}"
    )
    print(f'draw your own:    tgp draw {run / "export"} "a red circle left of a blue square"')
    print(f"all of it took {(time.monotonic() - budget.start) / 60:.1f} minutes")


def _check_name(run: Path) -> None:
    """Refuses a folder after which the model would be called what a baseline is called."""
    taken = [model.replace(":", "-") for model in _BASELINES]
    if run.resolve().name in taken:
        raise ValueError(
            f"folder must not be called like a baseline ({', '.join(taken)}), since the model is "
            f"called like its folder. Got {run} instead."
        )


def _config_path(config: str) -> Path:
    """The file of that name, or the one of that name that ships with the package."""
    from tgp_multimodal.resources import shipped_config

    path = Path(config) if Path(config).is_file() else shipped_config(config)
    if path is None:
        raise FileNotFoundError(f"config must be a file. Got {config} instead.")
    return path


def _is_run(folder: Path) -> bool:
    """Whether it may be deleted; many a project has a manifest.json, and it alone says nothing."""
    if (folder / "data" / "tokenizer" / "tokenizer.json").is_file():
        return True
    has_files = all((folder / name).is_file() for name in ("manifest.json", "config.yaml"))
    return has_files and (folder / "checkpoints").is_dir()


@contextmanager
def _stage(name: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"== {name}", flush=True)
    yield
    print(f"   {name}: {time.monotonic() - start:.0f} s", flush=True)


def _prepare(run: Path) -> None:
    from tgp_multimodal.data.prepare_embedded import prepare_embedded

    if not (run / "data" / "tokenizer" / "tokenizer.json").is_file():
        # Training draws its scenes on the way (configs/quickstart.yaml). Those stored for it are
        # not read; their number decides how many are held out.
        prepared = prepare_embedded(run / "data", scenes=_SCENES, overwrite=True)
        for kind, manifest in (("text", prepared.text), ("pictures", prepared.pictures)):
            sizes = (manifest or {}).get("splits", {})
            print(f"   {kind}: {_counts(sizes)}")


def _counts(splits: dict[str, dict[str, int]]) -> str:
    named = ("documents", "tokens", "pictures")
    return "; ".join(
        f"{split} " + ", ".join(f"{sizes[n]:,} {n}" for n in named if n in sizes)
        for split, sizes in splits.items()
    )


def _pretrain(run: Path, config: Path, budget: Any, steps: int | None) -> None:
    from tgp_multimodal.training.budget import PlanAgain
    from tgp_multimodal.training.checkpoints import newest
    from tgp_multimodal.training.run import RunCLI

    where = ["--trainer.default_root_dir", str(run), "--data.folder", str(run / "data")]
    where += ["--trainer.devices", "1"]  # what comes before and after is done by one process
    begun = newest(run)
    cli = RunCLI(["--config", str(config), *where], run=False)
    cli.prepare(is_timed=steps is None and begun is None, is_resumed=begun is not None)

    def set_steps(planned: int, why: str) -> None:
        cli.set_steps(planned)
        print(f"   {planned} steps ({why})", flush=True)

    if steps is not None:
        set_steps(steps, "as asked")
    elif begun:
        set_steps(_planned(run), "as planned when it began")
    else:
        seconds = cli.seconds_per_step
        set_steps(planned := budget.steps(seconds), "what fits, by one measured pass")
        again = partial(set_steps, why="what fits, by steps of this run")
        callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, PlanAgain(budget, seconds, again))
        if planned < _FOLLOWING and config.samefile(_config_path(_CONFIG)):
            enough = budget.minutes_for(_FOLLOWING, seconds)
            print(
                f"   pictures follow their prompts from about {_FOLLOWING} steps on, here with "
                f"--fresh --minutes {enough}"
            )
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=begun)
    if cli.stop.asked:  # in the last step, too: what comes next takes minutes
        print("stopped and saved; go on with the same command", file=sys.stderr)
        raise SystemExit(cli.stop.exit_status)


def _planned(run: Path) -> int:
    """Steps of a run that was begun before."""
    import yaml

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return int(config["trainer"]["max_steps"])


def _export(run: Path) -> None:
    from tgp_multimodal.verbs.export import export

    export(str(run))


def _evaluate(run: Path, suite: str) -> dict[str, list[Any]]:
    from tgp_multimodal.adapters import make
    from tgp_multimodal.consoles import live_status
    from tgp_multimodal.evaluation import cards as shelf
    from tgp_multimodal.evaluation import engine

    chosen, found = shelf.suite(suite), {}
    export = run / "export"
    for model in (str(export), f"random:{export}", *_BASELINES):
        adapter = make(model)
        start = time.monotonic()
        with live_status(adapter.name) as show:
            progress = partial(_show_card, show, adapter.name)
            results = engine.evaluate(adapter, chosen, run / "results", progress=progress)
        found[adapter.name] = results
        print(
            f"   {adapter.name}: {len(found[adapter.name])} cards, {time.monotonic() - start:.0f} s"
        )
    return found


def _show_card(show: Callable[[str], None], model: str, what: str, card: str, said: str) -> None:
    show(f"{model} on {card}: {said}")


def _draw(run: Path) -> Path:
    import tgp_multimodal as tgp
    from tgp_multimodal.inference.sheets import contact_sheet

    prompts = [
        "a red circle", "a blue square on a white background", "a green square",
        "a yellow triangle on a black background", "a purple triangle", "an orange circle",
        "a red circle left of a blue square", "a cyan triangle above a yellow circle",
        "three orange circles", "two blue squares on a gray background", "the digit seven",
        "a handwritten three",
    ]  # fmt: skip
    pictures = tgp.load(run / "export").draw(prompts)
    path = run / "samples.png"
    contact_sheet(pictures, prompts, columns=6).save(path)
    return path


def _leaderboard(run: Path, sheet: Path) -> Path:
    import shutil

    from tgp_multimodal.evaluation.leaderboard import build
    from tgp_multimodal.evaluation.leaderboard_write import write
    from tgp_multimodal.evaluation.results import folder as folder_of
    from tgp_multimodal.resources import shipped

    results = run / "results"
    native = folder_of(results, run.name)
    if native.is_dir():
        shutil.copyfile(sheet, native / "samples.png")
    board = build(results, shipped("benchmarks", "cards"))
    return write(board, run / "leaderboard", f"tgp quickstart --folder {run}")["page"]


def _summary(found: dict[str, list[Any]]) -> None:
    """One line a card: the model, the same network untrained, and the best baseline."""
    from rich.table import Table

    from tgp_multimodal import consoles

    model, twin, *others = found
    table = Table(title="Held-out data, value and 95 % interval", title_justify="left")
    for name in ("card", "this model", "random weights", "best baseline"):
        table.add_column(name, justify="left" if name == "card" else "right")
    results: dict[str, dict[str, Any]] = {}
    for name, kept in found.items():
        for result in kept:
            results.setdefault(result.card, {})[name] = result
    for card in sorted(results, key=lambda c: (_SHOWN.index(c) if c in _SHOWN else 99, c)):
        of = results[card]
        rivals = [of[name] for name in others if name in of]
        sign = 1 if all(r.higher_is_better for r in of.values()) else -1
        best = max(rivals, key=lambda r: sign * r.value, default=None)
        low = "" if sign > 0 else "\n(lower is better)"
        table.add_row(card + low, _cell(of.get(model)), _cell(of.get(twin)), _cell(best, True))
    consoles.console().print(table)


def _cell(result: Any, named: bool = False) -> str:
    if result is None:
        return ""
    name = f"{result.model} " if named else ""
    return f"{name}{result.value:.3f}\n{result.low:.3f}-{result.high:.3f}"

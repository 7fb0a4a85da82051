"""A grid of models and cards on the machines of a Ray cluster: each pair is a task of its own.

A task does what `tgp evaluate` does here, with one model and one card, into the same files: so an
interrupted grid resumes where it stopped, and its results are those of a run without Ray.
Machines must share the folders (models, $TGP_DATA, results) under the same paths.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tgp_multimodal.adapters import ModelSlot
from tgp_multimodal.requirements import advice

if TYPE_CHECKING:
    from tgp_multimodal.evaluation.adapter import Adapter
    from tgp_multimodal.evaluation.cards import Card
    from tgp_multimodal.evaluation.results import Result

# Called with the name of a model and what `evaluation.engine.Progress` is.
Say = Callable[[str, str, str, str], None]
# What a task on another machine takes over from this process.
# The keys among it can be seen by whoever may use the cluster.
_INHERITED = (
    "TGP_DATA",
    "TGP_DEVICE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "CUBLAS_WORKSPACE_CONFIG",
    "OPENAI_API_KEY",
    "HF_TOKEN",
)
_OBJECT_BYTES = 200_000_000  # what travels are cards and results
_SECONDS = 10  # that a cluster has to answer
_HELD = ModelSlot()  # of a worker


class Grid(NamedTuple):
    """What is the same for all pairs.

    Attributes:
        place: folder that relative paths start from.
        results: folder to write into.
        limit, fresh: as of `evaluation.engine.evaluate`.
        contamination: prepared folders.
        unsafe_local: run programs of models without the sandbox.
    """

    place: str
    results: str
    limit: int | None
    fresh: bool
    contamination: tuple[str, ...]
    unsafe_local: bool = False


def evaluate(
    models: Sequence[str], cards: Sequence["Card"], grid: Grid, address: str, say: Say
) -> tuple[dict[str, list["Result"]], list[str]]:
    """Scores each model on each card that it can do.

    A task takes as many processors as OMP_NUM_THREADS says, or as this process may use, and a GPU
    if the cluster has some: threads decide how sums are rounded, so they must be those of a run
    without Ray.

    Args:
        models: as they are named to `tgp evaluate`.
        cards: what to measure.
        grid: what is the same for all.
        address: HOST:PORT of the cluster; empty: that of $RAY_ADDRESS, or else one is started on
            this machine and stopped at the end.
        say: is told what happens.

    Returns:
        Name of each model -> its results, in the order of the cards; and a sentence for each model
        of which some cards could not be measured: all others are.

    Raises:
        ValueError: ray is not installed, no cluster answers, it has no machine large enough, data
            are missing, or two models have one name.
    """
    from tgp_multimodal.evaluation.engine import CardsFailedError
    from tgp_multimodal.evaluation.examples import check_source

    with _cluster(address, _threads()) as submit:
        looked = [submit(_check_model, model, cards, grid) for model in models]
        names = {}
        for (name, reasons), model in zip(_taken(looked), models, strict=True):
            if name in names:
                raise ValueError(f"models must have different names. Got {name} twice instead.")
            names[name] = (model, reasons)
            for card, reason in reasons.items():
                say(name, "skipped", card, f"{name} {reason}")
        pairs = [(n, m, c) for n, (m, r) in names.items() for c in cards if c.name not in r]
        for card in {id(c): c for _, _, c in pairs}.values():
            check_source(card)
        found: dict[str, list[Result]] = {name: [] for name in names}
        tasks = [submit(_pair, model, card, grid) for _, model, card in pairs]
        wrong: dict[str, dict[str, str]] = {name: {} for name in names}
        for (name, _, card), (value, sentence) in zip(pairs, _answers(tasks), strict=True):
            if sentence is not None:
                wrong[name][card.name] = sentence
                say(name, "failed", card.name, sentence)
                continue
            results, event = value
            say(name, *event)
            found[name] += results
    failed = [f"{n}: {CardsFailedError(found[n], why)}" for n, why in wrong.items() if why]
    return found, failed


def _threads() -> int:
    from tgp_multimodal.evaluation import environment

    return environment.threads() or 1


@contextmanager
def _cluster(address: str, threads: int) -> Iterator[Callable[..., Any]]:
    """Submits functions to the cluster; stops what was started here, and waiting tasks, at the end.

    Every submitted function answers with (value, None), or (None, the sentence of a mistake).
    """
    # Or else Ray warns that it will do this one day: a task without GPU shall see none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError(
            f"ray must be installed for this executor. Got no such library instead{advice('ray')}"
        ) from None
    untyped: Any = ray
    variables = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    variables["OMP_NUM_THREADS"] = str(threads)
    wanted = address or os.environ.get("RAY_ADDRESS", "")
    _knock(wanted)
    try:
        ray.init(
            address=wanted or "local",
            include_dashboard=None if wanted else False,
            object_store_memory=None if wanted else _OBJECT_BYTES,
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unanswered(wanted, error) from None
    try:
        gpus = 1 if untyped.cluster_resources().get("GPU") else 0
        nodes = [node["Resources"] for node in untyped.nodes()]
        largest = max((n.get("CPU", 0) for n in nodes if n.get("GPU", 0) >= gpus), default=0)
        if threads > largest:
            raise ValueError(
                f"OMP_NUM_THREADS must be at most {largest:g}, what the largest machine of the"
                f" cluster{' with a GPU' if gpus else ''} has. Got {threads} instead."
            )
        remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_mistakes_as_data)
        yield lambda function, *given: remote.remote(function, *given)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises ValueError where nobody listens at HOST:PORT; Ray itself takes minutes to say so."""
    if not address or address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _unanswered(address, error) from None


def _unanswered(address: str, error: Exception) -> ValueError:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return ValueError(
        f"executor must be a Ray cluster that answers. Got {address or 'local'} ({line}) instead."
    )


def _taken(tasks: Sequence[Any]) -> Iterator[Any]:
    """Values of tasks in their order.

    Raises:
        ValueError: a task met a mistake of the user's.
    """
    for value, sentence in _answers(tasks):
        if sentence is not None:
            raise ValueError(sentence)
        yield value


def _answers(tasks: Sequence[Any]) -> Iterator[tuple[Any, str | None]]:
    """What tasks answer, in their order: a value, or the sentence of a user's mistake."""
    import ray

    yield from map(ray.get, tasks)


def _mistakes_as_data(function: Callable[..., Any], *given: Any) -> tuple[Any, str | None]:
    """On the cluster: a mistake travels as its sentence, for Ray would add pages to it."""
    try:
        return function(*given), None
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)


def _open(model: str, place: str) -> "Adapter":
    """A worker keeps the model of its last task."""
    os.chdir(place)
    return _HELD.open(model)


def _check_model(model: str, cards: Sequence["Card"], grid: Grid) -> tuple[str, dict[str, str]]:
    """On the cluster: the model's name, and which cards it cannot do; these are written down."""
    from tgp_multimodal.evaluation import engine

    adapter = _open(model, grid.place)
    reasons = {card.name: adapter.can(card) for card in cards}
    if not grid.unsafe_local:
        reasons |= engine.not_safe([card for card in cards if reasons[card.name] is None])
    # Settled here for all cards: their tasks, of which several run at once, then change nothing.
    engine.store_skipped(adapter, Path(grid.results), reasons)
    return adapter.name, {card: reason for card, reason in reasons.items() if reason is not None}


def _pair(model: str, card: "Card", grid: Grid) -> tuple[list["Result"], tuple[str, str, str]]:
    """On the cluster: the result of one model and one card, if there is one, and what to say."""
    from tgp_multimodal.evaluation import engine
    from tgp_multimodal.evaluation.contamination import open_corpora

    adapter, folder = _open(model, grid.place), Path(grid.results)
    corpora = None
    if grid.contamination:
        corpora = open_corpora([*map(Path, grid.contamination)], folder / ".ngrams")
    events: list[tuple[str, str, str]] = []
    try:
        found = engine.evaluate(
            adapter,
            [card],
            folder,
            grid.limit,
            grid.fresh,
            lambda *event: events.append(event),
            corpora=corpora,
            unsafe_local=grid.unsafe_local,
        )
    except engine.CardsFailedError as error:  # of which the grid makes one for all cards
        raise ValueError(error.reasons[card.name]) from error
    return found, events[-1]

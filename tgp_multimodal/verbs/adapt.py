"""`tgp adapt`: fine-tunes an export on a task with few labels."""

import shlex
from pathlib import Path
from typing import Any, Literal

_RANDOM = "random:"


def adapt(
    folder: str,
    output: str,
    card: str | None = None,
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    text: str = "text",
    label: str = "label",
    second: str | None = None,
    kind: Literal["classification", "multi_label", "regression", "tagging"] | None = None,
    method: Literal["full", "lora", "head"] = "full",
    learning_rate: float | Literal["auto"] = "auto",
    steps: int | None = None,
    batch: int = 16,
    length: int = 256,
    pairs: Literal["apart", "joint"] = "apart",
    class_weights: bool = False,
    patience: int = 5,
    rank: int = 8,
    seed: int = 0,
    allow_bad: float = 0.01,
) -> int:
    """Fine-tune an export on a task with few labels.

    Every method starts from a linear probe fitted on the frozen network, and keeps the weights that
    score best on validation items. The output folder holds the adapted model, also in stock
    formats, predictions for the test items, and report.html. A stopped run is resumed by the same
    command. `tgp predict` labels new files.

    Args:
        folder: export folder of the model; random:FOLDER starts from random weights of the same
            architecture, to see what pretraining is worth.
        output: folder for the results; new, or that of an unfinished run.
        card: benchmark card whose splits are the task, for example text/sst2.
        train: your own items, in place of a card: a table (.csv, .tsv, .jsonl, .parquet), or a
            folder with one subfolder of pictures per class.
        validation: items for model selection; left out: 15 % of train, stratified by class; equal
            items never end up in different splits.
        test: items for the final scores; left out: another 15 % of train.
        text: column of the text, or of the list of words to tag.
        label: column of the label, the number, or the list of labels or tags.
        second: column of the second text, for tasks on pairs of texts.
        kind: of the task; left out: inferred from the labels. In cells of plain text several labels
            are separated by |, and words and tags by spaces.
        method: full trains every weight; lora trains low-rank matrices beside the projections; head
            trains only the linear map, in seconds.
        learning_rate: peak rate; auto runs four short trials from the same start, each for a sixth
            of the steps (at least 20, at most 150) with its own warm-up and decay, and takes the
            highest rate whose validation loss is within 1 % of the lowest.
        steps: training steps; left out: four epochs, but at least 100 steps.
        batch: items per step.
        length: maximum number of tokens of a text; longer ones are truncated.
        pairs: apart encodes the two texts separately and compares them; joint encodes them as one.
        class_weights: weight the loss so that all classes count the same, however rare; not with
            head.
        patience: stop after this many validations in a row (of about twelve) without improvement.
        rank: of LoRA's matrices.
        seed: of the held-back items, the order of training items, and LoRA's matrices.
        allow_bad: share of rows that may be unusable; they are written to a quarantine file.

    Examples:
        tgp adapt runs/nano/export adapted/sst2 --card text/sst2
        tgp adapt runs/nano/export adapted/mail --train mail.csv --text body --label team
        tgp adapt runs/nano/export adapted/genes --card biomedical/ncbi_disease --method lora
        tgp adapt runs/nano/export adapted/leaves --train leaves/ --method head
        tgp adapt random:runs/nano/export adapted/control --card text/sst2
    """
    from tgp_multimodal.training import adapt as adapting
    from tgp_multimodal.training import adapt_results
    from tgp_multimodal.training.adapt_runs import Settings

    place = Path(output)
    _check_output(place, adapting.PLAN)
    rate = None if learning_rate == "auto" else learning_rate
    settings = Settings(
        method, rate, steps, batch, length, pairs, class_weights, patience, rank, seed
    )
    loaded = _load_base(folder, method)
    files = {"train": train, "validation": validation, "test": test}
    columns = {"text": text, "label": label, "second": second}
    splits, bad = _task(card, files, columns, kind, place, allow_bad, seed)
    learned = adapting.learn(loaded, splits, settings, place, print)
    if learned.is_stopped:
        print("stopped and saved; the same command goes on")
        return 130
    if method != "head" and learned.best == 0:
        print("no step improved on the linear probe that training started from, which is kept")
    report = adapt_results.write(place, loaded, folder, splits, settings, learned, bad)
    for name, score in report["test"].items():
        print(f"test {name} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]")
    print(f"the adapted model lies in {place}; look at {place / 'report.html'}")
    if train is not None:
        print(f"label more with: tgp predict {shlex.quote(str(place))} INPUT OUTPUT.csv")
    return 0


def _load_base(folder: str, method: str) -> Any:
    """What an export holds, or the same with fresh weights."""
    from tgp_multimodal import export
    from tgp_multimodal.models.networks import random_twin

    loaded = export.load(Path(folder.removeprefix(_RANDOM)))
    if not folder.startswith(_RANDOM):
        return loaded
    if method == "lora":
        raise ValueError(
            "method must be full or head with random:, for the weights beside which an adapter"
            f" lies are in no folder. Got {method} instead."
        )
    network = random_twin(loaded.network)
    return loaded._replace(network=network, facts={}, digest=export.weights_digest(network))


def _check_output(place: Path, plan: str) -> None:
    """Refuses a folder that holds something else than an unfinished run."""
    there = [p.name for p in place.iterdir()] if place.is_dir() else []
    other = [name for name in there if not name.startswith("quarantine-")]
    if other and plan not in there:
        raise ValueError(
            "output must be a new folder, or that of an unfinished run."
            f" Got {place}, which holds {other[0]}, instead; remove it or name another."
        )


def _task(
    card: str | None,
    files: dict[str, str | None],
    columns: dict[str, Any],
    kind: Any,
    place: Path,
    allow_bad: float,
    seed: int,
) -> tuple[Any, int]:
    from tgp_multimodal.data.labelled import Columns
    from tgp_multimodal.evaluation import cards
    from tgp_multimodal.evaluation.labelled_cards import task_of
    from tgp_multimodal.training import adapt_sources as sources

    usual = Columns()._asdict()
    given = [name for name, path in files.items() if path is not None]
    given += [name for name, column in columns.items() if column != usual[name]]
    if (card is None) == (files["train"] is None):
        got = "both" if card is not None else "neither"
        raise ValueError(f"card or train must be given. Got {got} instead.")
    if card is not None:
        if given or kind is not None:
            wrong = ", ".join([*given, *(["kind"] if kind is not None else [])])
            raise ValueError(f"{wrong} must be left out with a card. Got a value instead.")
        splits, bad = task_of(cards.find(card), seed), 0
    else:
        paths = {name: None if path is None else Path(path) for name, path in files.items()}
        assert paths["train"] is not None
        own = sources.Files(
            paths["train"], paths["validation"], paths["test"], Columns(**columns), kind
        )
        splits, bad = sources.task_of_files(own, place, allow_bad, seed)
    for line in sources.described(splits, bad):
        print(line)
    return splits, bad

"""A model that was adapted to a task: items in, labels with probabilities out.

Shape letters: N items, W words of one, K labels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from tgp_multimodal.data.json_files import read_format
from tgp_multimodal.data.labelled import Columns, Predicted
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import kinds, picture_inputs
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.inference.task_network import Task, TaskNetwork, encode, outputs, softmax
from tgp_multimodal.models.networks import Network
from tgp_multimodal.models.weights_file import write_weights

FORMAT = 1
FILE, HEAD, MODEL = "adapted.json", "head.safetensors", "model"
_ITEMS = {  # of each kind of task
    "text": "texts",
    "pair": "pairs of texts",
    "words": "texts or lists of words",
    "picture": "pictures",
}
_NAMED = 5  # labels that are named where all would be too many
_OUTSIDE = "O"  # the tag of words beyond what the network reads


class Adapted:
    """A network, the map on its states, and the names of what it says.

    Args:
        network: in evaluation mode.
        tokenizer: the one it was trained with.
    """

    def __init__(self, network: TaskNetwork, tokenizer: Tokenizer) -> None:
        self.network, self.tokenizer = network, tokenizer

    def __repr__(self) -> str:
        names = ", ".join(self.labels[:_NAMED]) + (", ..." if self.labels[_NAMED:] else "")
        labels = f"; {len(self.labels)} labels: {names}" if names else ""
        device = next(self.network.parameters()).device
        task = f"{self.task.kind} of {_ITEMS[self.task.reads]}"
        return f"Adapted({task}{labels}; on {device})"

    @property
    def task(self) -> Task:
        """What is judged."""
        return self.network.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels; none where a quantity is predicted."""
        return self.task.labels

    def predict(self, items: Sequence[Any]) -> list[Predicted]:
        """The label of each item and how probable it is.

        Args:
            items: texts; pairs of texts; lists of words, or texts whose words stand between spaces;
                or pictures (PIL images, or unsigned bytes).

        Raises:
            ValueError: items are no list, or one is of another kind or has nothing in it.
        """
        reads = self.task.reads
        if isinstance(items, str) or not hasattr(items, "__len__"):
            raise kinds.refusal("items", f"a list of {_ITEMS[reads]}", items)
        listed = picture_inputs.several(items) if reads == "picture" else items
        read = [_item(item, reads) for item in listed]
        encoded = encode(self.tokenizer, read, self.task)
        found = outputs(self.network, self.tokenizer, encoded)
        return [answer(o, self.task, item) for o, item in zip(found, read, strict=True)]


def answer(output_UK: np.ndarray, task: Task, item: Any) -> Predicted:
    """What the outputs for one item say; words that were not read are tagged O.

    Args:
        output_UK: one row, or one for each word that was read.
        task: what is judged.
        item: the words, where words are judged.
    """
    if task.kind == "regression":
        return Predicted(float(output_UK[0, 0]) * task.spread + task.offset, None, None)
    if task.kind == "multi_label":
        chance_K = 1 / (1 + np.exp(-output_UK[0].astype(np.float64)))
        said_K = chance_K > 0.5
        sure = float(np.where(said_K, chance_K, 1 - chance_K).prod())
        names = tuple(n for n, is_said in zip(task.labels, said_K, strict=True) if is_said)
        return Predicted(names, sure, chance_K)
    chance_UK = softmax(output_UK)
    if task.kind == "classification":
        best = int(chance_UK[0].argmax())
        return Predicted(task.labels[best], float(chance_UK[0, best]), chance_UK[0])
    tags = [task.labels[i] for i in chance_UK.argmax(axis=1)]
    sure = float(chance_UK.max(axis=1).min()) if len(tags) else 0.0
    return Predicted((*tags, *[_OUTSIDE] * (len(item) - len(tags))), sure, chance_UK)


def _item(item: Any, reads: str) -> Any:
    if reads == "picture":
        return item
    if reads == "pair":
        if isinstance(item, str) or not hasattr(item, "__len__") or len(item) != 2:
            raise ValueError(f"items must be pairs of texts. Got {item!r} instead.")
        return tuple(_text(text) for text in item)
    if reads == "words":
        if not hasattr(item, "__iter__"):
            raise kinds.refusal("items", _ITEMS[reads], item)
        words = tuple(item.split() if isinstance(item, str) else map(_text, item))
        if not words:
            raise ValueError(f"items must hold a word. Got {item!r} instead.")
        return words
    return _text(item)


def _text(item: Any) -> str:
    if not isinstance(item, str) or not item.strip():
        raise ValueError(f"items must be texts with something in them. Got {item!r} instead.")
    return item


def write(
    folder: Path, network: TaskNetwork, about: dict[str, Any], columns: Columns | None = None
) -> None:
    """Writes the map and what it says, beside the export of the network in `model/`.

    Args:
        folder: of the adapted model; it exists.
        network: whose map is written, folded so that it reads raw features.
        about: plain data about how it was adapted.
        columns: of the table that it learned from, if it was one.
    """
    path = folder / HEAD
    write_weights(network.head.folded(), path)
    content = {"format": FORMAT, "task": asdict(network.task), "about": about}
    if columns is not None:
        content["columns"] = columns._asdict()
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_task(folder: Path) -> Task:
    """What the model of a folder judges.

    Raises:
        ValueError: the folder is none that `write` made.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ValueError(
            f"adapted folder must be one that `tgp adapt` wrote (with an {FILE}). Got {folder}"
            " instead."
        )
    found = read_format(path, "adapted", FORMAT, "task")
    return Task.from_content(found["task"])


def read_columns(folder: Path) -> Columns:
    """Where tables have what the model of a folder reads: as that from which it learned had.

    Those that are usual, where it learned from something else.

    Raises:
        ValueError: the folder is none that `write` made, or its columns have no names.
    """
    path = Path(folder) / FILE
    found = read_format(path, "adapted", FORMAT).get("columns", {})
    known = {n: found[n] for n in Columns._fields if n in found} if isinstance(found, dict) else {}
    names = [name for key, name in known.items() if key != "second" or name is not None]
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"columns of {path} must be names. Got {found!r} instead.")
    return Columns(**known)


def read(
    folder: Path, network: Network, tokenizer: Tokenizer, device: str | None = None
) -> Adapted:
    """The adapted model of a folder, given the network and tokenizer of its `model/`.

    Args:
        folder: that `write` filled.
        network: of its `model/`.
        tokenizer: of the same.
        device: as for `devices.default_device`.

    Raises:
        ValueError: the folder is none, or its map is damaged or does not fit.
    """
    adapted = TaskNetwork(network, read_task(folder))
    path = Path(folder) / HEAD
    try:
        adapted.head.linear.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} must hold the map of {FILE}. Got {error} instead.") from error
    return Adapted(adapted.eval().requires_grad_(False).to(default_device(device)), tokenizer)

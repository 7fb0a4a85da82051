"""From prepared folders to batches of tensors.

The training stream starts at the trainer's current step; validation batches are fixed. `batch` in
the settings is the global batch, over all processes; each reads its share of the rows.
"""

from collections.abc import Collection, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch import LightningDataModule

from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.pipeline import Stream, open_stream
from tgp_multimodal.data.prepare_embedded import prepare_embedded
from tgp_multimodal.data.prepared import manifest, open_pictures
from tgp_multimodal.data.sections import checked_section
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.models.networks import PROMPT_TOKENS
from tgp_multimodal.names import beside

_FEWEST = {"passages": 2, "captions": 2}  # of a batch: contrast needs another pair
_LARGEST_SEED = 2**32 - 1  # grain's limit; a step's seed is seed * 1,000,003 + step


class Loader:
    """Batches of a stream as dicts of tensors, from a given step on.

    Args:
        stream: what is read.
        start: number of the first batch.
        count: how many batches; None for no end.
    """

    def __init__(self, stream: Stream, start: int = 0, count: int | None = None) -> None:
        self.stream, self.start, self.count = stream, start, count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in islice(self.stream.batches(self.start), self.count):
            yield {name: tensors(part) for name, part in batch.items()}

    def state_dict(self) -> dict[str, Any]:
        """Empty: the position is the trainer's own step, which cannot disagree with itself."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing; see `state_dict`."""


class FiniteLoader(Loader):
    """A loader that knows its length."""

    def __len__(self) -> int:
        return int(self.count or 0)


class StreamData(LightningDataModule):
    """The streams of a run, from one prepared folder.

    Args:
        folder: what `tgp prepare` wrote: `tokenizer/` with `text/`, `pictures/`, `chat/`. If it is
            missing and `embedded` is set, the embedded corpus is prepared there, with pictures of
            the network's size.
        text: rows of text. Here and below, `batch` is the global batch, over all processes.
        pictures: pictures with captions, stored ones and scenes that are drawn on the fly.
        passages: pairs of passages that belong together.
        captions: pairs of captions that say the same of one picture; their streams are those of
            `pictures`.
        chat: rows of conversations.
        embedded: whether to prepare the embedded corpus where there is no data.
        seed: decides order, mixture, infilling, row kinds, noise.
        validation_batches: number of batches of the validation split in each validation.
        threads: reader threads of each training stream; 0 reads between the steps. The batches do
            not depend on it.
    """

    def __init__(
        self,
        folder: str,
        text: dict[str, Any] | None = None,
        pictures: dict[str, Any] | None = None,
        embedded: bool = False,
        seed: int = 0,
        validation_batches: int = 8,
        passages: dict[str, Any] | None = None,
        captions: dict[str, Any] | None = None,
        threads: int = 1,
        chat: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.threads = Path(folder), threads
        self.text, self.pictures = _numbers("text", text), _numbers("pictures", pictures)
        self.passages, self.captions = (
            _numbers("passages", passages),
            _numbers("captions", captions),
        )
        self.chat = _numbers("chat", chat)
        if threads < 0:
            raise ValueError(f"threads must be 0 or more. Got {threads} instead.")
        if not 0 <= seed <= _LARGEST_SEED:
            raise ValueError(
                f"data.seed must be between 0 and {_LARGEST_SEED}. Got {seed} instead."
            )
        self.embedded, self.seed, self.validation_batches = embedded, seed, validation_batches
        self.tokenizer: Tokenizer | None = None
        self._opened: tuple[tuple[int, int], Stream] | None = None

    def prepare_data(self) -> None:
        if self.embedded and not (self.folder / "tokenizer").is_dir():
            prepare_embedded(self.folder, size=max(self._sizes().values(), default=32))

    def setup(self, stage: str) -> None:
        if not self.folder.is_dir():
            raise ValueError(
                f"data.folder must be a folder that `tgp prepare` wrote. Got {self.folder} instead."
                f"{beside(self.folder)}"
            )
        for name, settings in self._streams().items():
            checked_section(name, settings)
        self._check_streams()
        self._check_kinds()
        self.tokenizer = tokenizers.load(self.folder / "tokenizer")
        for kind in self._kinds():
            if manifest(self.folder / kind)["tokenizer"] != self.tokenizer.digest:
                raise ValueError(
                    f"data.folder must hold {kind} of its own tokenizer. "
                    f"Got {self.folder} with another one's instead."
                )
        start_tokenizer = getattr(self._module, "start_tokenizer", None)
        if start_tokenizer not in (None, self.tokenizer.digest):
            raise ValueError(
                "data.folder must be prepared with the tokenizer of model.init_from (--tokenizer "
                f"of `tgp prepare`). Got {self.folder} with another one instead."
            )
        network = getattr(self._module, "network", None)
        if network is not None and network.text.vocabulary < self.tokenizer.vocabulary:
            raise ValueError(
                "model.network.text.vocabulary must be at least the tokenizer's "
                f"{self.tokenizer.vocabulary}. "
                f"Got {network.text.vocabulary} instead."
            )
        if network is not None:
            self._check_lengths(network.text.context)
        if self.pictures is not None:
            self._check_sizes()
        self._check_held_out()

    @property
    def _module(self) -> Any:
        """What is trained; None without a trainer."""
        return getattr(self.trainer, "lightning_module", None)

    def _check_lengths(self, context: int) -> None:
        """Refuses rows longer than the context length that the export will state."""
        rows = {"text": self.text, "passages": self.passages, "chat": self.chat}
        for name, row in rows.items():
            asked = row or {}
            longest = max(part.get("length", 0) for part in (asked, *asked.get("ramp", ())))
            if longest > context:
                raise ValueError(
                    f"data.{name}.length must be at most {context}, the context of "
                    f"model.network.init_args.text. Got {longest} instead."
                )

    def _check_held_out(self) -> None:
        """Refuses data without a validation split, unless nothing is validated."""
        if getattr(self.trainer, "limit_val_batches", 0) == 0:
            return
        for kind in self._kinds() + ["pictures"] * (self.pictures is not None):
            if "validation" not in (splits := manifest(self.folder / kind)["splits"]):
                raise ValueError(
                    "data.folder must hold a validation split (--validation_share of `tgp prepare`)"
                    ", or nothing be validated (--trainer.limit_val_batches 0). "
                    f"Got {', '.join(splits)} alone in {self.folder / kind} instead."
                )

    def _check_streams(self) -> None:
        """Refuses streams that no objective learns from, and objectives without a stream."""
        module = self._module
        learned = set(getattr(module, "objectives", {}))
        given = {name for name, stream in self._streams().items() if stream is not None}
        if module is not None and learned and given != learned:
            raise ValueError(
                f"sections of data must be those of model.objectives ({', '.join(sorted(learned))};"
                f" null leaves one out). Got {', '.join(sorted(given)) or 'none'} instead."
            )

    def _check_kinds(self) -> None:
        """Refuses sections of a kind of data that the folder does not hold."""
        there = [kind for kind in ("text", "pictures", "chat") if (self.folder / kind).is_dir()]
        for name, stream in self._streams().items():
            kind = {"passages": "text", "captions": "pictures"}.get(name, name)
            if stream is not None and there and kind not in there:
                raise ValueError(
                    f"data.{name} must be null where the folder holds no {kind}, as "
                    "configs/text.yaml and configs/pictures.yaml have it. "
                    f"Got settings of it, and {', '.join(there)} alone in {self.folder}, instead."
                )

    def _streams(self) -> dict[str, dict[str, Any] | None]:
        return {
            "text": self.text,
            "pictures": self.pictures,
            "passages": self.passages,
            "captions": self.captions,
            "chat": self.chat,
        }

    def _kinds(self) -> list[str]:
        """Prepared folders of ids that are read."""
        reads_text = self.text is not None or self.passages is not None
        return ["text"] * reads_text + ["chat"] * (self.chat is not None)

    def _sizes(self) -> dict[str, int]:
        """Side of the pictures that each part of the network draws or sees."""
        network = getattr(self._module, "network", None)
        parts = {name: getattr(network, name, None) for name in ("head", "tower")}
        return {name: part.size for name, part in parts.items() if part is not None}

    def _check_sizes(self) -> None:
        """Refuses a part that would draw or see other pictures or captions than it learns from."""
        stored = manifest(self.folder / "pictures")["splits"]["train"]["rows"]
        for name, size in self._sizes().items():
            if size != stored:
                raise ValueError(
                    f"model.network.init_args.{name}.init_args.size must be {stored}, the size of "
                    f"the pictures in {self.folder}. Got {size} instead."
                )
        longest = (self.pictures or {}).get("longest", PROMPT_TOKENS)
        if "head" in self._sizes() and longest > PROMPT_TOKENS:
            raise ValueError(
                f"data.pictures.longest must be at most {PROMPT_TOKENS}, the tokens that a prompt "
                f"may have. Got {longest} instead."
            )

    def first_batch(self) -> dict[str, Any]:
        """Batch 0 of the training stream, for measuring."""
        return next(iter(Loader(self.training_stream())))

    def training_stream(self) -> Stream:
        """The training stream, opened only once, since that may read all of the data.

        Raises:
            ValueError: a section has keys that do not exist or lacks some.
        """
        shard = self._shard()
        if self._opened is None or self._opened[0] != shard:
            self._opened = shard, self._stream("train")
        opened = self._opened[1]
        return Stream(opened.datasets, opened.threads, self._every())  # known from the fit on

    def train_dataloader(self) -> Loader:
        start = self.trainer.global_step if self.trainer else 0
        return Loader(self.training_stream(), start=start)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is None or not self.trainer.training:
            return batch
        prepare = getattr(self.trainer.lightning_module, "prepare_batch", None)
        batch = prepare(batch) if prepare is not None else batch
        if self.trainer.strategy.root_device.type != "cuda":
            return batch
        return {name: pinned(part) for name, part in batch.items()}

    def val_dataloader(self) -> Loader:
        return FiniteLoader(self._stream("validation"), count=self.validation_batches)

    def captions_to_draw(self, count: int, but: Collection[str] = ()) -> list[str]:
        """Captions of held-out pictures, of each stream in turn, always the same ones.

        Args:
            count: at most so many.
            but: streams whose captions are not wanted.
        """
        if (
            self.pictures is None
            or "validation" not in manifest(self.folder / "pictures")["splits"]
        ):
            return []
        seen = open_pictures(self.folder / "pictures", "validation")
        weights = self.pictures.get("weights") or dict.fromkeys(seen.streams, 1.0)
        learned = {name for name, weight in weights.items() if weight > 0} - {*but}
        wanted = [i for i, name in enumerate(seen.streams) if name in learned]
        members = [np.flatnonzero(seen.stream == i) for i in wanted]
        rng = np.random.default_rng(0)
        shuffled = [rng.permutation(own).tolist() for own in members]
        turns = [i for turn in zip_longest(*shuffled) for i in turn if i is not None]
        return [seen.captions[i][0] for i in turns[:count]]

    def _stream(self, split: str) -> Stream:
        shard = self._shard()
        assert self.tokenizer is not None, "setup comes first"
        given = self._streams()
        streams: dict[str, Any] = {n: _share(n, stream, shard[1]) for n, stream in given.items()}
        return open_stream(
            self.folder,
            split,
            self.tokenizer,
            seed=self.seed,
            shard=shard,
            threads=0 if split == "validation" else self.threads,
            **streams,
        )

    def _shard(self) -> tuple[int, int]:
        """Number of this process, and of how many."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _every(self) -> dict[str, int]:
        """How many steps apart the module learns from each stream."""
        module = self._module
        return dict(getattr(module, "every", {}))


def _numbers(name: str, setting: Any) -> Any:
    """The settings of a stream, with nested values that the command line left as strings parsed."""
    if isinstance(setting, dict):
        return {key: _numbers(f"{name}.{key}", value) for key, value in setting.items()}
    if isinstance(setting, str):
        number = yaml.safe_load(setting)
        if not isinstance(number, int | float):
            if name.count(".") == 1:
                return setting  # `checked_section` knows what it should be
            raise ValueError(f"data.{name} must be a number. Got {setting!r} instead.")
        return number
    return setting


def _share(name: str, stream: dict[str, Any] | None, processes: int) -> dict[str, Any] | None:
    """The settings of a stream, with the batches of one of several processes."""
    least = _FEWEST.get(name, 1)
    if stream is not None and stream.get("batch", least) < least:
        raise ValueError(
            f"batch of data.{name} must be at least {least}. Got {stream['batch']} instead."
        )
    ramp = (stream or {}).get("ramp") or ()
    stages = [_share(f"{name}.ramp", stage, processes) for stage in ramp]
    if stream is None or processes == 1 or "batch" not in stream:
        return stream
    if stream["batch"] % processes:
        raise ValueError(
            f"batch of data.{name} must be a multiple of the number of processes, {processes}. "
            f"Got {stream['batch']} instead."
        )
    own = {"batch": stream["batch"] // processes}
    return {**stream, **own, **({"ramp": stages} if stages else {})}


def tensors(batch: Any) -> Any:
    """The same record with tensors instead of arrays, sharing their memory."""
    return type(batch)(*(torch.from_numpy(x) for x in batch))


def pinned(batch: Any) -> Any:
    """The same record in pinned memory: a copy to a GPU from pageable memory would block."""
    return type(batch)(*(x.pin_memory() if isinstance(x, torch.Tensor) else x for x in batch))

"""The one training module: a batch is a dict of streams, the loss a weighted sum over them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from tgp_multimodal.models.block_attention import visible_blocks
from tgp_multimodal.models.networks import Network, blocks, describe, differences, from_description
from tgp_multimodal.objectives import ranks
from tgp_multimodal.objectives.base import Objective
from tgp_multimodal.training.guard import SpikeGuard
from tgp_multimodal.training.optim import MuonAdamW, OptimizerSettings, parameter_groups, trapezoid
from tgp_multimodal.training.parts import full_on_rank0, gathered, local_shards, sharded_like
from tgp_multimodal.training.precision import Precision, fastest
from tgp_multimodal.training.sharding import FullySharded, is_sharded, shard
from tgp_multimodal.training.start import start, tokenizer_digest

_VALIDATION_SEED = 1234


class TrainingModule(LightningModule):
    """Trains a network on named streams.

    Args:
        network: what is trained.
        objectives: stream name -> its objective.
        weights: stream name -> weight of its loss; 1 where none is given.
        init_from: folder whose weights the run starts with: an export of ours, from which every
            part that this network has too is taken (also at another resolution), or a stock Qwen3
            model, for the text transformer; left out: fresh weights.
        every: stream name -> its period: it is learned from at every n-th step; 1 if not given.
        optimizer: learning rates and schedule.
        ema: decay of the exponential moving average of the weights, which is what is validated,
            drawn from and exported.
        precision: float32, bfloat16, or auto: on a CPU whichever runs a training step faster, by
            measurement; on a GPU bfloat16 if it supports it.
        compile: whether blocks are compiled, which takes a minute at the start: on CPUs steps of
            text alone become about 1.2x as fast, those of the default mixture hardly faster.

    Raises:
        ValueError: there is no objective, `weights` or `every` names an unknown one, `every` leaves
            a step empty, or `ema` is out of range.
    """

    def __init__(
        self,
        network: Network,
        objectives: dict[str, Objective],
        weights: dict[str, float] | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(),  # noqa: B008  (nobody can change it)
        ema: float = 0.99,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        compile: bool = False,
        every: dict[str, int] | None = None,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if not objectives:
            raise ValueError("objectives must name at least one. Got none instead.")
        if not 0 <= ema <= 1:
            raise ValueError(f"ema must be between 0 and 1. Got {ema} instead.")
        for setting, given in (("weights", weights), ("every", every)):
            unknown = set(given or {}) - set(objectives)
            if unknown:
                raise ValueError(
                    f"{setting} must name objectives ({', '.join(objectives)}). "
                    f"Got {sorted(unknown)} instead."
                )
        self.every = {name: (every or {}).get(name, 1) for name in objectives}
        if min(self.every.values()) != 1:
            raise ValueError(
                "every must be at least 1, and 1 for one objective, so that no step is empty. "
                f"Got {self.every} instead."
            )
        self.network, self.objectives, self.settings = network, objectives, optimizer
        self.weights = {name: (weights or {}).get(name, 1.0) for name in objectives}
        self.ema, self.precision, self.compile_network = ema, precision, compile
        self.start_tokenizer: str | None = None  # digest of the one that the start was trained with
        if init_from is not None:
            start(network, Path(init_from))
            self.start_tokenizer = tokenizer_digest(Path(init_from))
        self.arithmetic: Precision | None = None
        self.ema_weights: dict[str, Tensor] = {}
        self.description = describe(network)
        self.guard = SpikeGuard(optimizer.spike_factor)
        self.seed = 0
        self._validation = ExitStack()  # holds the weights of training meanwhile
        self._latest: dict[str, Tensor | float] = {}  # the last logged values of each stream

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return min(1.0, self.trainer.global_step / max(1, self.trainer.max_steps))

    def check_objectives(self) -> None:
        """Refuses a network without a part that an objective teaches.

        Raises:
            ValueError: it has none.
        """
        for objective in self.objectives.values():
            objective.check(self.network)

    def configure_model(self) -> None:
        """Shards the weights over the processes, if that is the strategy.

        Raises:
            ValueError: a strategy other than ours would shard them.
        """
        if self.device_mesh is None:
            return
        if not isinstance(self.trainer.strategy, FullySharded):
            raise ValueError(
                "trainer.strategy must be fsdp2, where weights are spread over processes. "
                f"Got {type(self.trainer.strategy).__name__} instead."
            )
        shard(self.network, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> MuonAdamW:
        s = self.settings
        self.arithmetic = ranks.agree(self.arithmetic)  # each process may have measured another
        muon_lr = s.adamw_lr if s.rule == "adamw" else s.muon_lr
        groups = parameter_groups(self.network, muon_lr, s.adamw_lr, s.embedding_lr, s.text_rate)
        for group in groups:
            group["rule"] = "adamw" if s.rule == "adamw" else group["rule"]
            group["peak_lr"] = group["lr"]
        dtype = self._chosen().dtype
        return MuonAdamW(
            groups, weight_decay=s.weight_decay, iterations=s.iterations, row_decay=s.row_decay,
            dtype=dtype,
        )  # fmt: skip

    def on_fit_start(self) -> None:
        self.seed = int(getattr(getattr(self.trainer, "datamodule", None), "seed", 0))
        if not self.ema_weights:
            self.ema_weights = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.ema_weights = {k: v.to(self.device) for k, v in self.ema_weights.items()}
        if self.compile_network:
            # Block by block: equal blocks share one compiled graph, and no key of a weight changes.
            for part in blocks(self.network):
                part.compile()
            self.network.text.is_compiled = True
            if self.device.type == "cuda":
                self.network.text.make_block_mask = visible_blocks

    def prepare_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch of this step as its objectives prepare it; see `Objective.prepare_batch`."""
        return {
            name: self.objectives[name].prepare_batch(part, self.progress, self._seed_of_step())
            for name, part in batch.items()
        }

    def _seed_of_step(self) -> int:
        return self.seed * 1_000_003 + self.trainer.global_step

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        step = self.trainer.global_step
        total, parts = self._losses(batch, self.progress, self._seed_of_step(), self.due(step))
        self._latest.update(parts)  # a step that is logged may not be one of a stream's own
        if self._is_logged(step):
            self.log_dict({f"train/{k}": v for k, v in self._latest.items()}, sync_dist=True)
        return total

    def _is_logged(self, step: int) -> bool:
        """Whether Lightning logs after this step: each `log_every_n_steps`-th, never if 0."""
        every = int(getattr(self.trainer, "log_every_n_steps", 1))
        return every > 0 and (step + 1) % every == 0

    def due(self, step: int) -> list[str]:
        """Streams that are learned from in this step."""
        return [name for name, apart in self.every.items() if step % apart == 0]

    def flops(self, batch: Mapping[str, Any], step: int) -> int:
        """Operations of one step, forward and backward, by formula."""
        return sum(self.objectives[n].flops(self.network, batch[n]) for n in self.due(step))

    def _losses(
        self, batch: Mapping[str, Any], progress: float, seed: int, names: Iterable[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = torch.zeros((), device=self.device), {}
        with self._chosen().autocast(self.device.type):
            for name in names:
                loss = self.objectives[name].loss(self.network, batch[name], progress, seed)
                total = total + self.weights[name] * loss.value
                parts.update({f"{name}/{k}": v for k, v in loss.parts.items()})
        return total, parts

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        # In the middle of the step: neither the first nor the last one has a rate of zero.
        done = (self.trainer.global_step + 0.5) / max(1, self.trainer.max_steps)
        factor = trapezoid(done, self.settings.warmup, self.settings.decay)
        first, last = self.settings.momentum
        risen = min(1.0, self.trainer.global_step / max(1, self.settings.momentum_steps))
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
            group["momentum"] = first + (last - first) * risen

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_algorithm == "value":
            raise ValueError("gradient_clip_algorithm must be norm. Got 'value' instead.")
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        step = self.trainer.global_step
        norm = self.guard.clip(weights, gradient_clip_val, "+".join(self.due(step)))
        if self._is_logged(step):
            self._report_spikes(norm)

    def _report_spikes(self, norm: Tensor) -> None:
        broken = self.guard.broken
        self.log_dict({"train/gradient_norm": norm, "train/skipped_steps": float(broken.in_all)})
        if broken.in_a_row >= self.settings.spikes:
            raise ValueError(
                f"broken gradients in a row must be fewer than spikes={self.settings.spikes} "
                "(lower the learning rates, or set spike_factor to 0 if such norms are right). "
                f"Got {broken.in_a_row} in steps of {broken.kind}, the last of norm "
                f"{broken.norm:.3g}, instead."
            )

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        # Here and not at the end of the batch: callbacks, which save, come before a module's hook.
        step = self.trainer.global_step
        # A young average forgets its random start faster.
        decay = min(self.ema, (1 + step) / (10 + step))
        state = self.network.state_dict()
        ema = local_shards(self.ema_weights.values())
        trained = local_shards(state[k] for k in self.ema_weights)
        torch._foreach_lerp_(ema, trained, 1 - decay)

    def on_validation_start(self) -> None:
        self._validation.enter_context(self.using_ema())

    def on_validation_end(self) -> None:
        self._validation.close()

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        named, seed = {}, _VALIDATION_SEED + batch_index
        with self._chosen().autocast(self.device.type):
            for name, objective in self.objectives.items():
                parts = objective.held_out(self.network, batch[name], seed)
                named.update({f"validation/{name}/{k}": v for k, v in parts.items()})
        self.log_dict(named, on_epoch=True, batch_size=1, sync_dist=True)

    @contextmanager
    def using_ema(self) -> Iterator[None]:
        """Swaps the EMA weights into the network, and the trained weights back in at the end."""
        if not self.ema_weights:
            yield
            return
        kept = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.ema_weights)
        try:
            with torch.compiler.set_stance("force_eager"):  # a few batches are not worth a graph
                yield
        finally:
            self.network.load_state_dict(kept)

    @contextmanager
    def ema_network(self) -> Iterator[Network]:
        """A network with the averaged weights that one process can run alone.

        Every process must call it, since the weights may be sharded; the network is then a copy.
        """
        if not is_sharded(self.network):
            with self.using_ema():
                yield self.network
            return
        with torch.device("meta"):
            network = cast(Network, from_description(self.description))
        network.load_state_dict({k: gathered(v) for k, v in self.ema_weights.items()}, assign=True)
        yield network

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network_description"] = self.description
        checkpoint["ema"] = {k: full_on_rank0(v) for k, v in self.ema_weights.items()}
        checkpoint["precision"] = self._chosen().name
        checkpoint["guard"] = self.guard.states
        checkpoint["latest"] = {  # every process is here
            name: float(ranks.average(torch.as_tensor(value, dtype=torch.float32)))
            for name, value in self._latest.items()
        }
        checkpoint["guided"] = any(o.teaches_guidance for o in self.objectives.values())
        checkpoint["random"] = torch.get_rng_state()  # our own draws are functions of the step
        if (tokenizer := self._tokenizer()) is not None:
            checkpoint["tokenizer"] = tokenizer

    def _tokenizer(self) -> str | None:
        """Digest of the tokenizer of the data, if data are there."""
        data = getattr(self.trainer, "datamodule", None)
        return getattr(getattr(data, "tokenizer", None), "digest", None)

    def check_fits(self, checkpoint: dict[str, Any], data_tokenizer: str | None) -> None:
        """Checks that a run can resume from a checkpoint with this network and these data.

        Args:
            checkpoint: what `load_checkpoint` read.
            data_tokenizer: digest of the data's tokenizer, if that is known.

        Raises:
            ValueError: its network or tokenizer differs, or its parameter groups (`text_rate`).
        """
        mine, saved = self.description, checkpoint.get("network_description")
        if mine != saved:
            unlike = differences(mine, saved or {})
            listed = ", ".join(f"{name} {a} (there: {b})" for name, a, b in unlike)
            raise ValueError(f"network must be the one of the checkpoint. Got {listed} instead.")
        self._check_text_rate(checkpoint)
        saved_tokenizer = checkpoint.get("tokenizer")
        are_known = None not in (saved_tokenizer, data_tokenizer)  # older versions did not keep it
        if are_known and saved_tokenizer != data_tokenizer:
            raise ValueError(
                f"data.folder must have the tokenizer of the checkpoint, {saved_tokenizer}. "
                f"Got {data_tokenizer} instead."
            )

    def _check_text_rate(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a `text_rate` that groups the parameters in another way than the checkpoint."""
        states = checkpoint.get("optimizer_states") or [{"param_groups": []}]
        are_text = [str(g.get("name")).startswith("text_") for g in states[0]["param_groups"]]
        if are_text and any(are_text) != (self.settings.text_rate != 1):
            raise ValueError(
                "model.optimizer.text_rate must be 1 where it was 1 in the checkpoint, and another "
                f"where it was not. Got {self.settings.text_rate} instead."
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_fits(checkpoint, self._tokenizer())
        now = self.network.state_dict()
        self.ema_weights = {k: sharded_like(v, now[k]) for k, v in checkpoint["ema"].items()}
        self.guard.load(checkpoint["guard"])
        self._latest = checkpoint.get("latest", {})  # older versions did not keep it
        # A run resumes in the precision it began with, whatever is faster today, unless another
        # one is named.
        is_free = self.precision == "auto"
        self.arithmetic = Precision(checkpoint["precision"] if is_free else self.precision)
        for optimizer in self.trainer.optimizers:  # some strategies make them before they load
            cast(MuonAdamW, optimizer).dtype = self.arithmetic.dtype
        torch.set_rng_state(checkpoint["random"])

    def choose_precision(
        self, first_batch: Callable[[], Mapping[str, Any]], is_timed: bool = False
    ) -> Precision:
        """Chooses the precision of the run; for `auto` by measurement, on a batch if need be.

        A GPU that supports bfloat16 is faster in it, so there only the time is measured.

        Args:
            first_batch: reads a batch of the streams of the run; asked only if it is measured.
            is_timed: whether the seconds of forward and backward are wanted in any case; on a GPU
                the network is moved there.
        """
        if self.arithmetic is None:
            device = self.trainer.strategy.root_device if self._trainer else self.device
            if is_timed and device.type == "cuda":
                self.to(device)
            read = cache(lambda: self.transfer_batch_to_device(first_batch(), self.device, 0))
            losses = [
                (partial(lambda name: self._losses(read(), 0.0, 0, [name])[0], name), 1 / apart)
                for name, apart in self.every.items()
            ]
            self.arithmetic = fastest(losses, self, is_timed, self._unmeasured_choice(device))
        return self.arithmetic

    def _unmeasured_choice(self, device: torch.device) -> str | None:
        """The arithmetic that is taken without a comparison; None where only that can tell."""
        if self.precision == "auto" and device.type == "cuda":
            can = torch.cuda.is_bf16_supported(including_emulation=False)
            return "bfloat16" if can else "float32"
        return None if self.precision == "auto" else self.precision

    def _chosen(self) -> Precision:
        return self.arithmetic or Precision("float32")

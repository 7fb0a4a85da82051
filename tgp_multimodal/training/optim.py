"""Muon for the matrices inside the blocks, AdamW for everything else, as one optimizer object.

One object, because two make Lightning count every step twice. The algorithm is torch.optim.Muon's,
but rows are brought to one size (NorMuon), weight decay is cautious, and four Newton-Schulz
iterations, each with its own polynomial, replace five equal ones; matrices of one shape are
batched, in bfloat16 where that is fast.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tgp_multimodal.training.parts import full_from_local, local_shards, sharded_like

_Coefficients: TypeAlias = tuple[float, float, float]  # a x + b x^3 + c x^5

_JORDAN: _Coefficients = (3.4445, -4.7750, 2.0315)  # the same in every iteration
# Each iteration's own polynomial, the one that brings singular values nearest to 1 from where the
# iterations before it leave them (Amsel et al. 2025, arXiv:2505.16932, algorithm 1): from [0.003,
# 1] with four iterations, from [0.01, 1] with three, and 2 % of room for rounding each time.
_POLYNOMIALS: dict[int, list[_Coefficients]] = {
    4: [
        (7.3851, -20.1776, 14.2126),
        (4.0756, -3.3914, 0.7276),
        (3.6711, -2.9268, 0.6197),
        (2.5274, -1.8091, 0.4089),
    ],
    3: [
        (7.3851, -20.1776, 14.2126),
        (3.8121, -3.0885, 0.6572),
        (2.6710, -1.9216, 0.4203),
    ],
}
_TINY = 1e-12  # of mean squares; that of an orthogonal row of D is 1 / D
_TEXT = "text"  # name of the text transformer in a network
# Settings of each group that a resumed run may change.
_SETTINGS = ("peak_lr", "weight_decay", "rule")


@dataclass(frozen=True)
class OptimizerSettings:
    """Rates of Muon and AdamW and the shape of their schedule.

    Args:
        muon_lr: peak rate of matrices inside blocks.
        adamw_lr: peak rate of norms, biases, input, output and modulation.
        embedding_lr: peak rate of the token embeddings.
        weight_decay: decoupled, cautious; not of gains, biases and scalars.
        warmup: share of the run in which the rates rise.
        decay: share of the run, at its end, in which they fall to zero.
        iterations: Newton-Schulz iterations of Muon; 3 for networks so small that the optimizer is
            a large part of a step, 5 for what torch.optim.Muon does.
        row_decay: decay rate of the mean square of each row of Muon's update, by which rows are
            brought to one size; 0 leaves them as they are.
        momentum: Muon's decay rate at the start and after `momentum_steps`, linear between; Jordan
            et al. 2024 begin at 0.85.
        momentum_steps: steps of that ramp.
        spike_factor: a gradient of more than this many times the usual norm, or a non-finite one,
            is zeroed, so that the step uses momentum alone; 0 zeroes only non-finite ones.
        spikes: this many zeroed gradients in a row, checked whenever a line is logged, end the run.
        text_rate: factor on all rates of the text transformer. Below 1 where only captions train
            it: at full rate the states of rare words become alike.
        rule: "adamw" trains the matrices inside blocks with AdamW too, at `adamw_lr`; the control
            in comparisons.
    """

    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    embedding_lr: float = 0.01
    weight_decay: float = 0.0
    warmup: float = 0.03
    decay: float = 0.4
    iterations: int = 4
    row_decay: float = 0.95
    momentum: tuple[float, float] = (0.95, 0.95)
    momentum_steps: int = 300
    spike_factor: float = 10.0
    spikes: int = 10
    text_rate: float = 1.0
    rule: Literal["muon", "adamw"] = "muon"

    def __post_init__(self) -> None:
        for name in ("warmup", "decay"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name} must be a share between 0 and 1. Got {share} instead.")
        for name in ("muon_lr", "adamw_lr", "embedding_lr", "weight_decay", "text_rate"):
            if not (rate := getattr(self, name)) >= 0:
                raise ValueError(f"{name} must be at least 0. Got {rate} instead.")
        for name in ("iterations", "spikes"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1. Got {count} instead.")
        if not 0 <= self.row_decay < 1:
            raise ValueError(
                f"row_decay must be at least 0 and below 1. Got {self.row_decay} instead."
            )
        if not all(0 <= rate < 1 for rate in self.momentum):
            raise ValueError(
                f"momentum must be at least 0 and below 1. Got {self.momentum} instead."
            )


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) and AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Every group holds `lr` and `rule`, "muon" or "adamw". A schedule multiplies the `lr` of all
    groups alike. In a group with `pieces`, each weight is that many matrices stacked by rows, which
    are orthogonalised separately.

    Args:
        groups: parameter groups.
        betas: AdamW's decay rates.
        momentum: Muon's decay rate (Nesterov).
        weight_decay: decoupled decay of matrices and embeddings, not of gains, biases and scalars;
            applied only where it does not fight the update (cautious, Chen et al. 2025,
            arXiv:2510.12402).
        iterations: Newton-Schulz iterations; see `orthogonal`.
        row_decay: see `OptimizerSettings`; 0 leaves rows as they are.
        dtype: precision of the iterations.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        betas: tuple[float, float] = (0.9, 0.95),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 4,
        row_decay: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {
            "lr": 1e-3,
            "rule": "adamw",
            "betas": betas,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        super().__init__(list(groups), defaults)
        self.iterations, self.row_decay, self.dtype = iterations, row_decay, dtype

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the optimizer state, but keeps the rates and rules that this run was given."""
        given = [{k: g[k] for k in _SETTINGS if k in g} for g in self.param_groups]
        super().load_state_dict(state_dict)
        for group, settings in zip(self.param_groups, given, strict=True):
            group.update(settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if weights:
                (self._muon if group["rule"] == "muon" else self._adamw)(group, weights)
        return loss

    def _muon(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        gradients = local_shards(w.grad for w in weights if w.grad is not None)
        for w in weights:
            if "momentum" not in self.state[w]:
                self.state[w]["momentum"] = torch.zeros_like(w)
        momenta = local_shards(self.state[w]["momentum"] for w in weights)
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        looked_ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        by_shape = defaultdict(list)
        for weight, update in zip(weights, looked_ahead, strict=True):
            by_shape[weight.shape].append((weight, update))
        for shape, members in by_shape.items():
            # Orthogonalising needs all rows: where they are sharded, each process computes the
            # whole matrix and keeps its own rows.
            matrices = torch.stack([full_from_local(update, w) for w, update in members])
            pieces = group.get("pieces", 1)  # checkpoints of older versions do not say
            single = matrices.reshape(len(members) * pieces, -1, shape[1])
            found = orthogonal(single, self.iterations, self.dtype)
            if self.row_decay:
                found = self._evened([w for w, _ in members], found)
            updates = found.reshape(matrices.shape).unbind()
            rate = group["lr"] * max(1.0, single.shape[1] / shape[1]) ** 0.5
            pairs = zip(updates, members, strict=True)
            mine = local_shards(sharded_like(update, w) for update, (w, _) in pairs)
            self._apply(group, local_shards(w for w, _ in members), mine, rate)

    def _evened(self, weights: list[Tensor], update_NRC: Tensor) -> Tensor:
        """Divides each row by the root of its running mean square; sizes of matrices stay.

        NorMuon (Li et al. 2025, arXiv:2510.05491). Columns take the place of rows where there are
        more of them. Every process has the means of whole matrices.

        Args:
            weights: each of as many matrices as it has pieces.
            update_NRC: the orthogonal update of all their matrices; changed in place.
        """
        along = -1 if update_NRC.shape[-2] >= update_NRC.shape[-1] else -2
        square = update_NRC.square().mean(along, keepdim=True)  # torch's norm of columns is slow
        for weight, own in zip(weights, square.chunk(len(weights)), strict=True):
            state = self.state[weight]
            if "row_square" not in state:
                state["row_square"] = torch.zeros_like(own)
            state["row_square"].lerp_(own, 1 - self.row_decay)
        mean = torch.cat([self.state[w]["row_square"] for w in weights]).clamp_min_(_TINY)
        before = square.sum((-2, -1), keepdim=True).clamp_min_(_TINY)
        after = (square / mean).sum((-2, -1), keepdim=True).clamp_min_(_TINY)
        return update_NRC.mul_((before / after / mean).sqrt_())

    def _adamw(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for w in weights:
            if "step" not in self.state[w]:
                self.state[w].update(step=0, mean=torch.zeros_like(w), square=torch.zeros_like(w))
            self.state[w]["step"] += 1
        by_step = defaultdict(list)  # a part that is learned from now and then is younger
        for w in weights:
            by_step[self.state[w]["step"]].append(w)
        for step, equals in by_step.items():
            self._adamw_step(group, equals, step)

    def _adamw_step(self, group: dict[str, Any], weights: list[Tensor], step: int) -> None:
        first, second = group["betas"]
        gradients = local_shards(w.grad for w in weights if w.grad is not None)
        means = local_shards(self.state[w]["mean"] for w in weights)
        squares = local_shards(self.state[w]["square"] for w in weights)
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - second**step) ** 0.5)
        torch._foreach_add_(roots, 1e-8)
        updates = torch._foreach_div(means, roots)
        self._apply(group, local_shards(weights), list(updates), group["lr"] / (1 - first**step))

    def _apply(
        self, group: dict[str, Any], weights: list[Tensor], updates: list[Tensor], rate: float
    ) -> None:
        decay = group["lr"] * group["weight_decay"]
        if decay:
            for weight, update in zip(weights, updates, strict=True):
                if weight.ndim < 2:
                    continue
                weight.addcmul_(weight, (weight * update > 0).to(weight.dtype), value=-decay)
        torch._foreach_add_(weights, updates, alpha=-rate)


def orthogonal(matrices_NRC: Tensor, iterations: int, dtype: torch.dtype) -> Tensor:
    """The nearest orthogonal matrices, approximately (quintic Newton-Schulz).

    Singular values land in about [0.7, 1.3], which is as good as 1 for this purpose; those below
    0.003 (four iterations) or 0.01 (three) of the Frobenius norm stay smaller.

    Args:
        matrices_NRC: any matrices.
        iterations: 3 and 4 have polynomials made for so many; any other number repeats Jordan's.
        dtype: precision of the products.
    """
    x = matrices_NRC.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    rows, columns = x.shape[-2:]
    polynomials = _POLYNOMIALS.get(iterations) or [_JORDAN] * iterations
    # Working on x xT alone amplifies rounding by the squared slopes at 0, 20,000 times in all over
    # five of Jordan's iterations and less with the others; float32 has room for that, TF32 has not.
    is_exact = x.device.type == "cpu" or torch.get_float32_matmul_precision() == "highest"
    if columns >= 2 * rows and dtype == torch.float32 and is_exact and 1 < iterations <= 5:
        x = _polynomial(x @ x.mT, polynomials) @ x
    else:
        for coefficients in polynomials:
            x = _factor(x @ x.mT, coefficients) @ x
    return (x.mT if tall else x).to(matrices_NRC.dtype)


def _polynomial(gram_NRR: Tensor, polynomials: list[_Coefficients]) -> Tensor:
    """The matrix by which the iterations multiply a matrix x in all, from x xT alone.

    All factors are polynomials in x xT, so they commute, and wide matrices enter two products
    instead of two for each iteration.
    """
    factor = product = _factor(gram_NRR, polynomials[0])
    for coefficients in polynomials[1:]:
        gram_NRR = factor @ (factor @ gram_NRR)
        factor = _factor(gram_NRR, coefficients)
        product = factor @ product
    return product


def _factor(gram_NRR: Tensor, coefficients: _Coefficients) -> Tensor:
    a, b, c = coefficients
    factor_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
    factor_NRR.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor_NRR


def parameter_groups(
    network: nn.Module,
    muon_lr: float,
    adamw_lr: float,
    embedding_lr: float,
    text_rate: float = 1.0,
) -> list[dict[str, Any]]:
    """Matrices inside blocks for Muon, everything else for AdamW.

    Everything else: token embeddings; norms, biases, input, output, modulation and time embedding;
    and scalars, which have no weight decay. open_clip's fused (3 D, D) projection of query, key and
    value is three matrices to Muon. If `text_rate` is not 1, the text transformer has groups of its
    own, whose names begin with `text_`.

    Raises:
        ValueError: the network has no trainable weight.
    """
    settings: dict[str, dict[str, Any]] = {
        "muon": {"lr": muon_lr, "rule": "muon"},
        "muon_stacked": {"lr": muon_lr, "rule": "muon", "pieces": 3},
        "embedding": {"lr": embedding_lr, "rule": "adamw"},
        "rest": {"lr": adamw_lr, "rule": "adamw"},
        "scalars": {"lr": adamw_lr, "rule": "adamw", "weight_decay": 0.0},
    }
    if text_rate != 1:
        settings |= {
            f"{_TEXT}_{name}": {**group, "lr": text_rate * group["lr"]}
            for name, group in settings.items()
        }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in settings}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            prefix = f"{_TEXT}_" if text_rate != 1 and name.startswith(f"{_TEXT}.") else ""
            members[prefix + _group(name, weight)].append(weight)
    groups = [
        {"params": weights, "name": name, **settings[name]}
        for name, weights in members.items()
        if weights
    ]
    if not groups:
        raise ValueError("network must have at least one trainable weight. Got none instead.")
    return groups


def _group(name: str, weight: nn.Parameter) -> str:
    is_inside = any(f".{part}." in name for part in ("layers", "blocks", "resblocks"))
    if weight.ndim == 0:
        return "scalars"
    if weight.ndim == 2 and is_inside and "modulation" not in name:
        return "muon_stacked" if name.endswith("in_proj_weight") else "muon"
    return "embedding" if "embed_tokens" in name else "rest"


def trapezoid(progress: float, warmup: float, decay: float) -> float:
    """Learning-rate factor: up during `warmup`, flat, down to zero during `decay` (shares)."""
    up = progress / warmup if warmup else 1.0
    down = (1 - progress) / decay if decay else 1.0
    return max(0.0, min(1.0, up, down))

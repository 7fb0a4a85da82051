"""A training step of the text transformer, against transformers' class of the same shape.

Ours: our chosen precision and Muon. The peer: the same weights, AdamW, each way in which it is run.

Shape letters: B batch, L length, N positions, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.speed import exports, steps
from benchmarks.speed.harness import Contest, Side, require
from tgp_multimodal import stock_export
from tgp_multimodal.models.networks import LanguageModel
from tgp_multimodal.models.text_transformer import Block
from tgp_multimodal.objectives.cross_entropy import weighted_nats


def contests(quick: bool) -> Iterator[Contest]:
    """Against eager float32, eager bfloat16, and compiled in the arithmetic that we chose.

    The compiled peer meets our step as it is by default, and with its blocks compiled as
    `compile: true` does it.
    """
    batch, length = (2, 64) if quick else (16, 256)
    generator = torch.Generator().manual_seed(0)
    row_BL = torch.randint(300, exports.VOCABULARY, (batch, length + 1), generator=generator)
    facts = {"batch": batch, "length": length, "width": 256, "depth": 6}
    ours, theirs = _ours(row_BL), _theirs(row_BL)
    _check(ours, theirs)
    chosen = steps.chosen_precision(*ours)
    facts["parameters"] = sum(p.numel() for p in ours[0].parameters())
    runs = [("float32", False, False), ("bfloat16", False, False)]
    if not quick:
        runs += [(chosen, False, True), (chosen, True, True)]
    for precision, compile_ours, compile_theirs in runs:
        mine, loss = _ours(row_BL)
        stock, stock_loss = _theirs(row_BL)
        if compile_ours:
            for part in mine.modules():
                if isinstance(part, Block):
                    part.compile()
            mine.text.is_compiled = True
        if compile_theirs:
            stock.compile()
        how = f"{'compiled' if compile_ours else 'eager'} / "
        how += "compiled" if compile_theirs else "eager"
        yield Contest(
            f"text step {batch} x {length}, {how}",
            Side("MuonAdamW", chosen, steps.Step(mine, loss, chosen, steps.our_optimizer)),
            Side(
                "transformers.Qwen3ForCausalLM, AdamW",
                precision,
                steps.Step(stock, stock_loss, precision, steps.stock_optimizer),
            ),
            steps.relative,
            steps.tolerance(chosen, precision),
            facts,
        )


def our_network() -> LanguageModel:
    """Our network of the reference shape, every weight random."""
    return exports.random_language_model().train()


def our_loss(network: LanguageModel, row_BL: Tensor) -> Callable[[], Tensor]:
    """Mean cross-entropy of the rows, by our chunks."""
    target_N = row_BL[:, 1:].flatten()
    mean_N, nothing_N = torch.full(target_N.shape, 1 / len(target_N)), torch.zeros(len(target_N))

    def loss() -> Tensor:
        state_ND, table = network.text(row_BL[:, :-1]).flatten(0, 1), network.text.embed_tokens
        rest = target_N, mean_N, nothing_N, network.text.is_compiled
        return weighted_nats(state_ND, table.weight, *rest)[0]

    return loss


def their_model() -> Qwen3ForCausalLM:
    """The stock class with the weights of our network."""
    text, tokenizer = exports.random_language_model().text, exports.tokenizer()
    settings = stock_export.qwen3(text, tokenizer, "Qwen3ForCausalLM", True)
    model = Qwen3ForCausalLM(Qwen3Config(**settings))
    model.model.load_state_dict(text.state_dict())
    model.tie_weights()
    return model.train()


def _ours(row_BL: Tensor) -> tuple[LanguageModel, Callable[[], Tensor]]:
    network = our_network()
    return network, our_loss(network, row_BL)


def _theirs(row_BL: Tensor) -> tuple[Qwen3ForCausalLM, Callable[[], Tensor]]:
    model = their_model()

    def loss() -> Tensor:
        logits_BLV = model(input_ids=row_BL[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits_BLV.float().flatten(0, 1), row_BL[:, 1:].flatten())

    return model, loss


def _check(
    ours: tuple[LanguageModel, Callable[[], Tensor]],
    theirs: tuple[Qwen3ForCausalLM, Callable[[], Tensor]],
) -> None:
    mine, stock = dict(ours[0].text.named_parameters()), dict(theirs[0].model.named_parameters())
    require("number of text weights", len(mine.keys() ^ stock.keys()), 0)
    counts = (sum(p.numel() for p in part[0].parameters()) for part in (ours, theirs))
    require("number of text parameters", abs(next(counts) - next(counts)), 0)
    pairs = [(weight, stock[name]) for name, weight in mine.items()]
    require("text gradients", steps.gradient_difference(ours[1], theirs[1], pairs), 1e-3)

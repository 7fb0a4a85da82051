"""Opens models of transformers: what an architecture can do, its weights, and how much it reads."""

from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from tgp_multimodal.adapters import foreign

BFLOAT16 = "bfloat16"
OPENERS = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM, "encoder": AutoModel}
# Saved with a head that tells replaced tokens from right ones (arXiv:2003.10555, section 2).
_DISCRIMINATORS = ("ElectraForPreTraining", "FunnelForPreTraining")
_UNLIMITED = 100_000_000  # what tokenizers say who know no limit is more
_USUAL_CONTEXT = 2048  # of a model that names none, as in lm-eval


def open_part(name: str, opener: Any, **settings: Any) -> Any:
    """A configuration, tokenizer or network of transformers.

    Args:
        name: folder or hub name.
        opener: the class that opens it.
        settings: more arguments of its `from_pretrained`.

    Raises:
        ValueError: transformers does not open it.
    """
    try:
        # Left open, transformers asks on a terminal whether to run the code that came along.
        return opener.from_pretrained(name, trust_remote_code=False, **settings)
    except foreign.OPENING_ERRORS as error:
        raise ValueError(
            f"hf model must be a folder or hub name that transformers opens."
            f" Got {name} instead ({foreign.first_line(error)})."
        ) from error


def kind_of(config: Any) -> str:
    """What the architecture that the weights were saved from can do: a key of `OPENERS`.

    Raises:
        ValueError: it is an encoder-decoder.
    """
    architecture = (config.architectures or ["no architecture"])[0]
    if config.is_encoder_decoder:
        raise ValueError(
            "hf model must be a causal or masked language model, or an encoder."
            f" Got {architecture} instead."
        )
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if architecture in _DISCRIMINATORS:  # they guess no hidden token
        return "encoder"
    return "masked" if architecture.endswith(("ForMaskedLM", "ForPreTraining")) else "encoder"


def open_network(name: str, weights: str, config: Any, kind: str) -> Any:
    """A network in evaluation mode, with the weights of its folder or fresh ones.

    Args:
        name: folder or hub name.
        weights: `foreign.RANDOM`, `BFLOAT16` or "".
        config: of the network.
        kind: of `kind_of`.

    Raises:
        ValueError: weights are missing.
    """
    opener = OPENERS[kind]
    dtype = torch.bfloat16 if weights == BFLOAT16 else torch.float32
    if weights == foreign.RANDOM:
        with foreign.same_randomness():
            own = {"dtype": dtype, "trust_remote_code": False}
            fresh = opener.from_config(config, **own)  # type: ignore[no-untyped-call]
        return _settled(fresh)
    with foreign.same_randomness():  # what has no weights counts in the digest too
        network, loading = open_part(name, opener, dtype=dtype, output_loading_info=True)
    # A pooler, which some architectures have on top, is not asked for anything.
    if missing := sorted(key for key in loading["missing_keys"] if "pooler" not in key):
        raise ValueError(
            f"weights of {name} must be whole. Got none for {', '.join(missing[:3])} instead."
        )
    return _settled(network)


def _settled(network: Any) -> Any:
    """A network whose answers do not depend on what it was asked before.

    BigBird's attention is sparse up to the first short text and full ever after. So it is full from
    the start; the configuration, which is in the digest, says so. (A decoder of BigBirdPegasus says
    the same of an encoder that it has not.)
    """
    is_sparse = getattr(network.config, "attention_type", None) == "block_sparse"
    if is_sparse and hasattr(network.base_model, "set_attention_type"):
        with foreign.same_randomness():  # the parts are made anew and take over the weights
            network.base_model.set_attention_type("original_full")
        network.config.attention_type = "original_full"
    return network.eval().requires_grad_(False)


def encoder_of(network: Any, name: str) -> Any:
    """The part that gives states of text: in dual encoders (CLIP and its kin) the text tower.

    Raises:
        ValueError: there is none.
    """
    if hasattr(network.config, "vision_config") and hasattr(network.config, "text_config"):
        tower = getattr(network, "text_model", None)
        if tower is None:
            raise ValueError(
                "hf model must give states of text alone."
                f" Got {type(network).__name__} of {name} instead."
            )
        return tower
    return network.base_model


def context_of(network: Any, tokenizer: Any) -> int:
    """Most ids of a row: the smaller of what the network and what its tokenizer say."""
    text = network.config.get_text_config()
    said = [getattr(text, n, None) for n in ("max_position_embeddings", "n_positions", "n_ctx")]
    sizes = [size - _unused(network, size) for size in said if size]
    limits = [*sizes, tokenizer.model_max_length]
    return min((int(size) for size in limits if size < _UNLIMITED), default=_USUAL_CONTEXT)


def _unused(network: nn.Module, positions: int) -> int:
    """How many of the positions no text can have.

    RoBERTa and its kin count from the id behind that of the padding: of 514 rows 512 are used.
    """
    tables = (m for name, m in network.named_modules() if "position" in name.rpartition(".")[2])
    fillers = (
        table.padding_idx
        for table in tables
        if isinstance(table, nn.Embedding) and table.num_embeddings == positions
    )
    return max((filler + 1 for filler in fillers if filler is not None), default=0)

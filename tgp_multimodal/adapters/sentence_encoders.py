"""Encoders of sentence-transformers, which has to be installed for them."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from tgp_multimodal.adapters import foreign
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, Embed, Request
from tgp_multimodal.inference.devices import default_device


class SentenceEncoder(Adapter):
    """A model of sentence-transformers as `encode` gives it, with its pooling and limit.

    Weights are float32 whatever they were saved in, which is the default of the other adapters too.
    Queries and documents of a search get the model's prompts for them, as in MTEB, all else its
    default prompt.

    Args:
        model: a folder or hub name.
        batch: texts at once; no answer depends on it beyond rounding, since models that do not
            pass over padding read one at a time.

    Raises:
        ValueError: the library is not installed, or cannot open the model.
    """

    supports = frozenset({Embed})
    embeds = frozenset({"text"})

    def __init__(self, model: str, batch: int = 32) -> None:
        library = foreign.import_library("sentence_transformers", "sentence-transformers")
        self.version, self.batch = library.__version__, batch
        self._minds_padding: bool | None = None  # asked once, of the first texts
        self.name = foreign.display_name("st", model)
        try:
            with foreign.same_randomness():  # a pooler may have no weights
                self.encoder = library.SentenceTransformer(
                    model,
                    device=str(default_device()),
                    trust_remote_code=False,
                    model_kwargs={"dtype": torch.float32},
                )
        except foreign.OPENING_ERRORS as error:
            raise ValueError(
                "st model must be a folder or hub name that sentence-transformers opens."
                f" Got {model} instead ({foreign.first_line(error)})."
            ) from error
        self.encoder.eval().requires_grad_(False)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        asked = [r for r in requests if isinstance(r, Embed)]
        encoders = {
            "": self.encoder.encode,
            "query": self.encoder.encode_query,
            "document": self.encoder.encode_document,
        }
        vectors: dict[int, Answer] = {}
        for role, encode in encoders.items():
            numbers = [n for n, request in enumerate(asked) if request.role == role]
            if numbers:
                if self._minds_padding is None:
                    self._minds_padding = foreign.minds_padding(encode, self.encoder.dtype)
                texts = [str(asked[n].item) for n in numbers]
                found = encode(
                    texts,
                    batch_size=1 if self._minds_padding else self.batch,
                    show_progress_bar=False,
                )
                vectors.update(zip(numbers, found, strict=True))
        return [vectors[n] for n in range(len(asked))]

    def facts(self) -> dict[str, Any]:
        encoder = self.encoder
        vocabulary = foreign.tokenizer_settings(encoder.tokenizer)
        prompts = (encoder.prompts, encoder.default_prompt_name)
        networks = [m for m in encoder.modules() if isinstance(m, PreTrainedModel)]
        configs = [foreign.settings(network.config) for network in networks]
        said = (str(encoder), encoder.max_seq_length, prompts, configs)
        settings = (*said, vocabulary, self.version)
        digest, weights = foreign.model_digest(encoder, *settings)
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(encoder),
            "context": encoder.max_seq_length,
            "precision": str(encoder.dtype).removeprefix("torch."),
            "device": str(encoder.device),
            "torch": torch.__version__,
            "sentence_transformers": self.version,
        }

"""Encoders of sentence-transformers, which has to be installed for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import WARNING, LogRecord, getLogger
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from tgp_multimodal.adapters import foreign
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import Answer, Embed, Request
from tgp_multimodal.inference.devices import default_device

# Which of them writes what transformers has found of weights depends on its version.
_REPORTERS = ("transformers.modeling_utils", "transformers.utils.loading_report")


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
        ValueError: the library is not installed, or cannot open the model, or its weights are not
            whole.
    """

    supports = frozenset({Embed})
    embeds = frozenset({"text"})

    def __init__(self, model: str, batch: int = 32) -> None:
        library = foreign.import_library("sentence_transformers", "sentence-transformers")
        self.version, self.batch = library.__version__, batch
        self._minds_padding: bool | None = None  # asked once, of the first texts
        self.name = foreign.display_name("st", model)
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            # A pooler may have no weights.
            with foreign.same_randomness(), _missing_weights() as missing:
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
        if missing:
            raise ValueError(
                f"weights of {model} must be whole. Got none for {', '.join(missing[:3])} instead."
            )
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


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Names of weights that transformers makes up inside, but for poolers; its report is not shown.

    sentence-transformers gives none of what `from_pretrained` returns beside the network, so they
    are read from the rows of the report in the log.
    """
    found: list[str] = []

    loggers = [getLogger(name) for name in _REPORTERS]
    levels = {logger.name: (logger.level, logger.getEffectiveLevel()) for logger in loggers}

    def read(record: LogRecord) -> bool:
        rows = (line.split("|") for line in record.getMessage().splitlines())
        keys = [row[0].strip() for row in rows if len(row) > 1 and "MISSING" in row[1]]
        found.extend(key for key in keys if "pooler" not in key)
        is_wanted = record.levelno >= levels[record.name][1]
        return is_wanted and "LOAD REPORT" not in record.getMessage()

    for logger in loggers:
        logger.addFilter(read)
        logger.setLevel(WARNING)  # it is not written at all where only errors are shown
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeFilter(read)
            logger.setLevel(levels[logger.name][0])

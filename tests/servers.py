"""A small random model that is served in a thread, on a port of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import openai
import torch
import uvicorn
from random_networks import multimodal

from tgp_multimodal.data.chat_template import TEMPLATE
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.model import Model
from tgp_multimodal.serving.application import application
from tgp_multimodal.serving.served import Limits, ServedModel
from tgp_multimodal.serving.server import listen_at

NAME = "tiny"


class Running(NamedTuple):
    """A server.

    Attributes:
        served: what it knows.
        address: base URL for clients.
        client: one that sends the right token and never tries twice.
    """

    served: ServedModel
    address: str
    client: openai.OpenAI


def tiny_model(tokenizer: Tokenizer, chat: bool = True, context: int = 96) -> Model:
    """A multimodal network with a chat template, whose texts differ from token to token."""
    network = multimodal(tokenizer.vocabulary, context)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.03
    network.requires_grad_(False)
    return Model(
        network, Tokenizer(tokenizer.backend, TEMPLATE if chat else None), "0123456789abcdef"
    )


@contextmanager
def serving(model: Model, token: str | None = None, **limits: int) -> Iterator[Running]:
    """Serves the model until the block ends."""
    served = ServedModel(model, NAME, 1, Limits(**limits))
    with listen_at("127.0.0.1", 0, token) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        # uvicorn's configuration of logging closes the stream that absl took at import: pytest's.
        config = uvicorn.Config(
            application(served, token),
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            with openai.OpenAI(base_url=address, api_key=token or "none", max_retries=0) as client:
                yield Running(served, address, client)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
            assert not served.worker._thread.is_alive()

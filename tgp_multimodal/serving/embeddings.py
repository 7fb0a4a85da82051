"""POST /v1/embeddings: texts to vectors."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from tgp_multimodal.inference.text import embed as embed_texts
from tgp_multimodal.inference.text import with_bos
from tgp_multimodal.serving import forms
from tgp_multimodal.serving.completions import known_ids
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.served import ServedModel


def router(served: ServedModel) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/embeddings")
    async def embed(form: forms.EmbeddingRequest, request: Request) -> JSONResponse:
        served.require_model(form.model)
        width, tokenizer = served.model.network.text.width, served.model.tokenizer
        if form.dimensions not in (None, width):
            raise ApiError(
                400, f"dimensions must be {width}. Got {form.dimensions} instead.", "dimensions"
            )
        given = forms.listed("input", form.input)
        served.require_range("inputs", len(given), 1, served.limits.inputs)
        texts = [
            tokenizer.encode(one, bos=True)
            if isinstance(one, str)
            else with_bos(tokenizer, known_ids(served, "input", one))
            for one in given
        ]
        counts = [len(ids) for ids in texts]
        served.require_fit("input", max(counts))

        def work(check: Callable[[], None]) -> list[dict[str, Any]]:
            vectors = embed_texts(
                served.model.network.text, tokenizer, texts, check_cancelled=check
            )
            return [
                {"object": "embedding", "index": index, "embedding": _coded(vector, form)}
                for index, vector in enumerate(vectors)
            ]

        data = await served.compute(request, work)
        spent = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
        return JSONResponse({"object": "list", "data": data, "model": served.name, "usage": spent})

    return routes


def _coded(vector: np.ndarray, form: forms.EmbeddingRequest) -> list[float] | str:
    if form.encoding_format == "float":
        return [float(value) for value in vector]
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()

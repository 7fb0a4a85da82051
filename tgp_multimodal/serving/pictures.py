"""POST /v1/images/generations: a prompt to pictures, as PNG in base64."""

import base64
import io
import re
import secrets
import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from PIL import Image

from tgp_multimodal.inference.image import too_long
from tgp_multimodal.models.networks import PROMPT_TOKENS, Multimodal
from tgp_multimodal.serving import forms
from tgp_multimodal.serving.errors import ApiError
from tgp_multimodal.serving.served import ServedModel

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def router(served: ServedModel) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/images/generations")
    async def draw(form: forms.ImageRequest, request: Request) -> JSONResponse:
        served.require_model(form.model)
        if not isinstance(served.model.network, Multimodal):
            raise ApiError(
                400, f"model must have a diffusion head. Got {served.name} without one instead."
            )
        count = 1 if form.n is None else form.n
        served.require_range("n", count, 1, served.limits.pictures)
        served.require_range("steps", form.steps, 1, served.limits.steps)
        patch = served.model.network.head.patch
        size = _size(served, form.size, patch)
        seed = secrets.randbits(31) if form.seed is None else form.seed
        served.require_range("seed", seed, 0, 2**62)

        for name in ("prompt", "negative_prompt"):
            if too_long(served.model.tokenizer, [getattr(form, name)]):
                raise ApiError(
                    400,
                    f"{name} must be at most {PROMPT_TOKENS} tokens. Got more instead.",
                    name,
                    "context_length_exceeded",
                )

        rows, columns = size or (served.model.network.head.size,) * 2
        patches = -(-rows // patch) * -(-columns // patch)
        served.require_range("patches of size", patches, 1, served.limits.patches)
        together = max(1, (served.limits.patches // patches) ** 2)  # memory goes by the square

        def work(check: Callable[[], None]) -> list[dict[str, str]]:
            drawn: list[Image.Image] = []
            for start in range(0, count, together):
                prompts = [form.prompt] * min(together, count - start)
                drawn += served.model.draw(
                    prompts, form.steps, form.guidance, seed + start, size, form.sampler,
                    form.negative_prompt, progress=lambda _: check(),
                )  # fmt: skip
            return [{"b64_json": _coded(picture)} for picture in drawn]

        data = await served.compute(request, work)
        return JSONResponse({"created": int(time.time()), "data": data, "output_format": "png"})

    return routes


def _size(served: ServedModel, given: str | None, patch: int) -> tuple[int, int] | None:
    """Rows and columns of WIDTHxHEIGHT."""
    if given in (None, "auto"):
        return None
    assert given is not None
    found = _SIZE.fullmatch(given)
    if found is None:
        raise ApiError(400, f"size must be WIDTHxHEIGHT or auto. Got {given} instead.", "size")
    columns, rows = int(found[1]), int(found[2])
    for side in (rows, columns):
        served.require_range("side of size", side, 1, served.limits.side)
    if rows % patch or columns % patch:
        message = f"size must have sides that are multiples of {patch}. Got {given} instead."
        raise ApiError(400, message, "size")
    return rows, columns


def _coded(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "png")
    return base64.b64encode(content.getvalue()).decode()

"""Request schemas: OpenAI's fields, our own beside them, and nothing else.

A field that asks for an unsupported feature is refused, never ignored, unless its value is neutral.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tgp_multimodal.serving.errors import ApiError

Texts = str | list[str] | list[int] | list[list[int]]


class Form(BaseModel):
    """Base of all schemas: no other fields, no type coercion, and text that is valid Unicode."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _is_unicode(cls, given: Any) -> Any:
        try:
            json.dumps(given, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("text of Unicode, without half of a surrogate pair") from None
        return given


class StreamOptions(Form):
    """How a stream ends."""

    include_usage: bool = False


class TextRequest(Form):
    """What requests for texts have in common."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    presence_penalty: Annotated[float | None, Field(ge=0, le=0)] = None
    frequency_penalty: Annotated[float | None, Field(ge=0, le=0)] = None
    logit_bias: Annotated[dict[str, Any] | None, Field(max_length=0)] = None
    top_k: int = 0
    repetition_penalty: float = 1.0

    @model_validator(mode="after")
    def _streams(self) -> "TextRequest":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options with stream: true alone")
        return self

    @property
    def samples(self) -> int:
        """Texts behind each prompt."""
        return 1 if self.n is None else self.n

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens (`usage`)."""
        return bool(self.stream_options and self.stream_options.include_usage)


class PlainText(Form):
    """The one form that answers have."""

    type: Literal["text"] = "text"


class TextPart(Form):
    """A part of a message; those of other types are refused."""

    type: Literal["text"]
    text: str


class Message(Form):
    """A message of a conversation."""

    role: str
    content: str | list[TextPart]
    refusal: None = None  # answers have it, and clients send them back as the next turn

    def plain(self) -> dict[str, str]:
        """As chat templates take it; `developer` is OpenAI's newer word for `system`."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(TextRequest):
    """A conversation that is to be answered."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: Literal[False] | None = None
    response_format: PlainText | None = None


class CompletionRequest(TextRequest):
    """A text, or several, to be continued; or with a suffix, a gap to be filled."""

    prompt: Texts = ""
    suffix: str | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: Annotated[int | None, Field(ge=1, le=1)] = None
    stop_at_dedent: bool = False


class EmbeddingRequest(Form):
    """Texts that are to become vectors."""

    model: str
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class ImageRequest(Form):
    """A prompt that is to become pictures."""

    model: str
    prompt: str
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    user: str | None = None
    seed: int | None = None
    steps: int = 20
    guidance: float | None = None
    sampler: str = "ancestral"
    negative_prompt: str = ""


def listed(name: str, given: Texts) -> list[str] | list[list[int]]:
    """Texts, or rows of ids, where one alone may have been given.

    Raises:
        ApiError: there is none.
    """
    if isinstance(given, str):
        return [given]
    if not given:
        raise ApiError(400, f"{name} must hold at least one text. Got none instead.", name)
    if isinstance(given[0], int):
        return [[int(token) for token in given if isinstance(token, int)]]
    return given  # pydantic has checked that all are of one kind

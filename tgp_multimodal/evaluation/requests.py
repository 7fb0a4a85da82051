"""The ten things that the harness asks of a model, as plain data, and what comes back.

A request says *what* is wanted and nothing about how: batching, sorting, truncation and caching
belong to the adapter that answers.

Shape letters: D width of a feature vector, Y rows, X columns, C channels (always 3, RGB).
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Score:
    """Asks for the log-likelihood of a continuation.

    The join is lm-eval's: white space at the end of `context` is moved to the continuation, both
    are encoded as one string, and the first n ids are not scored, where n is the number of ids of
    the context alone.

    Attributes:
        context: what stands before; may be empty.
        continuation: what is scored, with the delimiter in front of it (usually one space).
        suffix: what stands after, for models that infill (prefix, suffix, middle); None otherwise.
    """

    context: str
    continuation: str
    suffix: str | None = None


@dataclass(frozen=True)
class MaskedScore:
    """Asks for the pseudo-log-likelihood of a whole text (Salazar et al. 2020, arXiv:1910.14659).

    Each token in turn is hidden by the mask and predicted from all others, left and right; the
    answer is the sum of their log-probabilities, a `ScoreAnswer`. It is no probability of the text
    and compares with those of `Score` only in which of two texts it prefers.

    Attributes:
        text: one sentence or a short text; the cost grows with the square of its tokens.
    """

    text: str


@dataclass(frozen=True)
class Perplexity:
    """Asks for the negative log-likelihood of a whole text, however long, from its first byte.

    A text longer than the context is cut into windows as lm-eval's rolling log-likelihood does.

    Attributes:
        text: one document.
    """

    text: str


@dataclass(frozen=True)
class Generate:
    """Asks for a continuation, decoded greedily or sampled.

    Attributes:
        prompt: what stands before.
        max_tokens: upper limit of new tokens.
        stop: the answer ends before the first of these.
        suffix: what stands after, for models that infill; None otherwise.
        temperature: divides the logits before a token is drawn; 0 takes the likeliest.
        top_p: draws from the likeliest tokens that hold so much of the probability.
        seed: of the draws; the answer is a function of the request and not of the batch.
    """

    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    suffix: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Embed:
    """Asks for a feature vector.

    Attributes:
        item: a text, or a picture as unsigned bytes (Y, X, C).
        view: which of the model's vectors, one of `Adapter.views`; "" is its usual one.
        role: what a text of a search is, for models that were trained with prompts for either; ""
            where nothing is searched.
    """

    item: str | np.ndarray
    view: str = ""
    role: Literal["", "query", "document"] = ""


@dataclass(frozen=True)
class EmbedTokens:
    """Asks for a contextual feature vector of each word of a sentence.

    How the vectors of a word's subword tokens become one is up to the model.

    Attributes:
        words: of one sentence; between two of them stands one space.
    """

    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class JointEmbed:
    """Asks for a vector in a space that texts and pictures share, where cosines compare them.

    It is a request of its own and no flag of `Embed`: many models have features of both kinds and
    no such space, and one that has it may have other, better features for a probe.

    Attributes:
        item: a text, or a picture as unsigned bytes (Y, X, C).
    """

    item: str | np.ndarray


@dataclass(frozen=True)
class Draw:
    """Asks for a picture.

    Attributes:
        prompt: what it shall show.
        seed: of the noise; the picture is a function of (prompt, seed) and not of the batch.
    """

    prompt: str
    seed: int


@dataclass(frozen=True, eq=False)
class Compare:
    """Asks how well each of several texts describes a picture: one number each, higher is better.

    Attributes:
        item: a picture as unsigned bytes (Y, X, C).
        texts: at least two.
    """

    item: np.ndarray
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Denoise:
    """Asks how well a picture is recovered from noise.

    Attributes:
        item: a picture as unsigned bytes (Y, X, C).
        caption: what the model is told that it shows; "" is nothing.
    """

    item: np.ndarray
    caption: str


Request: TypeAlias = (
    Score
    | MaskedScore
    | Perplexity
    | Generate
    | Embed
    | EmbedTokens
    | JointEmbed
    | Draw
    | Denoise
    | Compare
)


@dataclass(frozen=True)
class ScoreAnswer:
    """Log-likelihood of a continuation, or pseudo-log-likelihood of a text.

    Attributes:
        nats: sum of natural log-probabilities of its tokens; at most 0.
        tokens: how many tokens that was.
        is_greedy: True if each of them was the most probable one.
    """

    nats: float
    tokens: int
    is_greedy: bool


@dataclass(frozen=True)
class PerplexityAnswer:
    """Cost of a text.

    Attributes:
        nats: negative log-likelihood of the whole, at least 0.
        bytes: its length in UTF-8 bytes.
        tokens: its length in tokens.
    """

    nats: float
    bytes: int
    tokens: int


# Generate is answered by a str, Embed by a vector (D,) or one sparse row (1, D), EmbedTokens by a
# matrix, dense or sparse, with a row for each word that was read: fewer than asked, if a sentence
# is longer than the context. JointEmbed is answered by a vector (D,), Draw by unsigned bytes
# (Y, X, C), Denoise by mean squared errors of the clean picture in [-1, 1], one for each of
# `DENOISE_TIMES`, on noise that the picture alone decides; Compare by a number for each of its
# texts.
DENOISE_TIMES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Answer: TypeAlias = Any


# What a model that does not answer a kind of request cannot do.
ABILITIES: dict[type[Request], str] = {
    Score: "score a continuation",
    MaskedScore: "score a text by its masked tokens",
    Perplexity: "score a whole text",
    Generate: "write",
    Embed: "give features",
    EmbedTokens: "give features of words",
    JointEmbed: "put texts and pictures into one space",
    Draw: "draw",
    Compare: "compare a picture with texts",
    Denoise: "denoise pictures",
}


def key(request: Request) -> str:
    """SHA-256 of a request's content: two requests with one key have one answer."""
    digest = hashlib.sha256(type(request).__name__.encode())
    for name, value in vars(request).items():
        if isinstance(value, np.ndarray):
            digest.update(f"|{name}={value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(f"|{name}={value!r}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()

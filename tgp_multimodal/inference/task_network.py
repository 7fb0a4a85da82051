"""A network with a linear head on its states: the model that is adapted to a task.

The head reads the mean over the tokens of a text (BOS included), of both texts of a pair, or of
each word, of their last states or of those of all layers side by side; for a picture, pooled
features of the diffusion head. A linear map and a mean commute, so on last states of texts and
words the head is also a stock token classifier (`stock_export`).

Shape letters: N items, R rows of tokens, L length, D width, S spans (texts or words), F features, K
outputs, C channels, Y rows, X columns of pixels, B pictures.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgp_multimodal.data.labelled import Kind
from tgp_multimodal.data.tokenizer import Tokenizer, WordIds
from tgp_multimodal.inference import picture_features, picture_inputs
from tgp_multimodal.inference.fused import causal_mask, fused
from tgp_multimodal.inference.image import read_prompts
from tgp_multimodal.inference.likelihoods import buckets, padded
from tgp_multimodal.inference.picture_features import View, pooled
from tgp_multimodal.inference.text_features import MOST_OF_A_TEXT, places
from tgp_multimodal.inference.word_states import MOST_OF_A_WORD
from tgp_multimodal.models.networks import Multimodal, Network
from tgp_multimodal.models.text_transformer import TextTransformer

BATCH_TOKENS = 4096  # positions of one forward pass that answers, padding included
_BATCH_PICTURES = 64

Pairs = Literal["apart", "joint"]
Words = Literal["mean", "last"]
States = Literal["last", "layers"]


@dataclass(frozen=True)
class Task:
    """What is judged, and how an item becomes features.

    Attributes:
        kind: of the labels.
        reads: "text", "pair", "words" or "picture".
        labels: their names, in the order of the outputs; none of a quantity.
        length: most tokens of a row; longer texts lose their end.
        pairs: two texts "apart" give [u, v, |u - v|, u * v] of their means; "joint" they are one
            row, BOS first EOS second, in which they see each other.
        words: a word is the "mean" of its tokens or its "last" one.
        states: of texts and words: the "last" ones, or those of all "layers" side by side, as
            `features_of_layers` and `word_states` read them; the network must not be trained then.
        causal: whether a token sees those before it alone, where all layers are read.
        block, time, grid, units: where in the diffusion head pictures are looked at; see `View`.
            Folders written before units were read do not say, and read the stream.
        offset, spread: mean and deviation of a quantity; the network gives it in these units.
    """

    kind: Kind
    reads: str
    labels: tuple[str, ...]
    length: int = 256
    pairs: Pairs = "apart"
    words: Words = "mean"
    states: States = "last"
    causal: bool = False
    block: int = 0
    time: float = 0.0
    grid: int = 2
    units: bool = False
    offset: float = 0.0
    spread: float = 1.0

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> "Task":
        """The task of the plain data that a file holds."""
        return cls(**{**content, "labels": tuple(content["labels"])})

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for an item or word, K."""
        return len(self.labels) if self.kind != "regression" else 1

    @property
    def view(self) -> View:
        """Where in the diffusion head pictures are looked at."""
        return View(self.block, self.time, self.grid, self.units)


class Encoded(NamedTuple):
    """An item as the network reads it.

    Attributes:
        rows: of tokens; two of a pair that is read apart, none of a picture.
        words: where the tokens of each word that was read begin and end; empty but for words.
        picture: unsigned bytes (Y, X, C), or None.
        answers: how many the network gives: as many as words that it read, else 1.
    """

    rows: tuple[list[int], ...]
    words: list[tuple[int, int]]
    picture: np.ndarray | None
    answers: int

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return max(map(len, self.rows), default=0)


class Batch(NamedTuple):
    """Items side by side.

    Attributes:
        token_RL: token ids, padded.
        mask_RL: False at padding; None where there is none.
        span_RL: which span each token belongs to; `spans` for none.
        weight_RL: the token's weight in the mean of its span.
        spans: how many there are, texts or words.
        pixels_BCYX: in [-1, 1]; None but for pictures.
    """

    token_RL: Tensor
    mask_RL: Tensor | None
    span_RL: Tensor
    weight_RL: Tensor
    spans: int
    pixels_BCYX: Tensor | None


def encode(tokenizer: Tokenizer, items: Sequence[Any], task: Task) -> list[Encoded]:
    """Items as tokens, or as the pictures they are."""
    if task.reads == "picture":
        return [Encoded((), [], picture_inputs.array(picture), 1) for picture in items]
    if task.reads == "words":
        return [_words(tokenizer, found, task) for found in tokenizer.encode_words(items)]
    if task.reads == "text":
        texts = tokenizer.encode_batch(list(items), bos=True)
        return [Encoded((ids[: task.length],), [], None, 1) for ids in texts]
    both = tokenizer.encode_batch([text for pair in items for text in pair])
    pairs = zip(both[::2], both[1::2], strict=True)
    return [Encoded(_pair(tokenizer, *pair, task), [], None, 1) for pair in pairs]


def _words(tokenizer: Tokenizer, found: WordIds, task: Task) -> Encoded:
    row = [tokenizer.bos, *found.ids][: task.length]
    kept = [(a + 1, min(b + 1, len(row))) for a, b in found.spans if a + 1 < len(row)]
    return Encoded((row,), kept, None, len(kept))


def _pair(
    tokenizer: Tokenizer, first: list[int], second: list[int], task: Task
) -> tuple[list[int], ...]:
    if task.pairs == "apart":
        return tuple([tokenizer.bos, *ids][: task.length] for ids in (first, second))
    room = task.length - 2
    kept = min(len(first), max(room - len(second), room // 2))
    return ([tokenizer.bos, *first[:kept], tokenizer.eos, *second[: room - kept]],)


def collate(encoded: Sequence[Encoded], task: Task, pad: int, side: int) -> Batch:
    """Items side by side, on the CPU.

    Args:
        encoded: the items.
        task: how words are read.
        pad: id of padding.
        side: rows and columns of pixels that the head sees.
    """
    if task.reads == "picture":
        pixels = torch.stack([picture_inputs.pixels(e.picture, side) for e in encoded])
        none = torch.zeros(0, 0)
        return Batch(none.long(), None, none.long(), none, len(encoded), pixels)
    rows = [row for e in encoded for row in e.rows]
    token_RL, mask_RL = padded(rows, pad, torch.device("cpu"))
    spans = sum(e.answers * len(e.rows) for e in encoded)
    span_RL = torch.full(token_RL.shape, spans)
    weight_RL = torch.zeros(token_RL.shape)
    span, row = 0, 0
    for e in encoded:
        for tokens in e.rows:
            for begin, end in _spans(e, len(tokens), task):
                span_RL[row, begin:end] = span
                weight_RL[row, begin:end] = 1 / (end - begin)
                span += 1
            row += 1
    return Batch(
        token_RL, None if bool(mask_RL.all()) else mask_RL, span_RL, weight_RL, spans, None
    )


def _spans(encoded: Encoded, length: int, task: Task) -> Iterator[tuple[int, int]]:
    """Tokens that stand for each unit of a row."""
    if task.reads != "words":
        yield 0, length
        return
    for begin, end in encoded.words:
        yield (begin if task.words == "mean" else end - 1), end


class TaskHead(nn.Module):
    """A linear map of features that are standardised first.

    Args:
        features: F.
        outputs: K.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.linear = nn.Linear(features, outputs)

    def forward(self, features_NF: Tensor) -> Tensor:
        return self.linear((features_NF - self.mean) / self.scale)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """Weight (K, F) and bias (K,) of the same map on raw features."""
        weight_KF = (self.linear.weight / self.scale).double()
        bias_K = self.linear.bias.double() - weight_KF @ self.mean.double()
        return {"weight": weight_KF.float().cpu(), "bias": bias_K.float().cpu()}


class TaskNetwork(nn.Module):
    """A network and the map on its states.

    Args:
        network: reads the items; a `Multimodal` one for pictures.
        task: what is judged.

    Raises:
        ValueError: items are pictures and the network has no diffusion head.
    """

    def __init__(self, network: Network, task: Task) -> None:
        super().__init__()
        check_reads(network, task.reads)
        self.network, self.task = network, task
        device = network.text.embed_tokens.weight.device
        self.head = TaskHead(feature_count(network, task), task.outputs).to(device)

    def forward(self, batch: Batch, prompt: "Prompt | None" = None) -> Tensor:
        """Outputs of each item or word, (N, K)."""
        return self.head(self.features(batch, prompt))

    def features(self, batch: Batch, prompt: "Prompt | None" = None) -> Tensor:
        """Features of each item or word, (N, F).

        Args:
            batch: the items.
            prompt: keys and values of the null prompt; for pictures.
        """
        if batch.pixels_BCYX is not None:
            assert prompt is not None
            return self._of_pictures(batch.pixels_BCYX, prompt)
        if self.task.states == "layers":
            state_RLD = self._of_layers(batch)
        else:
            state_RLD = self.network.text(batch.token_RL, None, False, batch.mask_RL).float()
        weighted = (state_RLD * batch.weight_RL[:, :, None]).flatten(0, 1)
        total = weighted.new_zeros(batch.spans + 1, weighted.shape[1])
        span_SD = total.index_add(0, batch.span_RL.flatten(), weighted)[:-1]
        if self.task.reads != "pair" or self.task.pairs == "joint":
            return span_SD
        u, v = span_SD[::2], span_SD[1::2]
        return torch.cat((u, v, (u - v).abs(), u * v), dim=1)

    @torch.no_grad()
    def _of_layers(self, batch: Batch) -> Tensor:
        """States of several layers side by side, (R, L, places x D)."""
        text, (rows, length) = self.network.text, batch.token_RL.shape
        allowed = None if batch.mask_RL is None else batch.mask_RL[:, None]
        if self.task.causal:  # padding is behind every token
            allowed = causal_mask(length, batch.token_RL.device)
        network, read = fused(text), _places(text, self.task.reads)
        walk = network.walk(batch.token_RL, None, allowed)
        chosen = [network.normed(state) for place, state in enumerate(walk) if place in read]
        return torch.cat(chosen, dim=1).view(rows, length, -1)

    def _of_pictures(self, pixels_BCYX: Tensor, prompt: "Prompt") -> Tensor:
        assert isinstance(self.network, Multimodal)
        head, count = self.network.head, len(pixels_BCYX)
        own = [(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in prompt.text]
        time_BD = head.time_in(torch.full((count,), self.task.time, device=pixels_BCYX.device))
        mask_BL = prompt.mask_1L.expand(count, -1)
        walk = head.hidden_states_and_units(pixels_BCYX, time_BD, own, mask_BL, self.task.block)
        return pooled(deque(walk, maxlen=1)[0], head, self.task.view)

    def prompt(self, tokenizer: Tokenizer) -> "Prompt | None":
        """What pictures are looked at with: the null prompt in every block; None for texts."""
        if self.task.reads != "picture":
            return None
        assert isinstance(self.network, Multimodal)
        return Prompt(*read_prompts(self.network, tokenizer, [""]))

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.head.linear.weight.device

    @property
    def side(self) -> int:
        """Rows and columns of pixels that the diffusion head sees; 0 without one."""
        return self.network.head.size if isinstance(self.network, Multimodal) else 0


class Prompt(NamedTuple):
    """Keys and values of the null prompt in every block of the head, and its mask."""

    text: list[tuple[Tensor, Tensor]]
    mask_1L: Tensor


def check_reads(network: Network, reads: str) -> None:
    """Raises ValueError where a network without diffusion head is to look at pictures."""
    if reads == "picture" and not isinstance(network, Multimodal):
        raise ValueError(
            "model must have a diffusion head to be adapted to pictures. "
            f"Got a {type(network).__name__} without one instead."
        )


def feature_count(network: Network, task: Task) -> int:
    """Features of an item or word, F."""
    if task.reads == "picture":
        assert isinstance(network, Multimodal)
        return picture_features.feature_count(network.head, task.view)
    width = network.text.width
    if task.states == "layers":
        return len(_places(network.text, task.reads)) * width
    return 4 * width if task.reads == "pair" and task.pairs == "apart" else width


def _places(text: TextTransformer, reads: str) -> range:
    most = MOST_OF_A_WORD if reads == "words" else MOST_OF_A_TEXT
    return places(text.depth + 1, text.width, most)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return Batch._make(x.to(device) if isinstance(x, Tensor) else x for x in batch)


@torch.inference_mode()
def outputs(
    network: TaskNetwork,
    tokenizer: Tokenizer,
    encoded: Sequence[Encoded],
    is_features: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """Outputs of each item, (answers, K) each, in order; none depends on the rest of its batch.

    Args:
        network: in any mode: nothing in it is random.
        tokenizer: its tokenizer.
        encoded: the items.
        is_features: give features, (answers, F), instead.
        batch_tokens: positions of one forward pass.
    """
    prompt = network.prompt(tokenizer)
    found: list[np.ndarray] = [np.zeros((0, 0))] * len(encoded)
    ask = network.features if is_features else network
    for chosen in _batches(encoded, network.task, batch_tokens):
        some = [encoded[i] for i in chosen]
        batch = moved(collate(some, network.task, tokenizer.pad, network.side), network.device)
        rows = iter(np.split(ask(batch, prompt).float().cpu().numpy(), _ends(some)))
        for place, part in zip(chosen, rows, strict=False):
            found[place] = part
    return found


def _ends(encoded: Sequence[Encoded]) -> np.ndarray:
    return np.cumsum([e.answers for e in encoded])


def _batches(encoded: Sequence[Encoded], task: Task, batch_tokens: int) -> Iterator[list[int]]:
    if task.reads == "picture":
        places = range(len(encoded))
        yield from (list(places[i : i + _BATCH_PICTURES]) for i in places[::_BATCH_PICTURES])
        return
    yield from buckets([e.length * len(e.rows) for e in encoded], batch_tokens)


def softmax(outputs_NK: np.ndarray) -> np.ndarray:
    """Probabilities of outputs, along the last axis."""
    return F.softmax(torch.from_numpy(outputs_NK).double(), dim=-1).numpy()

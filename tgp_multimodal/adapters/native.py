"""Our own exports behind the adapter seam, and the same network with weights that learned nothing.

Shape letters: D width of a feature vector, Y rows, X columns, C channels.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tgp_multimodal import __version__, export
from tgp_multimodal.adapters.views import in_views
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.requests import (
    DENOISE_TIMES,
    Answer,
    Compare,
    Denoise,
    Draw,
    Embed,
    EmbedTokens,
    Generate,
    JointEmbed,
    MaskedScore,
    Perplexity,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
)
from tgp_multimodal.inference import (
    denoising,
    image,
    masked,
    matching,
    picture_features,
    text,
    word_states,
    writing,
)
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.inference.text import Query
from tgp_multimodal.inference.text_features import (
    CAUSAL_LAYERS,
    LAYERS,
    features_of_layers,
    last_of_layers,
    places,
)
from tgp_multimodal.models.networks import Multimodal, Network, describe, random_twin

_TOWER = "tower"  # a view of pictures


class Native(Adapter):
    """A folder that `tgp export` wrote, on the device of `default_device`.

    Text features are mean-pooled bidirectional, final-normed states, as sentence-transformers
    computes them from the folder; probes choose between them and the states of all layers, read in
    one direction or in both (`views`). Picture features are pooled MLP activations or the residual
    stream of a block of the diffusion head, chosen likewise, or the vector of an image tower, if
    there is one, which maps pictures into the space of the text features. Pictures are drawn with
    the settings of `Drawing`, without guidance if training put it into the weights. New text may
    take half of the context, so that a prompt keeps the other half.

    Args:
        folder: the export.
        batch_tokens: positions of one forward pass; no answer depends on it beyond rounding.
        batch: pictures, or texts being written, at once; no answer depends on it beyond rounding.
    """

    def __init__(
        self, folder: str | Path, batch_tokens: int = text.BATCH_TOKENS, batch: int = image.BATCH
    ) -> None:
        folder = Path(folder)
        loaded = export.load(folder)
        self.tokenizer: Tokenizer = loaded.tokenizer
        data = loaded.facts.get("data") or {}
        self.trained_on = {kind: str(found["digest"]) for kind, found in data.items()}
        self.network = self._network(loaded.network)
        self.device = default_device()
        self.network.to(self.device)
        self.batch_tokens, self.batch = batch_tokens, batch
        self.drawing = Drawing(guidance=1.0) if loaded.facts.get("guided") else Drawing()
        self.name = self._name(folder.resolve())
        if has_head := isinstance(self.network, Multimodal):
            self.picture_size = self.network.head.size
        text_alone = (Score, MaskedScore, Perplexity, Generate, Embed, EmbedTokens)
        has_tower = self.network.tower is not None
        drawn = (Draw, Denoise, Compare) if has_head else ()
        self.supports = frozenset({*text_alone, *drawn, *([JointEmbed] * has_tower)})
        self.embeds = frozenset({"text", "image"} if has_head or has_tower else {"text"})

    def _network(self, trained: Network) -> Network:
        return trained

    def _name(self, folder: Path) -> str:
        return export.run_folder(folder).name

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        answers: dict[type, Callable[[Any], list[Answer]]] = {
            Score: self._score,
            MaskedScore: self._masked_score,
            Perplexity: self._perplexity,
            Generate: self._generate,
            Embed: self._embed,
            EmbedTokens: self._embed_tokens,
            JointEmbed: self._joint_embed,
            Draw: self._draw,
            Denoise: self._denoise,
            Compare: self._compare,
        }
        return answers[type(requests[0])](requests)

    def facts(self) -> dict[str, Any]:
        weights = export.weights_digest(self.network)
        dtype = str(next(self.network.parameters()).dtype).removeprefix("torch.")
        settings = (
            weights,
            describe(self.network),
            dtype,
            self.tokenizer.digest,
            self.drawing,
            self.views("image"),
            self.views("text"),
            __version__,
        )
        return {
            "digest": hashlib.sha256(repr(settings).encode()).hexdigest(),
            "weights": weights,
            "dtype": dtype,
            "tokenizer": self.tokenizer.digest,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "context": self.network.text.context,
            "trained_on": self.trained_on,
            "device": str(self.device),
            "torch": torch.__version__,
        }

    def views(self, modality: str) -> Sequence[str]:
        """Of pictures by block, time and fineness of places; of texts by layers and direction.

        A network with an image tower and no head has its vectors alone.
        """
        if modality == "text":
            own = self.network.text
            has_room = len(places(own.depth + 1, own.width)) > 1
            return ("", LAYERS, CAUSAL_LAYERS) if has_room else ("", CAUSAL_LAYERS)
        if not isinstance(self.network, Multimodal):
            return ("",)
        of_head = [str(view) for view in picture_features.views(self.network.head)]
        return of_head + [_TOWER] * (self.network.tower is not None)

    def _score(self, requests: Sequence[Score]) -> list[Answer]:
        queries = [Query(r.context, r.continuation, r.suffix) for r in requests]
        found = text.score(self.network.text, self.tokenizer, queries, self.batch_tokens)
        return [ScoreAnswer(*one) for one in found]

    def _masked_score(self, requests: Sequence[MaskedScore]) -> list[Answer]:
        texts = [r.text for r in requests]
        found = masked.score(self.network.text, self.tokenizer, texts, self.batch_tokens)
        return [ScoreAnswer(*one) for one in found]

    def _perplexity(self, requests: Sequence[Perplexity]) -> list[Answer]:
        texts = [r.text for r in requests]
        found = text.perplexity(self.network.text, self.tokenizer, texts, self.batch_tokens)
        return [
            PerplexityAnswer(-one.nats, len(content.encode()), one.tokens)
            for one, content in zip(found, texts, strict=True)
        ]

    def _generate(self, requests: Sequence[Generate]) -> list[Answer]:
        network, tokenizer = self.network.text, self.tokenizer
        answers: list[Answer] = [""] * len(requests)
        groups: dict[Sampling, list[int]] = {}
        for index, request in enumerate(requests):
            most = min(request.max_tokens, network.context // 2)
            sampling = Sampling(most, request.temperature, request.top_p, request.stop)
            groups.setdefault(sampling, []).append(index)
        for sampling, chosen in groups.items():
            prompts = [
                writing.prompt_ids(network, tokenizer, r.prompt, r.suffix, sampling.max_tokens)
                for r in (requests[i] for i in chosen)
            ]
            seeds = [requests[i].seed for i in chosen]
            written = writing.generate(network, tokenizer, prompts, sampling, self.batch, seeds)
            for index, new in zip(chosen, written, strict=True):
                answers[index] = new
        return answers

    def _embed(self, requests: Sequence[Embed]) -> list[Answer]:
        texts = [i for i, r in enumerate(requests) if isinstance(r.item, str)]
        pictures = [i for i, r in enumerate(requests) if not isinstance(r.item, str)]
        answers: list[Answer] = [None] * len(requests)
        for chosen, read in ((texts, self._of_texts), (pictures, self._of_pictures)):
            vectors = in_views([requests[i] for i in chosen], read)
            for index, vector in zip(chosen, vectors, strict=True):
                answers[index] = vector
        return answers

    def _embed_tokens(self, requests: Sequence[EmbedTokens]) -> list[Answer]:
        sentences = [r.words for r in requests]
        network, tokenizer = self.network.text, self.tokenizer
        return [*word_states.word_states(network, tokenizer, sentences, self.batch_tokens)]

    def _of_texts(self, texts: Sequence[str], views: Sequence[str]) -> list[np.ndarray]:
        network, tokenizer, most = self.network.text, self.tokenizer, self.batch_tokens
        found: dict[str, np.ndarray] = {}
        for view, is_causal in ((LAYERS, False), (CAUSAL_LAYERS, True)):
            if view in views:
                found[view] = features_of_layers(network, tokenizer, texts, is_causal, most)
        if "" in views:
            found[""] = (
                last_of_layers(network, found[LAYERS])
                if LAYERS in found
                else text.embed(network, tokenizer, texts, batch_tokens=most)
            )
        return [found[view] for view in views]

    def _of_pictures(self, pictures: Sequence[Any], views: Sequence[str]) -> list[np.ndarray]:
        read = [np.asarray(picture) for picture in pictures]
        if not isinstance(self.network, Multimodal):
            return [self._of_tower(read)] * len(views)
        head = self.network.head
        known = {str(view): view for view in picture_features.views(head)}
        known[""] = picture_features.usual(head)
        wanted = [known[name] for name in views if name != _TOWER]
        of_head = iter(
            picture_features.features_of_views(
                self.network, self.tokenizer, read, wanted, self.batch
            )
        )
        return [self._of_tower(read) if name == _TOWER else next(of_head) for name in views]

    def _of_tower(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        assert self.network.tower is not None, "the engine asks `can` first"
        return matching.picture_vectors(self.network.tower, pictures, self.batch)

    def _joint_embed(self, requests: Sequence[JointEmbed]) -> list[Answer]:
        assert self.network.tower is not None, "the engine asks `can` first"
        texts = [r.item for r in requests if isinstance(r.item, str)]
        pictures = [r.item for r in requests if not isinstance(r.item, str)]
        of_texts = iter(
            matching.text_vectors(self.network.text, self.tokenizer, texts, self.batch_tokens)
        )
        of_pictures = iter(matching.picture_vectors(self.network.tower, pictures, self.batch))
        return [next(of_texts if isinstance(r.item, str) else of_pictures) for r in requests]

    def _draw(self, requests: Sequence[Draw]) -> list[Answer]:
        prompts, seeds = [r.prompt for r in requests], [r.seed for r in requests]
        network = self._with_head()
        pixels = image.draw(network, self.tokenizer, prompts, self.drawing, seeds, self.batch)
        return list(pixels)

    def _denoise(self, requests: Sequence[Denoise]) -> list[Answer]:
        pictures, captions = [r.item for r in requests], [r.caption for r in requests]
        network = self._with_head()
        found = denoising.errors(
            network, self.tokenizer, pictures, captions, DENOISE_TIMES, self.batch
        )
        return list(found)

    def _compare(self, requests: Sequence[Compare]) -> list[Answer]:
        network = self._with_head()
        found: dict[int, Answer] = {}
        for texts in dict.fromkeys(r.texts for r in requests):
            chosen = [i for i, r in enumerate(requests) if r.texts == texts]
            pictures = [requests[i].item for i in chosen]
            rows = denoising.classify(network, self.tokenizer, pictures, texts, self.batch)
            found.update(zip(chosen, rows, strict=True))
        return [found[i] for i in range(len(requests))]

    def _with_head(self) -> Multimodal:
        assert isinstance(self.network, Multimodal), "the engine asks `can` first"
        return self.network


class RandomTwin(Native):
    """The network of an export with fresh weights, see `random_twin`: what training adds."""

    has_read = False

    def _network(self, trained: Network) -> Network:
        self.trained_on = {}  # what these weights have seen
        return random_twin(trained)

    def _name(self, folder: Path) -> str:
        return f"{super()._name(folder)}-random"

"""The one object that a user of the Python interface holds."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import image, matching, picture_features, text, writing
from tgp_multimodal.inference.image import Drawing
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.inference.text import Query
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import Multimodal, Network

Pictures = Sequence[Image.Image] | np.ndarray


class Model:
    """A trained network with its tokenizer: writes, draws, embeds, scores, searches, compares.

    Args:
        network: in evaluation mode.
        tokenizer: the one it was trained with.
        digest: of the weights; goes into the metadata of pictures.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer, digest: str) -> None:
        self.network, self.tokenizer, self.digest = network, tokenizer, digest

    def write(
        self,
        prompt: str,
        max_tokens: int = 128,
        temperature: float = 0.8,
        top_p: float = 0.95,
        seed: int = 0,
        stop: Sequence[str] = (),
        top_k: int = 0,
        repetition_penalty: float = 1.0,
    ) -> str:
        """New text behind the prompt (the prompt is not repeated)."""
        sampling = Sampling(
            max_tokens, temperature, top_p, tuple(stop), seed, top_k, repetition_penalty
        )
        return "".join(self.stream(prompt, None, sampling))

    def fill(
        self,
        prefix: str,
        suffix: str,
        max_tokens: int = 64,
        temperature: float = 0.2,
        top_p: float = 0.95,
        seed: int = 0,
        stop: Sequence[str] = (),
        top_k: int = 0,
        repetition_penalty: float = 1.0,
    ) -> str:
        """The text between prefix and suffix."""
        sampling = Sampling(
            max_tokens, temperature, top_p, tuple(stop), seed, top_k, repetition_penalty
        )
        return "".join(self.stream(prefix, suffix, sampling))

    def stream(self, prompt: str, suffix: str | None, sampling: Sampling) -> Iterator[str]:
        """`write` (no suffix) or `fill` (with one), piece by piece."""
        network, tokenizer = self.network.text, self.tokenizer
        ids = writing.prompt_ids(network, tokenizer, prompt, suffix, sampling.max_tokens)
        yield from writing.stream(network, tokenizer, ids, sampling)

    def draw(
        self,
        prompts: str | Sequence[str],
        steps: int = 20,
        guidance: float = 4.0,
        seed: int = 0,
        size: int | None = None,
        sampler: str = "ancestral",
    ) -> list[Image.Image]:
        """One picture for each prompt; picture i depends on its own prompt and `seed + i` alone."""
        names = [prompts] if isinstance(prompts, str) else list(prompts)
        drawing = Drawing(steps, guidance, seed, size, sampler)
        pixels = image.draw(self._with_head(), self.tokenizer, names, drawing)
        return [Image.fromarray(p) for p in pixels]

    def embed(self, items: Sequence[str] | Pictures) -> np.ndarray:
        """Feature vectors (N, D) of texts, or of pictures (D differs between the two)."""
        if isinstance(items, str):
            raise ValueError(
                f"items must be a list of texts or pictures. Got the text {items!r} instead."
            )
        if len(items) and all(isinstance(item, str) for item in items):
            return text.embed(self.network.text, self.tokenizer, [str(item) for item in items])
        return picture_features.features(self._with_head(), self.tokenizer, _arrays(items))

    def score(self, context: str, continuation: str) -> float:
        """Log-likelihood of the continuation in nats; at most 0."""
        return text.score(self.network.text, self.tokenizer, [Query(context, continuation)])[0].nats

    def search(self, query: str, documents: Sequence[str], k: int = 5) -> list[tuple[int, float]]:
        """Indices and scores of the `k` documents nearest to the query, best first.

        The score is the cosine of the vectors after the mean of the documents was taken from both:
        states of a language model share one large direction that says nothing.

        Raises:
            ValueError: there is no document.
        """
        if not documents:
            raise ValueError("documents must hold at least one text. Got none instead.")
        vectors = self.embed([query, *documents])
        vectors = vectors - vectors[1:].mean(0) * (len(documents) > 1)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        scores = vectors[1:] @ vectors[0]
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(i), float(scores[i])) for i in order]

    def similarity(self, texts: Sequence[str], pictures: Pictures) -> np.ndarray:
        """How well each text goes with each picture: cosines in the joint space, (N, M).

        Args:
            texts: N of them.
            pictures: M of them; each is cut to its centred square and resized.

        Raises:
            ValueError: the model has no image tower, or `texts` is one text.
        """
        if isinstance(texts, str):
            raise ValueError(f"texts must be a list of texts. Got the text {texts!r} instead.")
        tower = self._with_tower()
        text_ND = matching.text_vectors(self.network.text, self.tokenizer, texts)
        return text_ND @ matching.picture_vectors(tower, _arrays(pictures)).T

    def classify(
        self, pictures: Pictures, labels: Sequence[str], template: str = "{}"
    ) -> list[str]:
        """The label of each picture whose text goes with it best; nothing is trained.

        Args:
            pictures: what to look at.
            labels: the names of the classes.
            template: the text of a label; `{}` stands for the label.

        Raises:
            ValueError: the model has no image tower, there is no label, or the template has no
                place for it.
        """
        if not labels or isinstance(labels, str):
            raise ValueError(f"labels must be a list of names. Got {labels!r} instead.")
        if "{}" not in template:
            raise ValueError(
                f"template must have a place {{}} for the label. Got {template!r} instead."
            )
        texts = [template.replace("{}", label) for label in labels]
        return [labels[best] for best in self.similarity(texts, pictures).argmax(axis=0)]

    def _with_tower(self) -> ImageTower:
        if self.network.tower is None:
            raise ValueError(
                "model must have an image tower to compare texts with pictures. "
                f"Got a {type(self.network).__name__} without one instead."
            )
        return self.network.tower

    def _with_head(self) -> Multimodal:
        if not isinstance(self.network, Multimodal):
            raise ValueError(
                "model must have a diffusion head to draw or to look at pictures. "
                f"Got a {type(self.network).__name__} instead."
            )
        return self.network


def _arrays(pictures: Sequence[object] | np.ndarray) -> list[np.ndarray]:
    """Pictures as unsigned bytes."""
    return [
        np.asarray(p.convert("RGB")) if isinstance(p, Image.Image) else np.asarray(p)
        for p in pictures
    ]

"""The one object that a user of the Python interface holds."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
from PIL import Image

from tgp_multimodal.data.chat_template import Message
from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference import (
    chat,
    kinds,
    matching,
    picture_features,
    picture_inputs,
    ranking,
    text,
    unread,
    writing,
)
from tgp_multimodal.inference.code_blocks import enclosing_block
from tgp_multimodal.inference.compiled import compile_steps
from tgp_multimodal.inference.drawing import Drawing
from tgp_multimodal.inference.image import draw, too_long
from tgp_multimodal.inference.init_image import init_image_of
from tgp_multimodal.inference.sampling import Sampling, as_stop_strings, check
from tgp_multimodal.inference.text import Query
from tgp_multimodal.inference.text_features import features_of_layers
from tgp_multimodal.models.image_tower import ImageTower
from tgp_multimodal.models.networks import PROMPT_TOKENS, Multimodal, Network, in_words

Picture = Image.Image | np.ndarray
Pictures = Sequence[Image.Image] | np.ndarray
_NO_ITEM = (int, float, dict, bytes, type(None))  # a table has NaN where a text is missing


class Model:
    """A trained network with its tokenizer: writes, answers, draws, embeds, scores, compares.

    Args:
        network: in evaluation mode.
        tokenizer: the one it was trained with.
        digest: of the weights; goes into the metadata of pictures.
        guided: training put guidance into the weights, so that pictures need none.
    """

    def __init__(
        self, network: Network, tokenizer: Tokenizer, digest: str, guided: bool = False
    ) -> None:
        self.network, self.tokenizer, self.digest = network, tokenizer, digest
        self.guided = guided

    def __repr__(self) -> str:
        device = next(self.network.parameters()).device
        return f"Model({in_words(self.network)}; on {device})"

    @property
    def default_guidance(self) -> float:
        """That of pictures where none is asked for: 1 if it is in the weights already, else 4."""
        return 1.0 if self.guided else Drawing().guidance

    @property
    def training_size(self) -> int:
        """Side in pixels of the pictures that the network learned to draw."""
        return self._with_head().head.size

    def compile(self) -> None:
        """Compiles the steps of writing, on CPUs: a token of one text takes half the time or less.

        With small networks up to 16 texts side by side gain as well, in bfloat16 on Intel
        processors up to 8, in float32 on others none.
        Compiling takes up to a minute the first time on a machine and some ten seconds afterwards.
        Texts are the same but for float rounding, which decides where two tokens nearly tie.

        Raises:
            ValueError: the model is not on a CPU, or there is no C++ compiler.
        """
        compile_steps(self.network.text)

    def write(
        self,
        prompt: str,
        max_tokens: int = 128,
        temperature: float = 0.8,
        top_p: float = 0.95,
        seed: int = 0,
        stop: str | Sequence[str] | None = (),
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        stop_at_dedent: bool = False,
    ) -> str:
        """New text behind the prompt (the prompt is not repeated); warns where it is cut.

        With `stop_at_dedent` it ends where the function in which the prompt stops does.
        """
        sampling = Sampling(
            max_tokens, temperature, top_p, as_stop_strings(stop), seed, top_k, repetition_penalty,
            enclosing_block(kinds.text("prompt", prompt)) if stop_at_dedent else None,
        )  # fmt: skip
        check(sampling)
        unread.warn_of_prompt(self.unread_tokens(prompt, None, max_tokens))
        return "".join(self.stream(prompt, None, sampling))

    def fill(
        self,
        prefix: str,
        suffix: str,
        max_tokens: int = 64,
        temperature: float = 0.2,
        top_p: float = 0.95,
        seed: int = 0,
        stop: str | Sequence[str] | None = (),
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        stop_at_dedent: bool = False,
    ) -> str:
        """The text between prefix and suffix; warnings and `stop_at_dedent` as in `write`."""
        prefix, suffix = kinds.text("prefix", prefix), kinds.text("suffix", suffix)
        sampling = Sampling(
            max_tokens, temperature, top_p, as_stop_strings(stop), seed, top_k, repetition_penalty,
            enclosing_block(prefix) if stop_at_dedent else None,
        )  # fmt: skip
        check(sampling)
        unread.warn_of_prompt(self.unread_tokens(prefix, suffix, max_tokens), suffix)
        return "".join(self.stream(prefix, suffix, sampling))

    def stream(self, prompt: str, suffix: str | None, sampling: Sampling) -> Iterator[str]:
        """`write` (no suffix) or `fill` (with one), piece by piece, without warning."""
        _check_texts(prompt, suffix)
        check(sampling)
        network, tokenizer = self.network.text, self.tokenizer
        ids = writing.prompt_ids(network, tokenizer, prompt, suffix, sampling.max_tokens)
        return writing.stream(network, tokenizer, ids, sampling)

    def chat(
        self,
        messages: Sequence[Message],
        max_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 0.95,
        seed: int = 0,
        stop: str | Sequence[str] | None = (),
        top_k: int = 0,
        repetition_penalty: float = 1.0,
    ) -> str:
        """The answer to a conversation, without its oldest turns where the context is full.

        Args:
            messages: each with a role (system, user or assistant) and a content, the oldest first.
            max_tokens: most new tokens.
            temperature: 0 takes the most probable token.
            top_p: as of `write`, and so are all that follow.
            seed: of the draws.
            stop: the answer ends before the first of these strings.
            top_k: samples from this number of most probable tokens; 0 for all.
            repetition_penalty: 1 for none.

        Raises:
            ValueError: the model was not taught to answer (it has no chat template), the messages
                are no conversation, or a setting is out of range.
        """
        sampling = Sampling(
            max_tokens, temperature, top_p, as_stop_strings(stop), seed, top_k, repetition_penalty
        )
        return "".join(self.stream_chat(messages, sampling))

    def stream_chat(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """`chat`, piece by piece."""
        if not isinstance(messages, Sequence):
            raise kinds.refusal("messages", "a list of at least one", messages)
        check(sampling)
        network, tokenizer = self.network.text, self.tokenizer
        ids = chat.prompt(network, tokenizer, messages, sampling.max_tokens).ids
        return writing.stream(network, tokenizer, ids, sampling)

    def unread_tokens(self, prompt: str, suffix: str | None, max_tokens: int) -> int:
        """How many tokens of a prompt, and a suffix, the context has no room for.

        Those are the first ones of the prompt and the last ones of the suffix.

        Raises:
            ValueError: `max_tokens` is out of range.
        """
        _check_texts(prompt, suffix)
        most = kinds.whole("max_tokens", max_tokens)
        return unread.of_prompt(self.network.text, self.tokenizer, prompt, suffix, most)

    def samples(self, prompt: str, suffix: str | None, n: int, sampling: Sampling) -> list[str]:
        """`n` texts behind one prompt, or between it and the suffix, written side by side.

        The prompt is read once for each 32 of them. Text i is the one that `stream` gives with seed
        `sampling.seed + i`, whatever `n` is (beyond float rounding).

        Raises:
            ValueError: `n` or a setting is out of range.
        """
        _check_texts(prompt, suffix)
        check(sampling)
        n = kinds.whole("n", n)
        if n < 1:
            raise ValueError(f"n must be at least 1. Got {n} instead.")
        network, tokenizer = self.network.text, self.tokenizer
        ids = writing.prompt_ids(network, tokenizer, prompt, suffix, sampling.max_tokens)
        return writing.generate(network, tokenizer, [ids] * n, sampling)

    def draw(
        self,
        prompts: str | Sequence[str],
        steps: int = 20,
        guidance: float | None = None,
        seed: int | Sequence[int] = 0,
        size: int | tuple[int, int] | None = None,
        sampler: str = "ancestral",
        negative_prompt: str = "",
        guidance_from: float = 0.0,
        guidance_to: float = 1.0,
        guidance_rescale: float = 0.0,
        image: Picture | None = None,
        strength: float | None = None,
        mask: Picture | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[Image.Image]:
        """One picture for each prompt.

        Picture i depends on its own prompt and `seed + i` alone, or `seed[i]` of a list, and on the
        image that all start from.

        Args:
            prompts: what to draw.
            steps: sampling steps; over an image those below its strength, 13 of 20 at 0.6.
            guidance: how strictly the prompt is followed; 1 is no guidance and half the work. Left
                out: 4, and 1 where training put guidance into the weights.
            seed: of the first picture, or one for each.
            size: side in pixels, or (rows, columns), multiples of the head's patch.
            sampler: a name in `diffusion.samplers.SAMPLERS`.
            negative_prompt: what guidance leads away from.
            guidance_from: guidance acts from this time on, 0 (picture) to 1 (noise).
            guidance_to: guidance acts up to this time; outside, half of the work is left out.
            guidance_rescale: how far the contrast that guidance added is taken back, 0 to 1.
            image: picture to draw over, cut to the proportions of `size`.
            strength: how much of it is redrawn, above 0 to 1; left out: 0.6, and 1 with a mask.
            mask: as large as the image; white is drawn anew, black keeps its pixels exactly. Or an
                array of truth values, True where it is drawn anew.
            progress: is told how many pictures are drawn.

        Raises:
            ValueError: a setting is out of range, or belongs to an image that was not given.
        """
        names = kinds.text_or_texts("prompts", prompts)
        seeds = None if kinds.is_whole(seed) else kinds.wholes("seed", seed)
        guidance = self.default_guidance if guidance is None else guidance
        drawing = Drawing(
            steps, guidance, int(cast(int, seed)) if seeds is None else 0, size, sampler,
            negative_prompt, guidance_from, guidance_to, guidance_rescale,
        )  # fmt: skip
        init_image = init_image_of(image, strength, mask)
        network = self._with_head()
        prompts = [*dict.fromkeys(names), kinds.text("negative_prompt", negative_prompt)]
        for name in too_long(self.tokenizer, prompts):
            told = f"only the first {PROMPT_TOKENS} tokens of a prompt are read"
            warnings.warn(f"{told}, which is not all of {name[:40]!r}...", stacklevel=2)
        pixels = draw(
            network, self.tokenizer, names, drawing, seeds, init_image=init_image, progress=progress
        )
        return [Image.fromarray(p) for p in pixels]

    def embed(self, items: Sequence[str] | Pictures, layers: bool = False) -> np.ndarray:
        """Feature vectors (N, D) of texts, or of pictures (D differs between the two).

        Those of pictures are of the diffusion head, or, without one, of the image tower, in the
        space of the texts and of unit length.

        Warns where texts are longer than the context.

        Args:
            items: texts or pictures; an empty list is one of texts.
            layers: for texts alone: all layers side by side (`features_of_layers`), not the last
                one's vector; a classifier on top learns more from them, cosines do not.

        Raises:
            ValueError: the items are no such list, or there is neither head nor tower for pictures.
        """
        if isinstance(items, str | dict) or not hasattr(items, "__len__"):
            raise ValueError(f"items must be a list of texts or pictures. Got {items!r} instead.")
        # An array may be one of texts, and one of pictures may hold none.
        is_pixels = isinstance(items, np.ndarray) and items.dtype.kind not in "OU"
        if not is_pixels and all(isinstance(item, str) for item in items):
            read, texts = features_of_layers if layers else text.embed, [str(one) for one in items]
            unread.warn_of_texts(self.network.text, self.tokenizer, texts)
            return read(self.network.text, self.tokenizer, texts)
        if not is_pixels and (strange := [one for one in items if isinstance(one, _NO_ITEM)]):
            found = f"{type(strange[0]).__name__} ({strange[0]!r:.40}) among them"
            raise ValueError(f"items must be texts or pictures. Got {found} instead.")
        if not is_pixels and any(isinstance(item, str) for item in items):
            raise ValueError("items must be all texts, or all pictures. Got both instead.")
        if layers:
            raise ValueError("layers must be False where items are pictures. Got True instead.")
        pictures = picture_inputs.several(items)
        if self.network.tower is not None and not isinstance(self.network, Multimodal):
            return matching.picture_vectors(self.network.tower, pictures)
        network = self._with_head()
        return picture_features.features(network, self.tokenizer, pictures)

    def score(self, context: str, continuation: str) -> float:
        """Log-likelihood of the continuation in nats, at most 0; warns where the context is cut."""
        kinds.text("context", context)
        kinds.text("continuation", continuation)
        cut = unread.of_context(self.network.text, self.tokenizer, context, continuation)
        unread.warn_of_prompt(cut, name="context")
        query = Query(context, continuation)
        return float(text.score(self.network.text, self.tokenizer, [query])[0].nats)

    def search(self, query: str, documents: Sequence[str], k: int = 5) -> list[tuple[int, float]]:
        """Indices and scores of the `k` documents nearest to the query, best first.

        The score is the cosine similarity of the embeddings, by which cards of retrieval rank, too.

        Raises:
            ValueError: there is no document, `documents` are no texts, or `k` is below 1.
        """
        query, documents = kinds.text("query", query), kinds.texts("documents", documents)
        k = kinds.whole("k", k)
        if k < 1:
            raise ValueError(f"k must be at least 1. Got {k} instead.")
        if not documents:
            raise ValueError("documents must hold at least one text. Got none instead.")
        vectors = self.embed([query, *documents])
        scores = ranking.cosines(vectors[0], vectors[1:])
        return [(i, float(scores[i])) for i in ranking.best(scores, k)]

    def similarity(self, texts: Sequence[str], pictures: Pictures) -> np.ndarray:
        """How well each text goes with each picture: cosines in the joint space, (N, M).

        Args:
            texts: N of them.
            pictures: M of them; each is cut to its centred square and resized.

        Raises:
            ValueError: the model has no image tower, or `texts` are none.
        """
        texts = kinds.texts("texts", texts)
        tower = self._with_tower()
        text_ND = matching.text_vectors(self.network.text, self.tokenizer, texts)
        return text_ND @ matching.picture_vectors(tower, picture_inputs.several(pictures)).T

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
        labels = kinds.texts("labels", labels)
        if not labels:
            raise ValueError(f"labels must be a list of names. Got {labels!r} instead.")
        if "{}" not in kinds.text("template", template):
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
                "model must have a diffusion head to draw, or to embed pictures (or a tower). "
                f"Got a {type(self.network).__name__} instead."
            )
        return self.network


def _check_texts(prompt: str, suffix: str | None) -> None:
    kinds.text("prompt", prompt)
    if suffix is not None:
        kinds.text("suffix", suffix)

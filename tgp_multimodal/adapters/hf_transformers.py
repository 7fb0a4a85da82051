"""Any causal or masked language model, or encoder, that transformers opens.

Shape letters: B batch, L length, D width.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
)
from transformers.utils import logging

from tgp_multimodal.adapters import foreign
from tgp_multimodal.adapters.hf_opening import (
    BFLOAT16,
    context_of,
    encoder_of,
    kind_of,
    open_network,
    open_part,
)
from tgp_multimodal.adapters.hf_reading import (
    StockScorer,
    StockTokenizer,
    looks_ahead,
    masked_scores,
    of_one_length,
)
from tgp_multimodal.adapters.views import in_views
from tgp_multimodal.data.tokenizer import move_space
from tgp_multimodal.evaluation.adapter import Adapter
from tgp_multimodal.evaluation.cards import Card
from tgp_multimodal.evaluation.requests import (
    Answer,
    Embed,
    Generate,
    MaskedScore,
    Perplexity,
    PerplexityAnswer,
    Request,
    Score,
    ScoreAnswer,
)
from tgp_multimodal.inference.devices import default_device
from tgp_multimodal.inference.likelihoods import (
    Row,
    buckets,
    continuation_row,
    padded,
    rolling_windows,
    sum_windows,
)
from tgp_multimodal.inference.sampling import Sampling, sample_tokens
from tgp_multimodal.inference.text import BATCH_TOKENS, infilling_prompt
from tgp_multimodal.inference.text_features import LAYERS, places
from tgp_multimodal.models.layers import token_means

_WRITTEN = 16  # texts that are written at once
_PROBED = 9  # tokens of a row that shows what a model gives
_CAN = {
    "causal": frozenset({Score, Perplexity, Generate, Embed}),
    "masked": frozenset({MaskedScore, Embed}),
    "encoder": frozenset({Embed}),
}


class HfTransformers(Adapter):
    """A model of transformers, on the device of `default_device`.

    What it can do follows its architecture: causal language models score, write and embed; masked
    ones predict masked tokens and embed; all others embed. Among these are discriminators such as
    ELECTRA's, and models with a causal head that look ahead (XLNet; BERT without `is_decoder`).
    Text features are the last hidden states, mean-pooled over all tokens, specials included, as
    sentence-transformers does by default; probes choose between them and the states of all layers
    side by side, as for our own models. How context and continuation join, how texts beyond the
    context are cut, and what precedes a text are as in lm-eval without `add_bos_token`: the
    tokenizer decides. Code that comes with a model is never run.

    Args:
        model: a folder or hub name; behind it `@random` for fresh weights, always the same, or
            `@bfloat16` for weights and products in that precision (log-softmax and means stay in
            float32).
        batch_tokens: positions of one forward pass; no answer depends on it beyond rounding.

    Raises:
        ValueError: transformers cannot open it, or its weights are not whole.
    """

    embeds = frozenset({"text"})

    def __init__(self, model: str, batch_tokens: int = BATCH_TOKENS) -> None:
        name, weights = foreign.split_variant(model, (foreign.RANDOM, BFLOAT16))
        self.name = foreign.display_name("hf", name, weights)
        self.batch_tokens = batch_tokens
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        config = open_part(name, AutoConfig)
        self.kind = kind_of(config)
        self.tokenizer = StockTokenizer(open_part(name, AutoTokenizer), self.kind == "causal")
        self.model = open_network(name, weights, config, self.kind).to(default_device())
        self.looks_ahead = self.kind == "causal" and looks_ahead(self.model)
        if self.looks_ahead:
            self.kind = "encoder"
        self.encoder = (
            encoder_of(self.model, name) if self.kind == "encoder" else self.model.base_model
        )
        self.supports = _CAN[self.kind]
        self.context = context_of(self.model, self.tokenizer.stock)
        self.scorer = StockScorer(self.model) if self.kind == "causal" else None

    def can(self, card: Card) -> str | None:
        if self.looks_ahead and card.requests & (_CAN["causal"] - {Embed}):
            return "cannot score or write, for it sees the tokens that it would have to guess"
        fills = "suffix" in (*card.columns, *card.templates)
        if fills and self.kind == "causal" and self.tokenizer.fim_tokens is None:
            return "cannot fill a gap"
        return super().can(card)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        answers: dict[type, Callable[[Any], list[Answer]]] = {
            Score: self._score,
            MaskedScore: self._masked_score,
            Perplexity: self._perplexity,
            Generate: self._generate,
            Embed: self._embed,
        }
        return answers[type(requests[0])](requests)

    def facts(self) -> dict[str, Any]:
        tokenizer = self.tokenizer.stock
        configs = (self.model.config, getattr(self.model, "generation_config", None))
        said = [foreign.settings(config) for config in configs if config is not None]
        special = sorted(tokenizer.special_tokens_map.items())
        vocabulary = foreign.tokenizer_settings(tokenizer)
        settings = (vocabulary, str(special), said, self.context, transformers.__version__)
        digest, weights = foreign.model_digest(self.model, *settings)
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(self.model),
            "context": self.context,
            "precision": str(self.model.dtype).removeprefix("torch."),
            "packs_trees": bool(self.scorer and self.scorer.can_pack_trees),
            "device": str(self.model.device),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def _score(self, requests: Sequence[Score]) -> list[Answer]:
        pairs = [
            (r.context, r.continuation) if r.suffix is not None
            else move_space(r.context, r.continuation)
            for r in requests
        ]  # fmt: skip
        wanted = dict.fromkeys(
            text
            for request, (before, after) in zip(requests, pairs, strict=True)
            for text in (before, before + after, after, request.suffix or "")
        )
        ids = dict(zip(wanted, self.tokenizer.encode_known(list(wanted)), strict=True))
        rows = [
            self._row(ids, *pair, request.suffix)
            for request, pair in zip(requests, pairs, strict=True)
        ]
        return [ScoreAnswer(*found) for found in self._likelihoods(rows)]

    def _row(self, ids: dict[str, list[int]], before: str, after: str, suffix: str | None) -> Row:
        if suffix is not None:
            middle = ids[after]
            prompt = self._gap(ids[before], ids[suffix], self.context + 1 - len(middle))
            return Row([*prompt, *middle], len(middle))
        front = self.tokenizer.front if ids[before] else self.tokenizer.start
        return continuation_row(front, ids[before], ids[before + after], lambda: ids[after])

    def _gap(self, before: list[int], after: list[int], room: int) -> list[int]:
        assert self.tokenizer.fim_tokens is not None, "the engine asks `can` first"
        front = self.tokenizer.front
        room = max(4, room - len(front) + 1)
        return [*front, *infilling_prompt(self.tokenizer.fim_tokens, before, after, room)[1:]]

    def _likelihoods(self, rows: list[Row]) -> list[Any]:
        assert self.scorer is not None, "the engine asks `can` first"
        cut = [rolling_windows(row, self.context) for row in rows]
        scorer = self.scorer.for_rows([row for group in cut for row in group])
        return sum_windows(scorer, cut, self.batch_tokens)

    def _perplexity(self, requests: Sequence[Perplexity]) -> list[Answer]:
        encoded = self.tokenizer.encode_known([r.text for r in requests])
        rows = [Row([*self.tokenizer.start, *ids], len(ids)) for ids in encoded]
        return [
            PerplexityAnswer(-found.nats, len(r.text.encode()), found.tokens)
            for found, r in zip(self._likelihoods(rows), requests, strict=True)
        ]

    def _masked_score(self, requests: Sequence[MaskedScore]) -> list[Answer]:
        texts = [r.text for r in requests]
        found = masked_scores(self.model, self.tokenizer, texts, self.context, self.batch_tokens)
        return [ScoreAnswer(*one) for one in found]

    def views(self, modality: str) -> Sequence[str]:
        """The last layer, and as many as there are side by side; see `features_of_layers`."""
        return ("", LAYERS) if modality == "text" and self._has_layers else ("",)

    @cached_property
    @torch.inference_mode()
    def _has_layers(self) -> bool:
        """Whether there are states of several layers with one for each token.

        Funnel's and Canine's are pooled on the way, and of very wide models only one has room.
        """
        token_BL = torch.tensor([(self.tokenizer.start * _PROBED)[:_PROBED]]).to(self.model.device)
        found = self.encoder(input_ids=token_BL, output_hidden_states=True)
        states: Sequence[Tensor] = getattr(found, "hidden_states", None) or ()
        if any(state.shape[1] != _PROBED for state in states):
            return False
        return len(states) > 1 and len(places(len(states), states[-1].shape[-1])) > 1

    def _embed(self, requests: Sequence[Embed]) -> list[Answer]:
        return [*in_views(requests, self._of_texts)]

    def _of_texts(self, texts: Sequence[str], views: Sequence[str]) -> list[np.ndarray]:
        rows = self._rows([*map(str, texts)])
        vectors: dict[str, list[Any]] = {name: [None] * len(rows) for name in views}
        batches = buckets if self._may_pad else of_one_length
        for chosen in batches([len(row) for row in rows], self.batch_tokens):
            found = self._means([rows[i] for i in chosen], views)
            for name, mean_BD in zip(views, found, strict=True):
                for index, vector in zip(chosen, mean_BD, strict=True):
                    vectors[name][index] = vector
        return [np.stack(vectors[name]) for name in views]

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = self.tokenizer
        room = self.context - len(tokenizer.front) - len(tokenizer.back)
        return [
            [*tokenizer.front, *ids[:room], *tokenizer.back] or tokenizer.start
            for ids in tokenizer.encode_batch(texts)
        ]

    @torch.inference_mode()
    def _means(self, rows: Sequence[Sequence[int]], views: Sequence[str]) -> list[np.ndarray]:
        token_BL, mask_BL = padded(rows, self.tokenizer.pad, self.model.device)
        found = self.encoder(
            input_ids=token_BL,
            attention_mask=mask_BL.long(),
            output_hidden_states=LAYERS in views,
        )
        return [_read(found, mask_BL, name == LAYERS).cpu().numpy() for name in views]

    @cached_property
    def _may_pad(self) -> bool:
        """Whether texts of several lengths may be read at once."""

        def vectors(texts: list[str]) -> np.ndarray:
            return self._means(self._rows(texts), [""])[0]

        return not foreign.minds_padding(vectors, self.model.dtype)

    def _generate(self, requests: Sequence[Generate]) -> list[Answer]:
        answers: list[Answer] = [""] * len(requests)
        prompts = [self._prompt(r) for r in requests]
        groups: dict[tuple[Sampling, bool], list[int]] = {}
        for index in sorted(range(len(requests)), key=lambda i: -len(prompts[i])):
            r = requests[index]
            key = Sampling(self._most(r), r.temperature, r.top_p, r.stop)
            groups.setdefault((key, r.suffix is not None), []).append(index)
        for (sampling, fills), members in groups.items():
            for start in range(0, len(members), _WRITTEN):
                chosen = members[start : start + _WRITTEN]
                seeds = [requests[i].seed for i in chosen]
                written = self._write([prompts[i] for i in chosen], sampling, seeds, fills)
                for index, new in zip(chosen, written, strict=True):
                    answers[index] = new
        return answers

    def _most(self, request: Generate) -> int:
        """New text may take half of the context, so that a prompt keeps the other half."""
        return min(request.max_tokens, self.context // 2)

    def _prompt(self, request: Generate) -> list[int]:
        room = self.context - self._most(request)
        before = self.tokenizer.encode(request.prompt)
        if request.suffix is not None:
            return self._gap(before, self.tokenizer.encode(request.suffix), room)
        front = self.tokenizer.front if before else self.tokenizer.start
        return [*front, *before[max(0, len(before) - room + len(front)) :]]

    @torch.inference_mode()
    def _write(
        self, prompts: list[list[int]], sampling: Sampling, seeds: list[int], fills: bool
    ) -> list[str]:
        """Continuations; each ends before EOS and before the first stop string.

        One that fills a gap ends before a mark of gaps or files too, which some models write there.
        """
        length, stop = max(map(len, prompts)), sampling.stop
        left_BL, seen_BL = padded([p[::-1] for p in prompts], self.tokenizer.pad, self.model.device)
        own = self.model.generation_config
        eos = self.tokenizer.stock.eos_token_id if own.eos_token_id is None else own.eos_token_id
        ends = {*(eos if isinstance(eos, list) else [eos]), *(self.tokenizer.middle_ends * fills)}
        ends.discard(None)
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            max_new_tokens=sampling.max_tokens,
            bos_token_id=own.bos_token_id,
            eos_token_id=sorted(ends) or None,
            pad_token_id=self.tokenizer.pad,
            suppress_tokens=own.suppress_tokens,
        )
        drawn = [_Draws(sampling, seeds)] if sampling.temperature else []
        found_BL = self.model.generate(
            left_BL.flip(1),
            attention_mask=seen_BL.flip(1).long(),
            generation_config=settings,
            logits_processor=LogitsProcessorList(drawn),
            stopping_criteria=[_Stops(self.tokenizer, stop, length)] if stop else None,
        )
        return _texts(self.tokenizer, found_BL[:, length:].tolist(), ends, stop)


class _Draws(LogitsProcessor):
    """Masks all tokens of a row but one, sampled with the row's own generator.

    Greedy decoding then takes it. `generate` alone would sample all rows with one generator, and
    the text would depend on the batch.
    """

    def __init__(self, sampling: Sampling, seeds: list[int]) -> None:
        self.sampling = sampling
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token_B = sample_tokens(scores.float(), self.sampling, self.generators)
        return torch.full_like(scores, -torch.inf).scatter_(1, token_B[:, None], 0.0)


class _Stops(StoppingCriteria):
    """A row is done when a stop string is in what was written."""

    def __init__(self, tokenizer: StockTokenizer, stop: tuple[str, ...], length: int) -> None:
        self.tokenizer, self.stop, self.length = tokenizer, stop, length
        # A token is at least one byte: the end of a stop string that is new starts no further back.
        self.tail = max(len(s.encode()) for s in stop) + 4

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        new_BL = input_ids[:, self.length :][:, -self.tail :]
        texts = self.tokenizer.decode_batch(new_BL.tolist())
        done = [any(s in text for s in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _texts(
    tokenizer: StockTokenizer, rows: list[list[int]], ends: set[int], stop: tuple[str, ...]
) -> list[str]:
    """What was written, up to the first id of `ends` and the first stop string."""
    cut = [
        row[: next((place for place, token in enumerate(row) if token in ends), len(row))]
        for row in rows
    ]
    texts = tokenizer.decode_batch(cut, skip_special_tokens=True)
    return [text[: min((text.find(s) for s in stop if s in text), default=None)] for text in texts]


def _read(found: Any, mask_BL: Tensor, is_of_layers: bool) -> Tensor:
    """Means over the tokens of each text, (B, D): of the last states, or of all layers, normed."""
    states = [found.last_hidden_state.float()]
    if is_of_layers:
        layers = found.hidden_states
        width, length = layers[-1].shape[-1], mask_BL.shape[1]  # some models pad rows on their own
        chosen = [layers[i][:, :length].float() for i in places(len(layers), width)]
        states = [F.normalize(state, dim=-1) * width**0.5 for state in chosen]
    return torch.cat([token_means(state, mask_BL) for state in states], dim=1)

"""Any causal or masked language model, or encoder, that transformers opens.

Shape letters: B batch, L length, D width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
)
from transformers.utils import logging

from tgp_multimodal.adapters import foreign
from tgp_multimodal.adapters.hf_reading import StockReader, Words, looks_ahead, masked_scores
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
from tgp_multimodal.inference.devices import usual_device
from tgp_multimodal.inference.likelihoods import (
    Row,
    add_up,
    buckets,
    joined,
    move_space,
    padded,
    windows,
)
from tgp_multimodal.inference.sampling import Sampling, choose
from tgp_multimodal.inference.text import BATCH_TOKENS, infilling_prompt

BFLOAT16 = "bfloat16"
_UNLIMITED = 100_000_000  # what tokenizers say who know no limit is more
_USUAL_CONTEXT = 2048  # of a model that names none, as in lm-eval
_WRITTEN = 16  # texts that are written at once
_OPENERS = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM, "encoder": AutoModel}
# Saved with a head that tells replaced tokens from right ones (arXiv:2003.10555, section 2).
_DISCRIMINATORS = ("ElectraForPreTraining", "FunnelForPreTraining")
_CAN = {
    "causal": frozenset({Score, Perplexity, Generate, Embed}),
    "masked": frozenset({MaskedScore, Embed}),
    "encoder": frozenset({Embed}),
}


class HfTransformers(Adapter):
    """A model of transformers, on the GPU if there is one.

    What it can do follows its architecture: causal language models score, write and embed; masked
    ones guess hidden tokens and embed; all others embed. Among these are discriminators such as
    ELECTRA's, and models that have a causal head and look ahead (XLNet; BERT without `is_decoder`).
    Text features are means of the last states over all tokens, specials included, as
    sentence-transformers computes them by default. How context and continuation join, how long
    texts are cut, and what stands in front of a text are as in lm-eval, with `add_bos_token` left
    out: the tokenizer says. No code of a model's own runs.

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
        name, weights = foreign.split(model, (foreign.RANDOM, BFLOAT16))
        self.name = foreign.display_name("hf", name, weights)
        self.batch_tokens = batch_tokens
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        config = _opened(name, AutoConfig)
        self.kind = _kind(config)
        self.words = Words(_opened(name, AutoTokenizer), self.kind == "causal")
        self.model = _network(name, weights, config, self.kind).to(usual_device())
        self.looks_ahead = self.kind == "causal" and looks_ahead(self.model)
        if self.looks_ahead:
            self.kind = "encoder"
        self.encoder = (
            _encoder(self.model, name) if self.kind == "encoder" else self.model.base_model
        )
        self.supports = _CAN[self.kind]
        self.context = _context(self.model, self.words.tokenizer)
        self.reader = StockReader(self.model) if self.kind == "causal" else None

    def can(self, card: Card) -> str | None:
        if self.looks_ahead and card.requests & (_CAN["causal"] - {Embed}):
            return "cannot score or write, for it sees the tokens that it would have to guess"
        fills = "suffix" in (*card.columns, *card.templates)
        if fills and self.kind == "causal" and self.words.marks is None:
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
        tokenizer = self.words.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        vocabulary = backend.to_str() if backend else sorted(tokenizer.get_vocab().items())
        configs = (self.model.config, getattr(self.model, "generation_config", None))
        said = [foreign.settings(config) for config in configs if config is not None]
        marks = sorted(tokenizer.special_tokens_map.items())
        settings = (vocabulary, str(marks), said, self.context, transformers.__version__)
        digest, weights = foreign.model_digest(self.model, *settings)
        return {
            "digest": digest,
            "weights": weights,
            "parameters": foreign.parameters(self.model),
            "context": self.context,
            "precision": str(self.model.dtype).removeprefix("torch."),
            "packs_trees": bool(self.reader and self.reader.can_pack),
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
        ids = dict(zip(wanted, self.words.encode_batch(list(wanted)), strict=True))
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
        front = self.words.front if ids[before] else self.words.start
        return joined(front, ids[before], ids[before + after], lambda: ids[after])

    def _gap(self, before: list[int], after: list[int], room: int) -> list[int]:
        assert self.words.marks is not None, "the engine asks `can` first"
        front = self.words.front
        room = max(4, room - len(front) + 1)
        return [*front, *infilling_prompt(self.words.marks, before, after, room)[1:]]

    def _likelihoods(self, rows: list[Row]) -> list[Any]:
        assert self.reader is not None, "the engine asks `can` first"
        cut = [windows(row, self.context) for row in rows]
        reader = self.reader.for_rows([row for group in cut for row in group])
        return add_up(reader, cut, self.batch_tokens)

    def _perplexity(self, requests: Sequence[Perplexity]) -> list[Answer]:
        encoded = self.words.encode_batch([r.text for r in requests])
        rows = [Row([*self.words.start, *ids], len(ids)) for ids in encoded]
        return [
            PerplexityAnswer(-found.nats, len(r.text.encode()), found.tokens)
            for found, r in zip(self._likelihoods(rows), requests, strict=True)
        ]

    def _masked_score(self, requests: Sequence[MaskedScore]) -> list[Answer]:
        texts = [r.text for r in requests]
        found = masked_scores(self.model, self.words, texts, self.context, self.batch_tokens)
        return [ScoreAnswer(*one) for one in found]

    @torch.inference_mode()
    def _embed(self, requests: Sequence[Embed]) -> list[Answer]:
        words, answers = self.words, [None] * len(requests)
        room = self.context - len(words.front) - len(words.back)
        encoded = words.encode_batch([str(r.item) for r in requests])
        rows = [[*words.front, *ids[:room], *words.back] or words.start for ids in encoded]
        for chosen in buckets([len(row) for row in rows], self.batch_tokens):
            token_BL, mask_BL = padded([rows[i] for i in chosen], words.pad, self.model.device)
            found = self.encoder(input_ids=token_BL, attention_mask=mask_BL.long())
            weight_BL1 = mask_BL[:, :, None].float()
            sum_BD = (found.last_hidden_state.float() * weight_BL1).sum(1)
            for index, vector in zip(chosen, sum_BD / weight_BL1.sum(1), strict=True):
                answers[index] = vector.cpu().numpy()
        return answers

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
        before = self.words.encode(request.prompt)
        if request.suffix is not None:
            return self._gap(before, self.words.encode(request.suffix), room)
        front = self.words.front if before else self.words.start
        return [*front, *before[max(0, len(before) - room + len(front)) :]]

    @torch.inference_mode()
    def _write(
        self, prompts: list[list[int]], sampling: Sampling, seeds: list[int], fills: bool
    ) -> list[str]:
        """Continuations; each ends before EOS and before the first stop string.

        One that fills a gap ends before a mark of gaps or files too, which some models write there.
        """
        length, stop = max(map(len, prompts)), sampling.stop
        left_BL, seen_BL = padded([p[::-1] for p in prompts], self.words.pad, self.model.device)
        own = self.model.generation_config
        eos = self.words.tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
        ends = {*(eos if isinstance(eos, list) else [eos]), *(self.words.middle_ends * fills)}
        ends.discard(None)
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            max_new_tokens=sampling.max_tokens,
            bos_token_id=own.bos_token_id,
            eos_token_id=sorted(ends) or None,
            pad_token_id=self.words.pad,
            suppress_tokens=own.suppress_tokens,
        )
        drawn = [_Draws(sampling, seeds)] if sampling.temperature else []
        found_BL = self.model.generate(
            left_BL.flip(1),
            attention_mask=seen_BL.flip(1).long(),
            generation_config=settings,
            logits_processor=LogitsProcessorList(drawn),
            stopping_criteria=[_Stops(self.words, stop, length)] if stop else None,
        )
        return _texts(self.words, found_BL[:, length:].tolist(), ends, stop)


class _Draws(LogitsProcessor):
    """Leaves one token of each row: the one that this row's own generator draws.

    Greedy search then takes it. `generate` alone would draw for all rows from one generator, and
    what is written would depend on the batch.
    """

    def __init__(self, sampling: Sampling, seeds: list[int]) -> None:
        self.sampling = sampling
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token_B = choose(scores.float(), self.sampling, self.generators)
        return torch.full_like(scores, -torch.inf).scatter_(1, token_B[:, None], 0.0)


class _Stops(StoppingCriteria):
    """A row is done when a stop string is in what was written."""

    def __init__(self, words: Words, stop: tuple[str, ...], length: int) -> None:
        self.words, self.stop, self.length = words, stop, length
        # A token is at least one byte: the end of a stop string that is new starts no further back.
        self.tail = max(len(s.encode()) for s in stop) + 4

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        new_BL = input_ids[:, self.length :][:, -self.tail :]
        texts = self.words.decode_batch(new_BL.tolist())
        done = [any(s in text for s in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _texts(words: Words, rows: list[list[int]], ends: set[int], stop: tuple[str, ...]) -> list[str]:
    """What was written, up to the first id of `ends` and the first stop string."""
    cut = [
        row[: next((place for place, token in enumerate(row) if token in ends), len(row))]
        for row in rows
    ]
    texts = words.decode_batch(cut, skip_special_tokens=True)
    return [text[: min((text.find(s) for s in stop if s in text), default=None)] for text in texts]


def _opened(name: str, opener: Any, **settings: Any) -> Any:
    try:
        # Left open, transformers asks on a terminal whether to run the code that came along.
        return opener.from_pretrained(name, trust_remote_code=False, **settings)
    except foreign.UNOPENED as error:
        raise ValueError(
            f"hf model must be a folder or hub name that transformers opens."
            f" Got {name} instead ({foreign.first_line(error)})."
        ) from error


def _kind(config: Any) -> str:
    """What the architecture that the weights were saved from can do."""
    architecture = (config.architectures or ["no architecture"])[0]
    if config.is_encoder_decoder:
        raise ValueError(
            "hf model must be a causal or masked language model, or an encoder."
            f" Got {architecture} instead."
        )
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if architecture in _DISCRIMINATORS:  # they guess no hidden token
        return "encoder"
    return "masked" if architecture.endswith(("ForMaskedLM", "ForPreTraining")) else "encoder"


def _network(name: str, weights: str, config: Any, kind: str) -> Any:
    opener = _OPENERS[kind]
    dtype = torch.bfloat16 if weights == BFLOAT16 else torch.float32
    if weights == foreign.RANDOM:
        with foreign.same_randomness():
            own = {"dtype": dtype, "trust_remote_code": False}
            fresh = opener.from_config(config, **own)  # type: ignore[no-untyped-call]
        return fresh.eval().requires_grad_(False)
    with foreign.same_randomness():  # what has no weights counts in the digest too
        network, loading = _opened(name, opener, dtype=dtype, output_loading_info=True)
    # A pooler, which some architectures have on top, is not asked for anything.
    if missing := sorted(key for key in loading["missing_keys"] if "pooler" not in key):
        raise ValueError(
            f"weights of {name} must be whole. Got none for {', '.join(missing[:3])} instead."
        )
    return network.eval().requires_grad_(False)


def _encoder(network: Any, name: str) -> Any:
    """The part that gives states of text: in dual encoders (CLIP and its kin) the text tower."""
    if hasattr(network.config, "vision_config") and hasattr(network.config, "text_config"):
        tower = getattr(network, "text_model", None)
        if tower is None:
            raise ValueError(
                "hf model must give states of text alone."
                f" Got {type(network).__name__} of {name} instead."
            )
        return tower
    return network.base_model


def _context(network: Any, tokenizer: Any) -> int:
    """Most ids of a row: the smaller of what the network and what its tokenizer say."""
    text = network.config.get_text_config()
    said = [getattr(text, n, None) for n in ("max_position_embeddings", "n_positions", "n_ctx")]
    sizes = [size - _unused(network, size) for size in said if size]
    limits = [*sizes, tokenizer.model_max_length]
    return min((int(size) for size in limits if size < _UNLIMITED), default=_USUAL_CONTEXT)


def _unused(network: nn.Module, positions: int) -> int:
    """How many of the positions no text can have.

    RoBERTa and its kin count from the id behind that of the padding: of 514 rows 512 are used.
    """
    tables = (m for name, m in network.named_modules() if "position" in name.rpartition(".")[2])
    fillers = (
        table.padding_idx
        for table in tables
        if isinstance(table, nn.Embedding) and table.num_embeddings == positions
    )
    return max((filler + 1 for filler in fillers if filler is not None), default=0)

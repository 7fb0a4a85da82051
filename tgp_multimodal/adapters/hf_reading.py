"""Scores with models of transformers behind the scoring engine, without changing their numbers.

Logits are computed at the scored positions alone: a hook selects these from the input of the
model's head, so that whatever the model does after its head (caps, scales) is kept.

Shape letters: B batch, L length, M prefix and nodes, N asked positions, V vocabulary.
"""

import copy
import inspect
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tgp_multimodal.inference.likelihoods import (
    Likelihood,
    Row,
    ScoredPositions,
    TreeScorer,
    likelihoods,
    padded,
    target_log_probabilities,
)
from tgp_multimodal.inference.prefix_trees import PrefixGroup, Tree, visible

# Nats by which a packed tree may differ from the rows alone and be called the same.
_SAME, _SAME_HALF = 1e-4, 0.1
_PROBED = 7  # ids of each of the parts that are compared
# Changing the last id changes the logits of its own position; up to this share of that, a change
# at earlier ones is rounding. Networks that look ahead: a thousandth if fresh, a tenth if trained.
_ROUNDING, _ROUNDING_HALF = 1e-4, 1e-2

# Prefix, suffix, middle: what models that infill call these marks.
_FIM_TOKENS = (
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),  # ours
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder (arXiv:2305.06161)
)
# What some of them write where the middle ends, in the place of EOS.
_MIDDLE_ENDS = (
    "<|fim_pad|>",
    "<|file_sep|>",
    "<|file_separator|>",
    "<|repo_name|>",
    "<fim_pad>",
    "<file_sep>",
    "<|endoftext|>",
)


@dataclass
class FimTokens:
    """Ids that stand around the parts of an infilling prompt; `bos` is no id here."""

    bos: int
    prefix: int
    suffix: int
    middle: int


class StockTokenizer:
    """A tokenizer of transformers, with what it puts around a text told apart.

    Attributes:
        front, back: special ids in front of and behind every text, as the model was trained.
        start: what a text is read behind where nothing stands in front of it, as in lm-eval: BOS,
            or EOS where there is none.
        pad: fills rows up; never looked at.
        fim_tokens: special tokens of infilling prompts; None if it has none.
        middle_ends: ids that end a middle, as EOS does.

    Args:
        stock: of transformers.
        needs_start: whether a model reads it that needs something in front of the first token.

    Raises:
        ValueError: it has no id for a text, as one that was made up for a folder without
            tokenizer; or `needs_start`, and it has neither BOS nor EOS, and puts nothing in front.
    """

    def __init__(self, stock: Any, needs_start: bool = True) -> None:
        self.stock = stock
        bare, whole = self.encode_batch(["a"])[0], list(stock("a")["input_ids"])
        if not bare:
            raise ValueError(
                "tokenizer must have an id for the text 'a', as one has that was trained with the "
                "model. Got none instead; is it in the model's folder?"
            )
        places = [i for i in range(len(whole)) if whole[i : i + len(bare)] == bare]
        self.front = whole[: places[0]] if places else []
        self.back = whole[places[0] + len(bare) :] if places else []
        ends = [i for i in (stock.bos_token_id, stock.eos_token_id) if i is not None]
        if needs_start and not self.front and not ends:
            raise ValueError("tokenizer must have a BOS or EOS token. Got one without instead.")
        self.pad = stock.pad_token_id if stock.pad_token_id is not None else 0
        self.start: list[int] = self.front or ends[:1] or [self.pad]
        self.fim_tokens = self._fim_tokens()
        known = stock.get_vocab()
        self.middle_ends: list[int] = []
        if self.fim_tokens:
            around = [self.fim_tokens.prefix, self.fim_tokens.suffix, self.fim_tokens.middle]
            self.middle_ends = [*around, *(known[n] for n in _MIDDLE_ENDS if n in known)]
        self._anchor = bare

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, with nothing around them."""
        if not texts:
            return []
        return self.stock(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def encode_known(self, texts: Sequence[str]) -> list[list[int]]:
        """The same where the ids are judged by their likelihood.

        Raises:
            ValueError: a text holds what has no id of its own: an id that stands for anything is
                cheap, and says nothing of how likely the text was.
        """
        found = self.encode_batch(texts)
        unknown = self.stock.unk_token_id
        if unknown in (self.stock.bos_token_id, self.stock.eos_token_id):
            return found  # gpt2's is a name alone: its bytes spell everything
        lost = [text for text, ids in zip(texts, found, strict=True) if unknown in ids]
        if lost:
            raise ValueError(
                "texts that are judged by likelihood must be known to the tokenizer. Got its "
                f"{self.stock.unk_token} in {len(lost)} of {len(texts)} instead, first in "
                f"{reprlib.repr(lost[0])}."
            )
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""
        return self.encode_batch([text])[0]

    @cached_property
    def _letter(self) -> str:
        return str(self.stock.decode(self._anchor))

    def decode_batch(
        self, rows: Sequence[Sequence[int]], skip_special_tokens: bool = False
    ) -> list[str]:
        """Texts of ids that stand behind other text.

        Decoders in sentencepiece's manner drop the space that a text begins with, which here stands
        in the middle of one: indented code would lose a column. So each is decoded behind a letter.
        """
        anchor, letter, skip = self._anchor, self._letter, skip_special_tokens
        texts = self.stock.batch_decode([[*anchor, *row] for row in rows], skip_special_tokens=skip)
        return [
            text[len(letter) :]
            if text.startswith(letter)
            else self.stock.decode(list(row), skip_special_tokens=skip)
            for text, row in zip(texts, rows, strict=True)
        ]

    def _fim_tokens(self) -> FimTokens | None:
        known = self.stock.get_vocab()
        for names in _FIM_TOKENS:
            if all(name in known for name in names):
                return FimTokens(-1, *(known[name] for name in names))
        return None


@torch.inference_mode()
def looks_ahead(model: Any) -> bool:
    """Whether what stands behind a token has a say in what a model guesses before it.

    Architectures with a head for causal language modelling need not be causal: XLNet and XLM see
    the whole text unless they are told otherwise, BERT and its kin unless `is_decoder` is set. So
    the model is asked, once: two rows differ in their last id alone.

    Args:
        model: with a head.
    """
    generator = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().num_embeddings
    token_BL = torch.randint(size, (1, _PROBED), generator=generator).repeat(2, 1)
    token_BL[1, -1] = (token_BL[1, -1] + 1) % size
    token_BL = token_BL.to(model.device)
    logits_BLV = model(input_ids=token_BL, attention_mask=torch.ones_like(token_BL)).logits.float()
    change_L = (logits_BLV[0] - logits_BLV[1]).abs().amax(-1)
    rounding = _ROUNDING if model.dtype == torch.float32 else _ROUNDING_HALF
    return bool(change_L[:-1].max() > rounding * change_L[-1])


def of_one_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Groups indices of equal length, of at most `batch_tokens` each: nothing is padded."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length, []).append(index)
    for length, members in groups.items():
        step = max(1, batch_tokens // max(1, length))
        yield from (members[i : i + step] for i in range(0, len(members), step))


class StockScorer(TreeScorer):
    """A causal language model of transformers.

    It packs trees if it can be seen to: whether a model honours a mask of ours and the positions
    that go with it depends on its architecture (recurrent ones and those that bias by distance do
    not), so it is asked once, with random ids, instead of being looked up in a list.

    Args:
        model: with a head.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"  # its older name
        # Layers that look back over a window ignore it under a mask of ours.
        text = model.config.get_text_config()
        sizes = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
        self.window = min((size for size in sizes if size), default=None)
        self.can_pack_trees = self._reads_trees()
        self.packs_trees = self.can_pack_trees

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return self.model.dtype

    def for_rows(self, rows: Sequence[Row]) -> "StockScorer":
        """Itself, set to pack these rows if that is sound."""
        longest = max((len(row.ids) for row in rows), default=0)
        self.packs_trees = self.can_pack_trees and (self.window is None or longest <= self.window)
        return self

    def prefill(self, prefix: Sequence[int]) -> Any:
        token_1L = torch.tensor([prefix], device=self.device)
        cache = DynamicCache(config=self.model.config)
        # The head has nothing to do here: the base is enough.
        self.model.base_model(input_ids=token_1L, use_cache=True, **{self.cache_name: cache})
        return cache

    def score_targets(
        self, group: PrefixGroup, prefix_cache: Any, positions: ScoredPositions
    ) -> tuple[Tensor, Tensor]:
        token_BL, mask_BL = padded([t.tokens for t in group.trees], 0, self.device)
        if self.packs_trees:
            inputs = self._packed(group, prefix_cache, token_BL.shape[1])
        else:
            inputs = {"attention_mask": mask_BL.long(), "use_cache": False}
        place = (positions.tree, positions.node)
        logits_NV = logits_at(self.model, place, input_ids=token_BL, **inputs)
        return target_log_probabilities(
            logits_NV, torch.tensor(positions.target, device=self.device)
        )

    def _packed(self, group: PrefixGroup, prefix_cache: Any, length: int) -> dict[str, Any]:
        trees, prefix = group.trees, len(group.prefix)
        depth_BL, _ = padded([t.depths for t in trees], 0, self.device)
        allowed_BLM = torch.from_numpy(visible(trees, length, prefix)).to(self.device)
        mask_BLM = torch.zeros(allowed_BLM.shape, dtype=self.dtype, device=self.device)
        mask_BLM.masked_fill_(~allowed_BLM, torch.finfo(self.dtype).min)
        inputs = {"attention_mask": mask_BLM[:, None], "position_ids": depth_BL + prefix}
        if prefix_cache is None:
            return inputs | {"use_cache": False}
        own = copy.deepcopy(prefix_cache)
        own.batch_repeat_interleave(len(trees))
        return inputs | {self.cache_name: own, "use_cache": True}

    @torch.inference_mode()
    def _reads_trees(self) -> bool:
        generator = torch.Generator().manual_seed(0)
        size = self.model.get_input_embeddings().num_embeddings
        ids = torch.randint(size, (3, _PROBED), generator=generator).tolist()
        self.packs_trees = False
        rows = [Row(ids[0] + branch, _PROBED) for branch in ids[1:]]
        plain = [nats for nats, _ in likelihoods(self, rows, 2 * _PROBED)]
        self.packs_trees = True
        try:
            packed = self._packed_nats(ids[0], ids[1:])
        except Exception:  # what a model does with inputs that it does not know is up to it
            return False
        allowed = _SAME if self.dtype == torch.float32 else _SAME_HALF
        return all(abs(a - b) < allowed for a, b in zip(plain, packed, strict=True))

    def _packed_nats(self, front: list[int], branches: list[list[int]]) -> list[float]:
        """Nats of the ids of two branches of one tree behind a prefix."""
        count = _PROBED
        tree = Tree(
            [front[-1], *branches[0][:-1], *branches[1][:-1]],
            [0, *range(1, count), *range(1, count)],
            [2 * count - 1, *[count] * (count - 1), *[2 * count - 1] * (count - 1)],
            {},
        )
        nodes = [*range(count), 0, *range(count, 2 * count - 1)]
        positions = ScoredPositions([0] * 2 * count, nodes, [*branches[0], *branches[1]])
        nats_N, _ = self.score_targets(
            PrefixGroup(tuple(front[:-1]), [tree]), self.prefill(front[:-1]), positions
        )
        return nats_N.view(2, count).sum(1).tolist()


def logits_at(model: Any, place: tuple[Any, Any], **inputs: Any) -> Tensor:
    """A model's logits at some positions, (N, V).

    Args:
        model: with a head, which `get_output_embeddings` gives. Where it is not called (MobileBERT
            multiplies by its weights), all logits are computed.
        place: rows and columns of the positions.
        inputs: of the model.
    """
    with _only_at(model.get_output_embeddings(), place) as calls:
        logits = model(**inputs).logits
    return logits[0] if calls else logits[place]


@contextmanager
def _only_at(head: nn.Module, place: tuple[Any, Any]) -> Iterator[list[torch.Size]]:
    """Cuts the input of a head; gives the shapes that it had, one for each call."""
    calls: list[torch.Size] = []

    def cut(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        calls.append(inputs[0].shape)
        return (inputs[0][place][None],)

    handle = head.register_forward_pre_hook(cut)
    try:
        yield calls
    finally:
        handle.remove()


class _Hidden(NamedTuple):
    """A stretch of one text, and the places in it that are hidden one after the other."""

    owner: int
    ids: list[int]
    places: range


@torch.inference_mode()
def masked_scores(
    model: Any, tokenizer: StockTokenizer, texts: Sequence[str], context: int, batch_tokens: int
) -> list[Likelihood]:
    """Pseudo-log-likelihoods in nats, in order (Salazar et al. 2020, arXiv:1910.14659).

    Each token of a text in turn is masked and predicted at its own position; the special tokens
    around a text are never masked. A text longer than the context is cut into windows, each token
    is masked in one of them, and the last window is full. Rows of one pass have one length, so that
    nothing is padded.

    Args:
        model: a masked language model.
        tokenizer: its tokenizer.
        texts: what to read; a text of n tokens is read n times.
        context: most ids of a row.
        batch_tokens: positions of one pass.
    """
    encoded = tokenizer.encode_batch(texts)
    by_length: dict[int, list[_Hidden]] = {}
    for owner, ids in enumerate(encoded):
        for part in _stretches(owner, ids, tokenizer, context):
            by_length.setdefault(len(part.ids), []).append(part)
    nats, misses = [0.0] * len(texts), [0] * len(texts)
    mask = tokenizer.stock.mask_token_id
    for length, parts in by_length.items():
        asked = [(part, place) for part in parts for place in part.places]
        step = max(1, batch_tokens // length)
        for start in range(0, len(asked), step):
            some = asked[start : start + step]
            token_BL = torch.tensor([part.ids for part, _ in some], device=model.device)
            place = (list(range(len(some))), [place for _, place in some])
            target_B = token_BL[place].clone()
            token_BL[place] = mask
            found = target_log_probabilities(logits_at(model, place, input_ids=token_BL), target_B)
            for (part, _), own, is_greedy in zip(some, *(f.tolist() for f in found), strict=True):
                nats[part.owner] += own
                misses[part.owner] += not is_greedy
    return [Likelihood(nats[i], len(ids), not misses[i]) for i, ids in enumerate(encoded)]


def _stretches(
    owner: int, ids: list[int], tokenizer: StockTokenizer, context: int
) -> Iterator[_Hidden]:
    room, first = context - len(tokenizer.front) - len(tokenizer.back), len(tokenizer.front)
    done = 0
    while done < len(ids):
        stop = min(done + room, len(ids))
        start = max(0, stop - room)
        whole = [*tokenizer.front, *ids[start:stop], *tokenizer.back]
        yield _Hidden(owner, whole, range(first + done - start, first + stop - start))
        done = stop

"""Batches of pictures and of captions by number, on Grain.

The caption of a picture and its augmentation (flip, greyscale, crop) are functions of the seed, the
stream and the element's number in it. So the same picture comes with another caption in the next
epoch, and element i is the same however many threads and processes there are.

Shape letters: B batch, L length in tokens, C channels, Y rows, X columns.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tgp_multimodal.data import images
from tgp_multimodal.data.batches import (
    RandomAccess,
    check_shares,
    check_streams,
    grain,
    padded,
    passage_rows,
    streams_with_items,
)
from tgp_multimodal.data.prepared import PictureSplit
from tgp_multimodal.data.records import CaptionedImages, PassageRows
from tgp_multimodal.data.scenes import Endless, Mix
from tgp_multimodal.data.tokenizer import Tokenizer

_KEPT = 0.7  # share of the ids kept in each view of a picture's only caption
# Set the draws of this file apart from others of the same seed.
_CAPTION_DRAWS, _VIEW_DRAWS = 41, 42
_SIDED = re.compile(r"\b(left|right)", re.IGNORECASE)  # "rightmost", too
_COLOURED = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|violet|pink|brown|cyan|magenta|turquoise|teal|beige"
    r"|tan\b|tanned|maroon|gold|colou?r|crimson|scarlet|ruby|rosy|salmon|coral|peach|amber|bronze|copper"
    r"|khaki|olive|lime|emerald|aqua|azure|navy|indigo|lavender|lilac|mauve|burgundy|ivory|cream"
    r"|blond|rainbow|auburn|ginger)",  # "reddish", "golden" and "colourful", too
    re.IGNORECASE,
)

_NONE: Mapping[str, float] = MappingProxyType({})
_NO_MIX: Mapping[str, Mapping[str, float]] = MappingProxyType({})


class _Example(NamedTuple):
    """One element of a batch: a picture, (Y, X, 3) unsigned bytes, and one of its captions."""

    pixels_YXC: np.ndarray
    caption: str


def picture_batches(
    split: PictureSplit,
    tokenizer: Tokenizer,
    weights: Mapping[str, float],
    longest: int,
    batch: int,
    seed: int,
    shard: tuple[int, int] = (0, 1),
    drawn: Mapping[str, Mapping[str, float]] = _NO_MIX,
    flips: Mapping[str, float] = _NONE,
    crops: Mapping[str, float] = _NONE,
    greys: Mapping[str, float] = _NONE,
    held_out: bool = False,
) -> "grain.MapDataset[CaptionedImages]":
    """Pictures of the weighted streams, shuffled each epoch, each with one caption of its own.

    Args:
        split: pictures with captions.
        tokenizer: the set's own.
        weights: stream -> its share of the pictures.
        longest: most ids of a caption, BOS included.
        batch: pictures of a batch.
        seed: decides everything that is drawn.
        shard: number of this process, and of how many.
        drawn: stream -> shares of `scenes.Mix`: scenes that are drawn when they are needed, each
            once, in the place of the stored pictures of that stream.
        flips: stream -> share of its pictures that are mirrored, left to right. One whose caption
            says left or right never is; letters and flags are, so choose the streams.
        crops: stream -> smallest share of the side of a picture that is seen, above 0; 1 for all of
            it. A square between that and the whole, anywhere in it, is enlarged to the same size.
        greys: stream -> share of its pictures that lose their colours, but none whose caption
            names one; of drawn scenes, too.
        held_out: whether drawn scenes are to be others than those of training.

    Raises:
        ValueError: a weight names a stream that is not there, a share is none, or a stream of drawn
            scenes is to be flipped or cropped.
    """
    check_shares("data.pictures.weights", weights, split.streams)
    check_streams("data.pictures.drawn", drawn, split.streams)
    for name, shares in (("flips", flips), ("crops", crops), ("greys", greys)):
        _check_shares(name, shares, split.streams, () if name == "greys" else drawn)

    def source(name: str) -> Any:
        item: Callable[[int], _Example]
        grey = greys.get(name, 0.0)
        if name in drawn:
            item = _fresh(_endless(seed, split, drawn[name], held_out), seed, grey)
        else:
            item = _stored(split, name, seed, flips.get(name, 0.0), crops.get(name, 1.0), grey)
        return grain.MapDataset.source(RandomAccess(item))

    names = streams_with_items(weights, split)
    mixed = grain.MapDataset.mix([source(n) for n in names], weights=[weights[n] for n in names])

    def collate(some: Sequence[_Example]) -> CaptionedImages:
        ids = tokenizer.encode_batch([one.caption for one in some], bos=True)
        pixels = [one.pixels_YXC for one in some]
        return collate_pictures(pixels, [row[:longest] for row in ids], tokenizer.pad)

    return mixed[shard[0] :: shard[1]].batch(batch, batch_fn=collate)


def collate_pictures(
    pixels: Sequence[np.ndarray], captions: Sequence[Sequence[int]], pad: int
) -> CaptionedImages:
    """Pictures (Y, X, 3) and captions as one batch."""
    token_BL, mask_BL = padded(captions, pad)
    return CaptionedImages(np.stack(pixels).transpose(0, 3, 1, 2), token_BL, mask_BL)


def caption_batches(
    split: PictureSplit,
    tokenizer: Tokenizer,
    weights: Mapping[str, float],
    batch: int,
    seed: int,
    longest: int = 64,
    shard: tuple[int, int] = (0, 1),
    drawn: Mapping[str, Mapping[str, float]] = _NO_MIX,
    held_out: bool = False,
) -> "grain.MapDataset[PassageRows]":
    """Pairs of captions of one picture, `batch` pairs at a time.

    A drawn scene is put into words twice. Of a stored picture two different captions are sampled;
    if it has only one, the pair is that caption twice, each with token dropout, after Gao et al.
    2021 (arXiv:2104.08821, section 3), who apply dropout to hidden states.

    Args:
        split: pictures with captions.
        tokenizer: the set's own.
        weights: picture stream -> its share of the pairs.
        batch: pairs of a batch.
        seed: decides everything that is drawn.
        longest: most ids of a caption, BOS included.
        shard: number of this process, and of how many.
        drawn: stream -> shares of `scenes.Mix`, whose scenes are put into words twice.
        held_out: whether drawn scenes are to be others than those of training.

    Raises:
        ValueError: a weight names a stream that is not there, or a share of a mix is none.
    """
    check_shares("data.pictures.weights", weights, split.streams)
    check_streams("data.pictures.drawn", drawn, split.streams)

    def source(name: str) -> Any:
        if name in drawn:
            wordings = _endless(seed, split, drawn[name], held_out).wordings
            return grain.MapDataset.source(
                RandomAccess(lambda i: tokenizer.encode_batch(wordings(i)))
            )
        return grain.MapDataset.source(RandomAccess(_caption_views(split, name, tokenizer, seed)))

    names = streams_with_items(weights, split)
    mixed = grain.MapDataset.mix([source(n) for n in names], weights=[weights[n] for n in names])

    def collate(pairs: Sequence[list[list[int]]]) -> PassageRows:
        return passage_rows(pairs, tokenizer, longest)

    return mixed[shard[0] :: shard[1]].batch(batch, batch_fn=collate)


def _stored(
    split: PictureSplit, name: str, seed: int, flips: float, smallest: float, greys: float
) -> Callable[[int], _Example]:
    """The pictures of one stream by number: one epoch after the other, each in its own order."""
    stream = split.streams.index(name)
    members = np.flatnonzero(split.stream == stream)
    order = grain.MapDataset.source(members).shuffle(seed=seed).repeat()

    def item(number: int) -> _Example:
        index = order[number]
        pixels, captions = split.pixels[index], split.captions[index]
        if len(captions) == 1 and flips == greys == 0 and smallest == 1:
            return _Example(pixels, captions[0])
        rng = np.random.default_rng([seed, _VIEW_DRAWS, stream, number])
        caption = captions[int(rng.integers(len(captions)))]
        flip, share, down, right, grey = rng.random(5)
        if flip < flips and not _SIDED.search(caption):
            pixels = pixels[:, ::-1]
        if smallest < 1:
            pixels = images.cropped(pixels, smallest + (1 - smallest) * share, down, right)
        if grey < greys:
            pixels = _greyed(pixels, caption)
        return _Example(pixels, caption)

    return item


def _fresh(endless: Endless, seed: int, greys: float) -> Callable[[int], _Example]:
    """Drawn scenes by number."""

    def item(number: int) -> _Example:
        pair = endless[number]
        pixels = pair.pixels_YXC
        if greys and np.random.default_rng([seed, _VIEW_DRAWS, number]).random() < greys:
            pixels = _greyed(pixels, pair.caption)
        return _Example(pixels, pair.caption)

    return item


def _greyed(pixels_YXC: np.ndarray, caption: str) -> np.ndarray:
    """The picture without colours, as it is where the caption names one."""
    return pixels_YXC if _COLOURED.search(caption) else images.grey(pixels_YXC)


def _caption_views(
    split: PictureSplit, name: str, tokenizer: Tokenizer, seed: int
) -> Callable[[int], list[list[int]]]:
    """Ids of two wordings of a picture of one stream, by number, without BOS."""
    members = np.flatnonzero(split.stream == split.streams.index(name))

    def item(number: int) -> list[list[int]]:
        rng = np.random.default_rng([seed, _CAPTION_DRAWS, number])
        captions = split.captions[members[int(rng.integers(len(members)))]]
        if len(captions) > 1:
            two = rng.choice(len(captions), 2, replace=False)
            return tokenizer.encode_batch([captions[i] for i in two])
        ids = np.array(tokenizer.encode(captions[0]))
        views = [ids[rng.random(len(ids)) < _KEPT] for _ in range(2)]
        return [(view if len(view) else ids).tolist() for view in views]  # none is BOS alone

    return item


def _endless(
    seed: int, split: PictureSplit, shares: Mapping[str, float], held_out: bool
) -> Endless:
    unknown = sorted(set(shares) - set(Mix._fields))
    if unknown:
        raise ValueError(
            f"shares of drawn scenes must be among {', '.join(Mix._fields)}. "
            f"Got {', '.join(unknown)} instead."
        )
    return Endless(seed, split.pixels.shape[1], Mix(**shares), held_out)


def _check_shares(
    name: str, shares: Mapping[str, float], there: Sequence[str], drawn: Collection[str]
) -> None:
    check_streams(f"data.pictures.{name}", shares, there)
    for stream, share in shares.items():
        if stream in drawn:
            raise ValueError(
                f"streams of {name} must be stored pictures. "
                f"Got {stream!r}, whose scenes are drawn, instead."
            )
        if not 0 <= share <= 1 or (name == "crops" and share == 0):
            least = "above 0 and up" if name == "crops" else "from 0"
            raise ValueError(f"{name} must be {least} to 1. Got {share} for {stream!r} instead.")

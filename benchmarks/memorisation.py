"""Are drawn pictures copies of training pictures? Compares each with its nearest neighbour.

    python -m benchmarks.memorisation runs/mine/export --data data/mine --output runs/mine/memory

Draws pictures for captions of training and of held-out pictures, finds the nearest training picture
of each, and compares its distance with those of real held-out pictures: a drawing that is nearer to
a training picture than almost every real new picture is suspect (Carlini et al. 2023,
arXiv:2301.13188, section 4). Writes `memorisation.json` and two sheets for inspection, each drawing
with its neighbour: `nearest.png` of the nearest, `random.png` of random ones.

Shape letters: N pictures, M training pictures, D width.
"""

import argparse
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tgp_multimodal
from tgp_multimodal.data.prepared import PictureSplit, manifest, open_pictures
from tgp_multimodal.inference.sheets import contact_sheet

_SIDE = 16  # pictures are compared at so many rows and columns
_CHUNK = 64
_SUSPECT = 0.01  # quantile of the distances of held-out pictures below which a drawing is suspect
_SHOWN = 16


def downsampled(pixels_NYXC: np.ndarray) -> np.ndarray:
    """Pictures, unsigned bytes, as coarse vectors (N, D) of 0 to 1."""
    pictures = [
        Image.fromarray(p).resize((_SIDE, _SIDE), Image.Resampling.BOX) for p in pixels_NYXC
    ]
    return np.stack([np.asarray(p, dtype=np.float32).reshape(-1) / 255 for p in pictures])


def nearest(vector_ND: np.ndarray, among_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of and root mean squared distance to the nearest neighbour of each, (N,) both."""
    squares_M = np.square(among_MD).sum(axis=1)
    index, distance = [], []
    for start in range(0, len(vector_ND), _CHUNK):
        some = vector_ND[start : start + _CHUNK]
        square = squares_M - 2 * some @ among_MD.T + np.square(some).sum(axis=1)[:, None]
        index.append(square.argmin(axis=1))
        distance.append(np.sqrt(np.clip(square.min(axis=1), 0, None) / among_MD.shape[1]))
    return np.concatenate(index), np.concatenate(distance)


def report(
    drawn_ND: np.ndarray,
    own: Sequence[Collection[int]],
    held_out_ND: np.ndarray,
    train_MD: np.ndarray,
) -> dict[str, Any]:
    """Numbers of the comparison.

    Args:
        drawn_ND: drawings.
        own: for each the training pictures that have the caption it was drawn from; none for a
            caption of held-out pictures alone.
        held_out_ND: real pictures that were not trained on.
        train_MD: training pictures.
    """
    index_N, distance_N = nearest(drawn_ND, train_MD)
    _, usual_N = nearest(held_out_ND, train_MD)
    bound = float(np.quantile(usual_N, _SUSPECT))
    is_own = [i in of for i, of in zip(index_N.tolist(), own, strict=True) if of]
    return {
        "drawings": len(drawn_ND),
        "training_pictures": len(train_MD),
        "median_distance_drawn": float(np.median(distance_N)),
        "median_distance_held_out": float(np.median(usual_N)),
        "suspect_below": bound,
        "suspect_share": float((distance_N < bound).mean()),
        "nearest_has_the_caption": float(np.mean(is_own)) if is_own else 0.0,
        "nearest": index_N.tolist(),
        "distances": distance_N.tolist(),
    }


def _held_out(folder: Path, streams: Sequence[str]) -> tuple[PictureSplit, np.ndarray]:
    """The first split that holds back pictures of these streams, and which they are."""
    for name in ("validation", "test"):
        if manifest(folder)["splits"].get(name, {}).get("pictures"):
            split = open_pictures(folder, name)
            if len(found := _members(split, streams)):
                return split, found
    wanted = ", ".join(streams) or "any stream"
    raise SystemExit(
        f"data must hold pictures of {wanted} back. Got {folder}, which has none, instead."
    )


def _members(split: PictureSplit, streams: Sequence[str]) -> np.ndarray:
    for name in streams:
        if name not in split.streams:
            there = ", ".join(split.streams)
            raise SystemExit(f"streams must be among {there}. Got {name} instead.")
    wanted = [split.streams.index(s) for s in streams] if streams else range(len(split.streams))
    return np.flatnonzero(np.isin(split.stream, list(wanted)))


def _sheet(
    path: Path, drawn: np.ndarray, prompts: Sequence[str], train: np.ndarray, found: dict[str, Any],
    order: Sequence[int],
) -> None:  # fmt: skip
    pictures, captions = [], []
    for i in order:
        pictures += [drawn[i], train[found["nearest"][i]]]
        captions += [prompts[i], f"nearest, at {found['distances'][i]:.3f}"]
    contact_sheet(pictures, captions, columns=8).save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, compares, writes and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memorisation")
    parser.add_argument("export", help="folder that `tgp export` wrote")
    parser.add_argument("--data", type=Path, required=True, help="what the run was trained on")
    parser.add_argument("--streams", nargs="*", default=[], help="of pictures (all)")
    parser.add_argument("--count", type=int, default=64, help="drawings of each kind (64)")
    parser.add_argument("--output", type=Path, default=Path("memorisation"))
    given = parser.parse_args(arguments)
    model = tgp_multimodal.load(given.export)
    folder = given.data / "pictures"
    train = open_pictures(folder, "train")
    known = _members(train, given.streams)
    if not len(known):
        wanted = ", ".join(given.streams) or "any stream"
        raise SystemExit(
            f"data must hold training pictures of {wanted}. Got {folder}, which has none, instead."
        )
    held_out, new = _held_out(folder, given.streams)
    if len(new) * _SUSPECT < 1:
        print(f"note: {len(new)} pictures are held out, too few for their {_SUSPECT:.0%} quantile")
    given.output.mkdir(parents=True, exist_ok=True)  # what cannot be made is told of before drawing
    rng = np.random.default_rng(0)
    asked = [rng.permutation(x)[: given.count] for x in (known, new)]
    prompts = [train.captions[i][0] for i in asked[0]] + [held_out.captions[i][0] for i in asked[1]]
    drawn = np.stack([np.asarray(picture) for picture in model.draw(prompts)])
    having: dict[str, set[int]] = {}
    for place, number in enumerate(known.tolist()):
        for caption in train.captions[number]:
            having.setdefault(caption, set()).add(place)
    found = report(
        downsampled(drawn),
        [having.get(prompt, set()) for prompt in prompts],
        downsampled(held_out.pixels[new]),
        downsampled(train.pixels[known]),
    )
    (given.output / "memorisation.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    shown = train.pixels[known]
    closest = np.argsort(found["distances"], kind="stable")[:_SHOWN].tolist()
    _sheet(given.output / "nearest.png", drawn, prompts, shown, found, closest)
    any_ones = rng.permutation(len(drawn))[:_SHOWN].tolist()
    _sheet(given.output / "random.png", drawn, prompts, shown, found, any_ones)
    for name, value in found.items():
        if not isinstance(value, list):
            print(f"{name:>28}  {value:.4g}")
    for name in ("nearest.png", "random.png", "memorisation.json"):
        print(given.output / name)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(str(error)) from None

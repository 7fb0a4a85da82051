"""`tgp draw`: pictures from prompts."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tgp_multimodal.user_text import input_lines, read_file

_EMPTY = "(empty)"  # a prompt on a sheet


def draw(
    folder: str,
    prompts: list[str] | None,
    output: str = "drawings",
    steps: int = 20,
    guidance: float | None = None,
    seed: int = 0,
    size: str | None = None,
    count: int = 1,
    sampler: str = "ancestral",
    grid: str | None = None,
    negative_prompt: str = "",
    guidance_from: float = 0.0,
    guidance_to: float = 1.0,
    guidance_rescale: float = 0.0,
    image: str | None = None,
    strength: float | None = None,
    mask: str | None = None,
) -> None:
    """Draw pictures from prompts: PNG files with their settings as metadata, and a contact sheet.

    Picture i of a call (with --grid, column i) starts from the noise of seed + i. Existing files
    are kept: numbering continues after the last one in the folder, and a later sheet has the number
    of its first picture in its name. The path of each file is printed. Pictures are saved 32 at a
    time.

    Args:
        folder: export folder of the model.
        prompts: what to draw; - reads one prompt per line from standard input.
        output: folder for the PNG files.
        steps: sampling steps; more are finer and slower.
        guidance: classifier-free guidance scale, how strictly the prompt is followed; 1 is none, at
            half the cost. Left out: 4, or 1 where training put guidance into the weights.
        seed: of the first picture; the same seed draws the same picture.
        size: side in pixels, or ROWSxCOLUMNS, multiples of the model's patch; left out: what it was
            trained on.
        count: pictures per prompt.
        sampler: ancestral; euler, which draws what the stock pipeline draws; heun, second-order at
            twice the cost; dpm (DPM-Solver++) or unipc, second-order at the cost of euler.
        grid: file with one prompt per line, in place of the prompts; the sheet is then grid.png,
            with a row per prompt and a column for each of --count seeds.
        negative_prompt: what guidance steers away from.
        guidance_from: guidance applies from this diffusion time on, 0 (picture) to 1 (noise);
            outside the interval a step costs half.
        guidance_to: guidance applies up to this time.
        guidance_rescale: how far predictions are scaled back to their contrast without guidance, 0
            to 1.
        image: picture file to start from (image-to-image), centre-cropped to the shape of size.
        strength: how much of the image is redrawn, above 0 to 1; left out: 0.6, or 1 with a mask.
            Only the steps below it are taken, 13 of 20 at 0.6.
        mask: inpainting mask, a picture file as large as the image: white is redrawn, black kept.

    Examples:
        tgp draw runs/nano/export "a red circle left of a blue square"
        tgp draw runs/nano/export "a cyan triangle" --count 8 --output triangles
        tgp draw runs/nano/export "two circles" --sampler dpm --steps 12 --size 32x48
        tgp draw runs/nano/export "a blue circle" --image photo.png --strength 0.9
        tgp draw runs/nano/export --grid prompts.txt --count 4
    """
    import tgp_multimodal
    from tgp_multimodal.inference.init_image import usual_strength

    if count < 1:
        raise ValueError(f"count must be at least 1. Got {count} instead.")
    place = _place(output)
    wanted = [prompt for prompt in _prompts(prompts, grid) for _ in range(count)]
    # The rows of a grid share their seeds, so that a column shows one noise under each prompt.
    seeds = [seed + (i % count if grid else i) for i in range(len(wanted))]
    settings: dict[str, Any] = {
        "steps": steps,
        "guidance": guidance,
        "sampler": sampler,
        "negative_prompt": negative_prompt,
        "guidance_from": guidance_from,
        "guidance_to": guidance_to,
        "guidance_rescale": guidance_rescale,
        "strength": strength,
    }
    pictures = {"image": _picture("image", image), "mask": _picture("mask", mask)}
    given = pictures | {"size": _size(size)}
    if image is not None and strength is None:
        settings["strength"] = usual_strength(mask is not None)
    model = tgp_multimodal.load(folder)
    if guidance is None:
        settings["guidance"] = model.default_guidance
    facts = _facts(settings | {"image": image, "mask": mask}, model.digest)
    drawn, first = _drawn(model, wanted, seeds, settings | given, place, facts)
    _save_sheet(drawn, wanted, seeds, count if grid else None, place, first)


def _drawn(
    model: Any,
    prompts: list[str],
    seeds: list[int],
    settings: dict[str, Any],
    place: Any,
    facts: dict[str, Any],
) -> tuple[list[Any], int]:
    """The pictures, and the number of the first file; each batch is saved before the next."""
    from tgp_multimodal.inference.image import BATCH

    pictures: list[Any] = []
    paths: list[Any] = []
    first = 0
    notes = _size_note(settings["size"], model.training_size)
    try:
        with progress_bar(len(prompts)) as progress:
            for start in range(0, len(prompts), BATCH):
                batch = slice(start, start + BATCH)
                share = _behind(start, progress, notes)
                drawn = model.draw(prompts[batch], seed=seeds[batch], **settings, progress=share)
                if not start:
                    first = _first(place)
                for i, picture in enumerate(drawn, start):
                    about = {"prompt": prompts[i], "seed": seeds[i], **facts}
                    paths.append(_save(picture, place, first + i, about))
                pictures += drawn
    finally:  # behind the bar, which a line between would break; of an interrupted call, too
        for path in paths:
            print(path)
    return pictures, first


def _behind(
    start: int, progress: Callable[[float], None] | None, notes: list[str]
) -> Callable[[float], None]:
    """Tells of a batch that so many pictures came before it, and the notes once it is under way."""
    import sys

    def told(count: float) -> None:
        while notes:
            print(notes.pop(0), file=sys.stderr)
        if progress:
            progress(start + count)

    return told


def _facts(settings: dict[str, Any], weights: str) -> dict[str, Any]:
    """What a picture says of how it was drawn, beside its prompt and seed."""
    import tgp_multimodal

    given = {name: value for name, value in settings.items() if value is not None}
    return given | {"weights": weights, "software": f"tgp-multimodal {tgp_multimodal.__version__}"}


def _size_note(size: int | tuple[int, int] | None, trained: int) -> list[str]:
    """A line where pictures will not be nearly as large as those of training, or none."""
    rows, columns = size if isinstance(size, tuple) else (size or trained,) * 2
    if trained**2 / 2 <= rows * columns <= 2 * trained**2:
        return []
    return [
        f"note: {rows}x{columns} is far from {trained}x{trained}, the size of training: expect "
        "more, fewer or broken things"
    ]


def _prompts(prompts: list[str] | None, grid: str | None) -> list[str]:
    if grid is not None:
        if prompts:
            raise ValueError("grid must be given in place of prompts. Got both instead.")
        try:
            prompts = _lines(read_file(grid).splitlines())
        except (FileNotFoundError, IsADirectoryError):
            prompts = []
        if not prompts:
            raise ValueError(f"grid must be a file with a prompt in each line. Got {grid} instead.")
    elif prompts == ["-"]:
        prompts = _lines(input_lines())
    if not prompts:
        raise ValueError("prompts must hold at least one prompt. Got none instead.")
    return prompts


def _lines(text: Iterable[str]) -> list[str]:
    return [line.strip() for line in text if line.strip()]


def _size(size: str | None) -> int | tuple[int, int] | None:
    import re

    if size is None:
        return None
    found = re.fullmatch(r"(-?\d+)(?:x(-?\d+))?", size)
    if not found:
        raise ValueError(
            f"size must be like 32, or 32x48 for rows and columns. Got {size} instead."
        )
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def _picture(name: str, path: str | None) -> Any:
    from pathlib import Path

    from tgp_multimodal.inference.init_image import read_picture

    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"{name} must be an existing picture file. Got {path} instead.")
    return read_picture(path)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[float], None] | None]:
    """Shows how many pictures are drawn and the time left on a terminal; nothing elsewhere.

    Args:
        total: pictures to draw.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    bar = Progress(
        TextColumn("drawing"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} pictures,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
    )
    task = bar.add_task("", total=total)
    with bar:
        yield lambda drawn: bar.update(task, completed=drawn)


def _place(output: str) -> Any:
    """The folder for pictures, checked before minutes of work."""
    from pathlib import Path

    from tgp_multimodal.data import images

    place = Path(output)
    if place.suffix.lower() in images.SUFFIXES and not place.is_dir():
        raise ValueError(
            f"output must be a folder, for pictures and a sheet. Got {output} instead."
        )
    there = next(p for p in (place, *place.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ValueError(f"output must be a folder, or a new one. Got the file {there} instead.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"output must be a folder to write into. Got {output}, closed, instead.")
    return place


def _first(place: Any) -> int:
    """Makes the folder; returns the first number after all pictures and sheets in it."""
    import re

    place.mkdir(parents=True, exist_ok=True)
    own = re.compile(r"(?:(\d{3,6})(?:-.*)?|(?:sheet|grid)(?:-(\d{3,6}))?)\.png")
    ours = (own.fullmatch(path.name) for path in place.iterdir())
    return max((int(one[1] or one[2] or 0) for one in ours if one), default=-1) + 1


def _save(picture: Any, place: Any, number: int, facts: dict[str, Any]) -> Any:
    import re

    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    for key, value in facts.items():
        about.add_itxt(key, str(value))
    words = re.sub(r"\W+", "-", facts["prompt"]).strip("-")[:60]
    path = place / (f"{number:03d}-{words}.png" if words else f"{number:03d}.png")
    picture.save(path, pnginfo=about)
    return path


def _save_sheet(
    pictures: Any, prompts: list[str], seeds: list[int], columns: int | None, place: Any, first: int
) -> None:
    """Writes the grid if it has columns, else the sheet of several pictures."""
    from tgp_multimodal.inference.sheets import contact_sheet, grid_sheet

    if columns is not None:
        headings = [f"seed {seed}" for seed in seeds[:columns]]
        name, sheet = "grid", grid_sheet(pictures, prompts[::columns], headings)
    elif len(pictures) > 1:
        captions = prompts
        if len(set(prompts)) < len(prompts):
            captions = [f"{p or _EMPTY}, seed {s}" for p, s in zip(prompts, seeds, strict=True)]
        name, sheet = "sheet", contact_sheet(pictures, [caption or _EMPTY for caption in captions])
    else:
        return
    path = place / (f"{name}-{first:03d}.png" if first else f"{name}.png")
    sheet.save(path)
    print(path)

"""`tgp draw`: pictures from prompts."""


def draw(
    folder: str,
    prompts: list[str],
    output: str = "drawings",
    steps: int = 20,
    guidance: float = 4.0,
    seed: int = 0,
    size: int | None = None,
    count: int = 1,
    sampler: str = "ancestral",
) -> None:
    """Draw pictures from prompts: PNG files that say how they were made, and a contact sheet.

    Picture number i starts from the noise of seed + i.

    Args:
        folder: export folder of the model.
        prompts: one picture is drawn for each, or one for each line of standard input with -.
        output: folder for the PNG files.
        steps: how often the network is asked; more is finer and slower.
        guidance: how strictly the prompt is followed; 1 is no guidance and half the work.
        seed: of the first picture; the same seed draws the same picture.
        size: side in pixels, a multiple of the model's patch; left out: what it was trained on.
        count: pictures per prompt.
        sampler: ancestral; euler, which draws what the stock pipeline draws; or heun.

    Examples:
        tgp draw runs/nano/export "a red circle left of a blue square"
        tgp draw runs/nano/export "a green triangle" --count 8 --output triangles
    """
    import re
    import sys
    from pathlib import Path

    from PIL.PngImagePlugin import PngInfo

    import tgp_multimodal
    from tgp_multimodal.inference.sheets import contact_sheet

    if count < 1:
        raise ValueError(f"count must be at least 1. Got {count} instead.")
    if prompts == ["-"]:
        prompts = [line.strip() for line in sys.stdin if line.strip()]
    model = tgp_multimodal.load(folder)
    wanted = [prompt for prompt in prompts for _ in range(count)]
    pictures = model.draw(wanted, steps, guidance, seed, size, sampler)
    place = Path(output)
    place.mkdir(parents=True, exist_ok=True)
    for index, (prompt, picture) in enumerate(zip(wanted, pictures, strict=True)):
        about = PngInfo()
        facts = {
            "prompt": prompt,
            "seed": seed + index,
            "steps": steps,
            "guidance": guidance,
            "sampler": sampler,
            "weights": model.digest,
            "software": f"tgp-multimodal {tgp_multimodal.__version__}",
        }
        for key, value in facts.items():
            about.add_itxt(key, str(value))
        words = re.sub(r"\W+", "-", prompt).strip("-")[:60]
        path = place / f"{index:03d}-{words}.png"
        picture.save(path, pnginfo=about)
        print(path)
    if len(pictures) > 1:
        contact_sheet(pictures, wanted).save(place / "sheet.png")
        print(place / "sheet.png")

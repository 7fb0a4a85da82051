"""Small raw data, and `tgp prepare` on it, for the tests of what it makes and what it refuses."""

import io
import json
from itertools import pairwise

import numpy as np
from PIL import Image

from tgp_multimodal.cli import main
from tgp_multimodal.data import prepared
from tgp_multimodal.data import tokenizer as tokenizers


def jsonl(path, rows):
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return path


def words(count):
    return [f"document {i} says {i * i} \u00e9\n" for i in range(count)]


def image(seed, kind="PNG"):
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def picture_folder(folder, count, kind="PNG"):
    (folder / "noise").mkdir(parents=True)
    for i in range(count):
        (folder / "noise" / f"{i:03}.{kind.lower()}").write_bytes(image(i, kind))
    return folder


def texts_of(output, name):
    found = prepared.open_text(output / "text", name)
    tokenizer = tokenizers.load(output / "tokenizer")
    return [tokenizer.decode(found.tokens[a:b]) for a, b in pairwise(found.offsets)]


def run(capsys, *arguments):
    """Exit code, what it printed, and the one line of its error."""
    code = main(["prepare", *map(str, arguments)])
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("tgp: ")]
    assert len(errors) == (code != 0)
    return code, out, errors[0] if errors else ""


def nothing_is_left(output):
    return not list(output.glob("*/manifest.json")) and not (output / ".partial").exists()

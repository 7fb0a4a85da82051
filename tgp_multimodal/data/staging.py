"""Where a prepared set is built, and how it takes the place of an older one.

Everything is built in `<output>/.partial/` and moved at the end, so that a run that is killed or
refuses its data leaves neither half a set nor a damaged old one. Nothing is removed but files that
`tgp prepare` writes, and those only where the caller said so.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from tgp_multimodal.data.prepared import MANIFEST, manifest

PARTS = ("text", "pictures", "tokenizer")

_STAGING = ".partial"
_FILES = {
    "text": (MANIFEST, "*.tokens.npy", "*.offsets.npy", "*.streams.npy", "ngrams.npy"),
    "pictures": (MANIFEST, "*.pixels.npy", "*.captions.json", "*.streams.npy"),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json"),
}


@contextmanager
def staged(output: Path, tokenizer: Path | None, overwrite: bool) -> Iterator[Path]:
    """A folder to build the parts of a set in; they move to `output` if the block ends well.

    Args:
        output: the set's folder.
        tokenizer: folder of a tokenizer that is used and therefore may lie in `output` already.
        overwrite: replace a set that `output` holds.

    Raises:
        ValueError: `output` holds a set, or something that is none.
    """
    _check_free(output, tokenizer, overwrite)
    staging = output / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    # If this dies, what it leaves says that the parts in `output` are ours to replace.
    _install(staging, output)
    shutil.rmtree(staging, ignore_errors=True)


def _check_free(output: Path, tokenizer: Path | None, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"output must be a folder. Got {output}, which is a file, instead.")
    sets = [name for name in PARTS[:2] if (output / name / MANIFEST).is_file()]
    if sets and not overwrite:
        raise ValueError(
            f"output must be a folder without a prepared set, unless --overwrite is given. "
            f"Got {output}, which holds {' and '.join(sets)}, instead."
        )
    is_ours = bool(sets) or (output / _STAGING).is_dir()
    for name in PARTS:
        if not _may_replace(output / name, is_ours, tokenizer):
            there = f"{output} with a {name}/ that `tgp prepare` did not write"
            raise ValueError(f"output must be a folder of its own. Got {there} instead.")


def _may_replace(folder: Path, is_ours: bool, tokenizer: Path | None) -> bool:
    if not folder.exists():
        return True
    if folder.name == "tokenizer":
        return is_ours or (tokenizer is not None and folder.samefile(tokenizer))
    if (folder / MANIFEST).is_file():
        try:
            return manifest(folder)["kind"] == folder.name
        except ValueError:
            return False
    patterns = _FILES[folder.name]  # what a kill in the middle of `_install` leaves
    return all(any(fnmatch(p.name, pattern) for pattern in patterns) for p in folder.iterdir())


def _install(staging: Path, output: Path) -> None:
    for name in PARTS:
        (output / name / MANIFEST).unlink(missing_ok=True)
    for name in PARTS:
        _replace(staging / name, output / name, _FILES[name])
    for name in PARTS[:2]:
        if (staging / name).is_dir():
            (staging / name / MANIFEST).replace(output / name / MANIFEST)


def _replace(new: Path, old: Path, patterns: tuple[str, ...]) -> None:
    """Moves all but the manifest."""
    for pattern in patterns:
        for path in old.glob(pattern):
            path.unlink()
    if new.is_dir():
        old.mkdir(exist_ok=True)
        for path in new.iterdir():
            if path.name != MANIFEST:
                path.replace(old / path.name)
    elif old.is_dir() and not any(old.iterdir()):
        old.rmdir()

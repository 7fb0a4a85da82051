"""Where a prepared set is built, and how it takes the place of an older one.

Everything is built in `<output>/.partial/` and moved at the end, so that a run that is killed or
refuses its data leaves neither half a set nor a damaged old one. What a killed run leaves there is
resumed by the next one if that does the same work, and removed otherwise. Nothing else is removed
except files that `tgp prepare` writes, and those only if the caller asks for it.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tgp_multimodal import __version__
from tgp_multimodal.data.prepared import FORMAT, MANIFEST, manifest
from tgp_multimodal.data.sources import Source

PARTS = ("text", "pictures", "chat", "tokenizer")

_DATA = PARTS[:-1]

_STAGING = ".partial"
_ORDER = 3  # raised with whatever changes how documents are cut, or their order
_WORK = "work.json"
_LOCK = "lock"
_FILES = {
    "text": (MANIFEST, "*.tokens.npy", "*.offsets.npy", "*.streams.npy", "ngrams.npy"),
    "pictures": (MANIFEST, "*.pixels.npy", "*.captions.json", "*.streams.npy"),
    "chat": (MANIFEST, "*.tokens.npy", "*.answers.npy", "*.offsets.npy", "*.streams.npy"),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
}


@contextmanager
def staged(
    output: Path, tokenizer: Path | None, overwrite: bool, work: str | None = None
) -> Iterator[Path]:
    """A folder to build the parts of a set in; they move to `output` if the block ends well.

    Args:
        output: the set's folder.
        tokenizer: folder of a tokenizer that is used and therefore may lie in `output` already.
        overwrite: replace a set that `output` holds.
        work: what is done, in full; a run that was stopped while it did the same left a folder that
            is taken up. None always starts with an empty one.

    Raises:
        ValueError: `output` holds a set, or something that is none, or another run is at work.
    """
    _check_free(output, tokenizer, overwrite)
    staging, was_there = output / _STAGING, output.exists()
    staging.mkdir(parents=True, exist_ok=True)
    with _locked(staging):
        _clear_unless_of(staging, work)
        try:
            yield staging
        except BaseException as error:
            # ValueError: the data were refused. After a full disk or Ctrl-C the next run resumes.
            if work is None or isinstance(error, ValueError):
                shutil.rmtree(staging, ignore_errors=True)
                if not was_there and not any(output.iterdir()):
                    output.rmdir()
            raise
        # If this dies, what it leaves says that the parts in `output` are ours to replace.
        (staging / _WORK).unlink(missing_ok=True)
        _install(staging, output)
        shutil.rmtree(staging, ignore_errors=True)


def work_identity(
    settings: Mapping[str, Any],
    text: Sequence[Source],
    learned: Sequence[Source],
    tokenizer: Path | None,
) -> str | None:
    """All that decides what is made of the text, or None if it cannot be known.

    Args:
        settings: how the text is prepared.
        text: its sources.
        learned: what else a tokenizer is trained on.
        tokenizer: folder of one that is given.
    """
    if not text or any(source.state is None for source in (*text, *learned)):
        return None
    file = None if tokenizer is None else tokenizer / "tokenizer.json"
    raw = file.read_bytes() if file is not None and file.is_file() else b""
    facts = {
        "version": [FORMAT, _ORDER, __version__],
        "settings": dict(settings),
        "text": [[s.name, s.stream, s.state, s.split] for s in (*text, *learned)],
        "tokenizer": hashlib.sha256(raw).hexdigest(),
    }
    return json.dumps(facts, indent=1)


def leave_out(staging: Path, parts: Mapping[str, object]) -> None:
    """Removes parts of a stopped run that this one does not make: those whose sources are none."""
    for name, sources in parts.items():
        if not sources:
            shutil.rmtree(staging / name, ignore_errors=True)


@contextmanager
def _locked(staging: Path) -> Iterator[None]:
    """Holds a lock that the system takes away when the process ends, however it ends."""
    with (staging / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wanted = "output must be a folder that no other `tgp prepare` works on"
            raise ValueError(f"{wanted}. Got {staging.parent} instead.") from None
        yield


def _clear_unless_of(staging: Path, work: str | None) -> None:
    known = staging / _WORK
    if work is not None and known.is_file() and known.read_text(encoding="utf-8") == work:
        return
    known.unlink(missing_ok=True)
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink()
    if work is not None:
        partial = staging / f"{_WORK}.partial"
        partial.write_text(work, encoding="utf-8")
        partial.replace(known)


def _check_free(output: Path, tokenizer: Path | None, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"output must be a folder. Got {output}, which is a file, instead.")
    sets = [name for name in _DATA if (output / name / MANIFEST).is_file()]
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
    for name in _DATA:
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

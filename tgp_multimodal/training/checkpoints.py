"""Checkpoints that survive a kill at any moment: the newest whole one is always there.

A checkpoint is a zip file whose records carry checksums. It is written beside the old one, synced
to the disk, and renamed; the one before it is kept.
"""

import errno
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_NAMES = ("last.ckpt", "previous.ckpt")  # newest first


def folder_of(run: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return Path(run) / "checkpoints"


def is_whole(path: Path) -> bool:
    """Whether a checkpoint has all its records, each with its checksum (CRC-32)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        return False


def newest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None; warns of a damaged one."""
    for name in _NAMES:
        path = folder_of(run) / name
        if is_whole(path):
            return path
        if path.is_file():
            warnings.warn(f"checkpoint {path} is damaged and was skipped", stacklevel=2)
    return None


class Checkpoint(Callback):
    """Keeps `checkpoints/last.ckpt`, and the one before as `previous.ckpt`.

    Args:
        folder: the run's folder.
        every: steps between two checkpoints; 0 for one at the end alone.
    """

    def __init__(self, folder: Path, every: int = 500) -> None:
        self.folder, self.every = folder_of(folder), every
        self._saved, self._is_last_ours = -1, False

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self.every and trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self._saved:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint of the present step; every process must call it."""
        last, previous = (self.folder / name for name in _NAMES)
        partial = last.with_suffix(".partial")
        self.folder.mkdir(parents=True, exist_ok=True)
        if trainer.is_global_zero:
            partial.unlink(missing_ok=True)
        trainer.save_checkpoint(partial)
        self._saved = trainer.global_step
        if trainer.is_global_zero:
            if not partial.is_file():  # Lightning is silent where it may not write
                raise PermissionError(errno.EACCES, "it may not be written", str(partial))
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            # A damaged one must not take the place of a whole one.
            if last.is_file() and (self._is_last_ours or is_whole(last)):
                last.replace(previous)
            partial.replace(last)
            self._is_last_ours = True
            _sync_folder(self.folder)


def _sync_folder(folder: Path) -> None:
    """Makes the renames themselves survive a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)

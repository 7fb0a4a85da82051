"""Where a number was made: versions, machine, commit, day."""

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tgp_multimodal

_PACKAGES = ("torch", "transformers", "diffusers", "numpy", "scipy", "scikit-learn")
# Code whose text is the embedded data: another version makes other items.
CORPUS = (
    *("numpy", "scipy", "scikit-learn", "torch", "transformers", "diffusers", "lightning"),
    *("networkx", "sympy"),
)
# Where the code lies that a number can depend on.
_CODE = ("adapters", "data", "diffusion", "evaluation", "inference", "models", "export.py")


def describe() -> dict[str, Any]:
    """Facts about this run; the same for all its results but for the date."""
    return {
        "tgp_multimodal": tgp_multimodal.__version__,
        "code": code_digest(),
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def threads() -> int | None:
    """Threads of numerical libraries: what the environment asks for, or else one per core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal():
        return int(asked)
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()


def corpus_versions() -> str:
    """One line that changes with the Python installation that the embedded data are read from."""
    return " ".join([platform.python_version(), *(f"{n}={_version(n)}" for n in CORPUS)])


@lru_cache
def code_digest(*more: str) -> str:
    """SHA-256 over the text of all code of this package that a number can depend on.

    By the version alone, a stored number would be kept while the code behind it is being changed.
    The command line, training and the leaderboard affect no number, and are left out.

    Args:
        more: further folders of the package that affect this number.
    """
    root = Path(tgp_multimodal.__file__).parent
    files = [file for name in (*_CODE, *more) for file in (root / name).rglob("*.py")]
    files += [root / name for name in _CODE if name.endswith(".py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        if not file.name.startswith("leaderboard"):
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with + where it has been changed."""
    root = Path(tgp_multimodal.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")

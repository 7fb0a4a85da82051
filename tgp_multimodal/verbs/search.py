"""`tgp search`: ranks texts by meaning."""

from collections.abc import Iterator
from pathlib import Path

_LARGEST = 1_000_000  # bytes; a larger file is data, not text to read


def search(
    folder: str,
    query: str,
    path: list[str] | None = None,
    pattern: str = "*",
    lines: int = 12,
    k: int = 5,
) -> None:
    """Rank passages of text files by meaning.

    Files are cut into passages of a few lines; each is turned into a vector and compared with the
    query's.

    Args:
        folder: export folder of the model.
        query: what to look for.
        path: files or folders to look in; left out: this folder.
        pattern: which files of a folder to read, for example *.py.
        lines: lines of a passage.
        k: how many passages to show.

    Examples:
        tgp search runs/nano/export "read a file line by line" --path src --pattern "*.py"
        tgp search runs/nano/export "left join" --path notes.md --k 3
    """
    import tgp_multimodal

    for name, value in (("lines", lines), ("k", k)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    passages = [
        (file, number, text)
        for file in _files([Path(p) for p in path or ["."]], pattern)
        for number, text in _passages(file, lines)
    ]
    if not passages:
        where = ", ".join(path or ["."])
        raise ValueError(f"path must hold text files that match {pattern}. Got {where} instead.")
    model = tgp_multimodal.load(folder)
    for index, score in model.search(query, [text for _, _, text in passages], k):
        file, number, text = passages[index]
        print(f"{score:6.3f}  {file}:{number}  {' '.join(text.split())[:100]}")


def _files(paths: list[Path], pattern: str) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            for inner in sorted(path.rglob(pattern)):
                hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
                if inner.is_file() and not hidden and inner.stat().st_size <= _LARGEST:
                    yield inner
        else:
            raise FileNotFoundError(f"path must be a file or a folder. Got {path} instead.")


def _passages(file: Path, lines: int) -> Iterator[tuple[int, str]]:
    """Line number and text of each passage; nothing where the file is no UTF-8 text."""
    try:
        rows = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return
    for start in range(0, len(rows), lines):
        text = "\n".join(rows[start : start + lines]).strip()
        if text and "\0" not in text:
            yield start + 1, text

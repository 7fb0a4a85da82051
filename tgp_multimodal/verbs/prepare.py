"""`tgp prepare`: raw text and pictures to tokenized, memory-mapped folders."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

_MOST_COLUMNS = 5  # streams side by side in 80 characters
_TEXT = {  # numbers of the manifest: their title and their form
    "documents": ("documents", "{:,}"),
    "bytes": ("bytes", "{:,}"),
    "characters": ("characters", "{:,}"),
    "tokens": ("tokens", "{:,}"),
    "bytes_per_token": ("bytes per token", "{:.2f}"),
    "mean_length": ("tokens, mean", "{:,.0f}"),
    "median_length": ("tokens, median", "{:,.0f}"),
    "longest": ("tokens, longest", "{:,}"),
    "repeated_lines": ("repeated lines", "{:.2%}"),
    "non_alphanumeric": ("not alphanumeric", "{:.2%}"),
    "replacement_characters": ("unreadable", "{:.4%}"),
    "exact_duplicates": ("exact duplicates", "{:,}"),
    "near_duplicates": ("near duplicates", "{:,}"),
}
_PICTURES = {
    "pictures": ("pictures", "{:,}"),
    "captions": ("captions", "{:,}"),
    "captions_per_picture": ("captions per picture", "{:.2f}"),
    "most_captions": ("captions, most", "{:,}"),
    "mean_words": ("words, mean", "{:.1f}"),
    "median_words": ("words, median", "{:,.0f}"),
    "words_95": ("words, 95 %", "{:,.0f}"),
    "mean_ids": ("ids, mean", "{:.1f}"),
    "median_ids": ("ids, median", "{:,.0f}"),
    "ids_95": ("ids, 95 %", "{:,.0f}"),
    "cut_at_64": ("cut at 64 ids", "{:.2%}"),
    "repeated_captions": ("repeated captions", "{:.2%}"),
    "duplicates": ("duplicates", "{:,}"),
    "elsewhere": ("in another split", "{:,}"),
}
_SIZES = {  # of a split
    "text": ("documents", "tokens", "bytes"),
    "pictures": ("pictures", "rows", "columns"),
    "chat": ("conversations", "tokens", "answer_tokens", "bytes"),
}
_PLAIN_SECONDS = 10  # between two lines of progress where there is no terminal


def prepare(
    output: str,
    text: list[str] | None = None,
    pictures: list[str] | None = None,
    chat: list[str] | None = None,
    embedded: bool = False,
    tokenizer: str | None = None,
    vocabulary: int = 4096,
    size: int = 32,
    text_column: str = "text",
    image_column: str = "image",
    caption_column: str | None = None,
    stream_column: str | None = None,
    messages_column: str = "messages",
    prompt_column: str = "prompt",
    response_column: str = "response",
    validation_share: float = 0.02,
    allow_bad: float = 0.01,
    keep_duplicates: bool = False,
    near_duplicates: Literal["keep", "drop"] = "drop",
    near_threshold: float = 0.8,
    ngrams: bool = True,
    limit: int | None = None,
    workers: int = 0,
    scenes: int | None = None,
    overwrite: bool = False,
) -> None:
    """Turn raw text and pictures into tokenized, memory-mapped folders.

    A source is PATH or STREAM=PATH, where STREAM names a part of the training mixture. PATH is a
    file, a folder or a quoted pattern: text (.txt, .md, or any file of a pattern), tables
    (.parquet, .jsonl, .jsonl.gz, .jsonl.zst, .csv, .tsv), WebDataset archives (.tar), or picture
    files with metadata.jsonl, metadata.csv, NAME.txt beside each or folders as labels.
    hub:OWNER/NAME streams the split `train` of a data set of the Hugging Face Hub;
    hub:OWNER/NAME:CONFIG:SPLIT names another configuration and split (hub:OWNER/NAME::SPLIT a split
    alone). Rows that cannot be read are listed in OUTPUT/quarantine.jsonl. Repeating the command of
    a stopped or killed run resumes its text where it stopped and gives a bit-identical set;
    pictures are decoded again.

    A picture that occurs several times is stored once, with its captions merged. Where a table of
    pictures has a column `split`, rows of validation and test go there and are never trained on;
    those of train are divided by --validation_share.

    Args:
        output: Folder for tokenizer/, text/, pictures/ and chat/.
        text: Sources of text.
        pictures: Sources of captioned pictures.
        chat: Sources of conversations, tables alone; the tokenizer then gets a chat template.
        embedded: Add the corpus that needs no download: the Python installation, digits, scenes.
        tokenizer: Folder of a tokenizer to use; one is trained on the data if left out.
        vocabulary: Vocabulary size of the tokenizer that is trained.
        size: Side of the pictures in pixels.
        text_column: Column of tables that holds the text.
        image_column: Column of tables that holds the picture.
        caption_column: Column that holds the caption, or a list of captions of one picture; the
            first of captions, caption, text if left out.
        stream_column: Column of tables of pictures that names the stream of each row.
        messages_column: Column of tables that holds a list of messages, each with role and content.
        prompt_column: Column of the question, where there is no column of messages; a cell with
            alternating lines "User: ..." and "Assistant: ..." becomes several messages.
        response_column: Column of its answer.
        validation_share: Share of documents and pictures for validation, chosen by their hash.
        allow_bad: Largest share of unreadable rows of each source.
        keep_duplicates: Keep exact duplicates.
        near_duplicates: Keep or drop near duplicates of earlier documents. Dropped by default: the
            split is by a hash, so the copy of a training document could fall into validation. Each
            document is compared with the last 500,000 that were kept; those of fewer than 50 words
            are never near duplicates.
        near_threshold: Jaccard similarity of word 5-grams that makes a document a near duplicate.
        ngrams: Write text/ngrams.npy, the 13-grams of the training text, for reports of
            contamination; it takes about as much disk as the text. --no_ngrams leaves it out.
        limit: Read that many rows of each source.
        workers: Threads that decode pictures; 0 takes one for each core.
        scenes: Drawn scenes for training, with --embedded; left out: 20,000.
        overwrite: Replace a prepared set that the output holds.

    Examples:
        tgp prepare data/mine --text books/ code='src/**/*.py' --pictures photos/
        tgp prepare data/web --text prose=articles.jsonl.gz --vocabulary 16384
        tgp prepare data/pairs --pictures pairs.parquet --size 64 --stream_column collection
        tgp prepare data/papers --text papers/ --near_threshold 0.7 --no_ngrams
        tgp prepare data/embedded --embedded
        tgp prepare data/chat --chat raw/questions.jsonl help=raw/help.csv --tokenizer my-model
    """
    from pathlib import Path

    from tgp_multimodal.data import conversations, picture_rows, picture_sources, sources
    from tgp_multimodal.data import prepare as work
    from tgp_multimodal.data.prepare_settings import Settings

    columns = picture_rows.Columns(image_column, caption_column, stream_column)
    said = conversations.Columns(messages_column, prompt_column, response_column)
    documents = [_reader(spec, sources).text(spec, text_column) for spec in text or ()]
    captioned = [_reader(spec, picture_sources).pictures(spec, columns) for spec in pictures or ()]
    talks = [_reader(spec, conversations).conversations(spec, said) for spec in chat or ()]
    if embedded:
        from tgp_multimodal.data import prepare_embedded

        documents += prepare_embedded.text_sources()
        count = 20_000 if scenes is None else scenes
        captioned += prepare_embedded.picture_sources(size, count, seed=0)
    elif scenes is not None:
        raise ValueError(f"embedded must be given with scenes. Got scenes {scenes} alone instead.")
    settings = Settings(
        vocabulary, size, validation_share, allow_bad, limit, workers, keep_duplicates,
        near_duplicates, near_threshold, ngrams,
    )  # fmt: skip
    given, folder = None if tokenizer is None else Path(tokenizer), Path(output)
    try:
        with progress_bar() as progress:
            done = work.prepare(
                folder, documents, captioned, settings, given, overwrite, progress, talks
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(folder)) from None
    show(done, None if given else vocabulary, given)


def _interrupted(output: Any) -> str:
    if (output / ".partial").is_dir():
        return f"interrupted; the same command goes on with what {output / '.partial'} holds"
    return f"interrupted; {output} is as it was, and the same command starts anew"


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Shows how far `data.prepare` is: a bar on a terminal, a line now and then otherwise."""
    import time

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(time.monotonic)
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total, rate="")
        speed = bar.tasks[tasks[what]].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        bar.update(tasks[what], completed=done, total=total, rate=rate)

    with bar:
        yield report


def show(done: Any, vocabulary: int | None = None, model: "Path | None" = None) -> None:
    """Prints what a prepared set holds and what was left out of it.

    Args:
        done: what `data.prepare.prepare` returned.
        vocabulary: ids that a tokenizer was to be trained with; None if none was.
        model: folder of the tokenizer that was used; an export of ours can be trained further.
    """
    from rich.markup import escape

    from tgp_multimodal import consoles

    console = consoles.console()
    for table in _tables(done):
        console.print(table)
    for line in _bad_rows(done):
        console.print(escape(line))
    for kind, found in (("text", done.text), ("pictures", done.pictures), ("chat", done.chat)):
        if found is not None and "validation" not in found["splits"]:
            console.print(f"note: {kind} has no validation split")
    for stream in _emptied(done):
        console.print(
            f"note: nothing is left of the stream {escape(stream)}, whose rows are bad or copies "
            "of other rows"
        )
    learned = done.tokenizer.vocabulary
    if vocabulary is not None and learned < vocabulary:
        console.print(
            f"note: the text holds too few different pairs for a vocabulary of {vocabulary:,}"
        )
    console.print(f"tokenizer: {learned:,} ids, {done.tokenizer.digest[:12]}")
    if done.text or done.pictures:
        folder = shlex.quote(str(done.folder))
        has_weights = model is not None and (model / "tgp.json").is_file()
        start = f"--init_from {shlex.quote(str(model))}" if has_weights else "--size nano"
        fit = f"tgp fit {start} --data.folder {folder}"
        console.print(f"train on it: {escape(fit)}", soft_wrap=True)


def _bad_rows(done: Any) -> Iterator[str]:
    """The first bad rows of each source, and where all of them are listed."""
    for tally in done.tallies:
        yield from (f"bad: {bad.source} {bad.row}: {bad.reason}" for bad in tally.first)
        if (more := tally.bad - len(tally.first)) > 0:
            yield f"bad: {more:,} more of {tally.name}"
    if any(tally.bad for tally in done.tallies):
        yield f"all bad rows: {done.folder / 'quarantine.jsonl'}"


def _emptied(done: Any) -> Iterator[str]:
    """Streams of the sources without a document or a picture."""
    for found, unit in ((done.text, "documents"), (done.pictures, "pictures")):
        for stream in dict.fromkeys(s["stream"] for s in (found or {}).get("sources", ())):
            if found["quality"].get(stream, {}).get(unit) == 0:
                yield stream


def _tables(done: Any) -> Iterator[Any]:
    """The splits, the sources, what the data are like, and the licenses of the pictures."""
    parts = [("text", done.text, _TEXT), ("pictures", done.pictures, _PICTURES)]
    there = [(kind, found, numbers) for kind, found, numbers in parts if found is not None]
    for kind, found, _ in [*there, *([("chat", done.chat, {})] if done.chat else [])]:
        yield _splits_table(kind, found)
    yield _sources_table(done)
    for kind, found, numbers in there:
        yield from _quality_tables(kind, found["quality"], numbers)
    if done.pictures is not None:
        yield _licenses_table(done.pictures["quality"])


def _splits_table(kind: str, found: dict[str, Any]) -> Any:
    from rich.table import Table

    names = _SIZES[kind]
    table = Table(title=kind, title_justify="left")
    table.add_column("split")
    last = ("bytes per token",) if kind == "text" else ()
    for name in (*names, *last):
        table.add_column(name.replace("_", " "), justify="right")
    for split, sizes in found["splits"].items():
        cells = [f"{sizes[name]:,}" for name in names]
        if kind == "text":
            cells.append(f"{sizes['bytes'] / max(1, sizes['tokens']):.2f}")
        table.add_row(split, *cells)
    return table


def _sources_table(done: Any) -> Any:
    from rich.markup import escape
    from rich.table import Table

    from tgp_multimodal.data.sources import short_name

    table = Table(title="sources", title_justify="left")
    table.add_column("source", overflow="fold")
    table.add_column("stream")
    for name in ("rows", "bad rows", "duplicates", "MB"):
        table.add_column(name, justify="right")
    for found in (done.text, done.pictures, done.chat):
        for fact in found["sources"] if found else ():
            numbers = [f"{fact[name]:,}" for name in ("rows", "bad", "duplicates")]
            size = f"{fact['bytes'] / 1e6:,.1f}" if fact["bytes"] else ""
            short = short_name(fact["name"], 2)  # the manifest has all of it
            table.add_row(escape(short), escape(fact["stream"]), *numbers, size)
    return table


def _quality_tables(
    kind: str, quality: dict[str, Any], numbers: dict[str, tuple[str, str]]
) -> Iterator[Any]:
    """What the data are like: a row for each number, a column for each stream, a few at a time."""
    from rich.markup import escape
    from rich.table import Table

    streams = list(quality.items())
    for start in range(0, len(streams), _MOST_COLUMNS):
        some = streams[start : start + _MOST_COLUMNS]
        table = Table(title=f"{kind} by stream", title_justify="left")
        table.add_column("")
        for stream, _ in some:
            table.add_column(escape(stream), justify="right", overflow="fold")
        for name, (title, form) in numbers.items():
            table.add_row(title, *(form.format(told[name]) for _, told in some))
        yield table


def _licenses_table(quality: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="licenses of pictures", title_justify="left")
    table.add_column("stream")
    table.add_column("license", overflow="fold")
    table.add_column("pictures", justify="right")
    for stream, told in quality.items():
        for license, count in told["licenses"].items():
            table.add_row(escape(stream), escape(license), f"{count:,}")
    return table


def _plain(clock: Callable[[], float]) -> Callable[[str, int, int | None], None]:
    import sys

    said: dict[str, float] = {}

    def report(what: str, done: int, total: int | None) -> None:
        is_new = what not in said
        last = said.setdefault(what, clock())
        if done == total or (is_new and not done) or clock() - last >= _PLAIN_SECONDS:
            said[what] = clock()
            count = f": {done:,}" + (f" of {total:,}" if total else "") if done else ""
            print(what + count, file=sys.stderr)

    return report


def _reader(spec: str, local: Any) -> Any:
    """The module that reads a source: of the Hub, or the one of local files."""
    from tgp_multimodal.data import sources

    if not sources.parse(spec)[1].startswith(sources.PREFIX):
        return local
    from tgp_multimodal.data import hub

    return hub

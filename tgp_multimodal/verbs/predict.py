"""`tgp predict`: labels a file with a model that `tgp adapt` made."""

from pathlib import Path


def predict(
    adapted: str,
    input: str,
    output: str,
    text: str = "text",
    second: str | None = None,
    overwrite: bool = False,
) -> None:
    """Label a file with a model that `tgp adapt` made.

    Rows are read and written some hundred at a time, so that a file may be of any size. All columns
    stay, and `label` and `probability` come behind them (`predicted_label` and
    `predicted_probability` where the file has such columns). A row without text gets none. Several
    labels are parted by |, tags by spaces.

    Args:
        adapted: folder that `tgp adapt` wrote.
        input: table (.csv, .tsv, .jsonl, .parquet), or a folder of pictures.
        output: file to write (.csv, .tsv or .jsonl).
        text: column of the text, or of the list of words.
        second: column of the second text, where pairs are judged.
        overwrite: replace the output if it is there.

    Examples:
        tgp predict adapted/mail new.csv labelled.csv --text body
        tgp predict adapted/pairs new.parquet labelled.jsonl --text question --second passage
        tgp predict adapted/leaves pictures/ labelled.csv
    """
    import tgp_multimodal
    from tgp_multimodal.data.labelled import Columns
    from tgp_multimodal.inference.labelling import Labelling, writer

    source = Path(input)
    if source.resolve() == Path(output).resolve():
        raise ValueError(
            f"output must be another file than the input. Got {output} for both instead."
        )
    if Path(output).exists() and not overwrite:
        raise ValueError(
            f"output must be a new file, unless --overwrite is given. Got {output} instead."
        )
    model = tgp_multimodal.load_adapted(adapted)
    work = Labelling(model, Columns(text=text, second=second))
    chunks = work.pictures(source) if source.is_dir() else work.table(source)
    with writer(Path(output)) as write:
        for rows in chunks:
            write(rows)
    print(f"{work.labelled:,} rows labelled in {output}")
    for what, bad in (("could not be read", work.bad), ("hold no text", work.empty)):
        if bad:
            print(f"{len(bad):,} rows {what}; the first: {bad[0]}")

"""`tgp predict`: labels a file with a model that `tgp adapt` made."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgp_multimodal.inference.labelling import Labeller


def predict(
    adapted: str,
    input: str,
    output: str,
    text: str | None = None,
    second: str | None = None,
    overwrite: bool = False,
) -> None:
    """Label a file with a model that `tgp adapt` made.

    Rows are processed a few hundred at a time, so a file may be of any size. All columns are kept,
    and `label` and `probability` are appended (`predicted_label` and `predicted_probability` where
    the file has such columns); they are empty for a row without text. A model that predicts numbers
    gives no probability. Several labels are separated by |, tags by spaces. Rows and pictures that
    cannot be read are left out and listed in OUTPUT.quarantine.jsonl. What an interrupted call has
    labelled is in OUTPUT.partial.

    Args:
        adapted: folder that `tgp adapt` wrote.
        input: table (.csv, .tsv, .jsonl, .parquet), or a folder of pictures.
        output: file to write (.csv, .tsv or .jsonl).
        text: column of the text, or of the words that are tagged; left out: that of the table that
            the model learned from, or text.
        second: column of the second text, where pairs are judged; likewise.
        overwrite: replace the output if it is there.

    Examples:
        tgp predict adapted/mail new.csv labelled.csv
        tgp predict adapted/pairs new.parquet labelled.jsonl --text question --second passage
        tgp predict adapted/leaves pictures/ labelled.csv
    """
    import tgp_multimodal
    from tgp_multimodal.data.labelled import check_table
    from tgp_multimodal.data.quarantine import Quarantine
    from tgp_multimodal.inference.adapted import read_columns
    from tgp_multimodal.inference.labelling import Labeller, check_output

    source, target = Path(input), Path(output)
    if source.resolve() == target.resolve():
        raise ValueError(
            f"output must be another file than the input. Got {output} for both instead."
        )
    if target.exists() and not overwrite:
        raise ValueError(
            f"output must be a new file, unless --overwrite is given. Got {output} instead."
        )
    if not source.is_dir():
        check_table(source, "input")
    check_output(target)
    bad = target.with_name(f"{target.name}.quarantine.jsonl")
    if source.resolve() == bad.resolve():
        raise ValueError(f"input must be no file that is written anew. Got {input} instead.")
    model = tgp_multimodal.load_adapted(adapted)
    named = {"text": text, "second": second}
    given = {name: column for name, column in named.items() if column is not None}
    columns = read_columns(Path(adapted))._replace(**given)
    with Quarantine(bad, allow_bad=1) as quarantine:
        labeller = Labeller(model, columns, quarantine, learned=named.keys() - given.keys())
        _write(labeller, source, target)
    print(f"{_rows(labeller.labelled)} labelled in {output}")
    if tally := labeller.tally.bad:
        print(f"{tally:,} could not be read, listed in {bad}; {labeller.tally.named()}")
    if missing := labeller.unlabelled:
        print(f"{_rows(len(missing))} got no label; the first: {missing[0]}")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _write(labeller: "Labeller", source: Path, target: Path) -> None:
    """Labels everything; says where the rows are that a call which ends early has labelled."""
    from tgp_multimodal.consoles import live_status
    from tgp_multimodal.inference.labelling import partial_of, writer

    chunks = labeller.pictures(source) if source.is_dir() else labeller.table(source)
    done = 0
    try:
        with writer(target) as write, live_status("labelling") as show:
            for rows in chunks:
                write(rows)
                done += len(rows)
                show(f"{done:,} rows read and labelled")
    except BaseException:
        if done:
            print(f"note: the first {done:,} rows are in {partial_of(target)}", file=sys.stderr)
        raise

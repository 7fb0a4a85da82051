"""The verb `verify`."""


def verify(folder: str) -> int:
    """Check result files against their own records, with no model and no data.

    Every value, interval and mean is recomputed from the records of its items, and every digest is
    checked, so that an edited number, an edited record or a missing file is found. Exits with code
    1 if there is one.

    Args:
        folder: what `tgp evaluate` wrote, or the folder of one model in it.

    Examples:
        tgp verify results
        tgp verify runs/nano/results
    """
    import sys
    from pathlib import Path

    from tgp_multimodal.evaluation.verify import verify as check_folder

    report = check_folder(Path(folder))
    for complaint in report.complaints:
        print(f"tgp: {complaint}", file=sys.stderr)
    count = len(report.files)
    if report.complaints:
        return 1
    by_digest = len(report.by_digest)
    rest = ""
    if by_digest:
        rest = f"; {by_digest} by digests alone, for no list of items gives their number"
    print(f"{folder}: {count} result{'s' * (count != 1)} verified{rest}")
    return 0

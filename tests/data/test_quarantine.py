"""Bad rows are counted, named, written down, and stop the run where there are too many."""

import json

import pytest

from tgp_multimodal.data.quarantine import Bad, Quarantine, Tally


def rows(good, bad):
    yield from range(good)
    yield from (Bad("x.jsonl", f"line {i}", "broken") for i in range(bad))


def kept(path, items, allow_bad=0.01, tally=None):
    with Quarantine(path, allow_bad) as quarantine:
        return list(quarantine.keep(tally or Tally("x.jsonl", "document"), items))


def test_good_rows_pass_and_bad_ones_are_written(tmp_path):
    path, tally = tmp_path / "deep" / "quarantine.jsonl", Tally("x.jsonl")
    assert kept(path, rows(500, 5), tally=tally) == list(range(500))
    assert (tally.rows, tally.bad) == (505, 5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"source": "x.jsonl", "row": f"line {i}", "reason": "broken"} for i in range(5)
    ]
    assert tally.named() == "; ".join(f"x.jsonl line {i}: broken" for i in range(3)) + "; ..."


def test_no_bad_row_no_file_and_an_old_one_goes(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    path.write_text("old")
    kept(path, rows(3, 0))
    assert not path.exists()


def test_more_than_allowed_stops(tmp_path):
    path = tmp_path / "q.jsonl"
    assert len(kept(path, rows(99, 1))) == 99
    expected = (
        r"bad rows must be at most 1 % of x\.jsonl \(--allow_bad\)\. Got 2 of 100 read so far, "
        r"listed in .*q\.jsonl, instead; x\.jsonl line 0: broken; x\.jsonl line 1: broken\.$"
    )
    with pytest.raises(ValueError, match=expected):
        kept(path, rows(98, 2))
    assert len(path.read_text().splitlines()) == 2
    assert len(kept(path, rows(98, 2), allow_bad=0.02)) == 98


def test_a_large_source_of_nothing_but_bad_rows_stops_early(tmp_path):
    def endless():
        while True:
            yield Bad("x", "1", "broken")

    with pytest.raises(ValueError, match=r"Got 11 of 11 read so far,.* x 1: broken; \.\.\.$"):
        kept(tmp_path / "q.jsonl", endless())


def test_nothing_good_is_an_error_of_its_own(tmp_path):
    with pytest.raises(ValueError, match=r"x\.jsonl must hold at least one document\. Got none in"):
        kept(tmp_path / "q.jsonl", rows(0, 0))
    with pytest.raises(ValueError, match=r"Got none \(1 bad: x\.jsonl line 0: broken\) instead\."):
        kept(tmp_path / "q.jsonl", rows(0, 1), allow_bad=1)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_allow_bad_is_a_share(tmp_path, share):
    with pytest.raises(ValueError, match=r"allow_bad must be from 0 to 1\. Got"):
        Quarantine(tmp_path / "q.jsonl", share)

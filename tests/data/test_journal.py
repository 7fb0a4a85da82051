"""A journal gives back what was written, and nothing that was written in part."""

import numpy as np

from tgp_multimodal.data.journal import Journal


def test_numbers_come_back_and_more_are_added(tmp_path):
    first = Journal(tmp_path / "a")
    assert first.take(2) is None
    first.add(np.array([1, 2]))
    first.add(np.array([3]))
    first.file.close()  # a kill
    second = Journal(tmp_path / "a")
    assert second.take(2).tolist() == [1, 2]
    assert second.take(0).tolist() == []
    assert second.take(2) is None  # only one is there, and it is given up
    assert second.take(1) is None
    second.add(np.array([7, 8]))
    second.close()
    second.close()
    assert np.fromfile(tmp_path / "a", dtype=np.int64).tolist() == [1, 2, 7, 8]


def test_a_number_that_was_cut_is_not_there(tmp_path):
    (tmp_path / "a").write_bytes(np.array([5, 6]).tobytes()[:-3])
    journal = Journal(tmp_path / "a")
    assert journal.take(1).tolist() == [5]
    assert journal.take(1) is None
    journal.close()
    assert (tmp_path / "a").stat().st_size == 8

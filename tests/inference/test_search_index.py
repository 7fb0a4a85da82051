"""An index knows what changed, and embeds nothing else."""

import json
import os

import numpy as np
import pytest

from tgp_multimodal.inference import ranking, search_index
from tgp_multimodal.inference.search_index import update


class Embedder:
    """A text's vector is its length and its bytes; counts what it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        numbers = [[len(t), sum(t.encode())] for t in texts]
        return np.array(numbers, dtype=np.float32).reshape(-1, 2)


@pytest.fixture
def embed():
    return Embedder()


@pytest.fixture
def files(tmp_path):
    """Three files of two passages each (two lines a passage), and one that is no text."""
    (tmp_path / "notes").mkdir()
    for name in "abc":
        (tmp_path / "notes" / f"{name}.txt").write_text(f"{name} one\ntwo\n{name} three\n")
    (tmp_path / "notes" / "d.bin").write_bytes(b"\xff\x00")
    return sorted((tmp_path / "notes").iterdir())


def refreshed(tmp_path, files, embed, lines=2, model="m"):
    """What the index finds, and what was embedded for that."""
    embed.asked.clear()
    found = update(tmp_path / "index", files, lines, model, embed)
    expected = [p for file in files for p in search_index.passages(file, lines)]
    assert found.passages == expected
    asked = list(embed.asked)
    assert not expected or np.array_equal(found.vector_ND, embed([p.text for p in expected]))
    return asked


def test_passages_say_where_they_begin(files):
    found = list(search_index.passages(files[0], 2))
    assert [(p.line, p.text) for p in found] == [(1, "a one\ntwo"), (3, "a three")]
    assert list(search_index.passages(files[3], 2)) == []


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize("lines", [1, 4, 5])
def test_the_last_lines_of_a_file_are_no_scrap(tmp_path, count, lines):
    file = tmp_path / "a.txt"
    file.write_text("\n".join(f"line {n}" for n in range(count)))
    found = list(search_index.passages(file, lines))
    assert "\n".join(p.text for p in found) == file.read_text()
    sizes = [p.text.count("\n") + 1 for p in found]
    assert [p.line for p in found] == [1 + lines * n for n in range(len(found))]
    assert set(sizes[:-1]) <= {lines}
    assert sizes[-1] < 1.5 * lines
    assert len(found) == 1 or sizes[-1] >= lines / 2


def test_what_has_not_changed_is_not_embedded_again(tmp_path, files, embed):
    assert len(refreshed(tmp_path, files, embed)) == 6
    before = (tmp_path / "index" / "index.json").stat().st_mtime_ns
    assert refreshed(tmp_path, files, embed) == []
    assert (tmp_path / "index" / "index.json").stat().st_mtime_ns == before


def test_a_changed_file_alone_is_embedded_again(tmp_path, files, embed):
    refreshed(tmp_path, files, embed)
    files[1].write_text("new\n")
    assert refreshed(tmp_path, files, embed) == ["new"]
    assert refreshed(tmp_path, files, embed) == []


def test_a_file_that_was_only_touched_is_not(tmp_path, files, embed):
    refreshed(tmp_path, files, embed)
    os.utime(files[0], ns=(1, 1))
    assert refreshed(tmp_path, files, embed) == []


def test_a_file_of_equal_size_and_another_time_is_read(tmp_path, files, embed):
    refreshed(tmp_path, files, embed)
    files[0].write_text("A one\ntwo\na three\n")
    os.utime(files[0], ns=(1, 1))
    assert refreshed(tmp_path, files, embed) == ["A one\ntwo", "a three"]


def test_files_come_go_and_change_places(tmp_path, files, embed):
    refreshed(tmp_path, files[:2], embed)
    assert refreshed(tmp_path, [files[2], files[0]], embed) == ["c one\ntwo", "c three"]
    content = json.loads((tmp_path / "index" / "index.json").read_text())
    assert list(content["files"]) == [str(files[0]), str(files[1]), str(files[2])]
    assert len(list((tmp_path / "index").glob("vectors-*.npy"))) == 1
    files[0].unlink()  # what exists no more is forgotten, what is not named stays
    assert refreshed(tmp_path, [files[3]], embed) == []
    content = json.loads((tmp_path / "index" / "index.json").read_text())
    assert list(content["files"]) == [str(files[1]), str(files[2]), str(files[3])]
    assert refreshed(tmp_path, [files[2], files[1]], embed) == []


def test_an_interruption_keeps_what_was_embedded(tmp_path, files, embed, monkeypatch):
    monkeypatch.setattr(search_index, "_GROUP", 2)  # of the files each
    seen = []

    def interrupted(texts):
        if seen:
            raise KeyboardInterrupt
        return embed(texts)

    def progress(done, total):
        seen[:] = [(done, total)] if done else []

    with pytest.raises(KeyboardInterrupt):
        update(tmp_path / "index", files, 2, "m", interrupted, progress)
    assert seen == [(2, 6)]
    assert refreshed(tmp_path, files, embed) == ["b one\ntwo", "b three", "c one\ntwo", "c three"]


def test_a_file_that_is_named_twice_stands_there_once(tmp_path, files, embed):
    found = update(tmp_path / "index", [files[0], files[0]], 2, "m", embed)
    assert len(found.passages) == len(found.vector_ND) == 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": "n"}, r"index must be of model n \(remove .*\)\. Got one of m instead"),
        ({"lines": 3}, r"index must be of lines 3 .* Got one of 2 instead"),
    ],
)
def test_an_index_of_another_model_is_refused(tmp_path, files, embed, settings, complaint):
    refreshed(tmp_path, files, embed)
    with pytest.raises(ValueError, match=complaint):
        refreshed(tmp_path, files, embed, **settings)


@pytest.mark.parametrize("damage", ["json", "no vectors", "few vectors", "keys"])
def test_a_damaged_index_is_refused(tmp_path, files, embed, damage):
    refreshed(tmp_path, files, embed)
    vectors = next((tmp_path / "index").glob("*.npy"))
    if damage == "no vectors":
        vectors.unlink()
    elif damage == "few vectors":
        np.save(vectors, np.zeros((2, 2), np.float32))
    else:
        (tmp_path / "index" / "index.json").write_text("{" if damage == "json" else "[]")
    with pytest.raises(ValueError, match=r"index must (be a whole one|hold 6 vectors) \(remove"):
        refreshed(tmp_path, files, embed)


def test_a_folder_of_others_is_left_alone(tmp_path, files, embed):
    with pytest.raises(ValueError, match=r"index must be a folder of its own\. Got .*notes"):
        update(tmp_path / "notes", files, 2, "m", embed)


def test_a_first_write_that_was_killed_is_no_folder_of_others(tmp_path, files, embed):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "vectors-0123.npy").write_bytes(b"half")
    (tmp_path / "index" / "index.json.partial").write_text("{")
    assert refreshed(tmp_path, files, embed)
    assert len(list((tmp_path / "index").glob("vectors-*.npy"))) == 1


def test_an_index_may_begin_with_nothing(tmp_path, files, embed):
    only_binary = [file for file in files if file.suffix == ".bin"]
    assert not update(tmp_path / "index", only_binary, 2, "m", embed).passages
    assert not (tmp_path / "index").exists()
    refreshed(tmp_path, files, embed)
    refreshed(tmp_path, only_binary, embed)
    refreshed(tmp_path, files, embed)


def test_a_ranking_counts_by_how_far_it_sets_a_text_apart():
    """What stands apart in one wins over what is first and second of both."""
    near = np.array([0.81, 0.80, 0.79, 0.78, 0.77, 0.76])
    sure = np.array([1.0, -np.inf, -np.inf, -np.inf, 9.0, -np.inf])
    total = ranking.sum_of_standard_scores([near, sure])
    assert ranking.best(total, 1) == [4]
    apart = sum(ranking.sum_of_standard_scores([one]) for one in (near, sure))
    assert total == pytest.approx(apart)
    assert ranking.sum_of_standard_scores([100 * near - 7, sure]) == pytest.approx(total)
    assert ranking.sum_of_standard_scores([near]).std() == pytest.approx(1)
    assert ranking.best(np.array([1.0, 2.0, 2.0]), 2) == [1, 2]


def test_a_ranking_without_an_opinion_changes_nothing():
    near = np.linspace(0.7, 0.9, 7)
    alone = ranking.sum_of_standard_scores([near])
    vector_D = np.random.default_rng(0).standard_normal(192).astype(np.float32)
    equal = ranking.cosines(vector_D[::-1].copy(), np.tile(vector_D, (7, 1)) * np.c_[1:8])
    for silent in (np.full(7, -np.inf), equal.astype(np.float32)):
        total = ranking.sum_of_standard_scores([near, silent])
        assert total == pytest.approx(alone, abs=1e-12)
    assert ranking.sum_of_standard_scores([near[:1], near[:1]]) == pytest.approx([0])


@pytest.mark.parametrize("missing", [-np.inf, np.nan])
def test_what_is_not_found_is_as_bad_as_the_worst(missing):
    for lowest in (-5.0, 0.0):
        given = np.array([lowest, missing, lowest + 2, lowest + 1])
        total = ranking.sum_of_standard_scores([given])
        assert ranking.best(total, 2) == [2, 3]
        assert total[1] == total[0]


def test_cosines_are_those_of_the_vectors_as_they_are():
    query_D, vector_ND = np.array([3.0, 4.0]), np.array([[4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]])
    assert ranking.cosines(query_D, vector_ND) == pytest.approx([0.96, -1, 0])


def test_lines_are_counted_as_editors_do(tmp_path):
    file = tmp_path / "a.c"
    file.write_bytes("a\n\x0c\nb\u2028still\r\nc\rd\n".encode())
    found = {p.text: p.line for p in search_index.passages(file, 1)}
    assert found == {"a": 1, "b\u2028still": 3, "c": 4, "d": 5}

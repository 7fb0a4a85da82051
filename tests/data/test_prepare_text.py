"""What `tgp prepare` leaves out of text, what it says of the rest, and that it does so always."""

import numpy as np
import pytest
from raw_data import image, jsonl, picture_folder, run, texts_of, words

from tgp_multimodal.data import prepared, sources
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.picture_sources import pictures
from tgp_multimodal.data.prepare import prepare
from tgp_multimodal.data.prepare_settings import Settings

SMALL = Settings(vocabulary=300, size=16, validation_share=0)


def article(seed, count=120):
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 999, count))


ROWS = [article(0), article(0) + " end", article(1), article(0), "short", "short!"]


def two_sources(folder):
    first = jsonl(folder / "a.jsonl", ROWS)
    second = jsonl(folder / "b.jsonl", [article(2), "start " + article(1)])
    return [sources.text(str(first)), sources.text(str(second))]


def test_near_duplicates_go_unless_they_are_kept(tmp_path):
    read = two_sources(tmp_path)
    found = prepare(tmp_path / "o", read, [], SMALL)
    kept = [article(0), article(1), "short", "short!", article(2)]
    assert texts_of(tmp_path / "o", "train") == kept
    assert [s["duplicates"] for s in found.text["sources"]] == [1, 0]
    assert [s["near_duplicates"] for s in found.text["sources"]] == [1, 1]
    quality = prepared.manifest(tmp_path / "o" / "text")["quality"]
    dropped = {s: (n["exact_duplicates"], n["near_duplicates"]) for s, n in quality.items()}
    assert dropped == {"a": (1, 1), "b": (0, 1)}
    prepare(tmp_path / "p", read, [], SMALL._replace(near_duplicates="keep"))
    assert len(texts_of(tmp_path / "p", "train")) == 7


def test_the_two_switches_do_not_meddle(tmp_path):
    prepare(tmp_path / "o", two_sources(tmp_path), [], SMALL._replace(keep_duplicates=True))
    kept = [article(0), article(1), article(0), "short", "short!", article(2)]
    assert texts_of(tmp_path / "o", "train") == kept


def test_a_threshold_decides_what_is_near(tmp_path):
    changed = article(0).split()
    changed[30] = changed[60] = changed[90] = "new"  # 101 of 131 runs of five words are shared
    read = [sources.text(str(jsonl(tmp_path / "a.jsonl", [article(0), " ".join(changed)])))]
    for threshold, count in ((0.6, 1), (0.95, 2)):
        chosen = SMALL._replace(near_threshold=threshold)
        found = prepare(tmp_path / str(threshold), read, [], chosen)
        assert found.text["splits"]["train"]["documents"] == count


def test_the_same_set_on_every_run_and_with_any_number_of_workers(tmp_path):
    read, seen = two_sources(tmp_path), [pictures(str(picture_folder(tmp_path / "in", 6)))]
    digests = set()
    for name, workers in (("a", 1), ("b", 3), ("c", 3)):
        found = prepare(tmp_path / name, read, seen, SMALL._replace(workers=workers))
        index = (tmp_path / name / "text" / "ngrams.npy").read_bytes()
        parts = (found.text["digest"], found.pictures["digest"], str(found.text["quality"]), index)
        digests.add(parts)
    assert len(digests) == 1


def test_a_given_tokenizer_changes_nothing_of_what_is_kept(tmp_path):
    read = two_sources(tmp_path)
    first = prepare(tmp_path / "o", read, [], SMALL)
    second = prepare(tmp_path / "p", read, [], SMALL, tmp_path / "o" / "tokenizer")
    assert first.text["digest"] == second.text["digest"]
    assert first.text["quality"] == second.text["quality"]


def test_the_tokenizer_does_not_see_what_is_dropped(tmp_path, monkeypatch):
    seen, train = [], tokenizers.train
    monkeypatch.setattr(tokenizers, "train", lambda t, v: train(seen.extend(t) or list(t), v))
    prepare(tmp_path / "o", two_sources(tmp_path), [], SMALL)
    assert sorted(seen) == sorted(texts_of(tmp_path / "o", "train"))


def test_quality_is_of_all_splits_and_adds_up(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", words(200))
    chosen = SMALL._replace(validation_share=0.2)
    found = prepare(tmp_path / "o", [sources.text(str(path))], [], chosen).text
    (numbers,) = found["quality"].values()
    for name in ("documents", "tokens", "bytes"):
        assert numbers[name] == sum(sizes[name] for sizes in found["splits"].values())
    opened = [prepared.open_text(tmp_path / "o" / "text", s) for s in ("train", "validation")]
    lengths = np.concatenate([np.diff(s.offsets) for s in opened])
    assert numbers["median_length"] == np.median(lengths)
    assert numbers["longest"] == lengths.max()


def test_the_only_document_of_a_stream_counts_as_its_two_halves(tmp_path):
    (tmp_path / "a.txt").write_text("".join(words(100)))
    chosen = SMALL._replace(validation_share=0.1)
    found = prepare(tmp_path / "o", [sources.text(str(tmp_path / "a.txt"))], [], chosen).text
    assert found["quality"]["a"]["documents"] == 2


def test_the_summary_shows_every_stream(tmp_path, capsys):
    jsonl(tmp_path / "a.jsonl", ROWS)
    streams = [f"s{i}" for i in range(7)]
    for stream in streams[1:]:
        jsonl(tmp_path / f"{stream}.jsonl", [f"only in {stream}"])
    given = [f"s0={tmp_path / 'a.jsonl'}"]
    given += [f"{stream}={tmp_path / stream}.jsonl" for stream in streams[1:]]
    code, out, _ = run(
        capsys, tmp_path / "o", "--vocabulary", 300, "--validation_share", 0,
        "--no_ngrams", "--near_duplicates", "drop", "--text", *given,
    )  # fmt: skip
    assert code == 0
    rows = [line for line in out.splitlines() if "near duplicates" in line]
    assert [cell.strip() for row in rows for cell in row.split("│")[2:-1]] == ["1", *"000000"]
    assert all(stream in out for stream in streams)
    assert "repeated lines" in out
    assert not (tmp_path / "o" / "text" / "ngrams.npy").exists()


@pytest.mark.parametrize(("vocabulary", "is_told"), [(4096, True), (270, False)])
def test_a_vocabulary_that_the_text_does_not_fill_is_told(tmp_path, capsys, vocabulary, is_told):
    path = jsonl(tmp_path / "a.jsonl", ROWS)
    code, out, _ = run(capsys, tmp_path / "o", "--text", path, "--vocabulary", vocabulary)
    assert code == 0
    assert ("too few different pairs for a vocabulary of 4,096" in out) == is_told


def test_a_run_that_refuses_leaves_no_folder_behind(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "mine").mkdir()
    for folder in ("new", "mine"):
        code, _, error = run(
            capsys, tmp_path / folder, "--text", tmp_path / "a.txt", "--vocabulary", 10
        )
        assert code == 2
        assert "vocabulary must be at least" in error
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "mine"}


def test_pictures_alone_need_no_numbers_of_text(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(image(0))
    (tmp_path / "in" / "a.txt").write_text("noise")
    code, out, _ = run(capsys, tmp_path / "o", "--pictures", tmp_path / "in", "--vocabulary", 270)
    assert code == 0
    assert "near duplicates" not in out


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--near_duplicates", "maybe", "near_duplicates must be one that exists. Got maybe"),
        ("--near_threshold", "0.3", "near_threshold must be from 0.5 to 0.95. Got 0.3 instead"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(tmp_path, capsys, option, value, message):
    path = jsonl(tmp_path / "a.jsonl", ROWS)
    code, _, error = run(capsys, tmp_path / "o", "--text", path, option, value)
    assert code == 2
    assert message in error
    assert not (tmp_path / "o").exists()


def test_a_wrong_word_is_refused_in_python_too(tmp_path):
    wrong = SMALL._replace(near_duplicates="maybe")
    with pytest.raises(ValueError, match=r"near_duplicates must be keep or drop\. Got maybe"):
        prepare(tmp_path / "o", two_sources(tmp_path), [], wrong)


def test_a_new_set_without_index_takes_the_old_index_away(tmp_path):
    read = two_sources(tmp_path)
    prepare(tmp_path / "o", read, [], SMALL)
    assert (tmp_path / "o" / "text" / "ngrams.npy").exists()
    prepare(tmp_path / "o", read, [], SMALL._replace(ngrams=False), overwrite=True)
    assert not (tmp_path / "o" / "text" / "ngrams.npy").exists()

"""Items with labels: what kind of task they are, what is held back, what is refused."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from tgp_multimodal.data import rows
from tgp_multimodal.data.labelled import (
    Columns,
    Item,
    Raw,
    check_seen,
    draw,
    folder_of_pictures,
    kind_of,
    label_names,
    labelled,
    table,
)
from tgp_multimodal.data.quarantine import Bad


def raws(*labels, item="some text"):
    return [Raw(item, label, f"f.csv:line {i}") for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (raws("spam", "ham"), "classification"),
        (raws("0", "1", "1"), "classification"),
        (raws(True, False), "classification"),
        (raws("0.5", "1", "2"), "regression"),
        (raws(*map(str, range(13))), "regression"),
        (raws(*map(str, range(12))), "classification"),
        (raws("1", "2", "many"), "classification"),
        (raws(*(f"1_{i}" for i in range(13))), "classification"),
        (raws(["a", "b"], []), "multi_label"),
        (raws(["O", "B-x"], item=("two", "words")), "tagging"),
        (raws(["O", "B-x"], ["O"], item=("two", "words")), "multi_label"),
        (raws(*[["O", "B-x"]] * 19, ["O"], None, item=("two", "words")), "tagging"),
        (raws("0.5", "1", "", None, float("nan"), "2"), "regression"),
        (raws(*map(str, range(20)), "nan", "inf"), "regression"),
        (raws(*map(str, range(9)), "other"), "classification"),
        (raws(*map(str, range(20)), "a", "b", "c"), "classification"),
    ],
)
def test_kind_follows_from_the_labels(found, kind):
    assert kind_of(found) == kind


def test_labels_are_read_as_the_kind_wants_them():
    assert labelled(Raw("t", " a ", "f:1"), "classification").label == "a"
    assert labelled(Raw("t", 3, "f:1"), "classification").label == "3"
    assert labelled(Raw("t", "a| b|a", "f:1"), "multi_label").label == ("a", "b")
    assert labelled(Raw("t", "", "f:1"), "multi_label").label == ()
    assert labelled(Raw("t", "2.5", "f:1"), "regression").label == 2.5
    tags = labelled(Raw("two words", "O B-x", "f:1"), "tagging")
    assert (tags.item, tags.label) == (("two", "words"), ("O", "B-x"))
    for label, kind, reason in [
        (None, "classification", "label must be a name"),
        ("", "classification", "label must be a name"),
        ("many", "regression", "label must be a number"),
        ("nan", "regression", "label must be a number"),
        ("O O O", "tagging", "tags must be 2, one for each word. Got 3"),
    ]:
        bad = labelled(Raw("two words", label, "dir/f.csv:line 7"), kind)
        assert isinstance(bad, Bad)
        assert bad[:2] == ("dir/f.csv", "line 7")
        assert reason in bad.reason


TEXTS = [("good", "a"), ("", "b"), ("fine", "b")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_of_every_kind_give_the_same_items(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in TEXTS))
    elif suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        columns = {"text": [t for t, _ in TEXTS], "label": [n for _, n in TEXTS]}
        parquet.write_table(pyarrow.table(columns), path)
    else:
        comma = "," if suffix == ".csv" else "\t"
        path.write_text("\n".join([f"text{comma}label", *(comma.join(r) for r in TEXTS)]))
    found = list(table(path, Columns()))
    assert [(r.item, r.label) for r in found if isinstance(r, Raw)] == [
        ("good", "a"),
        ("fine", "b"),
    ]
    (bad,) = [r for r in found if isinstance(r, Bad)]
    assert bad.reason == "empty text"
    assert bad.row in ("line 3", "line 2", "row 1")


def test_a_row_with_a_stray_comma_is_named_by_its_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"one, two",a\nthree, four,b\nfive,a\n')
    found = list(rows.read(path, lambda there: there))
    assert [r for r in found if isinstance(r, Bad)] == [
        Bad(str(path), "line 3", "3 cells and not 2")
    ]
    assert len(found) == 3


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_names_of_columns_in_another_encoding(tmp_path, encoding):
    path = tmp_path / "mine.csv"
    path.write_text("text,étiquette\na,b\n", encoding=encoding)
    with pytest.raises(ValueError, match=r"mine.csv must be UTF-8 text. Got a first line in an"):
        list(table(path, Columns("text", "label")))


def test_a_missing_column_is_answered_with_those_there_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("body,team\na,b\n")
    with pytest.raises(ValueError, match=r"label must be a column .*'tema'.*body, team.*mean team"):
        list(table(path, Columns("body", "tema")))
    with pytest.raises(ValueError, match="must be a file or a folder that is there"):
        list(table(tmp_path / "no.csv", Columns()))
    (tmp_path / "t.txt").write_text("a")
    with pytest.raises(ValueError, match="must be a folder of pictures or a file"):
        list(table(tmp_path / "t.txt", Columns()))


def test_pairs(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,label\nx,y,1\nx,,1\n")
    good, bad = table(path, Columns("a", "label", "b"))
    assert good.item == ("x", "y")
    assert bad.reason == "empty text"
    words = tmp_path / "t.jsonl"
    words.write_text('{"a": ["x", "z"], "b": "y", "label": "1"}\n')
    (bad,) = table(words, Columns("a", "label", "b"))
    assert bad.reason == "a list of words in the place of the first of two texts"


def test_folders_of_pictures_are_classes(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), colour).save(tmp_path / name / "one.png")
    (tmp_path / "red" / "broken.png").write_bytes(b"no picture")
    good = [r for r in folder_of_pictures(tmp_path) if isinstance(r, Raw)]
    bad = [r for r in folder_of_pictures(tmp_path) if isinstance(r, Bad)]
    assert [(r.label, r.where) for r in good] == [("blue", "blue/one.png"), ("red", "red/one.png")]
    assert good[1].item[0, 0].tolist() == [255, 0, 0]
    assert [b.row for b in bad] == ["red/broken.png"]
    with pytest.raises(ValueError, match="a folder of pictures for each class"):
        list(folder_of_pictures(tmp_path / "red"))


def items(*labels):
    return [Item(f"text {i}", label, f"line {i}", str(i)) for i, label in enumerate(labels)]


def test_held_back_items_are_a_share_of_each_class_and_the_same_for_a_seed():
    whole = items(*"aaaaaaaaaabbbbc", "c")
    kept, held = draw(whole, "classification", 0.2, seed=3)
    assert sorted([*kept, *held]) == sorted(whole)
    assert [sum(i.label == n for i in held) for n in "abc"] == [2, 1, 1]
    assert draw(whole, "classification", 0.2, seed=3)[1] == held
    assert draw(whole, "classification", 0.2, seed=4)[1] != held
    assert len(draw(items(*np.arange(10.0)), "regression", 0.2, 0)[1]) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_group_larger_than_the_share_stays_in_training(seed):
    often = [Item("the same", "a", f"line {i}", "same") for i in range(100)]
    made = often + items(*"a" * 50)
    _, held = draw(made, "classification", 0.15, seed)
    assert len(held) == 22
    assert not any(item.group == "same" for item in held)


def test_a_class_with_one_item_cannot_be_held_back():
    message = r"at least 2 different items.*Got fewer of 'b' \(line 2\) instead\."
    with pytest.raises(ValueError, match=message):
        draw(items("a", "a", "b"), "classification", 0.5, 0)
    kept, *held = draw(items(*"aaabbb"), "classification", 0.15, 0, parts=2)
    assert [sorted(i.label for i in part) for part in (kept, *held)] == [["a", "b"]] * 3
    with pytest.raises(ValueError, match=r"at least 3 different items.*Got fewer of 'b'"):
        draw(items(*"aaabb"), "classification", 0.15, 0, parts=2)


@given(
    labels=st.lists(st.sampled_from("ab"), min_size=4, max_size=40),
    groups=st.integers(1, 9),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["classification", "multi_label"]),
)
def test_groups_stay_together_and_no_label_leaves_training(labels, groups, seed, kind):
    own = [label if kind == "classification" else (label,) for label in labels]
    made = [i._replace(group=str(n % groups)) for n, i in enumerate(items(*own))]
    try:
        parts = draw(made, kind, 0.2, seed, parts=2)
    except ValueError:
        assume(False)
    assert sorted(i.where for part in parts for i in part) == sorted(i.where for i in made)
    for one, other in itertools.combinations(parts, 2):
        assert not {i.group for i in one} & {i.group for i in other}
    if kind == "multi_label":
        assert {i.label for i in parts[0]} == {i.label for i in made}


def test_labels_that_all_occur_once_cannot_be_held_back():
    for parts in (1, 2):
        with pytest.raises(ValueError, match=r"labels must occur often enough .* Got 5 items inst"):
            draw(items(*[(name,) for name in "abcde"]), "multi_label", 0.2, 0, parts)


def test_equal_items_are_one_group():
    one, same, other = (labelled(Raw(t, "a", f"f:{t}{i}"), "classification") for i, t in enumerate(
        ["a text", "a text", "another"]
    ))  # fmt: skip
    assert one.group == same.group != other.group
    black, white = (np.full((2, 2, 3), n, np.uint8) for n in (0, 255))
    groups = [labelled(Raw(p, "a", "f:1"), "classification").group for p in (black, black, white)]
    assert groups[0] == groups[1] != groups[2]


def test_the_ending_of_a_file_may_be_of_capitals(tmp_path):
    (tmp_path / "A.CSV").write_text("text,label\na b,x\n")
    assert [r.label for r in table(tmp_path / "A.CSV", Columns())] == ["x"]


def test_labels_that_training_does_not_know_are_named():
    known = label_names(items("a", "b"), "classification")
    check_seen("validation", items("b"), "classification", known)
    with pytest.raises(ValueError, match=r"labels of validation .*Got 'c' \(2 items\) instead"):
        check_seen("validation", items("a", "c", "c"), "classification", known)
    with pytest.raises(ValueError, match="'z'"):
        check_seen("test", items(("a", "z")), "multi_label", ["a"])


@pytest.mark.parametrize(
    ("label", "kind", "reason"),
    [
        (5, "multi_label", "label must be a list of names. Got 5 instead"),
        (["a", None], "multi_label", "label must be a list of names. Got ['a', None] instead"),
        (5, "tagging", "tags must be 2, one for each word. Got 5 instead"),
        (["O", None], "tagging", "tags must be names. Got ['O', None] instead"),
        (float("nan"), "classification", "label must be a name. Got nan instead"),
    ],
)
def test_a_label_of_another_kind_costs_its_row(label, kind, reason):
    assert labelled(*raws(label), kind) == Bad("f.csv", "line 0", reason)


def test_pictures_in_folders_of_a_class_belong_to_it(tmp_path):
    names = ["cat/2020/deep/b.png", "cat/a.png", "dog/.cache/c.png", "dog/2020/c.png", "top.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "hound").symlink_to(tmp_path / "dog")
    assert [(raw.label, raw.where) for raw in folder_of_pictures(tmp_path)] == [
        ("cat", "cat/2020/deep/b.png"),
        ("cat", "cat/a.png"),
        ("dog", "dog/2020/c.png"),
        ("hound", "hound/2020/c.png"),
    ]


def test_hidden_folders_and_files_are_no_classes(tmp_path):
    for name in ("cat/a.png", "cat/._a.png", ".ipynb_checkpoints/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert [raw.label for raw in folder_of_pictures(tmp_path)] == ["cat"]

"""The board itself: what is read, compared, averaged and left out."""

import json

import numpy as np
import pytest
from synthetic_results import CARDS, HOSTILE, MODELS, digest, write_all, write_one

from tgp_multimodal.evaluation.leaderboard import build, is_percent, normalise, show
from tgp_multimodal.evaluation.leaderboard_items import compare, read_items
from tgp_multimodal.evaluation.leaderboard_page import render
from tgp_multimodal.evaluation.leaderboard_write import as_data, as_markdown, write


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return build(write_all(tmp_path_factory.mktemp("results")))


def column(board, card):
    return next(c for c in board.columns if c.best.card == card)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_result_stands_once_best_first(board):
    assert {r.model for r in board.results} == set(MODELS)
    assert board.domains == ["text", "code", "biomedical", "image"]
    assert {c.best.card for c in board.columns} == set(CARDS)
    for c in board.columns:
        values = [r.value if r.higher_is_better else -r.value for r in c.results]
        assert values == sorted(values, reverse=True)


def test_lower_is_better_puts_the_lowest_first(board):
    bits = column(board, "text/bits_per_byte")
    assert bits.best.value == min(r.value for r in bits.results)
    assert bits.tests == ["paired bootstrap"]


def test_planted_differences_are_found_and_planted_ties_are_not(tmp_path):
    for model, skill in (("high", 0.8), ("low", 0.3)):
        write_one(tmp_path, model, "code/infilling", skill)
    source = (tmp_path / "high" / "code__infilling.jsonl").read_text()
    write_one(tmp_path, "twin", "code/infilling", 0.8)
    (tmp_path / "twin" / "code__infilling.jsonl").write_text(source)
    high = json.loads((tmp_path / "high" / "code__infilling.json").read_text())
    same = {k: high[k] for k in ("value", "low", "high")}
    edit(tmp_path / "twin" / "code__infilling.json", **same)
    found = build(tmp_path).columns[0]
    assert found.tests == ["exact McNemar"]
    assert found.group == {"high": 1, "twin": 1, "low": 2}
    assert found.is_tied("twin")
    assert not found.is_tied("low")


def test_one_item_tells_no_interval_and_a_perfect_cost_is_no_guessing(tmp_path):
    for model in ("a", "b"):
        write_one(tmp_path, model, "text/bits_per_byte", 0.5, n=1, chance=0.0)
    found = build(tmp_path)
    assert found.columns[0].visible_gap is None
    text = as_markdown(found)
    assert text.count("[one item]") == 2
    assert "| *chance* | – |" in text
    assert "| *smallest gap* | – |" in text
    page = render(found, "")
    assert "one item" in page
    assert "chance-text" not in page.partition("</style>")[2]


def test_a_model_of_a_lower_group_may_be_tied_with_the_best_and_legends_say_so(tmp_path):
    for model, value, half in (("best", 0.9, 0.01), ("sure", 0.8, 0.01), ("unsure", 0.7, 0.25)):
        path = write_one(tmp_path, model, "image/digits", 0.5)
        edit(path, value=value, low=value - half, high=value + half)
    board = build(tmp_path)
    (found,) = board.columns
    assert found.group == {"best": 1, "sure": 2, "unsure": 2}
    assert [found.is_tied(model) for model in found.group] == [True, False, True]
    said = "A lower group may still hold a model that is tied with the best"
    for path in list(write(board, tmp_path / "board").values())[:2]:
        assert said in path.read_text("utf-8")


def test_numbers_at_the_ends_of_what_is_read_make_a_board(tmp_path):
    large, small = {"value": 1e50, "low": -1e50, "high": 1e50}, {"value": 5e-324, "low": 0.0}
    numbers = [
        *({**large, "chance": 1e-49}, {**large, "chance": 1e-60}, {**large, "chance": -1e50}),
        *({**small, "high": 4e-323, "chance": 0.0}, {**small, "high": 1e-322, "chance": 1e-320}),
    ]
    for place, said in enumerate(numbers):
        for model, cost in (("one", 1e308), ("two", 5e-324)):
            card = list(CARDS)[place]
            facts = {"parameters": cost}
            said = {**said, "seconds": 1e50, "higher_is_better": place % 2 == 0}
            write_one(tmp_path, model, card, 0.5, **said, model_facts=facts)
    found = build(tmp_path)
    assert found.problems == []
    assert {p.name for p in write(found, tmp_path / "board").values()} >= {"leaderboard.json"}


def test_items_that_do_not_explain_the_value_are_not_tested(tmp_path):
    for model in ("one", "two"):
        edit(write_one(tmp_path, model, "image/digits", 0.5), value=0.9, low=0.88, high=0.92)
    assert build(tmp_path).columns[0].tests == ["95 % intervals"]


def test_axes_weigh_the_same_however_many_items_they_have(tmp_path):
    rows = [{"id": str(i), "axis": "ab"[i >= 90], "correct": i >= 90} for i in range(100)]
    (tmp_path / "items").write_text("\n".join(map(json.dumps, rows)))
    items, broken = read_items(tmp_path / "items")
    assert broken == 0
    assert items.explain(0.5)
    assert not items.explain(0.1)
    assert compare([(0.5, 0.4, 0.6)] * 2, [items] * 2, 0.05).tests == ["paired bootstrap"]


def test_items_of_one_group_are_drawn_together(tmp_path):
    rows = [{"id": str(i), "group": str(i // 50), "correct": i < 100} for i in range(150)]
    other = [{**row, "correct": int(row["id"]) < 50} for row in rows]
    for name, records in (("a", rows), ("b", other)):
        (tmp_path / name).write_text("\n".join(map(json.dumps, records)))
    items = [read_items(tmp_path / name)[0] for name in "ab"]
    clustered = compare([(2 / 3, 0.6, 0.7), (1 / 3, 0.3, 0.4)], items, 0.05)
    assert clustered.tests == ["paired bootstrap"]
    assert clustered.group == [1, 1]  # 50 items differ, but they are one group of three


def test_holm_makes_many_models_harder_to_tell_apart():
    numbers = [(0.6, 0.5, 0.7), (0.45, 0.35, 0.55)]
    two = compare(numbers, [read_items_none()] * 2, 0.05)
    many = compare([*numbers, *[(0.45, 0.35, 0.55)] * 8], [read_items_none()] * 10, 0.05)
    assert two.group == [1, 2]
    assert set(many.group) == {1}


def read_items_none():
    from tgp_multimodal.evaluation.leaderboard_items import Items

    return Items([])


def test_means_are_of_chance_normalised_scores(board):
    mean = board.mean("nano", "image")
    results = [column(board, c).of("nano") for c in ("image/digits", "image/scene_eval")]
    expected = np.mean([(r.value - r.chance) / (1 - r.chance) for r in results])
    assert mean.value == pytest.approx(expected)
    assert mean.low < mean.value < mean.high
    bits = column(board, "text/bits_per_byte").of("nano")
    assert normalise(bits, bits.value) == pytest.approx(1 - bits.value / 8)
    assert normalise(bits, 8.0) == 0
    assert normalise(bits, 0.0) == 1


def test_a_mean_says_what_it_lacks_and_stands_below_the_whole_ones(board):
    assert board.mean("nano").missing == ()
    assert set(board.mean("raw-pixels").missing) == {c for c in CARDS if not c.startswith("image")}
    assert board.models[:2] == ["nano", "random-weights"]
    assert board.mean("majority", "code").value is None
    assert board.skipped["majority", "text/bits_per_byte"] == "cannot answer Perplexity"


@pytest.mark.parametrize(
    "change",
    [{"card_digest": digest("old")}, {"data_digest": "other"}, {"limit": 50}, {"card_version": 0}],
)
def test_what_does_not_compare_stands_apart(tmp_path, change):
    for model in ("one", "two"):
        write_one(tmp_path, model, "image/digits", 0.5)
    write_one(tmp_path, "three", "image/digits", 0.9, **change)
    found = build(tmp_path)
    assert [[r.model for r in c.results].count("three") for c in found.columns] == [0, 1]
    assert [c.is_main for c in found.columns] == [True, False]
    assert "do not compare" in found.warnings[0]
    assert found.mean("three").value is None
    assert len({c.label for c in found.columns}) == 2


@pytest.mark.parametrize("older", [{"limit": 40}, {"card_version": 0}])
def test_means_use_all_items_and_the_newest_version_whoever_has_them(tmp_path, older):
    for model in ("tfidf", "majority"):
        write_one(tmp_path, model, "image/digits", 0.5, **older)
    write_one(tmp_path, "mine", "image/digits", 0.9)
    found = build(tmp_path)
    assert found.models[0] == "mine"
    assert [c.is_main for c in found.columns] == [True, False]
    assert found.mean("tfidf").value is None


@pytest.mark.parametrize("protocol", ["likeness", "denoising"])
def test_pictures_of_other_sizes_stand_apart(tmp_path, protocol):
    for model, size in (("one", 32), ("two", 32), ("three", 64)):
        write_one(tmp_path, model, "image/digits", 0.5, protocol=protocol, details={"size": size})
    found = build(tmp_path)
    assert [{r.model for r in c.results} for c in found.columns] == [{"one", "two"}, {"three"}]
    assert ["64 pixels" in c.label for c in found.columns] == [False, True]


@pytest.mark.parametrize(
    "source", [{"files": {"train": "a.csv", "test": "b.csv"}}, {"folder": "fish"}]
)
def test_results_of_other_training_files_stand_apart(tmp_path, source):
    recipe = {"model": "m", "card": {"source": source}}
    for model, source in (("one", "first"), ("two", "first"), ("three", "second")):
        said = {"recipe": recipe, "environment": {"source": source}}
        write_one(tmp_path, model, "image/digits", 0.5, **said)
    found = build(tmp_path)
    assert [{r.model for r in c.results} for c in found.columns] == [{"one", "two"}, {"three"}]
    assert len({c.label for c in found.columns}) == 2


def test_results_of_two_sets_of_weights_are_warned_of(tmp_path):
    write_one(tmp_path, "one", "image/digits", 0.5)
    write_one(tmp_path, "one", "code/infilling", 0.5, model_facts={"digest": "other"})
    assert "2 sets of weights" in build(tmp_path).warnings[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"format": 1, "mod', "must be a result file"),
        ("[]", "must be a result file"),
        ('{"format": 7}', "must have format 1"),
        ("\xff\xfe", "must be a result file"),
    ],
)
def test_broken_files_are_named_and_not_fatal(tmp_path, content, reason):
    write_one(tmp_path, "one", "image/digits", 0.5)
    (tmp_path / "one" / "image__bad.json").write_bytes(content.encode("latin-1"))
    found = build(tmp_path)
    assert len(found.results) == 1
    assert "image__bad.json" in found.problems[0]
    assert reason in found.problems[0]


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"value": None},
        {"value": float("nan")},
        {"low": "x"},
        {"details": []},
        {"model": 3},
    ],
)
def test_senseless_fields_are_named_and_not_fatal(tmp_path, change):
    write_one(tmp_path, "one", "image/digits", 0.5)
    edit(write_one(tmp_path, "two", "image/digits", 0.5), **change)
    found = build(tmp_path)
    assert [r.model for r in found.results] == ["one"]
    assert next(iter(change)) in found.problems[0]


def test_broken_lines_of_items_are_counted(tmp_path):
    path = write_one(tmp_path, "one", "image/digits", 0.5).with_suffix(".jsonl")
    path.write_bytes(path.read_bytes() + b'{"id": \n\xff\n[]\n')
    found = build(tmp_path)
    edited, broken = found.problems
    assert edited.endswith(
        "one/image__digits.json was edited after it was measured; see `tgp verify`."
    )
    assert "3 broken lines" in broken
    assert found.columns[0].samples["one"].words == ("right", "wrong")


@pytest.mark.parametrize("line", ['{"id": "z", "correct": %s}' % ("9" * 400), "[" * 100_000])
def test_a_line_that_no_reader_can_hold_takes_no_board_down(tmp_path, line):
    path = write_one(tmp_path, "one", "image/digits", 0.5).with_suffix(".jsonl")
    path.write_text(path.read_text() + line + "\n")
    assert [r.model for r in build(tmp_path).results] == ["one"]


def test_results_of_some_items_alone_and_edited_ones_are_told_of(tmp_path):
    write_one(tmp_path, "one", "image/digits", 0.5, limit=40)
    edit(write_one(tmp_path, "two", "image/digits", 0.6, limit=40), value=0.9)
    board = build(tmp_path)
    assert board.warnings == [
        "2 of 2 results are of at most 40 test items (--limit), for a first look."
    ]
    (problem,) = board.problems
    assert "two/image__digits.json was edited" in problem
    assert "at most 40 test items" in as_markdown(board)


def test_the_newer_of_two_equal_results_counts(tmp_path):
    write_one(tmp_path, "one", "image/digits", 0.5)
    write_one(tmp_path / "x", "one", "image/digits", 0.9, environment={"date": "2030-01-01"})
    (tmp_path / "x" / "one").rename(tmp_path / "copy")
    found = build(tmp_path)
    assert found.columns[0].best.environment["date"] == "2030-01-01"
    assert "is left out" in found.problems[0]


def test_without_results_the_sentence_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="results must be a folder"):
        build(tmp_path / "none")
    with pytest.raises(ValueError, match="results must hold"):
        build(tmp_path)


def test_samples_are_five_right_and_five_wrong_and_short(board):
    samples = column(board, "code/infilling").samples["nano"]
    assert samples.words == ("right", "wrong")
    assert [r["correct"] for r in samples.first + samples.second] == [True] * 5 + [False] * 5
    best = column(board, "text/bits_per_byte").samples["nano"]
    assert best.words == ("best", "worst")
    assert max(r["score"] for r in best.first) < min(r["score"] for r in best.second)


def test_where_lower_is_better_a_record_of_one_is_wrong(tmp_path):
    rows = [{"id": str(i), "score": float(i < 7)} for i in range(9)]
    (tmp_path / "items").write_text("\n".join(map(json.dumps, rows)))
    found = read_items(tmp_path / "items")[0].samples(higher_is_better=False)
    assert found.words == ("right", "wrong")
    assert [r["score"] for r in found.first + found.second] == [0] * 2 + [1] * 5


def test_numbers_are_shown_as_their_metric_asks():
    assert show(0.7123, "accuracy") == "71.2"
    assert show(2.34567, "bits_per_byte") == "2.346"
    assert show(None, "accuracy") == "–"
    assert is_percent("macro_f1")
    assert not is_percent("ndcg_at_10")


def test_files_are_the_same_bytes_again_and_the_data_is_json(board, tmp_path):
    first = {k: p.read_bytes() for k, p in write(board, tmp_path / "a").items()}
    again = {k: p.read_bytes() for k, p in write(board, tmp_path / "b").items()}
    assert first == again
    assert json.loads(first["data"]) == json.loads(json.dumps(as_data(board)))
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "LEADERBOARD.md",
        "leaderboard.html",
        "leaderboard.json",
    }


def test_markdown_shows_every_model_and_lets_no_markup_through(board):
    text = as_markdown(board)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert HOSTILE not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len([line for line in tables if line.startswith("| nano |")]) == 5
    assert "**" in text
    assert "(2/7)" in text  # raw-pixels has two of seven cards


def test_equal_best_values_are_all_bold(tmp_path):
    for model, skill in (("one", 1.0), ("two", 1.0), ("three", 0.0)):
        write_one(tmp_path, model, "image/digits", skill)
    board = build(tmp_path)
    (column,) = board.columns
    values = {r.model: r.value for r in column.results}
    assert values["one"] == values["two"] > values["three"]
    rows = [line for line in as_markdown(board).splitlines() if line.startswith(("| one", "| t"))]
    marked = {row.split(" | ")[0].strip("| ") for row in rows if "**" in row}
    assert marked == {"one", "two"}


def report(flagged, value):
    clean = {"value": value, "low": 0.1, "high": 0.9, "n": 300 - flagged}
    overlap = {f"test-{i}": 1.0 for i in range(flagged)}
    one = {"checked": 300, "flagged": flagged, "share": flagged / 300}
    return {
        "corpora": {"data": "d"},
        "of_the_model": True,
        "13": {**one, "overlap": overlap, "clean": clean},
        "8": {**one, "overlap": overlap, "clean": clean},
    }


def test_a_value_with_items_in_training_text_is_marked_and_stands_beside_the_clean_one(tmp_path):
    write_one(tmp_path, "saw", "code/infilling", 0.8, contamination=report(30, 0.6123))
    write_one(tmp_path, "clean", "code/infilling", 0.3, contamination=report(0, 0.3))
    odd = {"13": {"flagged": "many"}, "8": 3}
    write_one(tmp_path, "odd", "code/infilling", 0.3, contamination=odd)
    board = build(tmp_path)
    text = as_markdown(board)
    assert "30 of 300 items in training text (13-grams), 0.612 without" in text.replace("\\", "")
    marked = {line.split(" | ")[0] for line in text.split("\n") if "†" in line}
    assert marked == {"| saw", "† Items in training text:"}
    rows = {r["model"]: r["contamination"] for r in as_data(board)["cards"][0]["rows"]}
    assert rows["saw"]["13"]["clean"]["value"] == 0.6123
    assert "overlap" not in rows["saw"]["13"]
    page = write(board, tmp_path / "board")["page"].read_text()
    assert "30 of 300 items in training text (8-grams), 0.612 without" in page


def test_the_smallest_visible_gap_is_printed(board):
    infilling = column(board, "code/infilling")
    assert "| *smallest gap* | " in as_markdown(board)
    (data,) = (c for c in as_data(board)["cards"] if c["card"] == "code/infilling")
    assert data["smallest_visible_gap"] == infilling.visible_gap
    assert 0.05 < infilling.visible_gap < 0.2

from pathlib import Path

import pytest
import yaml

from tgp_multimodal.evaluation import card_protocols, cards
from tgp_multimodal.evaluation.requests import Score

GOOD = {
    "name": "text/made_up",
    "version": 1,
    "domain": "text",
    "description": "d",
    "license": "l",
    "citation": "c",
    "source": {"folder": "text/made_up"},
    "protocol": "probe",
    "metric": "accuracy",
    "chance": 0.5,
    "columns": {"item": "text", "label": "label"},
}


PAIRS = {
    "protocol": "minimal_pairs",
    "columns": {name: name for name in ("good", "bad", "paradigm", "phenomenon")},
}


BIAS = {
    "protocol": "bias",
    "metric": "stereotype_share",
    "columns": {name: name for name in ("stereotyping", "other", "category")},
}

WRITING = {
    "protocol": "generation",
    "metric": "exact_match",
    "columns": {"prompt": "prompt", "references": "[answer]"},
}
FEW = {"protocol": "few_labels", "metric": "curve_accuracy"}
PROGRAMS = {
    "protocol": "pass_at_k",
    "metric": "pass_at_1",
    "columns": {name: name for name in ("prompt", "tests", "function")},
}


def card(folder: Path, **changes: object) -> Path:
    path = folder / "card.yaml"
    content = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_good_card_loads(tmp_path: Path) -> None:
    loaded = cards.load(card(tmp_path))
    assert loaded.name == "text/made_up"
    assert loaded.modality == "text"
    assert cards.find(str(card(tmp_path))) == loaded


@pytest.mark.parametrize("said", [PAIRS, BIAS], ids=lambda said: said["protocol"])
def test_pairs_ask_for_what_their_scoring_needs(tmp_path: Path, said: dict[str, object]) -> None:
    assert cards.load(card(tmp_path, **said)).requests == {Score}
    for scoring, request in card_protocols.SCORINGS.items():
        loaded = cards.load(card(tmp_path, **said, settings={"scoring": scoring}))
        assert loaded.requests == {request}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrik": "x"}, "Did you mean metric"),
        ({"license": None}, "card must say license"),
        ({"version": "one"}, "version must be of type int. Got 'one' instead"),
        ({"chance": 33}, "in accuracy, at least 0 and below 1. Got 33 instead"),
        ({"chance": -0.1}, "chance must be what guessing scores in accuracy"),
        ({"domain": "txt"}, "Did you mean text"),
        ({"protocol": "probes"}, "Did you mean probe"),
        ({"metric": "acuracy"}, "Did you mean accuracy"),
        ({"settings": {"modalty": "image"}}, "Did you mean modality"),
        ({"columns": {"item": "text", "lable": "label"}}, "Did you mean label"),
        ({"columns": {"item": "text"}}, "columns or templates must give label"),
        ({"sizes": {"tset": 5}}, "Did you mean test"),
        ({"source": {"folder": "x", "splits": {"tests": "dev"}}}, "Did you mean test"),
        ({"source": {"folders": "x"}}, "Did you mean folder"),
        ({"source": {"folder": "x", "hub": "y"}}, "source must have one of"),
        ({"source": {"folder": "x", "pairs": ["id"]}}, "pairs must have a list `same`"),
        ({"source": {"folder": "x", "pairs": {"same": ["id"]}}}, "and a column `by`"),
        ({"source": {"folder": "x", "pair": {}}}, "Did you mean pairs"),
        ({"source": {"files": {"trian": "a.csv"}}}, "Did you mean train"),
        ({"source": {"files": ["a.csv"]}}, "files must give a path or several by split"),
        ({"metric": "f1"}, "positive must name a label for f1. Got None instead"),
        ({"metric": "mathews"}, "Did you mean matthews"),
        ({"name": "code/made_up"}, "name must start with text/"),
        ({**PAIRS, "settings": {"scoring": "maskd"}}, "Did you mean masked"),
        ({**PAIRS, "settings": {"scoring": ["causal"]}}, "there are: causal, masked"),
        ({**PAIRS, "settings": {"scorer": "causal"}}, "Did you mean scoring"),
        ({"shots": 2}, "It is a setting: write it below `settings`."),
        ({"settings": {"modality": "picture"}}, "modality must be one that exists"),
        ({"settings": {"positive": False}}, "positive must be a text (quote it"),
        ({**WRITING, "settings": {"stop": "END"}}, "stop must be a list of texts with something"),
        ({**WRITING, "settings": {"stop": [""]}}, "with something in them. Got ['']"),
        ({**WRITING, "settings": {"sampling": "frist"}}, "Did you mean first"),
        ({**PROGRAMS, "settings": {"temperature": float("inf")}}, "temperature must be a number"),
        ({**WRITING, "settings": {"preamble": None}}, "preamble must be a text"),
        ({**WRITING, "settings": {"strip": "false"}}, "strip must be true or false"),
        ({**WRITING, "settings": {"shots": -1}}, "shots must be a whole number of 0 or more"),
        ({**WRITING, "settings": {"shots": 2.9}}, "shots must be a whole number of 0 or more"),
        ({**WRITING, "settings": {"max_tokens": 0}}, "max_tokens must be a whole number of 1"),
        ({**FEW, "settings": {"counts": [1, "5"]}}, "counts must be a list of whole numbers"),
        ({**PROGRAMS, "settings": {"temperature": -1}}, "temperature must be a number of 0 or mo"),
        ({**PROGRAMS, "settings": {"top_p": 0}}, "top_p must be a number above 0, at most 1"),
    ],
)
def test_a_mistake_is_named_in_one_sentence(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is compared below
        cards.load(card(tmp_path, **changes))
    assert sentence in str(caught.value)
    assert "card.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [{}, {"higher_is_better": False}])  # older cards say it
def test_the_metric_says_which_values_are_better(tmp_path: Path, said: dict[str, object]) -> None:
    cost = {"protocol": "perplexity", "metric": "bits_per_byte", "chance": 8.0}
    loaded = cards.load(card(tmp_path, **cost, columns={"text": "text"}, **said))
    assert not loaded.higher_is_better
    assert cards.load(card(tmp_path)).higher_is_better
    with pytest.raises(ValueError, match=r"left out, or True for accuracy\. Got False instead"):
        cards.load(card(tmp_path, higher_is_better=False))


def test_no_yaml_and_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("a: [")
    with pytest.raises(ValueError, match="must be YAML"):
        cards.load(path)
    path.write_text("- a")
    with pytest.raises(ValueError, match=r"must be a mapping of keys\. Got list instead"):
        cards.load(path)


def test_digest_changes_with_what_decides_the_number_alone(tmp_path: Path) -> None:
    plain = cards.load(card(tmp_path)).digest
    for changes in (
        {"version": 2},
        {"columns": {"item": "text[:9]", "label": "label"}},
        {"sizes": {"test": 7}},
        {"source": {"folder": "text/other"}},
        {"metric": "macro_f1"},
    ):
        assert cards.load(card(tmp_path, **changes)).digest != plain
    for changes in ({"description": "better"}, {"references": [{"model": "m", "value": 1}]}):
        assert cards.load(card(tmp_path, **changes)).digest == plain


def test_unknown_names_are_answered_with_known_ones() -> None:
    with pytest.raises(ValueError, match="Did you mean text/pydoc_package"):
        cards.find("text/pydoc_pakage")
    with pytest.raises(ValueError, match="Did you mean text/pydoc_package"):
        cards.find("pydoc_package")
    with pytest.raises(
        ValueError, match=r"there are: .*core, embedded, image.*Did you mean embedded"
    ):
        cards.suite("embeded")
    with pytest.raises(ValueError, match="card file must exist"):
        cards.find("nowhere.yaml")


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("cards: [image/digits]")
    assert [c.name for c in cards.suite(str(path))] == ["image/digits"]
    path.write_text("crads: [image/digits]")
    with pytest.raises(ValueError, match="suite must have"):
        cards.suite(str(path))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("sizes: {train: 10}", "sizes: {train: many}", "sizes must give whole numbers by name"),
        ("item: text", "item: 3", "columns must give expressions by name"),
    ],
)
def test_values_of_the_wrong_kind_are_named(tmp_path, old, new, sentence):
    text = yaml.safe_dump(
        {
            "name": "text/mine", "version": 1, "domain": "text", "description": "d",
            "license": "l", "citation": "c", "source": {"folder": "x"}, "protocol": "probe",
            "metric": "accuracy", "chance": 0.5,
        }
    )  # fmt: skip
    text += "sizes: {train: 10}\ncolumns: {item: text, label: label}\n"
    (path := tmp_path / "mine.yaml").write_text(text)
    cards.load(path)
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        cards.load(path)

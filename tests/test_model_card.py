"""The README of an export: what the hub reads of it, and what people do."""

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from random_networks import dual_encoder, language_model, multimodal

from tgp_multimodal.front_matter import front_matter, sources
from tgp_multimodal.model_card import model_card
from tgp_multimodal.verbs.export import run_facts

ROW = {
    "card": "text/ag_news", "metric": "accuracy", "value": 0.612, "low": 0.55, "high": 0.67,
    "n": 300, "chance": 0.25, "limit": None, "seen": "",
}  # fmt: skip
EMBEDDED = ("embedded train text", "embedded test text", "embedded train scenes")


def metadata(facts, task="text-generation"):
    return yaml.safe_load(front_matter(task, "nano", facts).strip("-\n"))


def data(*sources):
    """Facts of one prepared folder with sources of these names and licenses."""
    listed = [dict(zip(("name", "license"), source, strict=True)) for source in sources]
    return {"data": {"text": {"splits": {}, "digest": "d", "sources": listed}}}


def test_nothing_is_said_that_nobody_knows():
    assert metadata({}) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tgp-multimodal", "qwen3", "sentence-transformers"],
    }


@pytest.mark.parametrize(
    ("licenses", "written"),
    [
        (["MIT", "mit"], "mit"),
        (["CC-BY-SA-4.0"], "cc-by-sa-4.0"),
        ([{"Apache-2.0": 5}, {"numpy": "Apache-2.0"}], "apache-2.0"),
        (["MIT", "Apache-2.0"], "other"),
        ([{"MIT": 5, "BSD-3-Clause": 1}], "other"),
        (["MIT", None], "other"),
        (["MIT", {}], "other"),
        (["MIT (files under the licences of their repositories)"], "other"),
        (["my own"], "other"),
        ([None], "other"),
        ([], None),
    ],
)
def test_a_license_is_said_where_all_sources_share_one(licenses, written):
    found = data(*((f"part{i}.txt", license) for i, license in enumerate(licenses)))
    assert metadata(found).get("license") == written


def test_the_language_is_known_of_the_embedded_corpus_alone():
    assert metadata(data(*((name, "MIT") for name in EMBEDDED)))["language"] == "en"
    assert "language" not in metadata(data((EMBEDDED[0], "MIT"), ("mine.txt", "MIT")))


def test_data_sets_have_the_names_that_the_hub_can_write():
    places = (*EMBEDDED, "hub:owner/name:config:train", "/home/me/texts/*.jsonl", "my notes.txt")
    names = ["embedded-text", "embedded-scenes", "owner/name"]
    assert metadata(data(*((place, "MIT") for place in places)))["datasets"] == names
    # Folders here are no data sets there, whatever they are called.
    assert "datasets" not in metadata(data(("data/imdb", "MIT"), ("squad", "MIT"), ("..", "MIT")))


@pytest.mark.parametrize("started", ["Qwen/Qwen3-0.6B", "runs/nano/export", None])
def test_the_base_is_named_as_the_folder_that_it_is(started):
    facts = {"config": {"model": {"init_from": started}}}
    assert "base_model" not in metadata(facts)  # the hub would take it for one of its own
    card = model_card(language_model(), Unspoken(), facts)
    assert (f"* started from: {started}\n" in card) == bool(started)


class Unspoken:
    """As much of a tokenizer as a card asks for."""

    chat_template = None
    vocabulary = 320


def test_an_adapted_model_has_its_base_and_none_of_its_results():
    facts = {"config": {"model": {"init_from": "older"}}, "results": [ROW | {"axes": {}}]}
    assert "## Benchmarks" in model_card(language_model(), Unspoken(), facts)
    facts["adapted"] = {"base": "runs/nano/export"}
    assert "model-index" not in metadata(facts)
    card = model_card(language_model(), Unspoken(), facts)
    assert "text/ag_news" not in card
    assert "## Recipe" not in card
    assert "* started from: runs/nano/export\n" in card
    facts["adapted"] = {"base": "random:runs/nano/export"}
    assert "started from" not in model_card(language_model(), Unspoken(), facts)


def test_results_are_what_the_hub_reads():
    metrics = ["bits_per_byte", "accuracy", "of_my_own"]
    rows = [ROW, *(ROW | {"card": "image/x", "metric": m, "limit": 9} for m in metrics)]
    card = model_card(multimodal(), Unspoken(), {"run": "no", "results": rows})
    found = ModelCard(card).data
    assert found.model_name == "no"
    first = found.eval_results[0]
    assert (first.task_type, first.dataset_type) == ("text-classification", "text-ag_news")
    assert (first.dataset_name, first.dataset_split) == ("text/ag_news", "test")
    assert (first.metric_type, first.metric_value) == ("accuracy", 0.612)
    assert first.metric_name == "accuracy, 95 % interval 0.550 to 0.670, 300 items"
    tasks = [(r.metric_type, r.task_type) for r in found.eval_results[1:]]
    kinds = ["text-generation", "image-classification", "other"]
    assert tasks == list(zip(metrics, kinds, strict=True))
    assert found.eval_results[1].metric_name.endswith("300 items, limited")


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (language_model, "text-generation"),
        (multimodal, "text-to-image"),
        (dual_encoder, "feature-extraction"),
    ],
)
def test_the_task_is_that_of_the_network(make, task):
    found = ModelCard(model_card(make(), Unspoken(), {})).data
    assert found.pipeline_tag == task
    assert ("diffusers" in found.tags) == (task == "text-to-image")


def test_the_recipe_is_the_config_of_the_run():
    config = {"model": {"init_from": None, "rate": 0.5, "names": ["{a}"]}, "seed": 1}
    card = model_card(language_model(), Unspoken(), {"config": config})
    (said,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert yaml.safe_load(said) == config
    assert "## Recipe" not in model_card(language_model(), Unspoken(), {})


def test_a_run_s_config_is_among_its_facts(tmp_path):
    assert "config" not in run_facts(tmp_path, {})
    (tmp_path / "config.yaml").write_text("# lightning\nmodel: {init_from: Qwen/Qwen3-0.6B}\n")
    facts = run_facts(tmp_path, {})
    assert "init_from: Qwen/Qwen3-0.6B\n" in model_card(language_model(), Unspoken(), facts)


def test_a_recipe_does_not_resume_the_run(tmp_path):
    (tmp_path / "config.yaml").write_text("ckpt_path: runs/a/checkpoints/last.ckpt\nsize: nano\n")
    assert run_facts(tmp_path, {})["config"] == {"ckpt_path": None, "size": "nano"}


def test_a_card_does_not_say_whose_home_the_data_lay_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "config.yaml").write_text(
        "data: {folder: /home/ada/mail, names: [/home/adam/x, /data/home/ada/x, /home/ada, file:///home/ada/x]}\n"
    )
    source = {"name": "/home/ada/books/*.txt", "license": None}
    (tmp_path / "manifest.json").write_text(json.dumps({"data": {"text": {"sources": [source]}}}))
    facts = run_facts(tmp_path, {})
    assert facts["config"]["data"] == {
        "folder": "~/mail",
        "names": ["/home/adam/x", "/data/home/ada/x", "~", "file://~/x"],
    }
    assert "/home/ada/books" not in model_card(language_model(), Unspoken(), facts)


def test_limits_say_what_it_is_not_for():
    card = model_card(language_model(), Unspoken(), {})
    part = " ".join(card.partition("## Intended use and limits\n")[2].split())
    for said in ("not for use in production", "generates false text", "small network"):
        assert said in part


PICTURES = {
    "streams": ["signs", "photos"],
    "splits": {},
    "digest": "d",
    "sources": [
        {"name": "signs.tar", "stream": "signs", "license": None},
        {"name": "photos.tar", "stream": "photos", "license": "CC-BY-NC-4.0"},
    ],
    "quality": {"signs": {"licenses": {"CC0-1.0": 124, "cc0-1.0": 16}}, "photos": {}},
}


def test_the_card_has_the_licenses_that_pictures_state_and_says_what_was_not_learned_from():
    config = {"data": {"pictures": {"weights": {"signs": 1.0, "photos": 0.0}}}}
    facts = {"data": {"pictures": PICTURES}, "config": config}
    text = model_card(multimodal(), Unspoken(), facts)
    (signs,) = (line for line in text.splitlines() if "signs.tar" in line)
    (photos,) = (line for line in text.splitlines() if "photos.tar" in line)
    assert "license: CC0-1.0 (124), cc0-1.0 (16)" in signs
    assert "not learned from" not in signs
    assert photos.endswith("(not learned from)")
    assert metadata(facts)["license"] == "cc0-1.0"
    assert metadata({"data": {"pictures": PICTURES}})["license"] == "other"


def test_streams_of_passages_are_learned_from_too():
    named = ("general", "code", "letters")
    listed = [{"name": name, "stream": name, "license": "MIT"} for name in named]
    text = {"text": {"weights": {"general": 1.0}}, "passages": {"docstrings": {"code": 1.0}}}
    facts = {"data": {"text": {"splits": {}, "sources": listed}}, "config": {"data": text}}
    assert [is_learned for _, _, is_learned in sources(facts)] == [True, True, False]
    facts["config"]["data"]["passages"] = {"length": 8}  # of all streams
    assert all(is_learned for _, _, is_learned in sources(facts))


@pytest.mark.parametrize(
    ("config", "learned"),
    [
        ({"data": {"text": None, "pictures": {"weights": {"signs": 1.0}}}}, (False, True)),
        ({"data": {"text": {"weights": {"notes": 0.0}}, "pictures": None}}, (False, False)),
        ({"data": {"text": {}, "pictures": {"weights": {"photos": 1}}}}, (True, False)),
        (
            {
                "data": {
                    "pictures": {"weights": {"photos": 1}},
                    "captions": {"weights": {"signs": 1}},
                }
            },
            (False, True),
        ),
        ({"data": {"pictures": {"weights": {"photos": 1}}, "captions": {}}}, (False, False)),
        ({}, (True, True)),
        (None, (True, True)),
    ],
)
def test_a_kind_that_is_switched_off_is_not_learned_from(config, learned):
    notes = {"streams": ["notes"], "sources": [{"name": "notes.txt", "stream": "notes"}]}
    facts = {"data": {"text": notes, "pictures": PICTURES}, "config": config}
    said = {source["name"]: is_learned for _, source, is_learned in sources(facts)}
    assert (said["notes.txt"], said["signs.tar"]) == learned


def test_a_source_with_a_column_of_streams_counts_with_all_of_them():
    source = {"name": "raw.parquet", "stream": "raw", "license": None}
    config = {"data": {"pictures": {"weights": {"signs": 1.0, "photos": 0.0}}}}
    quality = PICTURES["quality"] | {"photos": {"licenses": {"not stated": 3, "CC0-1.0": 1}}}
    pictures = PICTURES | {"sources": [source], "quality": quality}
    facts = {"data": {"pictures": pictures}, "config": config}
    ((_, found, is_learned),) = sources(facts)
    assert is_learned
    assert found["license"] == {"CC0-1.0": 125, "cc0-1.0": 16, "not stated": 3}
    assert metadata(facts)["license"] == "other"
    config["data"]["pictures"]["weights"] = {"signs": 0.0, "photos": 0.0}
    assert not next(sources(facts))[2]

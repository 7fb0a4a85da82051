"""Adapting: what is learned, kept, resumed, and written in forms that others load."""

import copy
import json

import numpy as np
import pytest
import torch
from labelled_tasks import QUICK, item, task
from random_networks import multimodal

import tgp_multimodal
from tgp_multimodal import export
from tgp_multimodal.data.labelled import Splits
from tgp_multimodal.evaluation.task_scores import value
from tgp_multimodal.inference.adapted import Adapted
from tgp_multimodal.inference.task_network import Task, TaskNetwork, feature_count
from tgp_multimodal.training import adapt, adapt_results, adapt_runs, adapt_start
from tgp_multimodal.training.adapt import learn, set_trainable
from tgp_multimodal.training.adapt_runs import Settings
from tgp_multimodal.training.adapt_watch import trainable_weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*isinstance.treespec, LeafSpec.*",
    "ignore:.*in eval mode at the start of training.*",
    "ignore:.*is_gradient_checkpointing:FutureWarning",  # peft asks transformers in an old way
)


@pytest.mark.parametrize("kind", ["classification", "multi_label", "regression", "tagging"])
def test_every_kind_learns_and_nothing_worse_than_the_start_comes_out(loaded, kind):
    before = export.weights_digest(loaded.network)
    found = learn(loaded, task(kind), Settings("full", **QUICK))
    assert found.history[found.best]["metric"] >= found.history[0]["metric"]
    assert found.history[-1]["train_loss"] < found.history[1]["train_loss"]
    assert found.facts["trained_parameters"] > 0.9 * found.facts["parameters"]
    assert export.weights_digest(loaded.network) == before
    validation, model = task(kind).validation, Adapted(found.network.eval(), loaded.tokenizer)
    again = value(found.facts["metric"], validation, model.predict([i.item for i in validation]))
    assert again == pytest.approx(found.history[found.best]["metric"], abs=1e-6)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_rate_that_breaks_the_network_gives_back_the_start(loaded, monkeypatch, method):
    starts, train = [], adapt.train

    def watched(make, *others):
        starts.append(trainable_weights(make.network))
        return train(make, *others)

    monkeypatch.setattr(adapt, "train", watched)
    found = learn(loaded, task(), Settings(method, **QUICK | {"rate": 5.0}))
    assert found.best == 0
    assert found.history[-1]["validation_loss"] > found.history[0]["validation_loss"]
    assert _equal(trainable_weights(found.network), starts[0])


def test_every_rate_is_tried_from_the_same_weights(loaded, monkeypatch):
    starts, ends = [], []
    module, restore_weights = adapt_runs.ModuleFactory.module, adapt_runs.restore_weights

    def begun(make, rate):
        starts.append(trainable_weights(make.network))
        return module(make, rate)

    def ended(network, weights):
        ends.append(trainable_weights(network))
        restore_weights(network, weights)

    monkeypatch.setattr(adapt_runs.ModuleFactory, "module", begun)
    monkeypatch.setattr(adapt_runs, "restore_weights", ended)
    found = learn(loaded, task(), Settings("full", **QUICK | {"rate": None}))
    assert len(found.facts["rates_tried"]) == len(ends) == len(starts) - 1 > 1
    assert all(_equal(one, starts[0]) for one in starts)
    assert not any(_equal(one, starts[0]) for one in ends)


def test_the_head_alone_is_the_probe_and_leaves_the_network_as_it_is(loaded):
    found = learn(loaded, task(), Settings("head"))
    assert export.weights_digest(found.network.network) == loaded.digest
    features = feature_count(loaded.network, found.network.task)
    assert found.facts["trained_parameters"] == features * 2 + 2


@pytest.mark.parametrize("kind", ["classification", "tagging"])
def test_the_head_alone_reads_all_layers_where_they_say_more(loaded, base, tmp_path, kind):
    """A last norm without gains leaves the last states nothing to say."""
    blind = copy.deepcopy(loaded.network)
    torch.nn.init.zeros_(blind.text.norm.weight)
    export.save(tmp_path / "blind", blind, loaded.tokenizer, {}, "card")
    loaded = export.load(tmp_path / "blind")
    settings = Settings("head")
    found = learn(loaded, task(kind), settings)
    assert found.network.task.states == "layers"
    assert found.history[0]["metric"] > 0.9
    splits = task(kind)
    adapt_results.write(tmp_path / "a", loaded, str(base), splits, settings, found)
    assert not (tmp_path / "a" / "classifier").exists()
    model, items = tgp_multimodal.load_adapted(tmp_path / "a"), [i.item for i in splits.test]
    said = [p.label for p in model.predict(items)]
    assert said == [p.label for p in Adapted(found.network, loaded.tokenizer).predict(items)]
    assert value(found.facts["metric"], splits.test, model.predict(items)) > 0.8
    assert learn(loaded, splits, Settings("full", **QUICK)).network.task.states == "last"


def test_all_layers_are_read_where_there_is_room_alone(loaded, monkeypatch):
    monkeypatch.setattr(adapt_start, "_MOST_NUMBERS", 100)
    assert learn(loaded, task(), Settings("head")).network.task.states == "last"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(loaded, tmp_path, monkeypatch, method):
    settings = Settings(method, **QUICK)
    whole = learn(loaded, task(), settings, tmp_path / "whole")
    evaluate = adapt_runs.EarlyStopping._evaluate

    def killed(self, trainer, module):
        if trainer.global_step >= 15:
            raise RuntimeError("killed")
        evaluate(self, trainer, module)

    monkeypatch.setattr(adapt_runs.EarlyStopping, "_evaluate", killed)
    with pytest.raises(RuntimeError, match="killed"):
        learn(loaded, task(), settings, tmp_path / "cut")
    monkeypatch.setattr(adapt_runs.EarlyStopping, "_evaluate", evaluate)
    told = []
    again = learn(loaded, task(), settings, tmp_path / "cut", told.append)
    assert any("going on from" in line for line in told)
    assert [r["step"] for r in again.history] == [r["step"] for r in whole.history]
    for one, other in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"must be those of the unfinished run .*batch 8\."):
        learn(loaded, task(), Settings(method, rate=3e-3, steps=24, batch=4), tmp_path / "cut")
    edited = task()
    edited.train[0] = edited.train[0]._replace(item="another text in its place")
    for other in (task(counts=(61, 30, 30)), edited):
        with pytest.raises(ValueError, match=r"must be those of the unfinished run .*: items "):
            learn(loaded, other, settings, tmp_path / "cut")
    if method == "lora":
        saved = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
        assert all("lora" in n or ".head." in n for n in saved["state_dict"])


@pytest.fixture(scope="module")
def results(loaded, base, tmp_path_factory):
    """Folders of a LoRA run of classes and one of tags."""
    made = {}
    for kind in ("classification", "tagging"):
        folder = tmp_path_factory.mktemp("adapted") / kind
        settings = Settings("lora", **QUICK)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adapt, "_START_ITEMS", 6)  # so that there is something left to learn
            done = learn(loaded, task(kind), settings)
        assert done.best > 0, "the start was kept, so the adapters change nothing"
        network = copy.deepcopy(done.network)
        adapt_results.write(folder, loaded, str(base), task(kind), settings, done)
        made[kind] = (folder, Adapted(network.eval(), loaded.tokenizer))
    return made


@pytest.mark.parametrize("kind", ["classification", "tagging"])
def test_the_folder_answers_what_the_network_with_its_adapters_did(results, kind):
    folder, before = results[kind]
    items = [i.item for i in task(kind).test]
    for one, other in zip(
        tgp_multimodal.load_adapted(folder).predict(items), before.predict(items), strict=True
    ):
        assert one.label == other.label
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_peft_loads_the_adapter_on_the_base_and_agrees_with_the_merged_export(results, base):
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    folder, _ = results["classification"]
    ids = torch.tensor([[0, 20, 30, 40, 50, 60]])
    for inside in ("", "encoder"):
        model = AutoModel.from_pretrained(base / inside)
        with torch.inference_mode():
            plain = model(ids).last_hidden_state
            adapted = peft.PeftModel.from_pretrained(model, folder / "adapter")(ids)
            merged = AutoModel.from_pretrained(folder / "model" / inside)(ids).last_hidden_state
        torch.testing.assert_close(adapted.last_hidden_state, merged, atol=1e-5, rtol=0)
        assert (merged - plain).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["classification", "tagging"])
def test_the_stock_classifier_says_the_same(results, kind):
    from transformers import AutoModelForTokenClassification

    folder, _ = results[kind]
    ours = tgp_multimodal.load_adapted(folder)
    stock = AutoModelForTokenClassification.from_pretrained(folder / "classifier").eval()
    told = json.loads((folder / "classifier" / "tokenizer_config.json").read_text())
    assert told["model_max_length"] == ours.task.length
    assert [stock.config.id2label[i] for i in range(len(ours.labels))] == list(ours.labels)
    first = task(kind).test[0].item
    tokenizer = ours.tokenizer
    with torch.inference_mode():
        if kind == "classification":
            ids = tokenizer.encode(first, bos=True)
            chance = stock(torch.tensor([ids])).logits[0].mean(0).softmax(-1)
        else:
            ((ids, spans),) = tokenizer.encode_words([first])
            logits = stock(torch.tensor([[tokenizer.bos, *ids]])).logits[0, 1:]
            if ours.task.words == "last":
                spans = [(end - 1, end) for _, end in spans]
            chance = torch.stack([logits[a:b].mean(0) for a, b in spans]).softmax(-1)
    (expected,) = ours.predict([first])
    found = chance.numpy() if kind == "tagging" else chance[None].numpy()
    np.testing.assert_allclose(found, np.atleast_2d(expected.probabilities), atol=1e-5)


def test_what_lies_in_the_folder(results):
    folder, _ = results["classification"]
    assert {p.name for p in folder.iterdir()} == {
        "adapted.json", "head.safetensors", "model", "adapter", "classifier", "predictions.jsonl",
        "report.json", "report.html",
    }  # fmt: skip
    report = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert report["history"][0]["train_loss"] is None
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert report["test"]["accuracy"]["value"] == pytest.approx(right)
    assert len(rows) == report["items"]["test"] == 30
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page.replace('http-equiv="Content', "")


def test_pictures(tokenizer, tmp_path):
    generator = np.random.default_rng(0)
    shades = [
        (generator.random((16, 16, 3)) * 60 + 180 * (i % 2)).astype("uint8") for i in range(60)
    ]
    made = [item(p, "light" if i % 2 else "dark", i) for i, p in enumerate(shades)]
    splits = Splits("classification", "picture", made[:30], made[30:45], made[45:], "shades")
    network = multimodal(tokenizer.vocabulary)
    export.save(tmp_path / "base", network, tokenizer, {}, "card")
    loaded = export.load(tmp_path / "base")
    for method in ("head", "full"):
        settings = Settings(method, **QUICK | {"steps": 6})
        done = learn(loaded, splits, settings)
        place = tmp_path / method
        report = adapt_results.write(place, loaded, "base", splits, settings, done)
        assert report["test"]["accuracy"]["value"] > 0.9
        model = tgp_multimodal.load_adapted(place)
        assert [p.label for p in model.predict(shades[:2])] == ["dark", "light"]
    assert (
        adapt_runs.ModuleFactory(model.network, None, None, settings, "", "").width
        == network.head.width
    )
    moved = {n for n, w in model.network.network.named_parameters() if _differs(loaded, n, w)}
    assert any("img_qkv_proj" in n for n in moved)
    assert not any(n.startswith("text.") or "txt_" in n for n in moved)
    with pytest.raises(ValueError, match="method must be full or head for pictures"):
        learn(loaded, splits, Settings("lora"))


@pytest.mark.parametrize("units", [True, False])
def test_weights_behind_the_features_of_a_picture_stay(tokenizer, units):
    way = {"block": 2, "time": 0.1, "units": units}
    made = TaskNetwork(
        multimodal(tokenizer.vocabulary), Task("classification", "picture", ("a", "b"), **way)
    )
    set_trainable(made, Settings("full"))
    trained = {n for n, w in made.network.head.named_parameters() if w.requires_grad}
    assert {"blocks.0.down_proj.weight", "blocks.1.up_proj.weight"} <= trained
    assert ("blocks.1.down_proj.weight" in trained) != units
    assert not any(name.startswith("blocks.2") for name in trained)


def _equal(first, second):
    """Whether two networks have equal weights, by name."""
    assert first.keys() == second.keys()
    return all(torch.equal(first[n], second[n]) for n in first)


def _differs(loaded, name, weight):
    return not torch.equal(loaded.network.get_parameter(name), weight)


def test_mistakes_are_one_sentence(loaded):
    splits = task()
    picture = [
        item(np.zeros((8, 8, 3), np.uint8), "a", 0),
        item(np.ones((8, 8, 3), np.uint8), "b", 1),
    ]
    new = [item("a text", "new", 0)]
    for given, settings, message in [
        (splits, Settings(batch=0), "batch must be at least 1. Got 0 instead."),
        (splits, Settings(rate=-1.0), "learning_rate must be auto or above 0. Got -1.0 instead."),
        (splits, Settings(rate=float("inf")), "must be auto or above 0. Got inf instead."),
        (splits, Settings(seed=-1), "seed must be from 0 to 4294967295. Got -1 instead."),
        (splits, Settings("lora", rank=0), "rank must be at least 1. Got 0 instead."),
        (splits, Settings(length=2), "length must be at least 4. Got 2 instead."),
        (splits._replace(validation=new), Settings(), "labels of validation must occur"),
        (splits._replace(train=splits.train[:1]), Settings(), "label must have at least 2 cl"),
        (
            splits._replace(reads="picture", train=picture, validation=picture),
            Settings("head"),
            "model must have a diffusion head to be adapted to pictures.",
        ),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message.replace(".", r"\.")) as caught:
            learn(loaded, given, settings)
        assert "\n" not in str(caught.value)


def test_a_full_device_says_what_to_lower_and_takes_it(loaded, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(adapt_runs.AdaptModule, "training_step", full)
        wanted = r"a batch of 8 must fit .*lower --batch or --length\."
        with pytest.raises(ValueError, match=wanted):
            learn(loaded, task(), Settings(**QUICK), tmp_path)
    learn(loaded, task(), Settings(**QUICK | {"batch": 4, "steps": 2}), tmp_path)


def test_a_table_whose_classes_take_turns_starts_with_all_of_them(loaded, monkeypatch):
    monkeypatch.setattr(adapt, "_START_ITEMS", 30)  # every second one would be of one class
    wet, dry = "river river river stone", "field dog letter gate"
    turns = [item(f"{(wet, dry)[i % 2]} {i}", ("wet", "dry")[i % 2], i) for i in range(60)]
    found = learn(loaded, task()._replace(train=turns, validation=turns[:10]), Settings(steps=1))
    assert found.history[0]["metric"] == 1


def test_what_json_cannot_say_is_written_all_the_same(loaded, base, tmp_path):
    """A loss that is no number, and the name of a file that is no text."""
    splits, settings = task(), Settings("head")
    odd = [one._replace(where=f"caf\udce9{i}.txt") for i, one in enumerate(splits.test)]
    learned = learn(loaded, splits, settings)
    first = {**learned.history[0], "train_loss": 0.5, "validation_loss": 0.5}
    broken = {**first, "step": 1.0, "validation_loss": float("nan")}
    learned = learned._replace(history=[first, broken])
    given = splits._replace(test=odd)
    adapt_results.write(tmp_path / "a", loaded, str(base), given, settings, learned)
    report = json.loads((tmp_path / "a" / "report.json").read_text("utf-8"))
    assert report["history"][1]["validation_loss"] is None
    first = (tmp_path / "a" / "predictions.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(first)["item"] == "caf\udce90.txt"


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_other_kinds_are_written_and_read_again(loaded, base, tmp_path, kind):
    settings = Settings("full", **QUICK) if kind == "regression" else Settings("head")
    done = learn(loaded, task(kind), settings)
    report = adapt_results.write(tmp_path / "a", loaded, str(base), task(kind), settings, done)
    model = tgp_multimodal.load_adapted(tmp_path / "a")
    found = [p.label for p in model.predict([i.item for i in task(kind).test])]
    rows = (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()
    told = [json.loads(row)["predicted"] for row in rows]
    assert told == (found if kind == "regression" else [list(f) for f in found])
    if kind == "regression":
        from transformers import AutoModelForTokenClassification

        stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "a" / "classifier")
        ids = loaded.tokenizer.encode(task(kind).test[0].item, bos=True)
        with torch.inference_mode():
            told = float(stock.eval()(torch.tensor([ids])).logits.mean())
        assert told == pytest.approx(found[0], abs=1e-5)
    metric = {"multi_label": "micro_f1", "regression": "spearman"}[kind]
    assert report["test"][metric]["value"] > 0.5
    assert not (tmp_path / "a" / "adapter").exists()


@pytest.mark.parametrize("pairs", ["apart", "joint"])
def test_pairs(loaded, base, tmp_path, pairs):
    texts = [i.item for i in task().train]
    both = [(a, b) for a, b in zip(texts[::2], texts[1::2], strict=True)]
    alike = [item((a, a) if i % 2 else (a, b), str(i % 2), i) for i, (a, b) in enumerate(both)]
    splits = Splits("classification", "pair", alike[:18], alike[18:24], alike[24:], "alike")
    settings = Settings("full", pairs=pairs, **QUICK | {"steps": 6})
    done = learn(loaded, splits, settings)
    report = adapt_results.write(tmp_path / "a", loaded, str(base), splits, settings, done)
    assert (tmp_path / "a" / "classifier").is_dir() == (pairs == "joint")
    model = tgp_multimodal.load_adapted(tmp_path / "a")
    assert model.task.pairs == pairs
    if pairs == "apart":  # |u - v| says it
        assert report["test"]["accuracy"]["value"] == 1
    with pytest.raises(ValueError, match="items must be pairs of texts"):
        model.predict(["one text"])

"""Runs of adapting: rates that are tried, patience, weights of classes, stops between runs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled_tasks import QUICK, task

from tgp_multimodal.training import adapt, adapt_runs
from tgp_multimodal.training.adapt import learn
from tgp_multimodal.training.adapt_module import AdaptModule, loss_of, warmup_linear_decay
from tgp_multimodal.training.adapt_runs import Settings
from tgp_multimodal.training.adapt_watch import EarlyStopping

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*isinstance.treespec, LeafSpec.*",
    "ignore:.*in eval mode at the start of training.*",
    "ignore:.*is_gradient_checkpointing:FutureWarning",  # peft asks transformers in an old way
)


def test_a_rate_is_chosen_among_some(loaded):
    told = []
    found = learn(loaded, task(), Settings("lora", steps=20, batch=8), say=told.append)
    tried = found.facts["rates_tried"]
    assert [float(r) for r in tried] == [rate * 4 for rate in adapt_runs.RATES["lora"]]  # width 64
    near = [
        rate
        for rate, (_, loss) in tried.items()
        if loss <= 1.01 * min(r[1] for r in tried.values())
    ]
    assert found.facts["rate"] == max(map(float, near))
    assert any("minutes" in line for line in told)


def test_the_short_runs_do_not_judge_their_common_start(loaded, monkeypatch):
    settings, evaluate, seen = Settings("lora", steps=20, batch=8), AdaptModule.evaluate, []
    monkeypatch.setattr(
        AdaptModule,
        "evaluate",
        lambda self: seen.append(self.trainer.global_step) or evaluate(self),
    )
    found = learn(loaded, task(), settings)
    assert seen == [20] * 4 + [0, 5, 10, 15, 20]
    monkeypatch.setattr(
        adapt_runs, "EarlyStopping", lambda *given, is_trial=False: EarlyStopping(*given)
    )
    assert learn(loaded, task(), settings).facts == found.facts  # to look changes nothing
    assert seen[9:17] == [0, 20] * 4


def test_of_losses_that_are_about_equal_the_highest_rate_is_taken():
    tried = {"0.001": [0.7, 0.600], "0.003": [0.6, 0.605], "0.01": [0.9, 0.607]}
    assert adapt_runs.best_rate(tried) == 0.003


def test_a_rate_whose_loss_is_no_number_is_passed_over():
    nan = float("nan")
    assert adapt_runs.best_rate({"0.001": [0.0, nan], "0.003": [0.6, 1.0]}) == 0.003
    with pytest.raises(ValueError, match=r"validation loss must be a number .* none of 0.001, 0.1"):
        adapt_runs.best_rate({"0.001": [0.0, nan], "0.1": [0.0, nan]})


def test_a_stop_among_the_short_runs_loses_none_that_was_done(loaded, tmp_path, monkeypatch):
    settings = Settings("lora", steps=20, batch=8)
    whole = learn(loaded, task(), settings, tmp_path / "whole")
    fit, runs = adapt_runs.Trainer.fit, []

    def stopped(self, module, **how):
        runs.append(module.rate)
        if len(runs) == 3:
            (stop,) = (c for c in self.callbacks if isinstance(c, adapt_runs.CleanStop))
            stop.asked = True
        fit(self, module, **how)

    monkeypatch.setattr(adapt_runs.Trainer, "fit", stopped)
    assert learn(loaded, task(), settings, tmp_path / "cut").is_stopped
    tried = json.loads((tmp_path / "cut" / "plan.json").read_text())["tried"]
    assert list(map(float, tried)) == runs[:2]
    again = learn(loaded, task(), settings, tmp_path / "cut")
    assert runs[3:5] == [*map(float, whole.facts["rates_tried"])][2:]
    assert again.facts["rates_tried"] == whole.facts["rates_tried"]
    for one, other in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_lora_trains_little_and_early_stopping_ends(loaded):
    found = learn(loaded, task(), Settings("lora", rate=5.0, steps=120, patience=2, rank=2))
    assert 4 <= len(found.history) < 13  # the start, and looks at what such a rate spoils
    assert found.best == 0
    share = found.facts["trained_parameters"] / found.facts["parameters"]
    assert 0 < share < 0.2


@pytest.mark.parametrize(
    ("values", "looks", "best"),
    [
        ([0.7, 0.5, 0.6, 0.61, 0.8, 0.7, 0.7, 0.9], 7, 4),  # worse than the start, but getting on
        ([0.7, 0.6, 0.5, 0.6, 0.9], 4, 0),  # a look that is equal to one of before is no better
        ([0.5, 0.6, 0.7, 0.8, 0.9], 5, 4),
    ],
)
def test_patience_counts_from_the_best_of_training_and_not_from_the_start(values, looks, best):
    stopping, told = adapt_runs.EarlyStopping(1, 2), iter(values)
    network = torch.nn.Linear(1, 1)
    module = SimpleNamespace(evaluate=lambda: (next(told), 1.0), network=network)
    trainer = SimpleNamespace(global_step=0, max_steps=len(values) - 1, should_stop=False)
    stopping.on_train_start(trainer, module)
    while not trainer.should_stop and trainer.global_step < trainer.max_steps:
        trainer.global_step += 1
        stopping.on_train_batch_end(trainer, module, {"loss": torch.ones(())}, None, 0)
    assert (len(stopping.history), stopping.best) == (looks, best)


def test_a_run_that_had_ended_in_time_does_not_go_on(loaded, tmp_path):
    settings = Settings("lora", rate=5.0, steps=120, patience=2, rank=2)
    first = learn(loaded, task(), settings, tmp_path)
    again = learn(loaded, task(), settings, tmp_path)  # killed before anything was written
    assert len(first.history) < 13
    assert again.history == first.history
    for one, other in zip(again.network.parameters(), first.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_class_weights_count_in_a_batch_of_one():
    output_NK, target = torch.tensor([[0.3, -0.2]]), torch.tensor([1])
    plain, twice = (
        loss_of(output_NK, target, "classification", weight_K)
        for weight_K in (None, torch.tensor([1.0, 2.0]))
    )
    assert twice.item() == pytest.approx(2 * plain.item())


def test_class_weights_give_every_class_the_same_say(loaded):
    splits = task()
    examples = adapt.encoded(
        splits, adapt.task_of(loaded.network, splits, 64, "apart"), loaded.tokenizer
    )
    weight_K = adapt_runs.balanced(
        examples.train, adapt.task_of(loaded.network, splits, 64, "apart")
    )
    counts = np.bincount(np.concatenate(examples.train.targets))
    assert (weight_K.numpy() * counts).tolist() == pytest.approx([30, 30])
    few = splits._replace(
        train=[i for i in splits.train if i.label == "dry"][:20] + splits.train[:9]
    )
    plain, weighted = (
        learn(loaded, few, Settings("full", class_weights=w, **QUICK)) for w in (False, True)
    )
    for number in (0, -1):  # what judges knows of it too
        losses = [found.history[number]["validation_loss"] for found in (plain, weighted)]
        assert losses[0] != losses[1]
    for method, what in (("head", "method head"), ("full", "a regression")):
        given = splits if method == "head" else task("regression")
        with pytest.raises(ValueError, match=f"class_weights must be left out of {what}"):
            learn(loaded, given, Settings(method, class_weights=True))


def test_rates_rise_and_fall():
    factors = [warmup_linear_decay(step, 20) for step in range(20)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert 0 < factors[-1] < 0.1

from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tgp_multimodal.training import budget as module
from tgp_multimodal.training.budget import Budget, PlanAgain
from tgp_multimodal.training.checkpoints import newest
from tgp_multimodal.training.run import RunCLI

SECONDS = st.floats(0.001, 100)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",  # Lightning against newer torch
    "ignore:.*litlogger.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*exists and is not empty.*",
    "ignore:.*weights_only.*",
)


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True, scope="module")
def clock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", clock := Clock())
        yield clock


@given(seconds=SECONDS, left=st.floats(-100, 1e5))
def test_a_plan_fits_into_what_is_left_unless_that_is_nothing(seconds, left):
    steps = Budget(left / 60).steps(seconds)
    assert 20 <= steps <= 20_000
    if 20 < steps < 20_000:
        # Training and what comes after it take what is left, but for rounding to ten steps.
        training, rounding = (n * seconds * module._OVERHEAD for n in (steps, 5.001))
        assert training + module._AFTERWARDS * seconds == pytest.approx(left, abs=rounding)


@given(seconds=SECONDS, left=st.floats(1, 1e5), more=st.floats(0, 1e4))
def test_more_time_and_faster_machines_plan_no_fewer_steps(seconds, left, more):
    assert Budget((left + more) / 60).steps(seconds) >= Budget(left / 60).steps(seconds)
    assert Budget(left / 60).steps(seconds / 2) >= Budget(left / 60).steps(seconds)


@given(seconds=st.floats(0.001, 10), spent=st.floats(0, 1000), steps=st.integers(3, 1900))
def test_the_minutes_that_are_named_for_steps_are_enough_and_no_more(clock, seconds, spent, steps):
    begun, wanted = clock.now - spent, 10 * steps
    minutes = Budget(1, begun).minutes_for(wanted, seconds)
    assert Budget(minutes, begun).steps(seconds) >= wanted
    assert Budget(minutes - 61 / 60, begun).steps(seconds) <= wanted


def plan_again(clock, budget, each, steps, passes=0.1):
    """Steps of a run that was planned at `steps` and whose steps take `each` seconds."""
    trainer, changed = SimpleNamespace(global_step=0, max_steps=steps), []
    callback = PlanAgain(budget, passes, changed.append)
    while trainer.global_step < min(steps, 60):
        trainer.global_step += 1
        clock.now += each + 5.0 * (trainer.global_step == 1)  # the first one is slow
        callback.on_train_batch_end(trainer, None, None, None, 0)
    return changed


@given(each=st.floats(0.01, 10), seconds=st.floats(100, 1e5))
def test_real_steps_say_how_many_fit(clock, each, seconds):
    budget = Budget(seconds / 60)
    end = budget.end - 25
    (steps,) = plan_again(clock, budget, each, 300)
    after_forty = clock.now - 20 * each
    if 50 < steps < 20_000:
        taken = after_forty + (steps - 40) * each * module._CHECKS
        assert taken == pytest.approx(end, abs=5.2 * each)
    assert steps >= 50


@pytest.mark.parametrize("steps", [20, 40])
def test_a_run_that_is_over_by_then_is_left_alone(clock, steps):
    assert plan_again(clock, Budget(10), 0.1, steps) == []


def test_a_run_that_is_planned_again_ends_there_and_says_so(
    arguments, clock, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_MEASURED", (2, 5))
    monkeypatch.setattr("sys.argv", ["tgp"])
    cli = RunCLI([*arguments, "--trainer.enable_model_summary", "false"], run=False)
    cli.prepare()
    budget = Budget(1e9)
    planned = []

    def change(steps):
        planned.append(steps)
        cli.set_steps(12)

    cli.trainer.callbacks.insert(0, PlanAgain(budget, 0.1, change))
    clock_moves = iter(range(10**6))
    monkeypatch.setattr(clock, "monotonic", lambda: 1000.0 + next(clock_moves), raising=False)
    cli.trainer.fit(cli.model, cli.datamodule)
    assert planned == [20_000]
    assert cli.trainer.global_step == 12
    assert newest(tmp_path / "run") is not None
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["trainer"]["max_steps"] == 12

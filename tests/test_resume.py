"""Stopped, paused, damaged, discarded: a resumed run ends as if nothing had been."""

import os
import threading
from pathlib import Path

import pytest
from labs import LONG, PATIENCE, TWELVE_STEPS, curve, finished, flip_a_byte, smoke, stop_at, texts, undisturbed

from instruct_tune import runner as runner_module
from instruct_tune.checkpoints import checkpoints
from instruct_tune.errors import BusyError, ModelError, NotFoundError
from instruct_tune.runner import Runner

pytestmark = pytest.mark.usefixtures("one_thread", "quicker", "tiny_cache")


def test_a_stopped_run_keeps_its_adapter_and_where_it_was(lab, pace):
    run_id = stop_at(lab, pace, 6, TWELVE_STEPS)
    run = lab.store.get(run_id)
    assert (run.status, run.phase, run.step, run.total_steps) == ("stopped", None, 6, 12)
    assert run.message == "Stopped at step 6 of 12; the adapter is kept."
    assert Path(lab.run_result(run_id)["adapter"], "adapter_model.safetensors").is_file()
    assert lab.generate(run_id, [{"instruction": "Say hi"}]) != []
    assert lab.stop_run(run_id) == "stopped"


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_resumed_run_ends_as_if_it_had_never_been_stopped(lab, pace, kept, step):
    run_id = stop_at(lab, pace, step, TWELVE_STEPS)
    assert lab.store.get(run_id).step == step
    assert lab.resume_run(run_id) == run_id
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.step, run.message, run.error_kind) == ("finished", 12, "Finished 12 steps.", None)
    assert f"Resuming from step {step}." in texts(lab.show_run(run_id)["events"])
    assert curve(lab, run_id) == undisturbed(kept)


def test_it_answers_as_if_it_had_never_been_stopped(lab, pace, kept):
    run_id = stop_at(lab, pace, 6, TWELVE_STEPS)
    lab.resume_run(run_id)
    lab.wait(run_id, PATIENCE)
    other, whole = kept
    files = [
        Path(each.run_result(i)["adapter"], "adapter_model.safetensors") for each, i in ((lab, run_id), (other, whole))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_can_be_stopped_and_resumed_again_and_again(lab, pace, kept):
    run_id = stop_at(lab, pace, 2, TWELVE_STEPS)
    for step in (5, 9):
        pace.at[step] = lambda runner: lab.stop_run(runner.run.id)
        lab.resume_run(run_id)
        assert lab.wait(run_id, PATIENCE).status == "stopped"
        assert lab.store.get(run_id).step == step
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == undisturbed(kept)


def test_a_stop_in_the_middle_of_an_optimizer_step_loses_no_finished_step(lab, monkeypatch):
    """With gradient accumulation a step can be minutes long: the stop comes within it."""
    config = smoke(train={"num_train_epochs": 3, "gradient_accumulation_steps": 2, "save_minutes": None})
    whole = curve(lab, finished(lab, config))
    stopping, asked = Runner.stopping, []

    def stop_between_micro_batches(runner):
        # on_step_begin breathes and asks; the next time is between the micro-batches of that step.
        if runner.store.get(runner.run.id).step == 3 and runner.store.get(runner.run.id).phase == "training":
            asked.append(1)
            if len(asked) == 2:
                lab.stop_run(runner.run.id)
        return stopping(runner)

    monkeypatch.setattr(Runner, "stopping", stop_between_micro_batches)
    run_id = lab.start_run(config)
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.step) == ("stopped", 3)
    monkeypatch.setattr(Runner, "stopping", stopping)
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == whole
    assert "Resuming from step 3." in texts(lab.show_run(run_id)["events"])


def test_a_stop_before_the_first_step_is_a_stop(lab, pace, kept):
    run_id = stop_at(lab, pace, 0, TWELVE_STEPS)
    assert lab.store.get(run_id).status == "stopped"
    assert lab.store.get(run_id).step == 0
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == undisturbed(kept)


def test_a_run_stopped_before_it_began_never_trains(lab, engine_held):
    run_id = lab.start_run(LONG)
    assert lab.store.get(run_id).status == "queued"
    assert lab.stop_run(run_id) == "stopped"
    engine_held.set()
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.step) == ("stopped", 0)
    assert lab.run_metrics(run_id) == []


def test_a_resumed_run_stopped_before_it_began_again_never_trains(lab, pace, engine_held):
    engine_held.set()
    run_id = stop_at(lab, pace, 2, LONG)
    let_go, begun = threading.Event(), threading.Event()
    lab.engine.short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    try:
        lab.resume_run(run_id)
        # It is about to work: nobody may delete it, and a stop must not get lost.
        assert lab.store.get(run_id).live
        with pytest.raises(BusyError):
            lab.delete_run(run_id)
        assert lab.stop_run(run_id) == "stopped"
        let_go.set()
        run = lab.wait(run_id, PATIENCE)
        assert (run.status, run.step) == ("stopped", 2)
    finally:
        let_go.set()
        lab.stop_run(run_id)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("phase", ["loading", "tokenising", "training", "evaluating", "saving"])
def test_a_stop_is_heard_in_every_phase(lab, monkeypatch, kept, phase, keep):
    enter = Runner.phase

    def stop_in(runner, name):
        enter(runner, name)
        if name == phase and not runner.stopping():
            assert lab.stop_run(runner.run.id, keep) == "stopping"

    def stop_while_loading(settings, loading):
        lab.stop_run(lab._runner.run.id, keep)
        return load_splits(settings, loading)

    load_splits = runner_module.load_splits
    with monkeypatch.context() as patched:
        patched.setattr(Runner, "phase", stop_in)
        if phase == "loading":
            patched.setattr(runner_module, "load_splits", stop_while_loading)
        run_id = lab.start_run(TWELVE_STEPS)
        lab._turns[run_id].result(PATIENCE)
    if not keep:
        assert not lab.store.has(run_id)
        return
    run = lab.store.get(run_id)
    assert (run.status, run.phase) == ("stopped", None)
    assert run.step < run.total_steps or not run.step
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == undisturbed(kept)


def test_a_paused_run_lets_others_train_and_goes_on(lab, pace, kept):
    pace.at[5] = lambda runner: lab.pause_run(runner.run.id)
    run_id = lab.start_run(TWELVE_STEPS)
    other = lab.start_run(smoke())
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.message) == ("stopped", "Paused at step 5 of 12; the adapter is kept.")
    assert "It was asked to pause." in [change["reason"] for change in lab.show_run(run_id)["changes"]]
    assert lab.wait(other, PATIENCE).status == "finished"
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == undisturbed(kept)


def test_a_discarded_run_leaves_nothing(lab, pace, tmp_path):
    run_id = stop_at(lab, pace, 6, TWELVE_STEPS, keep=False)
    assert lab.list_runs() == []
    assert list((tmp_path / "data" / "runs").iterdir()) == []
    with pytest.raises(NotFoundError):
        lab.run_status(run_id)
    finished(lab)


def test_a_run_that_has_ended_cannot_be_discarded_by_a_late_stop(lab):
    run_id = finished(lab)
    assert lab.stop_run(run_id, keep=False) == "finished"
    # Nor does that late stop meet it when it is started anew.
    assert [run["id"] for run in lab.list_runs()] == [run_id]


def test_only_a_run_that_ended_early_can_be_resumed(lab, pace):
    run_id = finished(lab)
    with pytest.raises(BusyError, match="is finished"):
        lab.resume_run(run_id)

    def resume(runner):
        with pytest.raises(BusyError, match="is running"):
            lab.resume_run(runner.run.id)

    pace.at[1] = resume
    finished(lab)


def test_without_a_checkpoint_a_run_begins_anew(lab, pace, kept):
    def break_down(runner):
        raise RuntimeError("a cosmic ray")

    pace.at[3] = break_down
    run_id = lab.start_run(TWELVE_STEPS)
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "bug")
    assert "cosmic" not in run.message
    seen = lab.run_metrics(run_id)[-1]["seq"]
    assert seen
    lab.resume_run(run_id)
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind, run.message) == ("finished", None, "Finished 12 steps.")
    assert "Resuming from step 0." in texts(lab.show_run(run_id)["events"])
    assert curve(lab, run_id) == undisturbed(kept)
    # A reader who has seen the first attempt gets every step of the second.
    assert len(lab.run_metrics(run_id, after=seen)) == len(undisturbed(kept))


DAMAGE = {
    "a flipped byte": (lambda folder: flip_a_byte(folder / "optimizer.pt"), "optimizer.pt is not what was written"),
    "a flipped byte in the adapter": (lambda folder: flip_a_byte(folder / "adapter_model.safetensors"), "not what was"),
    "cut short": (lambda folder: os.truncate(folder / "adapter_model.safetensors", 100), "has 100 of"),
    "a missing file": (lambda folder: (folder / "rng_state.pth").unlink(), "rng_state.pth is missing"),
    "a damaged list": (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(lab, pace, kept, tmp_path, how):
    damage, words = DAMAGE[how]
    run_id = stop_at(lab, pace, 6, TWELVE_STEPS)
    folder = tmp_path / "data" / "runs" / run_id
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4", "checkpoint-6"]
    damage(folder / "checkpoint-6")
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    said = texts(lab.show_run(run_id)["events"])
    assert "Resuming from step 4." in said
    assert any("The checkpoint of step 6 is damaged" in text and words in text for text in said)
    assert curve(lab, run_id) == undisturbed(kept)


def test_where_every_checkpoint_is_damaged_the_run_begins_anew(lab, pace, kept, tmp_path):
    run_id = stop_at(lab, pace, 6, TWELVE_STEPS)
    folder = tmp_path / "data" / "runs" / run_id
    for checkpoint in checkpoints(folder):
        flip_a_byte(checkpoint / "optimizer.pt")
    lab.resume_run(run_id)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    assert "Resuming from step 0." in texts(lab.show_run(run_id)["events"])
    assert curve(lab, run_id) == undisturbed(kept)


def test_a_damaged_adapter_does_not_answer(lab, tmp_path):
    run_id = finished(lab)
    flip_a_byte(tmp_path / "data" / "runs" / run_id / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"damaged .* is not what was written"):
        lab.generate(run_id, [{"instruction": "Hi"}])

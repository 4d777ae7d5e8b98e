"""The lab as the page and the command line see it: runs, answers, evaluations, and all that can go wrong."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
import torch
from labs import PATIENCE, Pace, cache_for, curve, finished, opened, smoke

from instruct_tune import runner as runner_module
from instruct_tune import training
from instruct_tune.checkpoints import checkpoints, step_of
from instruct_tune.dataset import examples
from instruct_tune.errors import BusyError, DataError, HubError, LabError, ModelError, NotFoundError, SettingsError
from instruct_tune.lab import Lab
from instruct_tune.runner import Runner
from instruct_tune.settings import DataSettings, RunConfig
from instruct_tune.store import RunStore
from instruct_tune.visitors import HOST, known_by

pytestmark = pytest.mark.usefixtures("one_thread", "quicker", "tiny_cache")

# Twelve steps over three epochs, with evaluations, probes and dropout: all that a resume could disturb.
TWELVE_STEPS = smoke(train={"num_train_epochs": 3, "probes": 4, "save_minutes": None})
LONG = smoke(train={"num_train_epochs": 1000, "max_steps": 5000, "eval_strategy": "no", "save_strategy": "no"})


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        yield lab


@pytest.fixture
def pace(monkeypatch):
    return Pace(monkeypatch)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A lab with one finished run, "tulip", for tests that only read it or answer with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("kept")) as lab:
            yield lab, finished(lab, TWELVE_STEPS, "tulip")


def undisturbed(kept):
    """What an uninterrupted run of twelve steps measures."""
    lab, run_id = kept
    return curve(lab, run_id)


def write_rows(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def texts(events):
    return [event["text"] for event in events]


def until(true, what):
    """Wait for another thread or process."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


# A run from start to end


def test_a_run_is_accepted_at_once_and_ends_with_an_adapter(lab, tmp_path):
    run_id = lab.start_run(smoke(), "  my first  ")
    assert lab.store.get(run_id).name == "my first"
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.phase, run.error_kind) == ("finished", None, None)
    assert (run.step, run.total_steps, run.message) == (4, 4, "Finished 4 steps.")
    assert run.created < run.ended <= time.time()
    folder = tmp_path / "data" / "runs" / run_id
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4"]


def test_the_metrics_have_one_point_a_step_and_the_held_out_losses_on_the_same_axis(kept):
    told = undisturbed(kept)
    assert [step for kind, step in told if kind == "train"] == list(range(1, 13))
    assert [step for kind, step in told if kind == "probe"] == [0, 3, 6, 9, 12]
    assert [step for kind, step in told if kind == "eval"] == [4, 8, 12]
    assert all(told["train", step]["epoch"] == step / 4 for step in range(1, 13))
    assert told["train", 1]["learning_rate"] == 1e-2
    assert told["train", 12]["learning_rate"] == pytest.approx(1e-2 / 12)


def test_metrics_after_a_seq_are_those_not_seen_yet(kept):
    lab, run_id = kept
    metrics = lab.run_metrics(run_id)
    seqs = [metric["seq"] for metric in metrics]
    assert seqs == sorted(set(seqs))
    assert lab.run_metrics(run_id, after=seqs[5]) == metrics[6:]
    assert lab.run_metrics(run_id, after=seqs[-1]) == []
    with pytest.raises(DataError, match="whole number"):
        lab.run_metrics(run_id, after="5")


def test_the_result_is_computed_from_what_was_measured(kept):
    lab, run_id = kept
    metrics = lab.run_metrics(run_id)
    steps = [metric for metric in metrics if metric["kind"] == "train"]
    told = lab.run_result(run_id)
    assert set(told) >= {
        "run_id", "status", "steps", "tokens", "train_loss", "eval_loss", "tokens_per_second",
        "trainable_parameters", "adapter", "model_path",
    }  # fmt: skip
    assert (told["run_id"], told["status"], told["steps"]) == (run_id, "finished", 12)
    assert told["train_loss"] == pytest.approx(sum(m["loss"] for m in steps) / 12)
    assert told["eval_loss"] == [m["eval_loss"] for m in metrics if m["kind"] == "eval"][-1]
    assert told["tokens_per_second"] == pytest.approx(told["tokens"] / sum(m["seconds"] for m in steps))
    # Two layers, q (64 → 64) and v (64 → 32), rank 16.
    assert told["trainable_parameters"] == 2 * 16 * ((64 + 64) + (64 + 32))
    assert Path(told["adapter"], "adapter_config.json").is_file()
    assert Path(told["model_path"], "config.json").is_file()


def test_the_tokens_are_the_real_ones_over_all_epochs(kept):
    lab, run_id = kept
    lengths = lab.data(TWELVE_STEPS, model="tiny-random")["token_lengths"]
    assert lab.run_result(run_id)["tokens"] == 3 * lengths["total"]


def test_the_status_has_the_last_of_each_metric(kept):
    lab, run_id = kept
    told = lab.run_status(run_id)
    assert set(told) >= {"status", "phase", "step", "total_steps", "metrics", "eta_seconds", "message"}
    assert (told["status"], told["phase"], told["step"], told["total_steps"]) == ("finished", None, 12, 12)
    assert told["eta_seconds"] is None
    assert {kind: metric["step"] for kind, metric in told["metrics"].items()} == {"train": 12, "probe": 12, "eval": 12}


def test_the_status_has_the_last_and_the_best_checkpoint(kept):
    lab, run_id = kept
    told = lab.run_status(run_id)["checkpoints"]
    losses = {metric["step"]: metric["eval_loss"] for metric in lab.run_metrics(run_id) if metric["kind"] == "eval"}
    best = min(losses, key=losses.get)
    assert told == {
        "last": {"step": 12, "eval_loss": losses[12]},
        "best": {"step": best, "eval_loss": losses[best]},
        "kept": 12,
    }
    assert lab.show_run(run_id)["checkpoints"] == told


def test_a_run_that_keeps_its_best_says_which_it_was(lab, monkeypatch):
    """Its held-out loss rises after the first epoch, and again: two evaluations of patience."""
    told = iter([1.0, 2.0, 2.5])
    monkeypatch.setattr(training._Trainer, "held_out_loss", lambda self, rows: next(told))
    settings = {"num_train_epochs": 9, "probes": 0, "early_stopping_patience": 2, "load_best_model_at_end": True}
    run_id = lab.start_run(smoke(train=settings))
    run = lab.wait(run_id, PATIENCE)
    assert run.status == "finished"
    assert run.message == (
        "Finished early at step 12 of 36, since the held-out loss fell no more; "
        "the adapter of step 4, the best, is kept."
    )
    assert lab.run_status(run_id)["checkpoints"] == {
        "last": {"step": 12, "eval_loss": 2.5},
        "best": {"step": 4, "eval_loss": 1.0},
        "kept": 4,
    }
    folder = lab.store.folder(run_id)
    weights = [
        (folder / name / "adapter_model.safetensors").read_bytes()
        for name in ("adapter", "checkpoint-4", "checkpoint-12")
    ]
    assert weights[0] == weights[1] != weights[2]


def test_while_it_runs_the_status_says_where_it_is(lab, pace):
    looks = {}
    for step in (0, 6):
        pace.at[step] = lambda runner, step=step: looks.update({step: lab.run_status(runner.run.id)})
    finished(lab, TWELVE_STEPS)
    for step, told in looks.items():
        assert (told["status"], told["phase"], told["step"], told["total_steps"]) == ("running", "training", step, 12)
    assert looks[0]["eta_seconds"] is None
    assert 0 < looks[6]["eta_seconds"] < 60


def test_the_phases_come_in_their_order(lab, monkeypatch):
    phases = []
    monkeypatch.setattr(
        Runner, "phase", lambda self, name: phases.append(name) or self.store.update(self.run.id, phase=name)
    )
    finished(lab)
    assert phases[0] == "tokenising"
    assert phases[-1] == "saving"
    assert set(phases) == {"tokenising", "training", "evaluating", "saving"}
    assert phases.index("training") < phases.index("evaluating")


def test_a_run_says_what_it_was_measured_with(kept):
    lab, run_id = kept
    facts = lab.show_run(run_id)["facts"]
    assert facts["weights_source"] == "made here, random"
    assert len(facts["weights_sha256"]) == 64
    assert (facts["threads"], facts["dtype"]) == (torch.get_num_threads(), "float32")
    assert facts["attention"] == "sdpa_by_rows"
    assert facts["matrix_products"] in ("oneDNN", "MKL")
    assert facts["data_fingerprint"] == lab.data(TWELVE_STEPS)["fingerprint"]
    assert (facts["train_rows"], facts["evaluation_rows"], facts["probe_rows"]) == (16, 4, 4)
    assert (
        facts["versions"]["torch"] == torch.__version__.partition("+")[0]
        or facts["versions"]["torch"] in torch.__version__
    )


def test_showing_a_run_gives_all_there_is_as_plain_json(kept):
    lab, run_id = kept
    shown = lab.show_run(run_id)
    assert shown["config"] == TWELVE_STEPS.to_dict()
    assert RunConfig.from_dict(shown["config"]) == TWELVE_STEPS
    assert shown["metrics"] == lab.run_metrics(run_id)
    assert "Finished 12 steps." in texts(shown["events"])
    assert json.loads(json.dumps(shown)) == shown


def test_history_is_newest_first(lab):
    first, second = finished(lab, name="first"), finished(lab, name="second")
    told = lab.list_runs()
    assert [run["id"] for run in told] == [second, first]
    assert set(told[0]) >= {"id", "name", "status"}
    assert [run["name"] for run in told] == ["second", "first"]


def test_the_same_settings_give_the_same_losses(kept, lab):
    assert curve(lab, finished(lab, TWELVE_STEPS)) == undisturbed(kept)


def test_training_changes_what_the_model_says_and_lowers_its_loss(kept):
    told = undisturbed(kept)
    assert told["eval", 12]["eval_loss"] < told["eval", 4]["eval_loss"]
    assert told["probe", 12]["probe_loss"] < told["probe", 0]["probe_loss"]


def test_the_evaluation_rows_and_the_probe_rows_share_none(kept):
    lab, _ = kept
    test = lab.splits(TWELVE_STEPS.data).test
    rows = examples(test)
    assert lab.held_out(TWELVE_STEPS) == rows[:4]
    assert lab.held_out(dataclasses.replace(TWELVE_STEPS, evaluation_rows=None)) == rows


@pytest.mark.parametrize("name", ["x" * 201, 5, None, ["a"]])
def test_a_name_that_is_none_is_refused_and_leaves_no_trace(lab, name):
    with pytest.raises(DataError, match="name"):
        lab.start_run(smoke(), name)
    assert lab.list_runs() == []


def test_run_names_are_only_names(lab, tmp_path):
    name = "../../<script>alert(1)</script> $HOME ${x} ☃"
    run_id = finished(lab, name=name)
    assert lab.list_runs()[0]["name"] == name
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [run_id]


# Turns


def test_who_comes_second_waits_for_a_turn(lab, pace):
    asked = []

    def ask(runner):
        asked.append(lab.start_run(smoke(), "second"))
        asked.append(lab.start_evaluation(runner.run.id, 2))
        waiting = lab.run_status(asked[0])
        assert (waiting["status"], waiting["place"]) == ("queued", 1)
        assert waiting["starts_in_seconds"] >= 0
        assert lab.run_status(runner.run.id)["place"] is None
        assert lab.evaluation_progress(runner.run.id)["place"] == 2
        with pytest.raises(BusyError, match="asked for already"):
            lab.start_evaluation(runner.run.id)

    pace.at[2] = ask
    first = finished(lab, TWELVE_STEPS, "first")
    assert asked[1].result(PATIENCE)["rows"] == 2
    assert lab.store.get(asked[0]).status == "finished"
    ends = [lab.store.get(run_id).ended for run_id in (first, asked[0])]
    assert ends == sorted(ends)
    assert lab.run_status(asked[0])["place"] is None


def test_a_full_line_refuses_with_a_sentence_and_leaves_no_trace(lab, pace, tmp_path):
    refused = []

    def start_another(runner):
        lab.engine.most_waiting = 0
        for start in (lambda: lab.start_run(smoke(), "second"), lambda: lab.start_evaluation(runner.run.id)):
            with pytest.raises(BusyError, match="waiting already") as caught:
                start()
            refused.append(caught.value)

    pace.at[2] = start_another
    finished(lab, TWELVE_STEPS, "first")
    assert len(refused) == 2
    assert [run["name"] for run in lab.list_runs()] == ["first"]
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1


def test_who_comes_too_late_by_a_hair_leaves_no_trace_either(lab, pace, monkeypatch, tmp_path):
    """Both found a place in the line; only one of them gets it."""
    monkeypatch.setattr(lab.engine, "refuse_when_full", lambda by: None)
    refused = []

    def start_another(runner):
        lab.engine.most_waiting = 0
        with pytest.raises(BusyError) as caught:
            lab.start_run(smoke(), "second")
        refused.append(str(caught.value))

    pace.at[2] = start_another
    finished(lab, smoke(), "first")
    assert len(refused) == 1
    assert [run["name"] for run in lab.list_runs()] == ["first"]
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1


def test_a_run_that_could_not_be_resumed_for_others_stays_as_it_was(lab, pace):
    pace.at[2] = lambda runner: lab.stop_run(runner.run.id)
    stopped = lab.start_run(TWELVE_STEPS, "stopped one")
    before = lab.wait(stopped, PATIENCE)
    shown = lab.show_run(stopped)

    def resume(runner):
        lab.engine.most_waiting = 0
        with pytest.raises(BusyError, match="waiting already"):
            lab.resume_run(stopped)

    pace.at[3] = resume
    finished(lab, TWELVE_STEPS, "other")
    assert lab.store.get(stopped) == before
    after = lab.show_run(stopped)
    assert {**after, "changes": None} == {**shown, "changes": None}
    assert [change["status"] for change in after["changes"][len(shown["changes"]) :]] == ["queued", "stopped"]
    assert after["changes"][-1]["reason"] == "Too many were waiting."


def test_fifty_starts_in_a_second(lab, engine_held):
    """As many as there is room for; the rest gets a sentence each, and the lab goes on."""
    visitor, taken, refused = known_by("somebody's own secret"), [], []

    def start(number, viewer):
        try:
            taken.append(lab.start_run(smoke(), f"number {number}", viewer))
        except BusyError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(n, visitor if n % 2 else HOST)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    # One about to begin, and sixteen behind it.
    assert len(taken) == 17
    assert len(taken) + len(refused) == 50
    assert sorted(run["id"] for run in lab.list_runs()) == sorted(taken)
    assert sum(lab.store.get(run_id).started_by == visitor.id for run_id in taken) <= 4
    for run_id in taken:
        assert lab.stop_run(run_id) == "stopped"
    engine_held.set()
    finished(lab)


def test_a_run_that_waits_is_withdrawn_at_once(lab, pace):
    seen = []

    def ask(runner):
        kept, dropped = lab.start_run(smoke(), "second"), lab.start_run(smoke(), "third")
        seen.extend([kept, dropped, lab.stop_run(kept), lab.stop_run(dropped, keep=False)])
        assert lab.wait(kept, PATIENCE).status == "stopped"

    pace.at[2] = ask
    finished(lab, TWELVE_STEPS, "first")
    assert seen[2:] == ["stopped", "stopped"]
    assert [run["name"] for run in lab.list_runs()] == ["second", "first"]
    assert lab.run_metrics(seen[0]) == []
    lab.resume_run(seen[0])
    assert lab.wait(seen[0], PATIENCE).status == "finished"


def test_closing_leaves_runs_that_wait_to_be_resumed(tmp_path, pace):
    waiting, reached = [], threading.Event()
    with opened(tmp_path) as lab:

        def hold(runner):
            waiting.append(lab.start_run(smoke(), "second"))
            reached.set()
            assert runner.stop.wait(PATIENCE)

        pace.at[2] = hold
        first = lab.start_run(TWELVE_STEPS, "first")
        assert reached.wait(PATIENCE)
        lab.close(PATIENCE)
    with opened(tmp_path) as lab:
        assert lab.store.get(first).status == "interrupted"
        assert lab.store.get(waiting[0]).status == "interrupted"
        lab.resume_run(waiting[0])
        assert lab.wait(waiting[0], PATIENCE).status == "finished"


def test_one_process_has_one_lab_on_a_folder_and_others_read(lab, tmp_path):
    run_id = finished(lab)
    with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
        Lab(tmp_path / "data")
    reader = Lab(tmp_path / "data", writing=False)
    assert reader.show_run(run_id) == lab.show_run(run_id)
    reader.close()
    finished(lab)


def test_a_reader_leaves_a_run_at_work_alone(lab, pace, tmp_path):
    def look(runner):
        with opened(tmp_path / "data", writing=False) as reader:
            assert reader.run_status(runner.run.id)["status"] == "running"

    pace.at[2] = look
    finished(lab)


# Stop and resume


def stop_at(lab, pace, step, config, keep=True):
    """A run that was stopped when it was at ``step``."""
    told = []
    pace.at[step] = lambda runner: told.append(lab.stop_run(runner.run.id, keep))
    run_id = lab.start_run(config)
    lab._turns[run_id].result(PATIENCE)
    assert told == ["stopping"]
    return run_id


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


@pytest.fixture
def engine_held(lab):
    """Keeps the engine's thread from what is asked of it until it is let go."""
    let_go, begun = threading.Event(), threading.Event()
    lab.engine.short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    yield let_go
    let_go.set()


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


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


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


# Closing, and what is left behind


def test_closing_stops_a_run_and_keeps_its_adapter(tmp_path, pace):
    begun = threading.Event()
    pace.at[2] = lambda runner: begun.set()
    with opened(tmp_path) as lab:
        run_id = lab.start_run(LONG)
        assert begun.wait(PATIENCE)
    with opened(tmp_path) as lab:
        run = lab.store.get(run_id)
        assert run.status == "interrupted"
        assert run.message.startswith(f"The lab was closed at step {run.step} of 5000; the adapter is kept")
        assert [step_of(path) for path in checkpoints(lab.store.folder(run_id))] == [run.step]
        assert lab.has_adapter(run_id)


def test_closing_leaves_a_run_that_has_not_begun_to_be_resumed(tmp_path):
    let_go = threading.Event()
    lab = Lab(tmp_path)
    lab.engine.short(lambda: let_go.wait(PATIENCE))
    run_id = lab.start_run(LONG)
    threading.Timer(0.2, let_go.set).start()
    lab.close(timeout=4)
    with opened(tmp_path) as lab:
        run = lab.store.get(run_id)
        assert (run.status, run.step) == ("interrupted", 0)


def test_closing_stops_an_evaluation(tmp_path, kept):
    with opened(tmp_path) as lab:
        run_id = finished(lab, smoke(evaluation_rows=None))
        news = lab.evaluate(run_id, generation={"max_new_tokens": 1500})
        next(news)
        began = time.monotonic()
        lab.close(timeout=8)
        took = time.monotonic() - began
    assert took < 5


def test_a_folder_is_free_again_after_closing(tmp_path):
    for _ in range(2):
        with opened(tmp_path) as lab:
            assert lab.list_runs() == []


def test_what_a_dead_process_left_at_work_is_interrupted_and_can_be_resumed(tmp_path, kept):
    store = RunStore(tmp_path)
    run_id = store.create("left behind", TWELVE_STEPS.to_dict()).id
    store.update(run_id, status="running", phase="training", step=3, total_steps=12)
    store.add_metric(run_id, "probe", 3, 0.75, {"probe_loss": 99.0})
    store.add_metric(run_id, "probe", 5, 1.25, {"probe_loss": 99.0})
    store.close()
    with opened(tmp_path, writing=False) as reader:
        assert reader.run_status(run_id)["status"] == "running"
    with opened(tmp_path) as lab:
        told = lab.run_status(run_id)
        assert (told["status"], told["phase"], told["step"]) == ("interrupted", None, 3)
        assert "can be resumed" in told["message"]
        lab.resume_run(run_id)
        assert lab.wait(run_id, PATIENCE).status == "finished"
        assert curve(lab, run_id) == undisturbed(kept)


TRAINS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from instruct_tune.lab import Lab
from instruct_tune.settings import RunConfig
import json
lab = Lab(Path(sys.argv[1]))
run_id = lab.start_run(json.loads(sys.argv[2]), "killed")
print(run_id, flush=True)
lab.wait(run_id)
"""


@pytest.mark.slow
def test_a_killed_process_loses_only_what_came_after_its_last_checkpoint(tmp_path):
    config = smoke(train={"num_train_epochs": 25, "save_total_limit": None})
    command = [sys.executable, "-c", TRAINS, str(tmp_path / "data"), json.dumps(config.to_dict())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    run_id = process.stdout.readline().strip()
    folder = tmp_path / "data" / "runs" / run_id
    until(lambda: len(checkpoints(folder)) >= 2, "two checkpoints")
    with pytest.raises(BusyError, match=f"pid {process.pid}"):
        Lab(tmp_path / "data")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    last = int(checkpoints(folder)[-1].name.partition("-")[2])
    with opened(tmp_path / "data") as lab:
        run = lab.store.get(run_id)
        assert run.status == "interrupted"
        assert run.step >= last
        lab.resume_run(run_id)
        assert lab.wait(run_id, 60).status == "finished"
        assert f"Resuming from step {last}." in texts(lab.show_run(run_id)["events"])
        whole = finished(lab, config)
        assert curve(lab, run_id) == curve(lab, whole)


# Failures


def poisoned_model(folder):
    """The tiny model with an embedding that is not finite, for the byte "~" alone."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    from instruct_tune.weights import locate

    source = locate("tiny-random", lambda text: None).path
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    # Its own head, or a logit of every position would be infinite.
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.clone()
    (token,) = AutoTokenizer.from_pretrained(folder)("~", add_special_tokens=False)["input_ids"]
    embedding[token] = float("inf")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def poisoned_rows(path, part, rows=30):
    """Rows of which one, in the ``part`` it falls into, holds a "~"."""

    def made(poisoned):
        return [
            {"instruction": f"Do {n}" + "~" * (n == poisoned), "input": "", "output": f"Done {n}"} for n in range(rows)
        ]

    for poisoned in range(rows):
        source = write_rows(path, made(poisoned))
        splits = runner_module.load_splits(DataSettings(source=source, limit=None))
        found = {"train": splits.train, "test": splits.test}[part]["instruction"]
        if any("~" in text for text in (found if part == "train" else found[4:])):
            return source
    raise AssertionError("no row falls where it should")


def failing(tmp_path):
    """What a person can get wrong only once a run is under way: name → (configuration, error kind, words)."""
    return {
        "no such modules": (smoke(lora={"target_modules": ["q_proj", "nope"]}), "model", "no module named nope"),
        "too long": (smoke(train={"max_length": 8}), "data", "No row fits into train.max_length 8"),
        "truncated to nothing": (smoke(train={"max_length": 8, "overlong": "truncate"}), "data", "No row fits"),
        "empty split": (
            smoke(data={"source": write_rows(tmp_path / "one.json", [{"instruction": "a", "output": "b"}])}),
            "data",
            "leaves none to train on",
        ),
        "missing file": (smoke(data={"source": "/nowhere/rows.json"}), "data", "There is no file /nowhere/rows.json"),
        "missing folder": (smoke(model="/nowhere/model"), "model", "neither a folder"),
        "odd Hub id": (smoke(model="foo..bar/x"), "model", "foo..bar/x"),
        "long Hub id": (smoke(model="x" * 300), "model", "xxx"),
        "not a model": (smoke(model=str(tmp_path)), "model", "no config.json"),
        "a loss that is not finite": (
            smoke(
                model=poisoned_model(tmp_path / "poisoned"),
                data={"source": poisoned_rows(tmp_path / "train.json", "train"), "limit": None},
            ),
            "diverged",
            "not a finite number at step",
        ),
        "a held-out loss that is not finite": (
            smoke(
                model=str(tmp_path / "poisoned"),
                data={"source": poisoned_rows(tmp_path / "test.json", "test"), "limit": None},
                evaluation_rows=None,
            ),
            "diverged",
            "finite",
        ),
    }


FAILURES = (
    "no such modules", "too long", "truncated to nothing", "empty split", "missing file", "missing folder",
    "odd Hub id", "long Hub id", "not a model", "a loss that is not finite", "a held-out loss that is not finite",
)  # fmt: skip


@pytest.fixture(scope="module")
def failures(kept, tmp_path_factory):
    return failing(tmp_path_factory.mktemp("failures"))


def test_every_failure_is_looked_at(failures):
    assert set(failures) == set(FAILURES)


@pytest.mark.parametrize("what", FAILURES)
def test_a_run_that_cannot_work_fails_in_one_sentence_and_the_lab_works_on(lab, failures, what):
    config, kind, words = failures[what]
    run_id = lab.start_run(config)
    run = lab.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", kind), run.message
    assert words in run.message
    assert run.message.endswith(".")
    assert "\n" not in run.message
    assert len(run.message) < 600
    assert (run.phase, run.live) == (None, False)
    assert lab.show_run(run_id)["events"][-1]["text"] == run.message
    json.dumps(lab.show_run(run_id), allow_nan=False)
    finished(lab)


def test_what_was_measured_before_a_failure_is_kept(lab, failures):
    run_id = lab.start_run(failures["a loss that is not finite"][0])
    run = lab.wait(run_id, PATIENCE)
    steps = [metric["step"] for metric in lab.run_metrics(run_id) if metric["kind"] == "train"]
    assert steps == list(range(1, run.step + 1)) or steps == list(range(1, run.step))
    assert lab.run_result(run_id)["status"] == "failed"


def test_a_fault_of_the_lab_is_told_as_one_and_does_not_end_it(lab, pace, caplog):
    def break_down(runner):
        raise RuntimeError("a secret of the house")

    pace.at[1] = break_down
    run = lab.wait(lab.start_run(smoke()), PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "bug")
    assert "a secret of the house" not in run.message
    assert "a secret of the house" in caplog.text
    finished(lab)


def test_a_run_whose_configuration_is_no_longer_known_fails_and_can_be_deleted(lab):
    """As one that another version of the lab left behind."""
    run_id = lab.store.create("old", {**smoke().to_dict(), "of_old": 1}).id
    lab.store.update(run_id, status="interrupted")
    try:
        lab.resume_run(run_id)
    except SettingsError:
        pass
    else:
        lab.wait(run_id, PATIENCE)
    assert lab.store.get(run_id).status in ("failed", "interrupted")
    lab.delete_run(run_id)
    finished(lab)


def test_a_model_that_fails_leaves_no_adapter_behind(lab, pace):
    """Or the next run of the same model would find a stranger on it."""

    def break_down(runner):
        raise RuntimeError

    pace.at[2] = break_down
    lab.wait(lab.start_run(smoke()), PATIENCE)
    on_model = lab.engine.short(
        lambda: [name for name, _ in lab.bench._loaded.model.named_parameters() if "lora" in name]
    )
    assert on_model.result(PATIENCE) == []


# Long rows


def rows_of_lengths(path, lengths):
    """Rows whose tokens (a byte each) with the lesson's template and EOS are ``lengths``."""
    empty = len("### Instruction:\nDo\n\n### Response:\n") + 1
    return write_rows(path, [{"instruction": "Do", "output": "x" * (n - empty)} for n in lengths])


def test_rows_that_are_too_long_are_dropped_and_counted(lab, tmp_path):
    source = rows_of_lengths(tmp_path / "rows.json", [60] * 20 + [61] * 10)
    config = smoke(data={"source": source, "limit": None}, train={"max_length": 60, "per_device_train_batch_size": 1})
    run_id = finished(lab, config)
    longer = sum(len(text) > 24 for text in lab.splits(config.data).train["output"])
    assert longer
    shown = lab.show_run(run_id)
    assert f"Training rows: {longer} rows dropped and 0 cut at train.max_length 60." in texts(shown["events"])
    assert shown["facts"]["train_rows"] == lab.run_result(run_id)["steps"] == 24 - longer
    assert lab.run_result(run_id)["tokens"] == 60 * (24 - longer)


def test_rows_that_are_too_long_are_cut_where_that_is_asked_for(lab, tmp_path):
    source = rows_of_lengths(tmp_path / "rows.json", [60] * 20 + [90] * 10)
    train = {"max_length": 60, "per_device_train_batch_size": 1, "overlong": "truncate"}
    config = smoke(data={"source": source, "limit": None}, train=train)
    run_id = finished(lab, config)
    longer = sum(len(text) > 24 for text in lab.splits(config.data).train["output"])
    shown = lab.show_run(run_id)
    assert f"Training rows: 0 rows dropped and {longer} cut at train.max_length 60." in texts(shown["events"])
    assert shown["facts"]["train_rows"] == 24
    assert lab.run_result(run_id)["tokens"] == 60 * 24


def test_where_all_rows_fit_nothing_is_said_about_it(kept):
    lab, run_id = kept
    assert not any("dropped" in text for text in texts(lab.show_run(run_id)["events"]))


# Answers


def test_both_answers_grow_and_the_last_says_done(kept):
    lab, run_id = kept
    told = list(lab.compare(run_id, "Reverse a list", generation={"max_new_tokens": 5}))
    assert [each["done"] for each in told] == [False] * (len(told) - 1) + [True]
    assert len(told) >= 5
    last = told[-1]
    assert (last["base_tokens"], last["tuned_tokens"]) == (5, 5)
    assert last["base"] != last["tuned"]
    assert told[0]["base"] != last["base"]
    assert len(told[2]["base"]) <= len(last["base"])


def test_the_answers_are_those_of_generate(kept):
    lab, run_id = kept
    row = {"instruction": "Reverse a list", "input": "[1, 2]"}
    last = list(lab.compare(run_id, row["instruction"], row["input"]))[-1]
    assert lab.generate(run_id, [row]) == [last["tuned"]]
    assert lab.generate("base", [row], smoke()) == [last["base"]]


def test_the_input_is_part_of_the_prompt(kept):
    lab, run_id = kept
    seen = []

    def first_prompt(patch):
        from instruct_tune import generation

        generate = generation.generate
        patch.setattr(
            generation,
            "generate",
            lambda loaded, requests, *a, **k: seen.append(requests) or generate(loaded, requests, *a, **k),
        )

    with pytest.MonkeyPatch.context() as patch:
        first_prompt(patch)
        list(lab.compare(run_id, "Sort", "3 1 2"))
    tokenizer = lab.tokenizer("tiny-random")
    prompts = {tokenizer.decode(list(request.prompt)) for request in seen[0]}
    assert prompts == {"### Instruction:\nSort\n\n### Input:\n3 1 2\n\n### Response:\n"}


@pytest.mark.parametrize("what", ["", "   ", None, 5, ["a"]])
def test_without_an_instruction_there_is_no_answer(kept, what):
    lab, run_id = kept
    with pytest.raises(DataError, match="instruction"):
        next(lab.compare(run_id, what))


def test_generation_settings_are_laid_over_the_runs_and_checked(kept):
    lab, run_id = kept
    last = list(lab.compare(run_id, "Hi", generation={"max_new_tokens": 2}))[-1]
    assert last["tuned_tokens"] == 2
    with pytest.raises(
        SettingsError, match=r"generation\.max_new_tokens.*generation\.beams|generation\.beams.*max_new"
    ):
        next(lab.compare(run_id, "Hi", generation={"max_new_tokens": 0, "beams": 3}))
    with pytest.raises(LabError):
        next(lab.compare(run_id, "Hi", generation=[1]))


def test_closing_a_comparison_stops_it(kept):
    lab, run_id = kept
    answers = lab.compare(run_id, "Hi", generation={"max_new_tokens": 1500})
    next(answers)
    began = time.monotonic()
    answers.close()
    lab.engine.short(lambda: None).result(PATIENCE)
    assert time.monotonic() - began < 2


def test_a_stop_keeps_what_was_said_so_far(kept):
    lab, run_id = kept
    stop = threading.Event()
    told = []
    for texts in lab.compare(run_id, "Hi", generation={"max_new_tokens": 1500}, stop=stop):
        told.append(texts)
        if texts["base"] and texts["tuned"]:
            stop.set()
    last = told[-1]
    assert (last["done"], last["stopped"]) == (True, True)
    assert last["base"].startswith(told[-2]["base"])
    assert last["tuned"]
    assert "tuned_tokens" not in last
    assert list(lab.compare(run_id, "Hi", generation={"max_new_tokens": 2}))[-1]["tuned_tokens"] == 2


@pytest.mark.parametrize("case", ["free", "busy", "no memory", "not at hand"])
def test_the_warm_up_loads_the_default_model_where_nothing_speaks_against_it(lab, monkeypatch, case):
    monkeypatch.setattr("instruct_tune.lab.DEFAULT_MODEL", "tiny-random")
    if case == "not at hand":
        monkeypatch.setattr("instruct_tune.weights.at_hand", lambda model: None)
    monkeypatch.setattr("instruct_tune.lab._free_memory", lambda: 0 if case == "no memory" else 2**40)
    done = threading.Event()
    if case == "busy":
        lab.engine.long("something long", lambda: done.wait(PATIENCE))
    lab.warm_up()
    done.set()
    assert lab.engine.short(lambda: lab.bench.empty).result(PATIENCE) is (case != "free")
    assert lab.generate("base", [{"instruction": "Hi"}], smoke())


def test_the_last_answer_tells_seconds(kept):
    lab, run_id = kept
    for generation in ({"max_new_tokens": 5}, {"max_new_tokens": 5, "num_beams": 2}):
        last = list(lab.compare(run_id, "Reverse a list", generation=generation))[-1]
        assert 0 < last["base_seconds"] <= last["seconds"]
        assert 0 < last["tuned_seconds"] <= last["seconds"]


def test_a_run_without_an_adapter_cannot_answer(lab, tmp_path):
    run = lab.wait(lab.start_run(smoke(data={"source": "/nowhere.json"}), "broken"), PATIENCE)
    assert lab.has_adapter(run.id) is False
    for ask in (
        lambda: next(lab.compare(run.id, "Hi")),
        lambda: lab.generate(run.id, [{"instruction": "Hi"}]),
        lambda: next(lab.evaluate(run.id)),
        lambda: lab.start_evaluation(run.id),
        lambda: lab.export_run(run.id, tmp_path / "x.zip"),
    ):
        with pytest.raises(ModelError, match=r"Run broken \(failed\) has no adapter"):
            ask()
    assert lab.engine.busy_with is None


@pytest.mark.parametrize("odd", ["../x", "", 5, "nope", None, "base/.."])
def test_an_id_that_is_none_is_not_found_whatever_is_asked(kept, odd, tmp_path):
    lab, run_id = kept
    for ask in (
        lab.run_status, lab.run_metrics, lab.run_result, lab.show_run, lab.stop_run, lab.resume_run, lab.delete_run,
        lab.has_adapter, lab.predictions, lab.start_evaluation,
        lambda odd: next(lab.compare(odd, "Hi")),
        lambda odd: next(lab.evaluate(odd)),
        lambda odd: lab.generate(odd, [{"instruction": "Hi"}]),
        lambda odd: lab.export_run(odd, tmp_path / "x.zip"),
        lambda odd: lab.stop_run(odd, keep=False),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            ask(odd)
    assert [run["id"] for run in lab.list_runs()] == [run_id]
    assert list(tmp_path.iterdir()) == []


def test_base_answers_without_any_run(lab):
    rows = [{"instruction": "Hi"}, {"instruction": "Sort", "input": "3 1 2"}]
    answers = lab.generate("base", rows, smoke())
    assert len(answers) == 2
    assert all(isinstance(text, str) for text in answers)
    assert lab.generate("base", rows[::-1], smoke()) == answers[::-1]


@pytest.mark.parametrize("row", [{"input": "x"}, {"instruction": 5}, {"instruction": "a", "input": 5}, "text", None])
def test_a_prompt_that_is_none_is_named_by_its_number(kept, row):
    lab, run_id = kept
    for who in ("base", run_id):
        with pytest.raises(DataError, match="Prompt 2"):
            lab.generate(who, [{"instruction": "Hi"}, row])


def own_run(lab, runner, other):
    return list(lab.compare(runner.run.id, "Hi", generation={"max_new_tokens": 6}))[-1]["tuned"]


def own_run_sampled(lab, runner, other):
    sampled = {"max_new_tokens": 6, "do_sample": True, "temperature": 2.0}
    return list(lab.compare(runner.run.id, "Hi", generation=sampled))[-1]["tuned"]


def other_run(lab, runner, other):
    return list(lab.compare(other, "Hi", generation={"max_new_tokens": 6}))[-1]["tuned"]


def base_alone(lab, runner, other):
    return lab.generate("base", [{"instruction": "Hi"}], smoke())


def closed_half_way(lab, runner, other):
    answers = lab.compare(runner.run.id, "Hi", generation={"max_new_tokens": 1000})
    next(answers)
    answers.close()
    return lab.engine.short(lambda: "stopped").result(PATIENCE)


@pytest.mark.parametrize("question", [own_run, own_run_sampled, other_run, base_alone, closed_half_way])
def test_questions_are_answered_between_steps_and_change_no_bit_of_the_training(lab, pace, kept, question):
    other = finished(lab, smoke(), "other")
    # The same run once more, to which the question is put while it trains.
    held, answers = {}, []
    pace.at[2] = lambda runner: held.update(runner=runner)
    for step in (3, 7):
        answers.append(pace.ask(lab, step, lambda: question(lab, held["runner"], other)))
    run_id = finished(lab, TWELVE_STEPS)
    first, second = (answer.result(PATIENCE) for answer in answers)
    assert first
    assert second
    assert curve(lab, run_id) == undisturbed(kept)
    if question is own_run:
        assert first != second, "the adapter that answered should be the one that trains"


def test_a_question_while_a_run_loads_is_told_that_it_is_too_early(lab, engine_held):
    run_id = lab.start_run(smoke(), "young")
    with pytest.raises(ModelError, match=r"Run young \(queued\) has no adapter yet"):
        next(lab.compare(run_id, "Hi"))
    engine_held.set()
    assert lab.wait(run_id, PATIENCE).status == "finished"


def test_another_model_is_refused_while_one_trains(lab, pace, tmp_path):
    answer = pace.ask(lab, 3, lambda: lab.generate("base", [{"instruction": "Hi"}], smoke(model=str(tmp_path))))
    finished(lab, TWELVE_STEPS)
    with pytest.raises(BusyError, match="tiny-random is training"):
        answer.result(PATIENCE)


def test_more_runs_can_answer_than_adapters_stay_in_memory(lab):
    ids = [finished(lab, smoke(data={"limit": 8}, train={"seed": seed, "learning_rate": 0.3})) for seed in range(6)]
    rows = [{"instruction": "Hi"}, {"instruction": "Ho"}]
    base = lab.generate("base", rows, smoke())
    first = [lab.generate(run_id, rows) for run_id in ids]
    assert [lab.generate(run_id, rows) for run_id in ids] == first
    assert len({tuple(answer) for answer in first}) > 1
    assert lab.generate("base", rows, smoke()) == base


# Evaluation


def test_an_evaluation_tells_its_progress_and_then_its_numbers(lab):
    run_id = finished(lab)
    *news, told = lab.evaluate(run_id)
    done = [(each["done"], each["total"]) for each in news if "done" in each]
    assert done[0] == (0, 8)
    assert done[-1] == (8, 8)
    assert done == sorted(done)
    assert set(told) >= {"run_id", "rows", "generation", "base", "tuned", "delta", "p_value", "predictions"}
    assert (told["run_id"], told["rows"]) == (run_id, 4)
    assert told["generation"]["max_new_tokens"] == 8
    for report in (told["base"], told["tuned"]):
        assert set(report) >= {"bleu", "precisions", "bp", "sys_len", "ref_len", "signature", "ci", "chrf"}
        assert len(report["precisions"]) == 4
        assert len(report["ci"]) == 2
    assert told["delta"] == told["tuned"]["bleu"] - told["base"]["bleu"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_its_predictions_are_the_held_out_rows_answered_twice(lab):
    run_id = finished(lab)
    told = list(lab.evaluate(run_id))[-1]
    lines = [json.loads(line) for line in Path(told["predictions"]).read_text(encoding="utf-8").splitlines()]
    assert lines == lab.predictions(run_id)
    rows = lab.held_out(smoke())
    assert [(line["instruction"], line["input"], line["reference"]) for line in lines] == [
        (row.instruction, row.input, row.output) for row in rows
    ]
    prompts = [{"instruction": row.instruction, "input": row.input} for row in rows]
    assert [line["tuned"] for line in lines] == lab.generate(run_id, prompts)
    assert [line["base"] for line in lines] == lab.generate("base", prompts, smoke())


def test_base_is_asked_once(lab, tmp_path):
    told = [list(lab.evaluate(finished(lab)))[-1] for _ in range(2)]
    assert [each["base_remembered"] for each in told] == [0, 4]
    assert told[0]["base"] == told[1]["base"]


def test_an_evaluation_is_kept(lab, tmp_path):
    run_id = finished(lab)
    assert lab.predictions(run_id) == []
    told = [list(lab.evaluate(run_id, limit=limit))[-1] for limit in (2, 3)]
    assert [each["rows"] for each in told] == [2, 3]
    lab.close()
    with opened(tmp_path / "data") as again:
        kept = again.show_run(run_id)["evaluations"]
        assert [each["rows"] for each in kept] == [3, 2]
        verdict = told[1].pop("verdict")
        assert {name: kept[0][name] for name in told[1]} == told[1]
        assert again.verdict(run_id, kept[0]) == verdict
        assert [len(again.predictions(run_id, found["seq"])) for found in kept] == [3, 2]
        assert len(again.predictions(run_id)) == 3
        assert again.predictions(run_id, 10**9) == []


@pytest.mark.parametrize("limit", [0, -1, "many", 1.5])
def test_a_limit_that_is_none_is_refused(kept, limit):
    lab, run_id = kept
    with pytest.raises(SettingsError, match="evaluation_rows"):
        next(lab.evaluate(run_id, limit=limit))
    assert lab.engine.busy_with is None


def test_closing_an_evaluation_stops_it_and_keeps_the_one_before(lab):
    run_id = finished(lab)
    list(lab.evaluate(run_id, limit=2))
    before = lab.predictions(run_id)
    news = lab.evaluate(run_id, generation={"max_new_tokens": 1500})
    next(news)
    news.close()
    until(lambda: lab.engine.busy_with is None, "the evaluation's end")
    assert lab.evaluating["error"] == "Stopped after 0 of 8 answers; nothing was scored."
    assert lab.predictions(run_id) == before
    assert len(lab.show_run(run_id)["evaluations"]) == 1
    assert list(lab.evaluate(run_id, limit=3))[-1]["rows"] == 3


def test_a_stopped_evaluation_says_so_to_who_watches(lab):
    run_id = finished(lab)
    news = lab.evaluate(run_id, generation={"max_new_tokens": 1500})
    next(news)
    lab.stop_evaluation()
    with pytest.raises(LabError, match="topped"):
        list(news)


def test_an_evaluation_stopped_before_it_began_never_answers(lab):
    run_id = finished(lab)
    let_go, begun = threading.Event(), threading.Event()
    lab.engine.short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    future = lab.start_evaluation(run_id, generation={"max_new_tokens": 1500})
    lab.stop_evaluation()
    let_go.set()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert "Withdrawn" in lab.evaluation_progress(run_id)["error"]
    assert time.monotonic() - began < 2
    assert lab.show_run(run_id)["evaluations"] == []


def test_an_evaluation_goes_on_whoever_watches(lab):
    run_id = finished(lab)
    told = lab.start_evaluation(run_id).result(PATIENCE)
    assert lab.evaluating == {"run_id": run_id, "finished": True}
    assert lab.show_run(run_id)["evaluations"][0]["delta"] == told["delta"]


def test_questions_are_answered_during_an_evaluation(lab):
    run_id = finished(lab, smoke(evaluation_rows=None))
    news = lab.evaluate(run_id, generation={"max_new_tokens": 30})
    next(news)
    answered = threading.Thread(target=lambda: list(lab.compare(run_id, "Hi")))
    answered.start()
    *_, told = news
    answered.join(PATIENCE)
    assert not answered.is_alive()
    assert told["rows"] > 4


def test_a_run_deleted_under_its_evaluation_is_told_in_a_sentence(lab):
    run_id = finished(lab)
    news = lab.evaluate(run_id, generation={"max_new_tokens": 200})
    next(news)
    lab.delete_run(run_id)
    with pytest.raises(LabError):
        list(news)
    assert lab.list_runs() == []
    finished(lab)


# Deleting


def test_a_deleted_run_is_gone(lab, tmp_path):
    gone, stays = finished(lab, name="gone"), finished(lab, name="stays")
    list(lab.compare(gone, "Hi"))
    lab.delete_run(gone)
    assert [run["id"] for run in lab.list_runs()] == [stays]
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [stays]
    with pytest.raises(NotFoundError):
        next(lab.compare(gone, "Hi"))
    list(lab.compare(stays, "Hi"))


def test_a_run_at_work_cannot_be_deleted(lab, pace):
    def delete(runner):
        with pytest.raises(BusyError, match="is running: stop it"):
            lab.delete_run(runner.run.id)

    pace.at[2] = delete
    finished(lab)


def test_deleting_another_run_while_one_trains_changes_no_bit_of_it(lab, pace, kept):
    other = finished(lab)
    list(lab.compare(other, "Hi"))
    pace.at[3] = lambda runner: list_and_delete(lab, other)
    run_id = finished(lab, TWELVE_STEPS)
    assert curve(lab, run_id) == undisturbed(kept)
    assert [run["id"] for run in lab.list_runs()] == [run_id]


def list_and_delete(lab, run_id):
    assert len(lab.list_runs()) == 2
    lab.delete_run(run_id)


# Data, mask, configuration


def test_data_tells_counts_that_add_up(lab):
    told = lab.data(smoke(), rows=3, model="tiny-random")
    assert set(told) >= {"source", "rows_loaded", "ledger", "train_rows", "test_rows", "fingerprint", "licence"}
    left = told["rows_loaded"]
    for entry in told["ledger"]:
        assert entry["kept"] + entry["dropped"] == left
        left = entry["kept"]
    assert told["train_rows_before_limit"] + told["test_rows"] == left
    assert told["train_rows"] == 16
    assert (len(told["train"]), len(told["test"])) == (3, 3)
    assert told["train"][0] == dataclasses.asdict(lab.training_row(smoke(), 0))
    assert told["test"][2] == dataclasses.asdict(lab.held_out_row(smoke(), 2))
    assert json.loads(json.dumps(told)) == told


def test_token_lengths_are_those_of_the_rows(lab):
    lengths = lab.data(smoke(), model="tiny-random")["token_lengths"]
    rows = [lab.training_row(smoke(), index) for index in range(16)]
    masks = [lab.mask(smoke(train={"max_length": 5000}), row.instruction, row.input, row.output) for row in rows]
    counts = [len(mask["input_ids"]) for mask in masks]
    assert (lengths["total"], lengths["max"], lengths["mean"]) == (sum(counts), max(counts), sum(counts) / 16)
    assert lengths["prompt_mean"] == sum(mask["prompt_length"] for mask in masks) / 16


def test_a_page_of_rows(lab):
    config = smoke()
    whole = lab.preview(config, rows=16)["rows"]
    assert lab.preview(config, rows=5, offset=10)["rows"] == whole[10:15]
    assert lab.preview(config, rows=5, offset=14)["rows"] == whole[14:]
    assert lab.preview(config, rows=5, offset=100)["rows"] == []
    assert lab.preview(config, rows=1, part="test")["rows"] == [dataclasses.asdict(lab.held_out_row(config, 0))]
    assert lab.preview(config)["fingerprint"] == lab.data(config)["fingerprint"]
    for rows, offset in ((-1, 0), (201, 0), (5, -1), ("5", 0), (5, None), (1.5, 0)):
        with pytest.raises(DataError, match="rows must be"):
            lab.preview(config, rows, offset)


@pytest.mark.parametrize("index", [-1, 16, 10_000])
def test_a_row_beyond_the_last_is_told_so(lab, index):
    with pytest.raises(DataError, match="from 1 to 16"):
        lab.training_row(smoke(), index)
    with pytest.raises(DataError, match="held-out"):
        lab.held_out_row(smoke(), -1)


def test_a_file_that_changed_is_read_again(lab, tmp_path):
    rows = [{"instruction": f"Do {n}", "output": "x"} for n in range(10)]
    config = smoke(data={"source": write_rows(tmp_path / "rows.json", rows)})
    first = lab.data(config)
    assert lab.splits(config.data) is lab.splits(config.data)
    os.utime(write_rows(tmp_path / "rows.json", rows * 2), (1, 1))
    second = lab.data(config)
    assert (first["rows_loaded"], second["rows_loaded"]) == (10, 20)
    assert first["fingerprint"] != second["fingerprint"]


def test_the_mask_is_what_the_trainer_gets(lab):
    told = lab.mask(smoke(), "Say hi", "", "hi")
    prompt = "### Instruction:\nSay hi\n\n### Response:\n"
    assert told["prompt_length"] == len(prompt)
    assert (told["supervised"], told["truncated"]) == (3, 0)
    assert told["labels"] == [-100] * len(prompt) + told["input_ids"][-3:]
    assert told["tokens"][-3:] == ["h", "i", "<|im_end|>"]
    cut = lab.mask(smoke(train={"max_length": len(prompt) + 1}), "Say hi", "", "hi")
    assert (cut["supervised"], cut["truncated"], cut["tokens"][-1]) == (1, 2, "h")
    with pytest.raises(DataError, match="input must be"):
        lab.mask(smoke(), "Say hi", None, "hi")


WRONG = {"lora": {"r": 0}, "train": {"learning_rate": "fast", "epochs": 3}, "data": {"test_size": 2}}


def test_every_problem_of_a_configuration_is_named_at_once(lab):
    for ask in (lab.config, lab.start_run, lab.data, lab.preview, functools.partial(lab.mask, instruction="a")):
        with pytest.raises(SettingsError) as caught:
            ask(WRONG)
        for name in ("lora.r", "train.learning_rate", "train.epochs", "data.test_size"):
            assert name in str(caught.value)
    assert lab.list_runs() == []


@pytest.mark.parametrize(
    "given", [[], "quick", 5, {"data": []}, {"template": "nope"}, {"template": {"without_input": "x"}}]
)
def test_what_is_no_configuration_is_refused(lab, given):
    with pytest.raises(SettingsError):
        lab.start_run(given)
    assert lab.list_runs() == []


@pytest.mark.parametrize("source", ["x" * 300, "a\0b", "/", "~", "hub:", "hub:x", "..", "\ud800"])
@pytest.mark.parametrize("local", [True, False])
def test_an_odd_source_is_refused_in_a_sentence(tmp_path, source, local):
    with opened(tmp_path, local_paths=local) as lab, pytest.raises((DataError, SettingsError)):
        lab.data({"data": {"source": source}})


@pytest.mark.parametrize("model", ["x" * 300, "a\0b", "/", "..", "a/b/c", "", "\ud800"])
@pytest.mark.parametrize("local", [True, False])
def test_an_odd_model_is_refused_in_a_sentence(tmp_path, model, local):
    with opened(tmp_path, local_paths=local) as lab, pytest.raises((ModelError, SettingsError, HubError)):
        lab.mask({"model": model}, "a", "", "b")


# Hosted: the page's visitors are not the machine's owners


@pytest.fixture
def hosted(tmp_path):
    with opened(tmp_path / "hosted", local_paths=False) as lab:
        yield lab


def test_a_hosted_lab_reads_no_file_of_its_machine(hosted, tmp_path, monkeypatch):
    secret = write_rows(tmp_path / "secret.json", [{"instruction": "a", "output": "b"}] * 20)
    hosted.uploads.mkdir()
    monkeypatch.chdir(tmp_path)
    for source in (
        secret,
        "secret.json",
        f"{hosted.uploads}/../../secret.json",
        "/etc/passwd",
        "file://" + secret,
        "~",
    ):
        for ask in (hosted.data, hosted.start_run, hosted.preview, hosted.held_out, hosted.config):
            with pytest.raises(DataError, match="hosted"):
                ask({"data": {"source": source}})
    assert hosted.list_runs() == []


def test_a_hosted_lab_follows_no_link_out_of_its_uploads(hosted, tmp_path):
    secret = write_rows(tmp_path / "secret.json", [{"instruction": "a", "output": "b"}] * 20)
    hosted.uploads.mkdir()
    (hosted.uploads / "link.json").symlink_to(secret)
    with pytest.raises(DataError, match="hosted"):
        hosted.data({"data": {"source": str(hosted.uploads / "link.json")}})


def test_a_hosted_lab_loads_no_model_folder_of_its_machine(hosted, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    for model in (str(tmp_path / "model"), "model", ".", "/etc"):
        for ask in (hosted.start_run, lambda config: hosted.mask(config, "a", "", "b")):
            with pytest.raises(ModelError, match="hosted"):
                ask({"model": model})
    assert hosted.list_runs() == []


def test_a_hosted_lab_takes_uploads_and_what_it_offers(hosted, tmp_path):
    rows = [{"instruction": f"Do {n}", "output": f"Done {n}"} for n in range(30)]
    kept = hosted.keep_upload(Path(write_rows(tmp_path / "mine.json", rows)))
    assert kept.parent == hosted.uploads
    assert "mine" not in kept.name
    assert hosted.data({"data": {"source": str(kept)}})["rows_loaded"] == 30
    assert hosted.data({"data": {"source": "bundled"}})["rows_loaded"] > 100
    assert hosted.config({"data": {"source": "hub:some/data"}}).data.source == "hub:some/data"
    assert hosted.config({"model": "facebook/opt-125m"}).model == "facebook/opt-125m"
    finished(hosted, smoke(data={"source": str(kept)}))


def test_uploads_do_not_meet_and_are_of_a_kind_that_is_read(hosted, tmp_path):
    file = Path(write_rows(tmp_path / "Mine.JSON", [{"instruction": "a", "output": "b"}]))
    one, other = hosted.keep_upload(file), hosted.keep_upload(file)
    assert one != other
    assert one.suffix == ".json"
    for name in ("x.py", "x", "x.json.exe"):
        (tmp_path / name).write_text("[]")
        with pytest.raises(DataError, match="cannot be read: upload one of"):
            hosted.keep_upload(tmp_path / name)
    assert {path for path in hosted.uploads.iterdir() if path.suffix != ".name"} == {one, other}


def test_a_space_is_hosted_unless_it_is_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/space")
    with opened(tmp_path / "a") as lab:
        assert lab.local_paths is False
    with opened(tmp_path / "b", local_paths=True) as lab:
        assert lab.local_paths is True
    monkeypatch.delenv("SPACE_ID")
    with opened(tmp_path / "c") as lab:
        assert lab.local_paths is True


# The bin


def test_a_deleted_run_comes_back_with_all_it_had(lab):
    run_id = finished(lab)
    before = lab.show_run(run_id)
    lab.bin_run(run_id)
    assert lab.list_runs() == []
    for question in (lab.run_status, lab.resume_run, lab.ready_adapter, lab.bin_run):
        with pytest.raises(NotFoundError):
            question(run_id)
    lab.unbin_run(run_id)
    assert lab.show_run(run_id) == before
    assert lab.has_adapter(run_id)
    with pytest.raises(NotFoundError, match="emptied"):
        lab.unbin_run(run_id)


def test_the_bin_is_emptied_by_the_next_start_and_not_by_who_only_reads(tmp_path):
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab)
        lab.bin_run(run_id)
        with opened(tmp_path / "data", writing=False) as reader:
            assert reader.list_runs() == []
        assert (tmp_path / "data" / "runs" / run_id).is_dir()
    with opened(tmp_path / "data") as lab:
        assert not (tmp_path / "data" / "runs" / run_id).exists()
        with pytest.raises(NotFoundError, match="emptied"):
            lab.unbin_run(run_id)


def test_the_bin_is_emptied_after_a_while(lab, monkeypatch):
    run_id = finished(lab)
    monkeypatch.setattr("instruct_tune.runs.BIN_SECONDS", 0.12)
    lab.bin_run(run_id)
    deadline = time.monotonic() + PATIENCE
    while (lab.data_dir / "runs" / run_id).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_comparison_at_strength_0_is_base_twice_and_at_1_what_it_always_was(kept):
    lab, run_id = kept
    usual, off, as_trained = (
        list(lab.compare(run_id, "Say hi", **how))[-1] for how in ({}, {"strength": 0}, {"strength": 1.0})
    )
    assert off["tuned"] == off["base"] == usual["base"]
    assert as_trained["tuned"] == usual["tuned"] != usual["base"]


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan"), "1", True, None])
def test_a_strength_out_of_range_is_refused(kept, strength):
    lab, run_id = kept
    with pytest.raises(DataError, match=r"from 0 to 1\.5"):
        list(lab.compare(run_id, "Say hi", strength=strength))

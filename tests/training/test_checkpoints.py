"""Checkpoints are flat, complete and within their limit; the best is among them, and patience ends a run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_lab import (
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    light,  # noqa: F401
    same_tensors,
    tiny,
    tiny_with,
)

from instruct_tune.models import lora
from instruct_tune.training import callbacks, trainer
from instruct_tune.training.checkpoints import best_evaluation, checkpoints, evaluations_since_best, prune_checkpoints
from instruct_tune.training.types import TrainingResult


def test_a_checkpoint_is_one_flat_adapter_and_the_trainers_state(undisturbed):
    assert [path.name for path in checkpoints(undisturbed.folder)] == ["checkpoint-3", "checkpoint-6"]
    for folder in checkpoints(undisturbed.folder):
        assert sorted(path.name for path in folder.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
            "manifest.json",
            "optimizer.pt",
            "rng_state.pth",
            "scheduler.pt",
            "trainer_state.json",
        ]
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-random"
    loaded = tiny()
    lora.load(loaded, RUN, undisturbed.folder / "checkpoint-6")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def test_a_torn_checkpoint_is_none(tmp_path, monkeypatch, undisturbed):
    """The disk is full during the second checkpoint: the first is found, and the run resumes from it."""
    save_state = trainer.Trainer._save_rng_state

    def full(trainer, folder):
        if trainer.state.global_step == 6:
            raise OSError(28, "No space left on device")
        save_state(trainer, folder)

    first = Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "_save_rng_state", full)
        with pytest.raises(OSError, match="No space left"):
            go(tiny_with(), tmp_path, watcher=first)
    # Half a checkpoint is useless, and the disk space it takes is needed.
    assert not list(tmp_path.rglob("checkpoint-6"))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    second, _ = go(tiny_with(), tmp_path, resume_from=checkpoints(tmp_path)[-1])
    assert first.losses | second.losses == undisturbed.losses
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-6"]
    loaded = tiny()
    lora.load(loaded, RUN, tmp_path / "checkpoint-6")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def make_checkpoints(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "manifest.json").write_text('{"files": {}}')


def test_rubbish_is_no_checkpoint(tmp_path):
    make_checkpoints(tmp_path, 9, 100, 20)
    make_checkpoints(tmp_path / ".partial", 200)
    (tmp_path / "checkpoint-300").mkdir()
    (tmp_path / "adapter").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-20", "checkpoint-100"]


@pytest.mark.parametrize(("keep", "left"), [(1, [100]), (2, [20, 100]), (3, [9, 20, 100]), (9, None), (None, None)])
def test_the_newest_checkpoints_are_kept(tmp_path, keep, left):
    steps = [8, 9, 20, 100]
    make_checkpoints(tmp_path, *steps)
    prune_checkpoints(tmp_path, keep)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left or steps]


@pytest.mark.parametrize(("keep", "left"), [(1, [6]), (2, [5, 6]), (None, [1, 2, 3, 4, 5, 6])])
def test_a_run_keeps_its_newest_checkpoints(tmp_path, keep, left):
    settings = replace(SIX_STEPS, save_strategy="steps", save_steps=1, save_total_limit=keep)
    go(tiny_with(), tmp_path, settings)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_saving_by_the_clock(tmp_path, monkeypatch):
    """At fifty seconds a step and two minutes between checkpoints: after the third step and the sixth."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, perf_counter=time.perf_counter)
    monkeypatch.setattr(callbacks, "time", clock)
    settings = replace(SIX_STEPS, save_strategy="no", save_minutes=2, num_train_epochs=3)

    def tick(step: int) -> None:
        clock.now += 50

    go(tiny_with(), tmp_path, settings, Recorder(between=tick))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    go(tiny_with(), tmp_path / "never", replace(settings, save_minutes=None), Recorder(between=tick))
    assert checkpoints(tmp_path / "never") == []


@pytest.mark.parametrize(("keep", "left"), [(1, [9, 100]), (2, [9, 20, 100]), (3, [9, 20, 100])])
def test_the_best_checkpoint_is_never_pruned(tmp_path, keep, left):
    make_checkpoints(tmp_path, 8, 9, 20, 100)
    prune_checkpoints(tmp_path, keep, best=9)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


# Keeping the best, and stopping early

BEST = replace(
    SIX_STEPS, probes=0, eval_strategy="steps", eval_steps=1, save_strategy="no", save_total_limit=1,
    load_best_model_at_end=True,
)  # fmt: skip


@pytest.fixture
def scripted(monkeypatch):
    """Held-out losses by step, as written here: a toy model does not overfit on demand."""

    def script(losses: dict[int, float]) -> None:
        monkeypatch.setattr(trainer.Trainer, "held_out_loss", lambda self, rows: losses[self.state.global_step])

    return script


def test_best_evaluation_and_patience():
    assert best_evaluation([]) is None
    assert evaluations_since_best([]) == 0
    losses = [(2, 1.5), (4, 1.0), (6, 1.0), (8, 1.2)]
    assert best_evaluation(losses) == (4, 1.0)
    assert [evaluations_since_best(losses[:count]) for count in (1, 2, 3, 4)] == [0, 0, 1, 2]


def test_the_best_steps_adapter_is_kept(tmp_path, scripted):
    """Neither a save strategy nor the limit of one would keep it: it is kept because it is the best."""
    scripted({1: 3.0, 2: 1.0, 3: 2.0, 4: 1.0, 5: 1.5, 6: 1.2})
    loaded = tiny_with()
    after_two = {}
    remember = Recorder(between=lambda step: after_two.update(adapter_weights(loaded)) if step == 2 else None)
    watcher, result = go(loaded, tmp_path, BEST, remember)
    assert result == TrainingResult(6, 6, stopped=False, kept_step=2)
    assert list(watcher.losses) == [1, 2, 3, 4, 5, 6]
    assert same_tensors(adapter_weights(loaded), after_two)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_keeping_the_best_disturbs_no_step(tmp_path, undisturbed):
    watcher, result = go(tiny_with(), tmp_path, replace(SIX_STEPS, load_best_model_at_end=True))
    assert watcher.losses == undisturbed.losses
    losses = watcher.of("eval_loss", "eval")
    assert result.kept_step == min(losses, key=losses.get)


@pytest.mark.parametrize(
    ("losses", "patience", "last"),
    [
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], 1, 3),
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], 2, 6),
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], None, 6),
        ([1.0] * 6, 2, 3),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], 1, 6),
    ],
)
def test_patience_counts_evaluations_without_a_new_best(tmp_path, scripted, losses, patience, last):
    scripted(dict(enumerate(losses, 1)))
    settings = replace(BEST, early_stopping_patience=patience, load_best_model_at_end=False)
    watcher, result = go(tiny_with(), tmp_path, settings)
    assert result == TrainingResult(last, 6, stopped=False, early=last < 6)
    assert list(watcher.losses) == list(range(1, last + 1))


@pytest.mark.parametrize(
    ("step", "at"), [(1, "yield_to_queue"), (2, "progress"), (3, "yield_to_queue"), (4, "yield_to_queue")]
)
def test_the_best_and_patience_survive_a_resume(tmp_path, scripted, step, at):
    """Wherever the run stops: the same steps, the same end, the same adapter as without a stop."""
    scripted({1: 3.0, 2: 1.0, 3: 2.0, 4: 1.9, 5: 1.8, 6: 0.5})
    settings = replace(BEST, early_stopping_patience=3)
    whole = tiny_with()
    uninterrupted, result = go(whole, tmp_path / "whole", settings)
    assert result == TrainingResult(5, 6, stopped=False, early=True, kept_step=2)
    loaded = tiny_with()
    first, _ = go(loaded, tmp_path / "parts", settings, Recorder(stop_after=step, at=at))
    second, result = go(again(loaded), tmp_path / "parts", settings, resume_from=checkpoints(tmp_path / "parts")[-1])
    assert result == TrainingResult(5, 6, stopped=False, early=True, kept_step=2)
    assert first.losses | second.losses == uninterrupted.losses
    assert same_tensors(adapter_weights(loaded), adapter_weights(whole))


def test_patience_that_was_over_before_a_resume_is_over_after_it(tmp_path, scripted):
    scripted({1: 1.0, 2: 2.0, 3: 2.0})
    settings = replace(BEST, early_stopping_patience=1)
    loaded = tiny_with()
    go(loaded, tmp_path, settings)
    watcher, result = go(again(loaded), tmp_path, settings, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.losses == {}
    assert result == TrainingResult(2, 6, stopped=False, early=True, kept_step=1)


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_what_a_stop_cut_off_is_measured_after_the_resume(tmp_path, strategy):
    settings = replace(SIX_STEPS, probes=2, eval_strategy=strategy, eval_steps=3)
    whole, _ = go(tiny_with(), tmp_path / "whole", settings)
    loaded = tiny_with()
    first, _ = go(loaded, tmp_path / "parts", settings, Recorder(stop_after=3, at="evaluating"))
    assert (list(first.metrics["probe"]), list(first.metrics["eval"])) == ([0], [])
    second, _ = go(again(loaded), tmp_path / "parts", settings, resume_from=checkpoints(tmp_path / "parts")[-1])
    for kind, name in (("probe", "probe_loss"), ("eval", "eval_loss")):
        assert first.of(name, kind) | second.of(name, kind) == whole.of(name, kind)

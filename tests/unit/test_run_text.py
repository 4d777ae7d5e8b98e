"""A followed run in words: for screen readers, the window's title and the lines around the plot."""

from __future__ import annotations

import dataclasses

import pytest

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import DataSettings
from instruct_tune.text.markdown import plain
from instruct_tune.ui import run_text


def status(step=0, total=100, status="running", phase="training"):
    return {"status": status, "phase": phase, "step": step, "total_steps": total}


def test_announced_at_phases_and_tenths_and_at_nothing_else():
    announcements = [run_text.announcement(status(step)) for step in range(101)]
    assert list(dict.fromkeys(announcements)) == [f"training, {tenth}% done" for tenth in range(0, 101, 10)]
    assert announcements[9] == announcements[0] != announcements[10]
    assert run_text.announcement(status(9, phase="evaluating")) == "evaluating, 0% done"
    assert run_text.announcement(status(0, 0, "queued", None)) == "queued, 0% done"
    assert run_text.announcement(status(100, 100, "finished", None)) == "The run is done."


@pytest.mark.parametrize(
    ("status", "was_live", "title"),
    [
        (status(42), True, "42% · Instruction-Tuning Lab"),
        (status(0, 0, "queued", None), True, "0% · Instruction-Tuning Lab"),
        (status(100, 100, "finished", None), True, "done · Instruction-Tuning Lab"),
        (status(7, 100, "stopped", None), True, "stopped · Instruction-Tuning Lab"),
        (status(100, 100, "finished", None), False, "Instruction-Tuning Lab"),
    ],
)
def test_the_windows_title(status, was_live, title):
    assert run_text.window_title(status, was_live) == title


def probes(*losses):
    return [{"kind": "probe", "step": 3 * n, "probe_loss": loss} for n, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ([], ""),
        (probes(1.84), "Held-out loss 1.840 at step 0."),
        (probes(1.84, 1.21), "Held-out loss 1.840 at step 0, 1.210 at step 3."),
        (probes(1.84, 1.2, 1.5), "Held-out loss 1.840 at step 0, 1.200 at step 3 (lowest), 1.500 at step 6."),
        (
            [{"kind": "train", "step": n, "loss": 3.0 - n} for n in (1, 2)] + probes(2.0),
            "Held-out loss 2.000 at step 0. Training loss 2.000 at step 1, 1.000 at step 2.",
        ),
        ([{"kind": "eval", "step": 4, "eval_loss": 0.5}], "Evaluation loss 0.500 at step 4."),
    ],
)
def test_the_plot_in_words(metrics, expected):
    assert run_text.loss_sentence(metrics) == expected


def test_checkpoints_in_words():
    nothing = {"last": None, "best": None, "kept": None}
    assert run_text.checkpoint_sentence(nothing) == ""
    unmeasured = nothing | {"last": {"step": 7, "eval_loss": None}}
    assert run_text.checkpoint_sentence(unmeasured) == "Last checkpoint: step 7"
    checkpoints = {"last": {"step": 8, "eval_loss": 2.0}, "kept": 4}
    checkpoints["best"] = {"step": 4, "eval_loss": 1.0, "saved": True}
    assert run_text.checkpoint_sentence(checkpoints) == (
        "Last checkpoint: step 8 (evaluation loss 2.000) · Best: step 4 (evaluation loss 1.000) · Adapter kept: step 4"
    )
    checkpoints["best"] = {"step": 6, "eval_loss": 0.9, "saved": False}
    assert "Best: step 6 (evaluation loss 0.900, without a checkpoint) · " in run_text.checkpoint_sentence(checkpoints)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_own_configuration(preset):
    assert run_text.configuration_sentence(PRESETS[preset].to_dict()) == f"Preset **{preset}**, nothing changed."


def test_what_differs_from_the_nearest_preset():
    minute = PRESETS["minute"]
    config = dataclasses.replace(minute, data=DataSettings(limit=12)).to_dict()
    assert run_text.configuration_sentence(config) == r"Preset **minute** with data\.limit **12**."


def test_a_configuration_of_another_version_and_hostile_values_are_only_text():
    config = PRESETS["minute"].to_dict()
    config["gone"] = True
    config["data"]["source"] = "<img src=x onerror=alert(1)>[x](javascript:1)" + "y" * 100
    text = run_text.configuration_sentence(config)
    assert plain(config["data"]["source"][:59] + "…") in text
    assert "[x](" not in text
    assert "gone **true**" in text


def test_why_a_run_failed_is_shown_with_its_kind_and_as_text():
    failed = {"status": "failed", "error_kind": "memory", "message": "<b>Lower</b> train.max_length."}
    assert run_text.failure_sentence(failed) == f"**Failed: out of memory.** {plain(failed['message'])}"
    assert run_text.failure_sentence({**failed, "error_kind": "_of another lab_"}).startswith("**Failed: \\_of")
    assert run_text.failure_sentence({**failed, "status": "stopped"}) == ""


def test_changes_are_listed_newest_first():
    changes = [
        {"time": 0.0, "status": "queued", "phase": None, "step": 0, "reason": "Accepted."},
        {"time": 1.0, "status": "running", "phase": "loading", "step": 3, "reason": ""},
    ]
    newest, oldest = run_text.changes_text(changes).splitlines()
    assert newest.endswith("running, loading (step 3)")
    assert oldest.endswith("queued (step 0): Accepted.")
    assert run_text.changes_text(changes, last=1) == newest

"""The script of a Hub job: what it measures, and what it brings back to the lab."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from instruct_tune.config.presets import PRESETS
from instruct_tune.script.hub_job import job_script
from instruct_tune.script.record import Record
from instruct_tune.script.script import script

QUICK = PRESETS["quick"]


def test_a_job_measures_bleu_as_the_configuration_says_and_not_as_an_evaluation_did():
    generation = replace(QUICK.generation, num_beams=5).to_dict()
    sides = {side: {"bleu": 1.0} for side in ("base", "tuned")}
    evaluation = {"generation": generation, "rows": 3, "tokenize": "char", "baselines": [], **sides}
    record = Record("first", "finished at step 2 of 2", evaluation=evaluation)
    assert "num_beams=5" in script(QUICK, record)
    without = replace(record, evaluation=None)
    assert job_script(QUICK, "ann/run", record) == job_script(QUICK, "ann/run", without)


@pytest.mark.parametrize(
    ("best", "step", "kept"), [(True, 2, 2), (True, None, 3), (False, None, 3)], ids=["best", "none held out", "last"]
)
def test_a_jobs_bleu_is_a_measurement_of_the_step_whose_adapter_is_kept(best, step, kept):
    config = replace(QUICK, train=replace(QUICK.train, load_best_model_at_end=best))
    text = job_script(config, "own/job")
    row = {"input_ids": [1, 2], "labels": [-100, 2]}
    order = type("EpochOrder", (), {"__iter__": lambda self: iter([0, 1, 2])})
    step_numbers = {"loss": 1.0, "learning_rate": 0.1, "grad_norm": 1.0}
    history = [{"step": at, "epoch": at / 3, **step_numbers} for at in (1, 2, 3)]
    history += [{"step": at, "epoch": at / 3, "eval_loss": 1.0} for at in (2, 3) if step]
    names = {
        "share": 1, "state": SimpleNamespace(num_processes=1, is_main_process=False), "GPU": False, "IGNORED": -100,
        "arguments": SimpleNamespace(gradient_accumulation_steps=1, load_best_model_at_end=best),
        "trainer": SimpleNamespace(state=SimpleNamespace(best_global_step=step)), "EpochOrder": order,
        "train_rows": [row] * 3, "held_out_rows": [], "history": [*history, {"step": 3, "epoch": 1, "train_loss": 1}],
        "clock": SimpleNamespace(ended={1: 11, 2: 12, 3: 13}, seconds={1: 1, 2: 1, 3: 1}), "FINGERPRINT": "f",
        "scores": {"base": 1, "tuned": 2}, "references": ["a"], "model": SimpleNamespace(parameters=list),
    }  # fmt: skip
    exec(text[text.index('REPOSITORY = "own/job"') :], names)
    [bleu] = [each for each in names["measured"].values() if each["kind"] == "bleu"]
    assert bleu == {"kind": "bleu", "step": kept, "epoch": kept / 3, "time": 10 + kept, "bleu": 2}
    assert names["provenance"]["kept_step"] == kept


def test_a_job_brings_its_chat_prompt_back():
    """A chat template may write the date, which is another one when the run is asked."""
    recorded = 'provenance |= {"chat_before": BEFORE, "chat_after": AFTER}'
    assert recorded in job_script(replace(QUICK, template="chat"), "own/job")
    assert recorded not in job_script(replace(QUICK, template="lesson"), "own/job")

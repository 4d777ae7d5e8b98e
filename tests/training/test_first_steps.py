"""A run that begins as base is measured at step 0 after its first step: no wait, and no other change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_lab import (
    DROPOUT,
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    light,  # noqa: F401
    loud,
    same_tensors,
    tiny_with,
)

from instruct_tune.config.run_config import HELD_OUT
from instruct_tune.data.splits import Example
from instruct_tune.errors import Stopped
from instruct_tune.models import lora
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training import fixed_prompts, step_metrics
from instruct_tune.training.checkpoints import checkpoints

ROW = Example("Say something", "", "Something.")


class Order(Recorder):
    """Records the order of metrics and probes; on request stops during the probe at step 0."""

    def __init__(self, stop_at_first_look=False, **options):
        super().__init__(**options)
        self.order, self.stop_at_first_look = [], stop_at_first_look

    def metric(self, kind, step, epoch, values):
        super().metric(kind, step, epoch, values)
        self.order.append((kind, step))

    def probed(self, step, adapter_name):
        super().probed(step, adapter_name)
        if step == 0 and self.stop_at_first_look:
            self.stop = True
            # As decoding does at its next token.
            raise Stopped
        self.order.append((adapter_name, step))


@pytest.mark.parametrize("late", [False, True], ids=["read at once", "read one step late"])
def test_the_first_step_is_reported_before_the_look_at_step_0(tmp_path, monkeypatch, late):
    monkeypatch.setattr(step_metrics, "reads_late", lambda device: late)
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, max_steps=2, eval_strategy="no"), Order())
    assert watcher.order == [("train", 1), ("probe", 0), (lora.BASE, 0), ("train", 2), ("probe", 2), (RUN, 2)]


def test_a_run_of_one_step_has_its_look_at_step_0(tmp_path):
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, max_steps=1, eval_strategy="no"), Order())
    assert watcher.order == [("train", 1), ("probe", 0), (lora.BASE, 0), ("probe", 1), (RUN, 1)]


def test_what_does_not_begin_as_base_speaks_before_its_first_step(tmp_path):
    loaded = tiny_with()
    matrix = next(p for name, p in loaded.model.named_parameters() if "lora_B" in name)
    with torch.no_grad():
        matrix += 0.1
    watcher, _ = go(loaded, tmp_path, replace(SIX_STEPS, max_steps=1), Order())
    assert watcher.order[:3] == [("probe", 0), (RUN, 0), ("train", 1)]
    assert (lora.BASE, 0) not in watcher.order


def test_base_answers_as_the_run_before_its_first_step(tmp_path):
    loaded = loud()
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    fixed = fixed_prompts.choose(loaded, LESSON, HELD_OUT, [ROW], 1)
    [before] = fixed_prompts.answer(loaded, RUN, fixed, 24, lambda: False)
    assert before.tokens > 12
    answers = {}

    class Answering(Recorder):
        def probed(self, step, adapter_name):
            # The run's own adapter, for comparison: by now its answer differs.
            answers[step] = [
                fixed_prompts.answer(loaded, name, fixed, 24, self.stopping)[0] for name in (adapter_name, RUN)
            ]

    go(loaded, tmp_path, replace(SIX_STEPS, learning_rate=0.5, max_steps=1), Answering())
    assert answers[0][0] == before
    assert answers[0][1] != before


def test_a_stop_in_the_look_is_made_up_for_by_the_resume(tmp_path, undisturbed):
    loaded = tiny_with()
    first, result = go(loaded, tmp_path, watcher=Order(stop_at_first_look=True))
    assert (result.steps, result.stopped, first.order) == (1, True, [("train", 1), ("probe", 0)])
    second, _ = go(again(loaded), tmp_path, watcher=Order(), resume_from=checkpoints(tmp_path)[-1])
    assert second.order[:3] == [("probe", 0), (lora.BASE, 0), ("train", 2)]
    assert second.of("probe_loss", "probe")[0] == undisturbed.watcher.of("probe_loss", "probe")[0]
    assert second.order.count((lora.BASE, 0)) == 1
    assert first.losses | second.losses == undisturbed.losses
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def test_a_look_that_was_had_is_not_had_again_by_the_resume(tmp_path):
    loaded = tiny_with()
    first, _ = go(loaded, tmp_path, watcher=Order(stop_after=2))
    assert (lora.BASE, 0) in first.order
    second, _ = go(again(loaded), tmp_path, watcher=Order(), resume_from=checkpoints(tmp_path)[-1])
    assert (lora.BASE, 0) not in second.order

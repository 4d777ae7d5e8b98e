"""What happens around the optimizer steps of a run: probes, timed checkpoints, queued jobs and stops."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import Stopped
from . import rng_state
from .trainer import Trainer


class AllStepsDone(Exception):
    """A run was resumed whose steps were all trained: only what a stop had prevented was left to do."""


class TrainingCallbacks(TrainerCallback):
    """Validation probes, timed checkpoints, queued jobs and stops, around the optimizer steps."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.saved_at = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self.trainer
        trainer.listener.phase("training")
        trainer.listener.progress(state.global_step, state.max_steps)
        trainer.log_what_is_slower()
        trainer.probe_steps = probe_steps(state.max_steps, trainer.settings.probes)
        trainer.sample_steps = sample_steps(trainer.probe_steps, trainer.settings.sample_every)
        if state.global_step:
            trainer.catch_up()
            if state.global_step >= state.max_steps:
                # transformers compares them after a step only: in the middle of an epoch it would train one more.
                raise AllStepsDone
            return
        trainer.choose_precision()
        if trainer.probe_steps:
            trainer.probe()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Not in on_step_end, after which the trainer still logs the step.
        # A queued job may build a model, which draws random numbers: the generators are restored after it.
        with rng_state.kept(self.trainer.loaded.device):
            self.trainer.listener.yield_to_queue()
        self._raise_if_stopping()
        self.trainer.metrics.begin()

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        self._raise_if_stopping()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.trainer.remember_random()
        self.trainer.listener.progress(state.global_step, state.max_steps)
        minutes = self.trainer.settings.save_minutes
        if minutes is not None and time.monotonic() - self.saved_at > 60 * minutes:
            control.should_save = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # After the last step the run is complete, so a stop no longer counts.
        if state.global_step < state.max_steps:
            self._raise_if_stopping()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.metrics.flush()

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        self.saved_at = time.monotonic()

    def _raise_if_stopping(self) -> None:
        if self.trainer.listener.stopping() or self.trainer.out_of_patience():
            raise Stopped


def probe_steps(total_steps: int, probes: int) -> set[int]:
    """Step 0 and ``probes`` evenly spaced steps, the last step among them; empty where ``probes`` is 0."""
    if not probes:
        return set()
    return {0, *(round(total_steps * (i + 1) / probes) for i in range(probes))}


def sample_steps(probed: Collection[int], every: int) -> set[int]:
    """Every ``every``-th of the steps that are ``probed``, from the first one, and the last one."""
    in_order = sorted(probed)
    return {*in_order[::every], *in_order[-1:]}

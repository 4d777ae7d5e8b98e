"""Trainer callbacks: between steps, yield to queued jobs; run validation probes; save every N minutes; stop."""

from __future__ import annotations

import time
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..config.run_config import TrainSettings
from ..errors import Stopped
from ..models.base_model import LoadedModel
from . import rng_state
from .step_metrics import StepMetrics
from .types import TrainingListener


class Paced(Protocol):
    """The members of ``Trainer`` that the callbacks use; ``Trainer`` documents them."""

    loaded: LoadedModel
    settings: TrainSettings
    watcher: TrainingListener
    tally: StepMetrics
    probe_steps: set[int]

    def say_what_is_slower(self) -> None: ...

    def catch_up(self) -> None: ...

    def probe(self) -> None: ...

    def remember_random(self) -> None: ...

    def out_of_patience(self) -> bool: ...


class TrainingCallbacks(TrainerCallback):
    """Validation probes, timed checkpoints, queued jobs and stops, around the optimizer steps."""

    def __init__(self, trainer: Paced):
        self.trainer = trainer
        self.saved_at = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self.trainer
        trainer.watcher.phase("training")
        trainer.watcher.progress(state.global_step, state.max_steps)
        trainer.say_what_is_slower()
        trainer.probe_steps = probe_steps(state.max_steps, trainer.settings.probes)
        if state.global_step:
            trainer.catch_up()
        elif trainer.probe_steps:
            trainer.probe()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Not in on_step_end, after which the trainer still logs the step.
        # A queued job may build a model, which draws random numbers: the generators are restored after it.
        with rng_state.kept(self.trainer.loaded.device):
            self.trainer.watcher.yield_to_queue()
        self._raise_if_stopping()
        self.trainer.tally.begin()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._raise_if_stopping()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.trainer.remember_random()
        self.trainer.watcher.progress(state.global_step, state.max_steps)
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

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.tally.flush()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.saved_at = time.monotonic()

    def _raise_if_stopping(self) -> None:
        if self.trainer.watcher.stopping() or self.trainer.out_of_patience():
            raise Stopped


def probe_steps(total_steps: int, probes: int) -> set[int]:
    """Step 0 and ``probes`` evenly spaced steps, the last step among them; empty where ``probes`` is 0."""
    if not probes:
        return set()
    return {0, *(round(total_steps * (i + 1) / probes) for i in range(probes))}

"""A run's rhythm: when it breathes, looks at the held-out rows, saves by the clock and leaves."""

from __future__ import annotations

import time
from typing import Protocol

from transformers import TrainerCallback

from ..config.run_config import TrainSettings
from ..errors import Stopped
from ..models.base_model import LoadedModel
from . import rng_state
from .step_metrics import StepMetrics
from .types import TrainingListener


class Paced(Protocol):
    """The trainer, as far as its rhythm goes; its own class says what each of these does."""

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
    """What a trainer does beside its steps."""

    def __init__(self, trainer: Paced):
        self.trainer = trainer
        self.saved_at = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        trainer.watcher.phase("training")
        trainer.watcher.progress(state.global_step, state.max_steps)
        trainer.say_what_is_slower()
        trainer.probe_steps = probe_steps(state.max_steps, trainer.settings.probes)
        if state.global_step:
            trainer.catch_up()
        elif trainer.probe_steps:
            trainer.probe()

    def on_step_begin(self, args, state, control, **kwargs):
        # Here and not at a step's end, where the trainer is about to log what it has just done.
        # What is served may build a model, which draws random numbers.
        with rng_state.kept(self.trainer.loaded.device):
            self.trainer.watcher.yield_to_queue()
        self._raise_if_stopping()
        self.trainer.tally.begin()

    def on_substep_end(self, args, state, control, **kwargs):
        self._raise_if_stopping()

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.remember_random()
        self.trainer.watcher.progress(state.global_step, state.max_steps)
        minutes = self.trainer.settings.save_minutes
        if minutes is not None and time.monotonic() - self.saved_at > 60 * minutes:
            control.should_save = True
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        # Not after the last step: then all that was asked for is done, and what follows is kept.
        if state.global_step < state.max_steps:
            self._raise_if_stopping()

    def on_train_end(self, args, state, control, **kwargs):
        self.trainer.tally.flush()

    def on_save(self, args, state, control, **kwargs):
        self.saved_at = time.monotonic()

    def _raise_if_stopping(self) -> None:
        if self.trainer.watcher.stopping() or self.trainer.out_of_patience():
            raise Stopped


def probe_steps(total_steps: int, probes: int) -> set[int]:
    """Step 0 and ``probes`` even distances to the last step."""
    if not probes:
        return set()
    return {0, *(round(total_steps * (i + 1) / probes) for i in range(probes))}

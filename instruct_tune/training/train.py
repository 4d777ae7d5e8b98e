"""One blocking training run over padding-free batches, from an attached adapter to a trained one.

``train`` knows no threads and no database. It tells a ``TrainingListener`` what happens as it happens, and
at every breathing point asks it to do whatever short work is waiting and whether to stop.
"""

from __future__ import annotations

from pathlib import Path

from ..config.learning_rate import peak_rate, schedule_warnings
from ..config.run_config import TrainSettings
from ..errors import DivergedError, Stopped
from ..models import lora
from ..models.base_model import LoadedModel
from ..util import atomic_write, memory
from .checkpoints import at_step
from .micro_batches import too_small
from .model_guard import restores_model
from .trainer import Trainer
from .types import TrainingData, TrainingListener, TrainingResult


def train(
    loaded: LoadedModel,
    name: str,
    data: TrainingData,
    settings: TrainSettings,
    folder: Path,
    watcher: TrainingListener,
    resume_from: Path | None = None,
) -> TrainingResult:
    """Train the attached adapter ``name`` and return when it is done or stopped.

    Checkpoints go to ``folder/checkpoint-STEP``; with ``resume_from`` the run goes on from one of
    them, on a CPU bit for bit as if it had never been interrupted. Raises DivergedError where a
    loss or gradient norm is not finite or the adapter ends as zero, MemoryLimitError where the
    memory is too small.
    """
    with memory.kept_pages(), restores_model(loaded):
        trainer = Trainer(loaded, name, data, settings, folder, watcher)
        try:
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        except Stopped:
            trainer.keep_last_step()
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
            # Not chained: the frames of what failed hold the memory it had.
            raise too_small(data.train) from None
        steps, total = trainer.state.global_step, trainer.state.max_steps
    early = steps < total and trainer.out_of_patience()
    stopped = steps < total and not early
    if not stopped and (fault := lora.fault(loaded, name)):
        if not peak_rate(settings, total):
            # One step of warm-up has a learning rate of 0, whatever train.learning_rate is.
            why = " ".join(schedule_warnings(settings, total, evaluations=None))
            raise DivergedError(f"The adapter is still zero after training. {why}")
        raise DivergedError(fault)
    best = trainer.best_step()
    if best is not None and (wrong := atomic_write.fault(at_step(folder, best))):
        watcher.say(f"The best checkpoint, that of step {best}, is damaged ({wrong}): the last step's adapter is kept.")
        best = None
    if best is not None:
        lora.restore(loaded, name, at_step(folder, best))
    return TrainingResult(steps, total, stopped, early, kept_step=best)

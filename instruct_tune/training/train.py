"""One blocking training run over padding-free batches, from an attached adapter to a trained one.

``train`` uses no threads and no database. It reports to a ``TrainingListener``, which between two steps runs
waiting short jobs and can stop the run.
"""

from __future__ import annotations

from pathlib import Path

from ..config.learning_rate import peak_rate, schedule_warnings
from ..config.run_config import TrainSettings
from ..errors import DivergedError, Stopped
from ..models import lora
from ..models.base_model import LoadedModel
from ..util import atomic_write, memory
from .callbacks import AllStepsDone, TrainingCallbacks
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
    listener: TrainingListener,
    resume_from: Path | None = None,
) -> TrainingResult:
    """Train the attached adapter ``name``; return when the run is complete or stopped.

    Checkpoints go to ``folder/checkpoint-STEP``. With ``resume_from`` the run continues from one of
    them, on a CPU bit for bit as if it had not been interrupted. Raises DivergedError where a
    loss or gradient norm is not finite or the adapter is still zero at the end, MemoryLimitError where
    the memory is too small.
    """
    with memory.kept_pages(), restores_model(loaded):
        trainer, unmeasured = Trainer(loaded, name, data, settings, folder, listener), False
        trainer.add_callback(TrainingCallbacks(trainer))
        try:
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        except AllStepsDone:
            listener.log_event("All steps were trained before: nothing is left but to finish the run.")
        except Stopped:
            trainer.keep_last_step()
            unmeasured = bool(trainer.left_to_measure())
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
            # Not chained: the failed frames hold the memory.
            raise too_small(data.train) from None
        steps, total = trainer.state.global_step, trainer.state.max_steps
    early = steps < total and trainer.out_of_patience()
    # A stop in the last step's measurements leaves them to the resume: without them no step may be called the best.
    stopped = unmeasured if steps >= total else not early
    if not stopped and (fault := lora.fault(loaded, name)):
        if not peak_rate(settings, total):
            # A warm-up of one step has a learning rate of 0, whatever train.learning_rate is.
            warnings = " ".join(schedule_warnings(settings, total, evaluations=None))
            raise DivergedError(f"The adapter is still zero after training. {warnings}")
        raise DivergedError(fault)
    best = trainer.best_step()
    if best is not None and (damage := atomic_write.fault(at_step(folder, best))):
        listener.log_event(
            f"The best checkpoint, that of step {best}, is damaged ({damage}): the last step's adapter is kept."
        )
        best = None
    if best is not None:
        lora.restore(loaded, name, at_step(folder, best))
    return TrainingResult(steps, total, stopped, early, kept_step=best)

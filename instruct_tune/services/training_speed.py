"""How fast this machine trains: measured on a few layers, at the pace of an earlier run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config.run_config import RunConfig
from ..estimate.lent_gpu import GPU_SECONDS
from ..estimate.resources import Architecture, Effort, Speed
from ..models.lora_targets import layer_names
from ..runs.examples import recorded_on
from ..store.run import Run
from .job_queue import JobQueue
from .tokenizers import Tokenizers


class TrainingSpeed:
    """Measures in one short job, only while no long job runs; a measurement is cached for the machine."""

    def __init__(self, tokenizers: Tokenizers, queue: JobQueue):
        self._tokenizers, self._queue = tokenizers, queue

    def of(self, config: RunConfig, folder: Path, paths: Sequence[str], measure: bool) -> Speed | None:
        """The speed of the model in ``folder``; None where it is not measured yet, or the queue is busy.

        ``paths``: the modules with LoRA. With ``measure`` this waits for a measurement where none is cached.
        """
        from ..estimate import calibrate

        memory, bf16 = calibrate.SpeedMemory(), config.train.bf16_weights
        # The measurement uses a few layers, so a module path of one layer becomes the module's name in all layers.
        lora = dataclasses.replace(config.lora, target_modules=layer_names(config.lora.target_modules, paths))
        key = memory.key(folder, lora, bf16)
        cached = memory.get(key)
        if cached or not measure or self._queue.busy_with:
            return cached

        def measured() -> Speed | None:
            """On the queue's thread. No measurement if a run is queued already, or if another viewer has measured."""
            speed = memory.get(key)
            if speed is None and not self._queue.busy_with:
                speed = calibrate.measure(folder, self._tokenizers.get(config.model), lora, bf16)
                memory.put(key, speed)
            return speed

        return self._queue.submit_short(measured).result()


@dataclasses.dataclass(frozen=True)
class Earlier:
    """An ended run on this machine: its work, its seconds, and the ``source`` that the estimate names.

    ``adapters``: how many times as long a token takes with the new run's adapter.
    """

    effort: Effort
    seconds: float
    adapters: float
    source: str

    def pace(self, speed: Speed) -> float:
        """How many times as long the new run takes as its work at ``speed``."""
        return self.adapters * self.seconds / self.effort.seconds(speed)


def earlier_run(runs: Iterable[Run], config: RunConfig, architecture: Architecture) -> Earlier | None:
    """The first of ``runs`` that trained the model on this machine; with the same adapter and batch size if possible.

    A run with another adapter counts too: the machine is as busy for either.
    """
    from ..models.base_model import best_device

    device, size = best_device(), config.train.per_device_train_batch_size
    for run in sorted(
        (run for run in runs if _trained_here(run, config, device)),
        key=lambda run: (not _same_adapter(run, config), run.config["train"]["per_device_train_batch_size"] != size),
    ):
        work = run.provenance["work"]
        effort = Effort(work["trained"], work["read"], work["decoded"])
        if effort.trained:
            new = _token_cost(architecture.parameters, architecture.trainable(config.lora.r))
            old = _token_cost(architecture.parameters, run.provenance["trainable_parameters"])
            other = "" if _same_adapter(run, config) else ", which had another adapter"
            return Earlier(effort, work["seconds"], new / old, f"from your run {run.name}{other}")
    return None


def _trained_here(run: Run, config: RunConfig, device: str) -> bool:
    """Whether a run's pace applies to ``config``: an ended one of the same model, on this machine's device."""
    on_this_machine = run.provenance.get("device", "").partition(":")[0] == device and not recorded_on(run.provenance)
    work = run.provenance.get("work", {})
    alike = run.config["model"] == config.model and on_this_machine and not run.live
    return alike and bool(work) and GPU_SECONDS not in work


def _same_adapter(run: Run, config: RunConfig) -> bool:
    """Whether the LoRA has the same targets and the same size class of rank."""
    lora, targets = run.config["lora"], config.lora.target_modules
    same_rank = (lora["r"] - 1).bit_length() == (config.lora.r - 1).bit_length()
    return same_rank and lora["target_modules"] == (targets if isinstance(targets, str) else list(targets))


def _token_cost(parameters: int, trainable: int) -> int:
    """Floating-point operations per token of training: base weights need no gradient of their own, LoRA's do."""
    return 4 * parameters + 6 * trainable

"""Estimates: a run's cost, a run that fits into a given time, and the batches of an optimizer step.

Counts are available at once. Speed and memory are measured in one short job, only while no long job runs, and
cached for the machine. Nothing here calls the Hub: a model or dataset that is not on this machine is unknown until
it is loaded.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.catalog import TINY_MODEL
from ..config.learning_rate import schedule_warnings
from ..config.run_config import DataSettings, RunConfig
from ..config.viewer import Viewer
from ..data.splits import Splits, examples, take_evaluation_rows, take_probe_rows
from ..errors import DataError, LabError, ModelError
from ..estimate.fitting import choose_size, resized
from ..estimate.lent_gpu import expected_seconds
from ..estimate.memory_advice import one_row_a_pass, shortage
from ..estimate.resources import Architecture, Effort, Seconds, Speed, cost_json, efforts, memory, seconds, warnings
from ..estimate.workload import Recorded, RowLength, Workload, count, fits, micro_batches, step_count
from ..store.run_store import RunStore
from ..tokenization.prompt_template import template_of_run
from ..util.machine import available_memory
from .configurations import Config, Configurations
from .datasets import Datasets
from .job_queue import JobQueue
from .row_lengths import RowLengths
from .runs import Runs
from .slow_imports import SlowImports
from .tokenizers import Tokenizers
from .training_speed import Earlier, TrainingSpeed, earlier_run

if TYPE_CHECKING:
    from ..inspection.batch_view import StepView

MAX_MINUTES = 7 * 24 * 60
MEASURED = "measured on this machine"
CROWDED = "measured on this machine, which is busy with other things: then it takes longer"


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of a configuration without computation: row lengths, model, speed of earlier runs."""

    train: Sequence[RowLength]
    evaluation: Sequence[RowLength]
    probe: Sequence[RowLength]
    recorded: Recorded
    folder: Path
    architecture: Architecture
    budget: int
    earlier: Earlier | None


class Estimates:
    """Owns the caches of rows' lengths and of models' shapes."""

    def __init__(
        self,
        store: RunStore,
        runs: Runs,
        configs: Configurations,
        datasets: Datasets,
        tokenizers: Tokenizers,
        queue: JobQueue,
        imports: SlowImports,
    ):
        self._store, self._runs, self._configs, self._datasets = store, runs, configs, datasets
        self._tokenizers, self._queue, self._imports = tokenizers, queue, imports
        self._lengths, self._speed = RowLengths(tokenizers), TrainingSpeed(tokenizers, queue)
        self._architectures: dict[Any, Architecture] = {}

    def cost(self, viewer: Viewer, config: Config, measure: bool = True, lent: bool = False) -> dict[str, Any]:
        """The cost of a run of ``config``, as JSON types; unknown parts are None.

        ``steps, epochs, rows, dropped, truncated, tokens, supervised, trainable_parameters, parameters, memory,
        disk`` (bytes), ``seconds`` (with ``total``), ``speed`` (the source of the seconds), ``free_memory``,
        ``warnings``, and ``unknown``: why something is unknown. With ``measure`` this waits for a measurement of
        a few seconds where none is cached. With ``lent`` the run would train on a lent GPU: nothing is measured, and
        ``gpu_seconds`` says how much of its visitor's time an earlier run lets expect. Raises LabError for a
        configuration that cannot run.
        """
        config = self._configs.read(viewer, config)
        self._imports.wait()
        splits = self._local_splits(config.data)
        if splits is None:
            return _unknown(config, None, "The dataset is not loaded yet: press Load and split on the Data tab.")
        known = self._known(config, splits, viewer)
        if known is None:
            return _unknown(
                config, len(splits.train), f"{config.model} is not on this machine yet: it is loaded at Start."
            )
        workload = _count(config, known)
        if lent:
            return self._lent_cost_json(config, workload, known)
        speed = self._speed.of(config, known.folder, known.architecture.paths, measure)
        return self._cost_json(config, workload, known, speed, viewer)

    def fit(self, viewer: Viewer, config: Config, minutes: float) -> dict[str, Any]:
        """Reduce rows, and if necessary epochs and steps, so that a run takes about ``minutes`` on this machine.

        Returns ``config`` (complete, changed), ``said`` (one sentence on the choice) and ``cost``. Raises
        LabError where the time is unknown, or too short for one step.
        """
        if not isinstance(minutes, (int, float)) or not 0 < minutes <= MAX_MINUTES:
            raise DataError(f"The time must be above 0 and at most {MAX_MINUTES:,} minutes.")
        config = self._configs.read(viewer, config)
        everything = dataclasses.replace(config, data=dataclasses.replace(config.data, limit=None))
        self._imports.wait()
        splits = self._local_splits(everything.data)
        if splits is None:
            raise DataError("The dataset is not loaded yet: press Load and split on the Data tab first.")
        known = self._known(everything, splits, viewer)
        if known is None:
            raise ModelError(f"{config.model} is not on this machine yet: how fast it trains here is not known.")
        speed = self._speed.of(everything, known.folder, known.architecture.paths, measure=True)
        if speed is None:
            raise LabError(
                f"The lab is busy with {self._busy_with(viewer)}: how fast this trains is measured after that."
            )

        def takes(rows: int, epochs: float, max_steps: int) -> float:
            candidate = resized(config, rows, epochs, max_steps)
            fewer = dataclasses.replace(known, train=known.train[:rows])
            return self._seconds(candidate, _count(candidate, fewer), fewer, speed).total

        rows, epochs, max_steps, sentence = choose_size(takes, config, len(known.train), 60 * minutes)
        chosen = resized(config, rows, epochs, max_steps)
        fewer = dataclasses.replace(known, train=known.train[:rows])
        return {
            "config": chosen.to_dict(),
            "said": sentence,
            "cost": self._cost_json(chosen, _count(chosen, fewer), fewer, speed, viewer),
        }

    def step_view(
        self, viewer: Viewer, config: Config, step: int = 1, provenance: Mapping[str, Any] | None = None
    ) -> StepView:
        """The forward passes of optimizer step ``step`` (from 1), as in a training run of ``config``.

        Row numbers are those of the split's training rows. ``provenance``: of the run with this configuration, if there
        is one. Raises DataError for a step that the run does not have, or where no row fits into ``max_length``;
        ModelError or HubError where there is no such model.
        """
        from ..batching.packing import TOKENS_PER_PASS
        from ..inspection.batch_view import StepView, micro_batch, packing_of
        from ..models.base_model import best_device
        from ..pretrained.context_length import context_in
        from ..tokenization.encode import tokenize_examples

        config = self._configs.read(viewer, config)
        train, tokenizer = config.train, self._tokenizers.get(config.model)
        template = template_of_run(config.template, provenance or {})
        folder = self._tokenizers.folder(config.model)
        rows = self._datasets.splits(config.data).train
        lengths = self._lengths.of(config, "train", rows, len(rows))
        context = context_in(folder)
        kept = fits(lengths, train.max_length, train.overlong, context)
        steps, _ = step_count(len(kept), train)
        if not 1 <= step <= steps:
            raise DataError(f"There is no step {step:,}: with these settings a run has steps 1 to {steps:,}.")
        of_an_epoch = micro_batches(kept, train, 0)
        epoch, index = divmod(step - 1, len(of_an_epoch))
        chosen = micro_batches(kept, train, epoch)[index]
        packing, by_rows = self._queue.run(lambda: packing_of(folder))
        budget = TOKENS_PER_PASS[best_device()]
        batches = []
        for numbers in chosen:
            step_rows = [examples(rows, number, 1)[0] for number in numbers]
            with self._tokenizers.encoding:
                tokenized = tokenize_examples(tokenizer, template, step_rows, min(train.max_length, context))
                numbered = list(zip(numbers, tokenized, strict=True))
                batches.append(micro_batch(numbered, packing, tokenizer, budget))
        return StepView(step, steps, epoch + 1, packing, by_rows, budget, tuple(batches))

    # Data and models on this machine

    def _local_splits(self, settings: DataSettings) -> Splits | None:
        """The rows, where they need no network; rows of the Hub only if they are loaded already."""
        if settings.source == "bundled" or os.path.isfile(os.path.expanduser(settings.source)):
            return self._datasets.splits(settings)
        named = settings.source == "codealpaca-20k" or settings.source.startswith("hub:")
        return self._datasets.splits(settings) if self._datasets.is_loaded(settings) or not named else None

    def _known(self, config: RunConfig, splits: Splits, viewer: Viewer) -> Known | None:
        """What is known; None where the model is not on this machine."""
        from ..batching.packing import TOKENS_PER_PASS
        from ..models.base_model import best_device

        folder = self._local_folder(config.model)
        if folder is None:
            return None
        evaluation_rows = config.evaluation_rows
        evaluated = len(take_evaluation_rows(splits.test, evaluation_rows))
        probed = len(take_probe_rows(splits.test, evaluation_rows, config.train.probe_rows))
        held_out = self._lengths.of(config, "test", splits.test, evaluated + probed)
        train = self._lengths.of(config, "train", splits.train, len(splits.train))
        architecture = self._architecture(config, folder)
        runs = (run for run in self._store.all() if viewer.sees(run.owner))
        return Known(
            train=train,
            evaluation=held_out[:evaluated],
            probe=held_out[evaluated:],
            recorded=self._recorded(config, folder, (*held_out[evaluated:], *held_out[:evaluated]), train, splits),
            folder=folder,
            architecture=architecture,
            budget=TOKENS_PER_PASS[best_device()],
            earlier=earlier_run(runs, config, architecture),
        )

    def _recorded(
        self,
        config: RunConfig,
        folder: Path,
        held_out: Sequence[RowLength],
        train: Sequence[RowLength],
        splits: Splits,
    ) -> Recorded:
        """What a run records besides its losses. ``held_out``: the rows that fixed prompts are taken from, in order."""
        from ..pretrained.context_length import context_in
        from ..pretrained.token_counts import count_tokens
        from ..training.general_text import general_ids

        settings, tokenizer = config.train, self._tokenizers.get(config.model)
        with self._tokenizers.encoding:
            own = count_tokens(tokenizer, list(settings.own_prompts))
            general = general_ids(tokenizer, context_in(folder)) if settings.general_loss else []
        chosen = (*held_out[: settings.held_out_prompts], *train[: settings.training_prompts])
        return Recorded(
            prompts=(*(row.prompt for row in chosen), *own) if settings.sample_tokens else (),
            general_tokens=sum(len(ids) for ids in general),
            bleu_rows=len(take_evaluation_rows(splits.test, settings.bleu_rows)),
        )

    def _architecture(self, config: RunConfig, folder: Path) -> Architecture:
        from ..estimate.calibrate import describe

        key = (folder, config.lora.target_modules, config.train.bf16_weights)
        architecture = self._architectures.get(key)
        if architecture is None:
            # Without a lock, which a thread would hold while it waits for the queue's thread.
            architecture = self._queue.run(lambda: describe(folder, config.lora, config.train.bf16_weights))
            self._architectures[key] = architecture
        return architecture

    def _local_folder(self, model: str) -> Path | None:
        """The folder of a model on this machine, which includes the tiny random one; else None."""
        from ..pretrained.locate import at_hand, locate

        if model == TINY_MODEL:
            return self._queue.run(lambda: locate(model, lambda text: None).path)
        return at_hand(model)

    def _busy_with(self, viewer: Viewer) -> str | None:
        jobs = self._queue.jobs
        return self._runs.job_label(viewer, jobs[0]) if jobs else None

    def _seconds(self, config: RunConfig, workload: Workload, known: Known, speed: Speed) -> Seconds:
        weights = known.architecture.parameters * known.architecture.itemsize
        return seconds(config, workload, speed, weights, known.earlier.pace(speed) if known.earlier else 1.0)

    def _cost_json(
        self, config: RunConfig, workload: Workload, known: Known, speed: Speed | None, viewer: Viewer
    ) -> dict[str, Any]:
        from ..models.base_model import best_device

        free = free_memory()
        peak = time = too_little = source = unknown = None
        if speed is None:
            busy = self._busy_with(viewer)
            unknown = f"Time and memory are measured when {busy} is done." if busy else "Time and memory: measuring."
        else:
            peak = memory(config, workload, known.architecture, speed)
            single_row_peak = memory(config, one_row_a_pass(workload), known.architecture, speed)
            too_little = shortage(peak, single_row_peak, free, best_device(), known.architecture.recomputes)
            time = self._seconds(config, workload, known, speed)
            measured = CROWDED if speed.crowded else MEASURED
            source = known.earlier.source if known.earlier else measured
        return {
            **cost_json(config, workload, known.architecture, peak, time),
            "speed": source,
            "free_memory": free,
            "warnings": warnings(
                workload,
                too_little,
                time.total if time else None,
                schedule_warnings(config.train, workload.steps, workload.evaluations),
            ),
            "unknown": unknown,
        }

    def _lent_cost_json(self, config: RunConfig, workload: Workload, known: Known) -> dict[str, Any]:
        earlier = [run.provenance for run in self._store.all() if run.config["model"] == config.model and not run.live]
        effort = sum(efforts(config, workload).values(), start=Effort())
        seconds = expected_seconds(effort, earlier)
        return {
            **cost_json(config, workload, known.architecture, None, None),
            "gpu_seconds": seconds,
            "speed": None,
            "free_memory": None,
            "warnings": warnings(
                workload, None, None, schedule_warnings(config.train, workload.steps, workload.evaluations)
            ),
            "unknown": None if seconds else "How much GPU time it uses is known after the first run of this model.",
        }


def _unknown(config: RunConfig, rows: int | None, reason: str) -> dict[str, Any]:
    """The cost without token counts: at most the steps."""
    steps, epochs = step_count(rows, config.train) if rows else (None, None)
    names = ("dropped", "truncated", "tokens", "supervised", "parameters", "trainable_parameters", "memory", "disk")
    nothing = dict.fromkeys((*names, "seconds", "speed", "free_memory"))
    notes = schedule_warnings(config.train, steps, None) if steps else []
    return {"rows": rows, "steps": steps, "epochs": epochs, **nothing, "warnings": notes, "unknown": reason}


def _count(config: RunConfig, known: Known) -> Workload:
    context = known.architecture.context
    return count(config, known.train, known.evaluation, known.probe, known.budget, context, known.recorded)


def free_memory() -> int | None:
    """The bytes that a run can use on the training device; None where that is unknown.

    On a GPU this includes the lab's own memory: a run uses the loaded base model, or replaces it.
    """
    from ..models.base_model import best_device

    if best_device() == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return available_memory()

"""The part of a training run that needs the model: from the new adapter to the saved one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..batching.packing_mode import Packing
from ..config.run_config import RunConfig
from ..data.splits import Example
from ..errors import DivergedError, Stopped
from ..evaluation.adapter_bleu import adapter_bleu
from ..evaluation.answer_cache import CachedAnswers, cache_of
from ..evaluation.bleu import BleuReport
from ..generation.answer import Answer
from ..generation.generate import one_by_one
from ..kernels.linear import computed_by
from ..models import lora
from ..tokenization.prompt_template import PromptTemplate
from ..training import fixed_prompts
from ..training.memorization import Memorization, measure_memorization
from ..training.train import train
from ..training.types import TrainingData, TrainingResult
from ..util import atomic_write
from .model_host import ModelSpec
from .work import WorkEvents

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel
    from .model_host import ModelHost


class TrainingEvents(WorkEvents, Protocol):
    """Receives a run's events; see ``training.types.TrainingListener`` for those of the same name."""

    def log_event(self, text: str) -> None:
        """Add one sentence to the run's log."""

    def phase(self, name: str) -> None:
        """``training``, ``evaluating`` or ``saving`` begins."""

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """Measured values; losses are in nats a supervised token."""

    def progress(self, step: int, total_steps: int) -> None:
        """``step`` optimizer steps of ``total_steps`` are done."""

    def part(self, done: int, total: int) -> None:
        """Progress within a phase."""

    def record_provenance(self, provenance: dict[str, Any]) -> None:
        """Values to store in the run's provenance."""

    def answered(self, step: int, answers: Sequence[Answer]) -> None:
        """The answers to the fixed prompts after ``step`` steps."""

    def bleu(self, step: int, epoch: float, bleu: float) -> None:
        """BLEU of the adapter after ``step`` steps."""

    def base_bleu(self, report: BleuReport) -> None:
        """BLEU of base, once a run."""


@dataclass(frozen=True)
class TrainingOutcome:
    """How training ended. ``memorization``: of a finished run with ``recite_rows``, unless its check was stopped."""

    result: TrainingResult
    memorization: Memorization | None = None


@dataclass(frozen=True)
class TrainingWork:
    """A run's tokenised rows, settings and folders.

    Args:
        model: The base model.
        run_id: The adapter's name.
        folder: The run's folder, which gets checkpoints and the adapter.
        config: The run's configuration.
        data: The tokenised rows.
        template: Renders the prompts of the BLEU rows.
        prompts: The fixed prompts that are answered at the probes.
        bleu_rows: The held-out rows that are answered for BLEU at each evaluation; empty for none.
        knows_base_bleu: Whether base's BLEU on them is stored already.
        base_answers: Folder with base's answers to held-out rows; None where they may not be kept.
        begin_with: Folder of the adapter to begin with, for a run with a parent.
        checkpoint: Folder of the checkpoint to resume from.
        last_loss: The last training loss until then, in nats a supervised token.
    """

    model: ModelSpec
    run_id: str
    folder: Path
    config: RunConfig
    data: TrainingData
    template: PromptTemplate
    prompts: tuple[fixed_prompts.FixedPrompt, ...]
    bleu_rows: tuple[Example, ...] = ()
    knows_base_bleu: bool = False
    base_answers: Path | None = None
    begin_with: Path | None = None
    checkpoint: Path | None = None
    last_loss: float = math.nan

    def execute(self, models: ModelHost, events: TrainingEvents) -> TrainingOutcome:
        """Train, save the adapter, and measure what it memorized."""
        loaded = models.prepare(self.model, events.message, events.stopping)
        _describe(loaded, len(self.data.train), events)
        self._attach(loaded, events)
        models.training = self.run_id
        try:
            session = Session(self, loaded, events)
            session.measure_base_bleu()
            result = train(loaded, self.run_id, self.data, self.config.train, self.folder, session, self.checkpoint)
            if not result.stopped:
                session.require_result(result)
            self._save(loaded, result, events)
            return TrainingOutcome(result, session.memorization(result))
        finally:
            models.training = None
            models.forget(self.run_id)

    def _attach(self, loaded: LoadedModel, events: TrainingEvents) -> None:
        lora.remove(loaded, self.run_id)
        lora.attach(loaded, self.run_id, self.config.lora, self.config.train.seed)
        trainable, total = lora.parameter_counts(loaded)
        events.record_provenance({"trainable_parameters": trainable, "parameters": total})
        if self.begin_with and self.checkpoint is None:
            # The optimizer and its schedule begin anew.
            lora.restore(loaded, self.run_id, self.begin_with)

    def _save(self, loaded: LoadedModel, result: TrainingResult, events: TrainingEvents) -> None:
        events.phase("saving")
        with atomic_write.atomic_folder(self.folder / "adapter") as folder:
            lora.save(loaded, self.run_id, folder)
        norm = lora.norm_of_b(loaded, self.run_id)
        events.record_provenance({"kept_step": result.kept_step or result.steps, "adapter_norm": norm})


class Session:
    """The ``training.types.TrainingListener`` of the work: it asks the model what a listener may ask."""

    def __init__(self, work: TrainingWork, loaded: LoadedModel, events: TrainingEvents):
        self._work, self._loaded, self._events = work, loaded, events
        self._last_loss = work.last_loss
        self.log_event, self.phase = events.log_event, events.phase
        self.part, self.progress = events.part, events.progress
        self.yield_to_queue, self.stopping = events.yield_to_queue, events.stopping

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        if kind == "train":
            self._last_loss = values["loss"]
        self._events.metric(kind, step, epoch, values)

    def multiplies(self, in_bf16: bool) -> None:
        by = computed_by(self._loaded.device)
        steps = f"{by}, in training steps oneDNN in bfloat16" if in_bf16 else by
        self._events.record_provenance({"matrix_products": steps})

    def probed(self, step: int, adapter_name: str) -> None:
        prompts = self._work.prompts
        if not prompts:
            return
        self.phase("evaluating")
        most = fixed_prompts.answer_limit(prompts, self._work.config.train.sample_tokens)
        answers = fixed_prompts.answer(self._loaded, adapter_name, prompts, most, self._counting_stop(most))
        self._events.answered(step, answers)
        self.phase("training")

    def evaluated(self, step: int, epoch: float) -> None:
        if not self._work.bleu_rows:
            return
        self.phase("evaluating")
        self._events.bleu(step, epoch, self._bleu(self._work.run_id).bleu)
        self.phase("training")

    def measure_base_bleu(self) -> None:
        """Base's BLEU, once a run."""
        work = self._work
        if not work.bleu_rows or work.knows_base_bleu:
            return
        self.phase("evaluating")
        folder = work.base_answers
        self._events.base_bleu(
            self._bleu(lora.BASE, cache_of(folder, self._loaded, work.config.generation) if folder else None)
        )

    def require_result(self, result: TrainingResult) -> None:
        """A finished run needs steps and a finite loss, else DivergedError; ``train`` has checked its adapter."""
        if not result.steps or not math.isfinite(self._last_loss):
            raise DivergedError("No step was trained, so there is no result: check train.max_steps and the rows.")

    def memorization(self, result: TrainingResult) -> Memorization | None:
        """How many training rows the model knows by heart; None without ``recite_rows``, or where it was stopped."""
        count = self._work.config.train.recite_rows
        if not count or result.stopped:
            return None
        self.phase("evaluating")
        self.log_event("Asking for the training rows by heart.")
        rows = self._work.data.train[:count]
        longest = max(row.supervised for row in rows)
        try:
            return measure_memorization(self._loaded, self._work.run_id, rows, self._counting_stop(longest))
        except Stopped:
            # Training is complete and the adapter is saved.
            return None

    def _bleu(self, adapter_name: str, cached_answers: CachedAnswers | None = None) -> BleuReport:
        """BLEU on the first held-out rows with the run's own generation settings, as an evaluation measures it."""
        return adapter_bleu(
            self._loaded,
            adapter_name,
            self._work.template,
            self._work.bleu_rows,
            self._work.config.generation,
            between_batches=self.part,
            stopping=self.stopping,
            cached_answers=cached_answers,
        )

    def _counting_stop(self, most: int) -> Callable[[], bool]:
        """``stopping`` for decoding, which calls it at every token: it also reports the number of tokens."""
        count = itertools.count(1)

        def stopping() -> bool:
            self.part(min(next(count), most), most)
            return self.stopping()

        return stopping


def _describe(loaded: LoadedModel, rows: int, events: TrainingEvents) -> None:
    """Report device and model, which the run's numbers depend on."""
    import torch

    provenance = {
        "packing": loaded.packing.value,
        "device": str(loaded.device),
        "threads": torch.get_num_threads(),
        "dtype": str(loaded.base.dtype).removeprefix("torch."),
        "attention": loaded.base.config._attn_implementation,
    }
    events.record_provenance(provenance)
    events.log_event(f"{rows} training rows, {loaded.packing.value}; weights from {loaded.weights.source}.")
    if loaded.packing is Packing.PADDED:
        events.log_event("This architecture cannot be packed exactly, so batches are padded.")
    if loaded.packing is Packing.ALONE:
        events.log_event(
            "In this architecture a row's numbers change with its batch, so each row has a pass of its own."
        )
    if note := one_by_one(loaded):
        events.log_event(note)

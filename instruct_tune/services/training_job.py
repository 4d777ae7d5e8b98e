"""One training run from its configuration to its adapter; progress goes to the run store as it happens."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..compute.failures import Failure, failure
from ..compute.model_host import ModelSpec
from ..compute.training_work import TrainingOutcome, TrainingWork
from ..config.run_config import RunConfig
from ..errors import DiskFullError, GpuError, ModelError, NotFoundError, Stopped, StoreError
from ..estimate.lent_gpu import GPU_SECONDS, GPU_TURNS, expected_seconds
from ..estimate.progress import RunProgress
from ..estimate.workload import Recorded, RowLength, count
from ..evaluation.bleu import BleuReport
from ..generation.answer import Answer
from ..pretrained.located import LocatedModel
from ..runs import continuation
from ..store import disk_reserve
from ..store.run import Run
from ..store.run_store import RunStore
from ..store.status_log import StopReason
from ..training.checkpoints import newest_whole, step_of
from ..training.memorization import verdict
from ..training.types import TrainingResult
from ..util import atomic_write
from ..util.progress import Loading
from .base_answers import base_answers_folder
from .datasets import Datasets
from .device import Device
from .job_queue import JobQueue
from .training_preparation import Preparation

log = logging.getLogger(__name__)
PHASES = {
    "loading": "The data and the base model are fetched and read.",
    "tokenising": "Rows become tokens.",
    "training": "Optimizer steps.",
    "evaluating": "Rows are measured or answered.",
    "saving": "A checkpoint or the adapter is written.",
}
"""Phase → the reason in the status log."""
SAVE_MINUTES = 0.2
"""The time between two checkpoints on a lent device."""
MAX_IDLE_TURNS = 3
"""After so many turns on a device without a new step the run gives up."""


class TrainingJob:
    """A run that trains, from its rows to its last status: what ``TrainingWork`` reports goes to the run store.

    ``execute`` is for the thread that the device gives it.
    """

    def __init__(self, run: Run, store: RunStore, datasets: Datasets, device: Device, queue: JobQueue):
        self.run, self.store, self.datasets, self.device, self.queue = run, store, datasets, device, queue
        self.config = RunConfig.from_dict(run.config)
        self.folder = store.folder(run.id)
        self.stop = threading.Event()
        self.leave = StopReason.STOP
        self.loading = Loading(follow=lambda text: log.info("%s", text))
        self.work: RunProgress | None = None
        self.parts: tuple[int, int] | None = None
        """(done, total) of the current phase within a step, such as an evaluation; None between such phases."""
        self._turn_requested = time.monotonic()
        self._turn_began: float | None = None
        self._lent_seconds, self._lent_turns = 0.0, 0

    @property
    def download(self) -> dict[str, Any] | None:
        """The run's current download: ``{phase, done, total, speed}``, in bytes; None where there is none."""
        loading = self.loading
        if not loading.total:
            return None
        return {"phase": loading.phase, "done": loading.done, "total": loading.total, "speed": loading.speed}

    def seconds_left(self) -> float | None:
        """How long the run still takes, what it measures and answers included; None before its first step."""
        return self.work.seconds_left() if self.work else None

    # compute.training_work.TrainingEvents

    def begun(self) -> None:
        self._turn_began = time.monotonic()
        if self.work:
            # The wait for a device is no work.
            self.work.skip(self._turn_began - self._turn_requested)

    def phase(self, name: str) -> None:
        self.store.require_folder()
        self.parts = None
        self.store.update(self.run.id, phase=name, reason=PHASES[name])

    def part(self, done: int, total: int) -> None:
        self.parts = (done, total)

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        self.store.add_metric(self.run.id, kind, step, epoch, values)
        self._note(kind)
        if kind == "probe":
            self.log_event(f"Held-out loss {values['probe_loss']:.3f} at step {step}.")
        elif kind == "eval":
            self.log_event(f"Evaluation loss {values['eval_loss']:.3f} at step {step}, epoch {epoch:g}.")
        elif kind == "general":
            log.info("step %d: general loss %.4f", step, values["general_loss"])
        elif step % self.config.train.logging_steps == 0:
            log.info("step %d: loss %.4f, %.0f tokens/s", step, values["loss"], values["tokens_per_second"])

    def progress(self, step: int, total_steps: int) -> None:
        self.store.update(self.run.id, step=step, total_steps=total_steps)

    def record_provenance(self, provenance: dict[str, Any]) -> None:
        self.store.update(self.run.id, provenance=provenance)

    def answered(self, step: int, answers: Sequence[Answer]) -> None:
        self.store.add_samples(self.run.id, step, [(answer.text, answer.ended) for answer in answers])
        self._note("samples")

    def bleu(self, step: int, epoch: float, bleu: float) -> None:
        self.store.add_metric(self.run.id, "bleu", step, epoch, {"bleu": bleu})
        self._note("bleu")
        rows = self.store.get(self.run.id).provenance["bleu_rows"]
        self.log_event(f"BLEU {bleu:.1f} on {rows} held-out rows at step {step}.")

    def base_bleu(self, report: BleuReport) -> None:
        self.record_provenance({"base_bleu": report.bleu, "bleu_signature": report.signature})
        if self.work:
            self.work.pass_over("bleu")
        rows = self.store.get(self.run.id).provenance["bleu_rows"]
        self.log_event(f"Base: BLEU {report.bleu:.1f} on {rows} held-out rows.")

    def yield_to_queue(self) -> None:
        began = time.monotonic()
        self.queue.yield_once()
        if self.work:
            self.work.skip(time.monotonic() - began)

    def stopping(self) -> bool:
        return self.stop.is_set()

    def request_stop(self, why: StopReason) -> None:
        """Stop within one step, download chunk or token. For any thread; ``CLOSE`` replaces an earlier reason."""
        if not self.stopping() or why is StopReason.CLOSE:
            self.leave = why
        self.loading.stop()
        self.stop.set()

    def _note(self, kind: str) -> None:
        if self.work:
            self.work.note(kind)

    def message(self, text: str) -> None:
        self.log_event(text)

    def log_event(self, text: str) -> None:
        log.info("%s", text)
        self.store.add_event(self.run.id, text)

    # The run

    def execute(self, resume: bool) -> None:
        """Do the whole run. Does not raise: a stop or an error becomes the run's status."""
        try:
            try:
                self._execute(resume)
            except Stopped:
                step = self.store.get(self.run.id).step
                at = f"at step {step}, before the next was done" if step else "before the first step was done"
                self._end(self.leave.status, f"{self.leave.words} {at}.")
        except Exception as error:
            # The boundary of the thread: no error of a run may end it.
            self._fail(failure(error, self.store.data_dir))

    def _execute(self, resume: bool) -> None:
        self.store.require_folder()
        status = "stopping" if self.stopping() else "running"
        changes = {"status": status, "phase": "loading", "message": "", "ended": None, "error_kind": None}
        self.store.update(self.run.id, reason="Its turn has come.", **changes)
        self.log_event("Loading data and model.")
        splits = self.datasets.splits(self.config.data, self.loading)
        model = ModelSpec(self.config.model, self.config.train.bf16_weights)
        located = self.device.locate(model, self.log_event, self.loading)
        self._raise_if_stopping()
        preparation = Preparation(self.run, self.store, self.log_event, self._raise_if_stopping)
        if resume:
            preparation.require_same(located, splits)
        self.phase("tokenising")
        prepared = preparation.prepare(located, splits)
        self._raise_if_stopping()
        checkpoint = self._resume_from() if resume else None
        work = TrainingWork(
            dataclasses.replace(model, weights=located.weights),
            self.run.id,
            self.folder,
            self._config_on_device(),
            prepared.data,
            prepared.template,
            prepared.prompts,
            prepared.bleu_rows,
            base_answers=base_answers_folder(self.store, self.run.id),
            begin_with=self._adapter_of_parent() if self.run.parent and checkpoint is None else None,
            checkpoint=checkpoint,
        )
        self.work = self._count_work(located, work)
        outcome = self._train(work)
        status = self.leave.status if outcome.result.stopped else "finished"
        self._end(status, self._verdict(outcome))

    def _config_on_device(self) -> RunConfig:
        """The configuration; on a lent device, with checkpoints so often that little is lost with it."""
        if not self.device.lent:
            return self.config
        train = self.config.train
        minutes = min(SAVE_MINUTES, train.save_minutes or SAVE_MINUTES)
        return dataclasses.replace(self.config, train=dataclasses.replace(train, save_minutes=minutes))

    def _train(self, work: TrainingWork) -> TrainingOutcome:
        """Train to the end or until a person stops it, in as many turns as the device gives."""
        idle = 0
        while True:
            stored = self.store.get(self.run.id)
            loss = (self.store.last_metric(self.run.id, "train") or {"loss": math.nan})["loss"]
            work = dataclasses.replace(work, knows_base_bleu="base_bleu" in stored.provenance, last_loss=loss)
            outcome = self._turn(work)
            if outcome and (not outcome.result.stopped or self.stopping()):
                return outcome
            self._raise_if_stopping()
            idle = 0 if self.store.get(self.run.id).step > stored.step else idle + 1
            if idle == MAX_IDLE_TURNS:
                reason = f"{idle} turns on the GPU were too short for one step and its measurements."
                raise GpuError(reason, "Resume it on this Space's CPU, or start a run with a smaller batch.")
            work = dataclasses.replace(work, checkpoint=self._resume_from())

    def _turn(self, work: TrainingWork) -> TrainingOutcome | None:
        """One turn on the device; how long a lent one was used is recorded, and later runs learn from it."""
        self._turn_requested, self._turn_began, expected = time.monotonic(), None, self.seconds_left()
        if not self.device.lent:
            return self.device.run(work, self)
        self.phase("loading")
        if expected is None and self.work:
            alike = [run.provenance for run in self.store.all() if run.config["model"] == self.config.model]
            expected = expected_seconds(self.work.planned, alike)
        try:
            return self.device.run(work, self, expected)
        finally:
            if self._turn_began is not None:
                self._lent_seconds += time.monotonic() - self._turn_began
                self._lent_turns += 1

    def _raise_if_stopping(self) -> None:
        if self.stopping():
            raise Stopped

    def _count_work(self, located: LocatedModel, work: TrainingWork) -> RunProgress:
        """The run's work, of which its metrics so far are done."""
        from ..batching.packing import TOKENS_PER_PASS

        data = work.data
        train, evaluation, probe = (
            [RowLength(len(row.input_ids), row.prompt_length) for row in rows]
            for rows in (data.train, data.evaluation, data.probe)
        )
        recorded = Recorded(
            prompts=tuple(len(prompt.prompt) for prompt in work.prompts),
            general_tokens=sum(len(row.input_ids) for row in data.general),
            bleu_rows=len(work.bleu_rows),
        )
        budget = TOKENS_PER_PASS[self.device.kind]
        counted = count(self.config, train, evaluation, probe, budget, located.context_length, recorded)
        done = Counter(metric["kind"] for metric in self.store.metrics(self.run.id))
        done["samples"] = len({sample["step"] for sample in self.store.samples(self.run.id)})
        done["bleu"] += "base_bleu" in self.store.get(self.run.id).provenance
        return RunProgress(self.config, counted, done)

    def _resume_from(self) -> Path | None:
        checkpoint, damaged = newest_whole(self.folder)
        for sentence in damaged:
            self.log_event(sentence)
        step = step_of(checkpoint) if checkpoint else 0
        self.store.forget_metrics_after(self.run.id, step if checkpoint else -1)
        self.log_event(f"Resuming from step {step}.")
        return checkpoint

    def _adapter_of_parent(self) -> Path:
        """The copy of the parent's adapter, which the run begins with."""
        folder, parent = self.folder / continuation.FOLDER, self.run.provenance["parent"]
        if fault := atomic_write.fault(folder):
            raise ModelError(f"The copy of {parent['name']}'s adapter is damaged ({fault}): start this run anew.")
        self.log_event(f"Begins with the adapter of {parent['name']}, step {parent['step']}.")
        return folder

    def _verdict(self, outcome: TrainingOutcome) -> str:
        """One sentence on how the run ended; with ``recite_rows``, on how many training rows it memorized."""
        memorization = outcome.memorization
        if memorization is None:
            return end_message(outcome.result, self.leave)
        self._note("memorized")
        self.record_provenance({"recited": dataclasses.asdict(memorization)})
        losses = [metric["loss"] for metric in self.store.metrics(self.run.id) if metric["kind"] == "train"]
        return verdict(memorization, losses[0], losses[-1], self.config.train, outcome.result.steps)

    def _fail(self, problem: Failure) -> None:
        """Store the failure; where that is impossible, log it."""
        if problem.kind == "bug":
            log.error("run %s failed\n%s", self.run.id, problem.traceback)
        try:
            if problem.kind == DiskFullError.kind:
                disk_reserve.release(self.store.data_dir)
            self._end("failed", problem.message, problem)
        except (StoreError, NotFoundError):
            log.error("run %s failed, which cannot be written down: %s", self.run.id, problem.message)

    def _keep_work(self) -> None:
        """Store the work that later estimates take their pace from; that of a longer session before stays."""
        before = self.store.get(self.run.id).provenance.get("work", {"trained": 0})
        if self.work and self.work.has_pace and self.work.done.trained >= before["trained"]:
            lent = {GPU_SECONDS: self._lent_seconds, GPU_TURNS: self._lent_turns} if self._lent_turns else {}
            self.store.update(self.run.id, provenance={"work": self.work.to_dict() | lent})

    def _end(self, status: str, message: str, problem: Failure | None = None) -> None:
        if self._lent_turns:
            turns = f"{self._lent_turns} {'turn' if self._lent_turns == 1 else 'turns'}"
            self.log_event(f"{self._lent_seconds:.0f} s of GPU time in {turns}.")
        self.log_event(message)
        error_fields = {"error_kind": problem.kind, "traceback": problem.traceback} if problem else {"error_kind": None}
        self._keep_work()
        self.store.update(self.run.id, status=status, phase=None, message=message, ended=time.time(), **error_fields)


def end_message(result: TrainingResult, leave: StopReason = StopReason.STOP) -> str:
    """One sentence on how the run ended and which step's adapter is kept."""
    at_step = f"step {result.steps} of {result.total_steps}"
    best = None if result.kept_step in (None, result.steps) else f"the adapter of step {result.kept_step}, the best,"
    if result.stopped:
        return f"{leave.words} at {at_step}; {best or 'the adapter'} is kept."
    if result.early:
        return f"Finished early at {at_step}, since the held-out loss fell no more; {best or 'the adapter'} is kept."
    return f"Finished {result.steps} steps" + (f"; {best} is kept." if best else ".")

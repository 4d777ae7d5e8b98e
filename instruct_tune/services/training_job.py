"""One training run from its configuration to its adapter; progress goes to the run store as it happens."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batching.packing_mode import Packing
from ..config.run_config import OWN, GenerationSettings, RunConfig
from ..data.splits import Example, Splits, examples, take_evaluation_rows, take_probe_rows
from ..errors import DataError, DiskFullError, DivergedError, ModelError, NotFoundError, Stopped, StoreError
from ..estimate.progress import RunProgress
from ..estimate.workload import Recorded, RowLength, count
from ..evaluation.adapter_bleu import adapter_bleu
from ..evaluation.answer_cache import CachedAnswers
from ..evaluation.bleu import BleuReport
from ..models import lora
from ..models.base_model import LoadedModel
from ..runs import continuation
from ..runs.provenance import other_rows, other_weights
from ..store.run_store import Run, RunStore
from ..store.status_log import StopReason
from ..tokenization.chat_template import check_messages, has_clock, with_markup
from ..tokenization.encode import TokenizedExample, tokenize_rows
from ..tokenization.prompt_template import PromptTemplate, markup_facts, template_of_run
from ..training import fixed_prompts
from ..training.checkpoints import newest_whole, step_of
from ..training.general_text import general_rows
from ..training.memorization import measure_memorization, verdict
from ..training.train import train
from ..training.types import TrainingData, TrainingResult
from ..util import atomic_write
from ..util.progress import Loading
from .base_answers import cached_base_answers
from .datasets import Datasets
from .failures import Failure, failure
from .job_queue import JobQueue
from .model_host import ModelHost

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)
PHASES = {
    "loading": "The data and the base model are fetched and read.",
    "tokenising": "Rows become tokens.",
    "training": "Optimizer steps.",
    "evaluating": "Rows are measured or answered.",
    "saving": "A checkpoint or the adapter is written.",
}
"""Phase → the reason in the status log."""
TRAINING_ROWS = "Training rows"
VERSIONED = ("torch", "transformers", "trl", "peft", "datasets", "sacrebleu")


class TrainingJob:
    """A run that trains: the ``training.types.TrainingListener`` that writes to the store. For the queue's thread."""

    def __init__(self, run: Run, store: RunStore, datasets: Datasets, models: ModelHost, queue: JobQueue):
        self.run, self.store, self.datasets, self.models, self.queue = run, store, datasets, models, queue
        self.config = RunConfig.from_dict(run.config)
        self.folder = store.folder(run.id)
        self.stop = threading.Event()
        self.leave = StopReason.STOP
        self.loading = Loading(follow=lambda text: log.info("%s", text))
        self.loaded: LoadedModel | None = None
        self.prompts: tuple[fixed_prompts.FixedPrompt, ...] = ()
        self.bleu: _HeldOutBleu | None = None
        self.work: RunProgress | None = None
        self.parts: tuple[int, int] | None = None
        """(done, total) of the current phase within a step, such as an evaluation; None between such phases."""

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

    # training.types.TrainingListener

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
            self.say(f"Held-out loss {values['probe_loss']:.3f} at step {step}.")
        elif kind == "eval":
            self.say(f"Evaluation loss {values['eval_loss']:.3f} at step {step}, epoch {epoch:g}.")
        elif kind == "general":
            log.info("step %d: general loss %.4f", step, values["general_loss"])
        elif step % self.config.train.logging_steps == 0:
            log.info("step %d: loss %.4f, %.0f tokens/s", step, values["loss"], values["tokens_per_second"])

    def progress(self, step: int, total_steps: int) -> None:
        self.store.update(self.run.id, step=step, total_steps=total_steps)

    def probed(self, step: int, adapter_name: str) -> None:
        if self.loaded is None or not self.prompts:
            return
        self.phase("evaluating")
        most = fixed_prompts.answer_limit(self.prompts, self.config.train.sample_tokens)
        answers = fixed_prompts.answer(self.loaded, adapter_name, self.prompts, most, self._counting_stop(most))
        self.store.add_samples(self.run.id, step, [(answer.text, answer.ended) for answer in answers])
        self._note("samples")
        self.phase("training")

    def evaluated(self, step: int, epoch: float) -> None:
        if self.bleu is None:
            return
        self.phase("evaluating")
        bleu = self.bleu(self.run.id).bleu
        self.store.add_metric(self.run.id, "bleu", step, epoch, {"bleu": bleu})
        self._note("bleu")
        self.say(f"BLEU {bleu:.1f} on {len(self.bleu.rows)} held-out rows at step {step}.")
        self.phase("training")

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

    def _counting_stop(self, most: int) -> Callable[[], bool]:
        """``stopping`` for decoding, which calls it at every token: it also reports the number of tokens."""
        count = itertools.count(1)

        def stopping() -> bool:
            self.part(min(next(count), most), most)
            return self.stopping()

        return stopping

    def _note(self, kind: str) -> None:
        if self.work:
            self.work.note(kind)

    # The run

    def say(self, text: str) -> None:
        log.info("%s", text)
        self.store.add_event(self.run.id, text)

    def execute(self, resume: bool) -> None:
        """Do the whole run. Does not raise: a stop or an error becomes the run's status."""
        try:
            self._execute(resume)
        except Stopped:
            step = self.store.get(self.run.id).step
            at = f"at step {step}, before the next was done" if step else "before the first step was done"
            self._end(self.leave.status, f"{self.leave.words} {at}.")
        except Exception as error:
            # The boundary of the queue's thread: no error of a run may end it.
            self._fail(failure(error, self.store.data_dir))

    def _execute(self, resume: bool) -> None:
        self.store.require_folder()
        status = "stopping" if self.stopping() else "running"
        changes = {"status": status, "phase": "loading", "message": "", "ended": None, "error_kind": None}
        self.store.update(self.run.id, reason="Its turn has come.", **changes)
        self.say("Loading data and model.")
        splits = self.datasets.splits(self.config.data, self.loading)
        loaded = self.models.base(self.config.model, self.config.train.bf16_weights, self.say, self.loading)
        self._raise_if_stopping()
        if resume:
            self._require_same(loaded, splits)
        self.phase("tokenising")
        template = self._keep_template(loaded, splits)
        data = self._tokenise(loaded, splits, template)
        self._record_facts(loaded, splits, data)
        self._choose_prompts(loaded, splits, template, data)
        self._raise_if_stopping()
        checkpoint = self._attach(loaded, resume)
        self.models.training = self.run.id
        try:
            self.work = self._count_work(loaded, splits, data)
            self._measure_base_bleu(loaded, splits, template)
            result = train(loaded, self.run.id, data, self.config.train, self.folder, self, checkpoint)
            if not result.stopped:
                self._require_result(result)
            self._save(loaded, result)
            self._end(self.leave.status if result.stopped else "finished", self._verdict(loaded, data, result))
        finally:
            self.models.training = None
            self.models.forget(self.run.id)

    def _raise_if_stopping(self) -> None:
        if self.stopping():
            raise Stopped

    def _keep_template(self, loaded: LoadedModel, splits: Splits) -> PromptTemplate:
        """The run's template; the markup of a chat template is stored when the run begins, and used from then on.

        Raises ModelError where the chat template changes a row's question.
        """
        template = template_of_run(self.config.template, self.run.facts)
        if not template.chat or template.markup:
            return template
        rendered = with_markup(loaded.tokenizer, template)
        rows = (*examples(splits.train), *examples(take_evaluation_rows(splits.test, self.config.evaluation_rows)))
        check_messages(loaded.tokenizer, (template.user_message(row.instruction, row.input) for row in rows))
        self.store.update(self.run.id, facts=markup_facts(rendered))
        if has_clock(loaded.tokenizer):
            self.say("The chat template writes the date: this run keeps the prompt's text as it is now.")
        return rendered

    def _tokenise(self, loaded: LoadedModel, splits: Splits, template: PromptTemplate) -> TrainingData:
        settings = self.config.train
        longest = min(settings.max_length, loaded.context_length)
        limit = "train.max_length" if longest == settings.max_length else "the model's context of"

        def tokenise(rows: list[Example], what: str) -> tuple[TokenizedExample, ...]:
            self._raise_if_stopping()
            if not rows:
                return ()
            try:
                done = tokenize_rows(
                    loaded.tokenizer,
                    template,
                    rows,
                    settings.max_length,
                    settings.overlong,
                    loaded.context_length,
                    loaded.vocabulary,
                )
            except DataError:
                if what == TRAINING_ROWS:
                    raise
                self.say(f"{what}: none fits into {longest} tokens, so this run has none.")
                return ()
            if what == TRAINING_ROWS:
                lost = {"rows_dropped": done.dropped, "rows_truncated": done.truncated}
                self.store.update(self.run.id, facts={"rows_given": len(rows), "max_length": longest, **lost})
            if done.dropped or done.truncated:
                self.say(f"{what}: {done.dropped} rows dropped and {done.truncated} cut at {limit} {longest}.")
            if done.changed:
                self.say(
                    f"{what}: this tokenizer cannot hold {len(done.changed)} of {len(rows)} rows as they are (the "
                    f"first is row {done.changed[0]}): it changes characters or white space, as Format shows."
                )
            return done.rows

        held_out, evaluation_rows = splits.test, self.config.evaluation_rows
        data = TrainingData(
            train=tokenise(examples(splits.train), TRAINING_ROWS),
            evaluation=tokenise(examples(take_evaluation_rows(held_out, evaluation_rows)), "Evaluation rows"),
            probe=tokenise(examples(take_probe_rows(held_out, evaluation_rows, settings.probe_rows)), "Probe rows"),
            general=general_rows(loaded) if settings.general_loss and settings.probes else (),
        )
        if not data.probe and settings.probe_rows:
            self.say("No held-out rows are left for the probe, so there is no held-out loss while training.")
        return data

    def _require_same(self, loaded: LoadedModel, splits: Splits) -> None:
        """A resumed run needs its original rows and weights, because its adapter and its metrics belong to those.

        Raises DataError or ModelError where they have changed.
        """
        run = self.store.get(self.run.id)
        if not run.step:
            return
        if other_rows(run.facts, splits.fingerprint):
            raise DataError(
                "The rows have changed since this run began: put the file back as it was and resume, or start a new "
                "run on the rows as they are now."
            )
        if warning := other_weights(run.facts, loaded.weights):
            raise ModelError(f"{warning} Start a new run on these, or train this one further.")

    def _record_facts(self, loaded: LoadedModel, splits: Splits, data: TrainingData) -> None:
        """Store the facts that this run's numbers depend on."""
        import torch

        from ..generation.generate import one_by_one
        from ..kernels.linear import computed_by

        weights = loaded.weights
        facts = {
            "model_path": str(weights.path),
            "weights_source": weights.source,
            "weights_sha256": weights.sha256,
            "data_fingerprint": splits.fingerprint,
            "data_licence": splits.licence,
            "rows_loaded": splits.rows_loaded,
            "ledger": [entry.to_dict() for entry in splits.ledger],
            "train_rows": len(data.train),
            "evaluation_rows": len(data.evaluation),
            "probe_rows": len(data.probe),
            "packing": loaded.packing.value,
            "device": str(loaded.device),
            "threads": torch.get_num_threads(),
            "dtype": str(loaded.base.dtype).removeprefix("torch."),
            "attention": loaded.base.config._attn_implementation,
            "matrix_products": computed_by(loaded.device),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        }
        self.store.update(self.run.id, facts=facts)
        self.say(f"{len(data.train)} training rows, {loaded.packing.value}; weights from {weights.source}.")
        if loaded.packing is Packing.PADDED:
            self.say("This architecture cannot be packed exactly, so batches are padded.")
        if loaded.packing is Packing.ALONE:
            self.say("In this architecture a row's numbers change with its batch, so each row has a pass of its own.")
        if note := one_by_one(loaded):
            self.say(note)

    def _choose_prompts(
        self, loaded: LoadedModel, splits: Splits, template: PromptTemplate, data: TrainingData
    ) -> None:
        """Choose what is answered at the probes: held-out rows, training rows, and prompts that a person typed.

        Held-out rows are the first probe rows, and evaluation rows where there are too few.
        """
        settings, evaluation_rows = self.config.train, self.config.evaluation_rows
        probe = take_probe_rows(splits.test, evaluation_rows, settings.probe_rows)
        held_out = _each(probe, take_evaluation_rows(splits.test, evaluation_rows))
        prompts = fixed_prompts.choose_all(loaded, template, settings, held_out, _each(splits.train), data.train)
        if prompts:
            self.loaded, self.prompts = loaded, prompts
            self.store.update(self.run.id, facts=fixed_prompts.facts_of(prompts, settings))
        answered = sum(prompt.kind == OWN for prompt in prompts)
        if settings.sample_tokens and settings.probes and answered < len(settings.own_prompts):
            self.say("An own prompt does not fit into the model's context, so it is not answered: shorten it.")

    def _count_work(self, loaded: LoadedModel, splits: Splits, data: TrainingData) -> RunProgress:
        """The run's work, of which its metrics so far are done."""
        from ..batching.packing import TOKENS_PER_PASS

        train, evaluation, probe = (
            [RowLength(len(row.input_ids), row.prompt_length) for row in rows]
            for rows in (data.train, data.evaluation, data.probe)
        )
        recorded = Recorded(
            prompts=tuple(len(prompt.prompt) for prompt in self.prompts),
            general_tokens=sum(len(row.input_ids) for row in data.general),
            bleu_rows=len(take_evaluation_rows(splits.test, self.config.train.bleu_rows)),
        )
        budget, context = TOKENS_PER_PASS[loaded.device.type], loaded.context_length
        work = count(self.config, train, evaluation, probe, budget, context, recorded)
        done = Counter(metric["kind"] for metric in self.store.metrics(self.run.id))
        done["samples"] = len({sample["step"] for sample in self.store.samples(self.run.id)})
        done["bleu"] += "base_bleu" in self.store.get(self.run.id).facts
        return RunProgress(self.config, work, done)

    def _measure_base_bleu(self, loaded: LoadedModel, splits: Splits, template: PromptTemplate) -> None:
        """Prepare the BLEU of each evaluation, and measure base's, once a run."""
        rows = examples(take_evaluation_rows(splits.test, self.config.train.bleu_rows))
        if not rows:
            return
        self.bleu = _HeldOutBleu(loaded, template, rows, self.config.generation, self.part, self.stopping)
        self.store.update(self.run.id, facts={"bleu_rows": len(rows)})
        if "base_bleu" in self.store.get(self.run.id).facts:
            return
        self.phase("evaluating")
        cached_answers = cached_base_answers(self.store, self.run.id, loaded, self.config.generation)
        report = self.bleu(lora.BASE, cached_answers)
        self.store.update(self.run.id, facts={"base_bleu": report.bleu, "bleu_signature": report.signature})
        if self.work:
            self.work.pass_over("bleu")
        self.say(f"Base: BLEU {report.bleu:.1f} on {len(rows)} held-out rows.")

    def _attach(self, loaded: LoadedModel, resume: bool) -> Path | None:
        """Attach a new adapter. Returns the checkpoint to resume from, which the trainer loads."""
        lora.remove(loaded, self.run.id)
        lora.attach(loaded, self.run.id, self.config.lora, self.config.train.seed)
        trainable, total = lora.parameter_counts(loaded)
        self.store.update(self.run.id, facts={"trainable_parameters": trainable, "parameters": total})
        checkpoint = self._resume_from() if resume else None
        if self.run.parent and checkpoint is None:
            self._begin_with_parent(loaded)
        return checkpoint

    def _resume_from(self) -> Path | None:
        checkpoint, damaged = newest_whole(self.folder)
        for sentence in damaged:
            self.say(sentence)
        step = step_of(checkpoint) if checkpoint else 0
        self.store.forget_metrics_after(self.run.id, step if checkpoint else -1)
        self.say(f"Resuming from step {step}.")
        return checkpoint

    def _begin_with_parent(self, loaded: LoadedModel) -> None:
        """Load the parent's weights into the adapter; the optimizer and its schedule begin anew."""
        folder, parent = self.folder / continuation.FOLDER, self.run.facts["parent"]
        if fault := atomic_write.fault(folder):
            raise ModelError(f"The copy of {parent['name']}'s adapter is damaged ({fault}): start this run anew.")
        lora.restore(loaded, self.run.id, folder)
        self.say(f"Begins with the adapter of {parent['name']}, step {parent['step']}.")

    def _require_result(self, result: TrainingResult) -> None:
        """A finished run needs steps and a finite loss, else DivergedError; ``train`` has checked its adapter."""
        last = self.store.last_metric(self.run.id, "train")
        if not result.steps or last is None or not math.isfinite(last["loss"]):
            raise DivergedError("No step was trained, so there is no result: check train.max_steps and the rows.")

    def _save(self, loaded: LoadedModel, result: TrainingResult) -> None:
        self.phase("saving")
        with atomic_write.atomic_folder(self.folder / "adapter") as folder:
            lora.save(loaded, self.run.id, folder)
        facts = {"kept_step": result.kept_step or result.steps, "adapter_norm": lora.norm_of_b(loaded, self.run.id)}
        self.store.update(self.run.id, facts=facts)

    def _verdict(self, loaded: LoadedModel, data: TrainingData, result: TrainingResult) -> str:
        """One sentence on how the run ended; with ``recite_rows``, on how many training rows it memorized."""
        count = self.config.train.recite_rows
        if not count or result.stopped:
            return end_message(result, self.leave)
        self.phase("evaluating")
        self.say("Asking for the training rows by heart.")
        try:
            rows = data.train[:count]
            longest = max(row.supervised for row in rows)
            recital = measure_memorization(loaded, self.run.id, rows, self._counting_stop(longest))
        except Stopped:
            # Training is complete and the adapter is saved; only the memorization check was stopped.
            return end_message(result, self.leave)
        self._note("memorized")
        self.store.update(self.run.id, facts={"recited": dataclasses.asdict(recital)})
        losses = [metric["loss"] for metric in self.store.metrics(self.run.id) if metric["kind"] == "train"]
        return verdict(recital, losses[0], losses[-1], self.config.train, result.steps)

    def _fail(self, problem: Failure) -> None:
        """Store the failure; where that is impossible, log it."""
        if problem.kind == "bug":
            log.error("run %s failed\n%s", self.run.id, problem.traceback)
        try:
            if problem.kind == DiskFullError.kind:
                self.store.make_room()
            self._end("failed", problem.message, problem)
        except (StoreError, NotFoundError):
            log.error("run %s failed, which cannot be written down: %s", self.run.id, problem.message)

    def _keep_work(self) -> None:
        """Store the work that later estimates take their pace from; that of a longer session before stays."""
        before = self.store.get(self.run.id).facts.get("work", {"trained": 0})
        if self.work and self.work.tells_pace and self.work.done.trained >= before["trained"]:
            self.store.update(self.run.id, facts={"work": self.work.to_dict()})

    def _end(self, status: str, message: str, problem: Failure | None = None) -> None:
        self.say(message)
        error_fields = {"error_kind": problem.kind, "traceback": problem.traceback} if problem else {"error_kind": None}
        self._keep_work()
        self.store.update(self.run.id, status=status, phase=None, message=message, ended=time.time(), **error_fields)


@dataclasses.dataclass(frozen=True)
class _HeldOutBleu:
    """BLEU on the first held-out rows with the run's own generation settings, as an evaluation measures it."""

    loaded: LoadedModel
    template: PromptTemplate
    rows: list[Example]
    generation: GenerationSettings
    part: Callable[[int, int], None]
    stopping: Callable[[], bool]

    def __call__(self, adapter_name: str, cached_answers: CachedAnswers | None = None) -> BleuReport:
        """The report of an adapter, or of ``lora.BASE``. Raises Stopped at most one token after a stop."""
        return adapter_bleu(
            self.loaded,
            adapter_name,
            self.template,
            self.rows,
            self.generation,
            between_batches=self.part,
            stopping=self.stopping,
            cached_answers=cached_answers,
        )


def _each(*parts: Dataset) -> Iterator[Example]:
    """The rows of the datasets in order, each read when it is needed."""
    return (examples(part, number, 1)[0] for part in parts for number in range(len(part)))


def end_message(result: TrainingResult, leave: StopReason = StopReason.STOP) -> str:
    """One sentence on how the run ended and which step's adapter is kept."""
    at_step = f"step {result.steps} of {result.total_steps}"
    best = None if result.kept_step in (None, result.steps) else f"the adapter of step {result.kept_step}, the best,"
    if result.stopped:
        return f"{leave.words} at {at_step}; {best or 'the adapter'} is kept."
    if result.early:
        return f"Finished early at {at_step}, since the held-out loss fell no more; {best or 'the adapter'} is kept."
    return f"Finished {result.steps} steps" + (f"; {best} is kept." if best else ".")

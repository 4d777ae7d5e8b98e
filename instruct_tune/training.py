"""One blocking training run: TRL's ``SFTTrainer`` over padding-free batches. The only importer of trl.

``train`` knows no threads and no database. It tells a ``Watcher`` what happens as it happens, and
at every breathing point asks it to do whatever short work is waiting and whether to stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy
from trl import SFTConfig, SFTTrainer

from . import adapter, memory, random_states, sealed
from .batching import EpochSampler, Pack, supervised_count, supervised_loss
from .checkpoints import (
    Evaluation,
    at_step,
    best_evaluation,
    evaluations_since_best,
    prune_checkpoints,
)
from .errors import DivergedError, Stopped
from .leaving import leaving
from .loan import on_loan
from .model import LoadedModel
from .passes import Passes, too_small
from .readings import Numbers, Readings, Step
from .settings import TrainSettings
from .tokenization import TokenizedExample


class Watcher(Protocol):
    """Who watches a run. Called on the thread that trains."""

    def say(self, text: str) -> None:
        """Something happened that belongs into the run's log: one sentence."""

    def phase(self, name: str) -> None:
        """``training``, ``evaluating`` or ``saving`` begins."""

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """A number is known: kind ``train`` (loss in nats a supervised token), ``probe`` or ``eval``."""

    def progress(self, step: int, total_steps: int) -> None:
        """``step`` optimizer steps of ``total_steps`` are done."""

    def part(self, done: int, total: int) -> None:
        """How far a phase within a step is: passes of an evaluation."""

    def probed(self, step: int) -> None:
        """The held-out loss after ``step`` steps is known: the moment for other looks at the model, too.

        The adapter is the model's active one; whoever uses it leaves mode and random numbers as they were.
        """

    def breathe(self) -> None:
        """Between two steps: do what is waiting."""

    def stopping(self) -> bool:
        """Whether a person asked for a stop."""


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained and measured on; ``evaluation`` and ``probe`` share no row."""

    train: Sequence[TokenizedExample]
    evaluation: Sequence[TokenizedExample]
    probe: Sequence[TokenizedExample]


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    ``stopped`` tells that a person stopped it before its last step, ``early`` that its patience was
    over. ``kept_step`` is the step whose adapter was kept where the best was asked for; None: the last.
    """

    steps: int
    total_steps: int
    stopped: bool
    early: bool = False
    kept_step: int | None = None


def train(
    loaded: LoadedModel,
    name: str,
    data: TrainingData,
    settings: TrainSettings,
    folder: Path,
    watcher: Watcher,
    resume_from: Path | None = None,
) -> TrainingResult:
    """Train the attached adapter ``name`` and return when it is done or stopped.

    Checkpoints go to ``folder/checkpoint-STEP``; with ``resume_from`` the run goes on from one of
    them, on a CPU bit for bit as if it had never been interrupted. Raises DivergedError where a
    loss or gradient norm is not finite or the adapter ends as zero, MemoryLimitError where the
    memory is too small.
    """
    with memory.kept_pages(), on_loan(loaded):
        trainer = _Trainer(loaded, name, data, settings, folder, watcher)
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
    if not stopped and (fault := adapter.fault(loaded, name)):
        raise DivergedError(fault)
    best = trainer.best_step()
    if best is not None and (wrong := sealed.fault(at_step(folder, best))):
        watcher.say(f"The best checkpoint, that of step {best}, is damaged ({wrong}): the last step's adapter is kept.")
        best = None
    if best is not None:
        adapter.restore(loaded, name, at_step(folder, best))
    return TrainingResult(steps, total, stopped, early, kept_step=best)


class _Rows(torch.utils.data.Dataset):
    """The tokenised rows as torch wants them; the collator gets them as they are."""

    def __init__(self, rows: Sequence[TokenizedExample]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedExample:
        return self.rows[index]


def sft_config(settings: TrainSettings, folder: Path, device: torch.device) -> SFTConfig:
    """TRL's arguments for these settings, with the defaults that differ from TRL's said out loud."""
    bf16, fp16 = _precision(settings, device)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=_optimizer(settings, device),
        bf16=bf16,
        fp16=fp16,
        # TRL switches this on; it trades speed for memory that models of this size do not need.
        activation_checkpointing=False,
        max_length=None,
        eval_strategy=settings.eval_strategy,
        eval_steps=settings.eval_steps,
        save_strategy=settings.save_strategy,
        save_steps=settings.save_steps or 500,
        save_total_limit=settings.save_total_limit,
        seed=settings.seed,
        # Each step's own loss is stored, and a NaN must be seen, not replaced by the average.
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        use_cpu=device.type == "cpu",
        report_to=[],
        disable_tqdm=True,
    )


def _optimizer(settings: TrainSettings, device: torch.device) -> str:
    """As asked for; AdamW on a GPU as one kernel instead of some for each matrix, the same up to rounding."""
    return "adamw_torch_fused" if device.type == "cuda" and settings.optim == "adamw_torch" else settings.optim


def _precision(settings: TrainSettings, device: torch.device) -> tuple[bool, bool]:
    """(bf16, fp16): as asked for, or what the device does well; float32 on a CPU."""
    on_gpu = device.type == "cuda"
    bf16 = on_gpu and torch.cuda.is_bf16_supported() if settings.bf16 == "auto" else bool(settings.bf16)
    if settings.fp16 == "auto":
        return bf16, on_gpu and not bf16 and settings.bf16 == "auto"
    return bf16 and not settings.fp16, bool(settings.fp16) and on_gpu


class _Trainer(SFTTrainer):
    """SFTTrainer with padding-free passes, a head on supervised positions only, and flat checkpoints."""

    def __init__(
        self,
        loaded: LoadedModel,
        name: str,
        data: TrainingData,
        settings: TrainSettings,
        folder: Path,
        watcher: Watcher,
    ):
        self.loaded, self.name, self.data, self.settings, self.watcher = loaded, name, data, settings, watcher
        self.readings = Readings(loaded.device, self.record_step)
        self.step_loss = torch.zeros((), device=loaded.device)
        self.step_tokens = self.step_supervised = 0
        self.probe_steps: set[int] = set()
        self.evaluations: list[Evaluation] = []
        self.saved_step = 0
        self.random_states: dict[str, Any] = {}
        self.passes = Passes(loaded, self.memory_ran_out)
        args = sft_config(settings, folder, loaded.device)
        if not data.evaluation:
            args.eval_strategy = IntervalStrategy.NO
        # The head taken off computes gradients before the loss is scaled, which float16 is too narrow for.
        self.separable = loaded.separable and not args.fp16
        # The lab trains on one device; transformers would wrap the model for every GPU it sees.
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(
            model=loaded.model,
            args=args,
            # TRL insists on a datasets.Dataset; the rows it trains on come from get_train_dataloader.
            train_dataset=_as_dataset(data.train),
            eval_dataset=_as_dataset(data.evaluation) if data.evaluation else None,
            processing_class=loaded.tokenizer,
            data_collator=self.collate,
            callbacks=[_Pace(self)],
        )
        self.train_dataset = _Rows(data.train)
        # The loss below is already divided by the supervised tokens of the whole optimizer step.
        self.model_accepts_loss_kwargs = True

    def collate(self, rows: Sequence[TokenizedExample]) -> dict[str, Any]:
        """One micro-batch: its rows as they are, for the passes to be made of."""
        return {"rows": rows}

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> int:
        """Supervised tokens of the whole optimizer step; counted here, where no device has to be asked."""
        return sum(supervised_count(batch["rows"]) for batch in batch_samples)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(len(self.data.train), self.settings.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward over the micro-batch; returns its share of the step's loss.

        Where memory runs out it is done again in smaller passes, with the random numbers and on the
        gradients it began with.
        """
        rows, one_pass = inputs["rows"], super().training_step
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in trainable]
        states = random_states.capture(self.loaded.device)

        def undo() -> None:
            random_states.restore(states)
            for parameter, gradient in zip(trainable, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()

        def work(packs: list[Pack]) -> torch.Tensor:
            return torch.stack([one_pass(model, pack, num_items_in_batch) for pack in packs]).sum()

        with leaving(self.loaded.base, self.watcher.stopping):
            loss = self.passes.within_memory(rows, work, undo)
        self.step_loss = self.step_loss + loss
        self.step_tokens += sum(len(row.input_ids) for row in rows)
        self.step_supervised += supervised_count(rows)
        return loss

    def memory_ran_out(self, tokens: int) -> None:
        """Passes have ``tokens`` tokens from now on, also after a resume: the history is part of every checkpoint."""
        self.watcher.say(f"Memory ran out: passes of {tokens} tokens from now on.")
        self.state.log_history.append({"tokens_per_pass": tokens, "step": self.state.global_step})

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: int = 1
    ) -> torch.Tensor:
        """Mean cross entropy in nats over the supervised tokens of the whole optimizer step."""
        loss = supervised_loss(model, inputs, self.separable)
        return loss / max(num_items_in_batch, 1)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the trainer's estimate assumes padded batches."""
        return 0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Token-weighted loss of the evaluation rows (the trainer's own is a mean of batch means)."""
        loss = self.held_out_loss(self.data.evaluation)
        step = self.state.global_step
        self.watcher.metric("eval", step, self.state.epoch or 0.0, {"eval_loss": loss})
        self.evaluations.append((step, loss))
        self.state.log_history.append({"eval_loss": loss, "step": step})
        # Or the end of an epoch would find the same step's evaluation still asked for.
        self.control.should_evaluate = False
        # The trainer saves after it has evaluated, so that the best is always there to go back to.
        if step == self.best_step():
            self.control.should_save = True
        return {"eval_loss": loss}

    def best_step(self) -> int | None:
        """The step to keep where the best is to be kept: that of the lowest held-out loss so far."""
        best = best_evaluation(self.evaluations) if self.settings.load_best_model_at_end else None
        return best[0] if best else None

    def out_of_patience(self) -> bool:
        """Whether the held-out loss has not fallen for as many evaluations as the settings wait."""
        patience = self.settings.early_stopping_patience
        return patience is not None and evaluations_since_best(self.evaluations) >= patience

    def catch_up(self) -> None:
        """After a resume: what was measured before, and what a stop cut off at the step that is gone on from."""
        state, args = self.state, self.args
        # Every checkpoint holds the trainer's state, this history in it.
        self.evaluations = [(entry["step"], entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]
        halved = [entry["tokens_per_pass"] for entry in state.log_history if "tokens_per_pass" in entry]
        self.passes.tokens = min([self.passes.tokens, *halved])
        done = {name for entry in state.log_history if entry["step"] == state.global_step for name in entry}
        if state.global_step in self.probe_steps and "probed" not in done:
            self.probe()
        by_steps = args.eval_strategy == IntervalStrategy.STEPS and state.global_step % args.eval_steps == 0
        by_epoch = args.eval_strategy == IntervalStrategy.EPOCH and float(state.epoch).is_integer()
        if (by_steps or by_epoch) and "eval_loss" not in done:
            self.evaluate()

    def held_out_loss(self, rows: Sequence[TokenizedExample]) -> float:
        """Mean loss in nats a supervised token over ``rows``, dropout off."""
        self.watcher.phase("evaluating")
        self.model.eval()
        try:
            with leaving(self.loaded.base, self.watcher.stopping):
                total = self.passes.within_memory(rows, self._summed_loss)
        finally:
            self.model.train()
        if not math.isfinite(total):
            raise DivergedError(
                f"The held-out loss is not a finite number at step {self.state.global_step}: "
                f"lower train.learning_rate (now {self.settings.learning_rate:g})."
            )
        self.watcher.phase("training")
        return total / supervised_count(rows)

    @torch.no_grad()
    def _summed_loss(self, packs: list[Pack]) -> float:
        losses = [torch.zeros((), device=self.loaded.device)]
        with self.compute_loss_context_manager():
            for done, pack in enumerate(packs):
                self.watcher.part(done, len(packs))
                if self.watcher.stopping():
                    raise Stopped
                losses.append(supervised_loss(self.model, pack, self.separable))
        return math.fsum(torch.stack(losses).tolist())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What the trainer itself has to say goes into its history only."""
        self.state.log_history.append({**logs, "step": self.state.global_step})

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *rest: Any, learning_rate: float | None = None):
        """Each optimizer step ends here. Its numbers are noted; before something is measured or saved, also read."""
        step, new = self.state.global_step, self.control.should_log
        # An epoch's end comes here once more.
        self.control.should_log = False
        if new:
            self._note_step(grad_norm, learning_rate or 0.0)
        probing = new and step in self.probe_steps
        if probing or self.control.should_evaluate or self.control.should_save:
            self.readings.flush()
        if probing:
            self.probe()
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, learning_rate=learning_rate)

    def _note_step(self, grad_norm: torch.Tensor, learning_rate: float) -> None:
        step = Step(
            number=self.state.global_step,
            epoch=self.state.epoch or 0.0,
            learning_rate=learning_rate,
            tokens=self.step_tokens,
            supervised=self.step_supervised,
            # Under fp16 a step whose gradients overflowed is skipped and the scale lowered: no divergence.
            skipped=self.args.fp16 and self.accelerator.optimizer_step_was_skipped,
        )
        self.readings.note(step, self.step_loss, grad_norm)

    def record_step(self, step: Step, numbers: Numbers) -> None:
        """A step's numbers are there."""
        loss, norm = numbers.loss, numbers.grad_norm
        if not math.isfinite(loss) or not (step.skipped or math.isfinite(norm)):
            raise DivergedError(
                f"The loss is not a finite number at step {step.number}: lower train.learning_rate "
                f"(now {self.settings.learning_rate:g}) or set train.max_grad_norm to 1."
            )
        values = {
            "loss": loss,
            "learning_rate": step.learning_rate,
            "grad_norm": norm if math.isfinite(norm) else 0.0,
            "tokens": step.tokens,
            "supervised": step.supervised,
            "seconds": numbers.seconds,
            "tokens_per_second": step.tokens / numbers.seconds,
        }
        self.watcher.metric("train", step.number, step.epoch, values)

    def probe(self) -> None:
        """Held-out loss of the probe rows, if there are any, and whatever else the watcher looks at, now."""
        step = self.state.global_step
        if self.data.probe:
            loss = self.held_out_loss(self.data.probe)
            self.watcher.metric("probe", step, self.state.epoch or 0.0, {"probe_loss": loss})
        self.watcher.probed(step)
        self.state.log_history.append({"probed": True, "step": step})

    def begin_step(self) -> None:
        """Start the step's own accounting; what was served between steps does not count."""
        self.step_loss = torch.zeros((), device=self.loaded.device)
        self.step_tokens = self.step_supervised = 0
        self.readings.begin()

    def say_what_is_slower(self) -> None:
        """Once, before the first step."""
        longest = max(len(row.input_ids) for row in self.data.train)
        if longest > self.passes.tokens:
            self.watcher.say(f"The longest row has {longest} tokens: it goes alone, in a pass longer than the others.")
        if not self.loaded.separable:
            self.watcher.say("This model changes its head's logits, so the loss is not computed in chunks.")

    def remember_random(self) -> None:
        """Keep the random states as the step that has just finished left them."""
        self.random_states = random_states.capture(self.loaded.device)

    def keep_last_step(self) -> None:
        """Leave a checkpoint of the last finished step, so that a stopped run can go on from it.

        Wherever the stop came (in a step, an evaluation, a new epoch), weights and optimizer are
        still that step's; the random states may have moved on and are put back.
        """
        self.readings.flush()
        if self.state.global_step <= self.saved_step or not self.random_states:
            return
        random_states.restore(self.random_states)
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint beside and rename it, so that a torn one is never found."""
        self.watcher.phase("saving")
        folder = Path(self.args.output_dir)
        with sealed.writing(at_step(folder, self.state.global_step)) as written:
            self.args.output_dir = str(written.parent)
            try:
                # SFTTrainer would add a model card to each checkpoint; the Trainer's own part is wanted.
                super(SFTTrainer, self)._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = str(folder)
        prune_checkpoints(folder, self.settings.save_total_limit, spare=self.best_step())
        self.saved_step = self.state.global_step
        self.watcher.phase("training")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        adapter.save(self.loaded, self.name, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        adapter.restore(self.loaded, self.name, Path(resume_from_checkpoint))


def _as_dataset(rows: Sequence[TokenizedExample]) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"input_ids": [row.input_ids for row in rows]})


class _Pace(TrainerCallback):
    """The run's rhythm: breathing, saving by the clock, stopping."""

    def __init__(self, trainer: _Trainer):
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
        self.trainer.watcher.breathe()
        self._leave_if_stopping()
        self.trainer.begin_step()

    def on_substep_end(self, args, state, control, **kwargs):
        self._leave_if_stopping()

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
            self._leave_if_stopping()

    def on_train_end(self, args, state, control, **kwargs):
        self.trainer.readings.flush()

    def on_save(self, args, state, control, **kwargs):
        self.saved_at = time.monotonic()

    def _leave_if_stopping(self) -> None:
        if self.trainer.watcher.stopping() or self.trainer.out_of_patience():
            raise Stopped


def probe_steps(total_steps: int, probes: int) -> set[int]:
    """Step 0 and ``probes`` even distances to the last step."""
    if not probes:
        return set()
    return {0, *(round(total_steps * (i + 1) / probes) for i in range(probes))}

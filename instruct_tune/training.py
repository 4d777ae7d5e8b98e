"""One blocking training run: TRL's ``SFTTrainer`` over padding-free batches. The only importer of trl.

``train`` knows no threads and no database. It tells a ``Watcher`` what happens as it happens, and
at every breathing point asks it to do whatever short work is waiting and whether to stop.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy
from trl import SFTConfig, SFTTrainer

from . import adapter
from .batching import TOKENS_PER_PASS, EpochSampler, Pack, pack_rows, supervised_count, supervised_loss
from .checkpoints import (
    Evaluation,
    at_step,
    best_evaluation,
    evaluations_since_best,
    prune_checkpoints,
    replace_folder,
)
from .errors import DivergedError, MemoryLimitError, Stopped
from .model import LoadedModel
from .settings import TrainSettings
from .tokenization import IGNORE, TokenizedExample


class Watcher(Protocol):
    """Who watches a run. Called on the thread that trains."""

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
    with _borrowed(loaded):
        trainer = _Trainer(loaded, name, data, settings, folder, watcher)
        try:
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        except Stopped:
            trainer.keep_last_step()
        except torch.OutOfMemoryError as error:
            raise MemoryLimitError(
                "The GPU's memory is too small for this run: lower train.per_device_train_batch_size "
                "(and raise train.gradient_accumulation_steps), lower train.max_length, or choose a smaller model."
            ) from error
        steps, total = trainer.state.global_step, trainer.state.max_steps
    if steps == total and adapter.is_zero(loaded, name):
        raise DivergedError("The adapter is still zero after training: raise train.learning_rate.")
    best = trainer.best_step()
    if best is not None:
        adapter.restore(loaded, name, at_step(folder, best))
    early = steps < total and trainer.out_of_patience()
    return TrainingResult(steps, total, stopped=steps < total and not early, early=early, kept_step=best)


@contextmanager
def _borrowed(loaded: LoadedModel) -> Iterator[None]:
    """The trainer changes the shared model around the weights; put all of that back.

    SFTTrainer replaces ``forward`` on the instance, switches the cache off and aligns special
    token ids in the configurations.
    """
    base = loaded.base
    config, generation = copy.deepcopy(base.config.__dict__), copy.deepcopy(base.generation_config)
    padding_side = loaded.tokenizer.padding_side
    try:
        yield
    finally:
        for model in (base, loaded.model):
            # What SFTTrainer, and accelerate under mixed precision, put over the class's own.
            for patched in ("forward", "_original_forward"):
                model.__dict__.pop(patched, None)
        base.config.__dict__.clear()
        base.config.__dict__.update(config)
        base.generation_config = generation
        loaded.tokenizer.padding_side = padding_side
        loaded.model.zero_grad(set_to_none=True)
        loaded.model.eval()


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
        optim=settings.optim,
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
        self.step_loss = torch.zeros((), device=loaded.device)
        self.step_tokens = 0
        self.step_supervised = 0
        self.probe_steps: set[int] = set()
        self.evaluations: list[Evaluation] = []
        self.saved_step = 0
        self.random_states: dict[str, Any] = {}
        args = sft_config(settings, folder, loaded.device)
        if not data.evaluation:
            args.eval_strategy = IntervalStrategy.NO
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
        """One micro-batch: its passes, and all its labels for the trainer to count."""
        packs = self.pack(rows)
        # [1, n] with a leading ignored label, since the trainer counts labels[..., 1:].
        labels = torch.cat([pack["labels"][..., 1:].flatten() for pack in packs])
        tokens = sum(len(row.input_ids) for row in rows)
        return {"packs": packs, "labels": torch.cat([torch.tensor([IGNORE]), labels])[None], "tokens": tokens}

    def pack(self, rows: Sequence[TokenizedExample]) -> list[Pack]:
        """Rows as forward passes, the way this architecture and device want them."""
        budget = TOKENS_PER_PASS[self.loaded.device.type]
        return pack_rows(rows, self.loaded.packing, self.loaded.tokenizer.pad_token_id, budget)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(len(self.data.train), self.settings.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward over the micro-batch, pass by pass; returns its share of the step's loss."""
        losses = [super(_Trainer, self).training_step(model, pack, num_items_in_batch) for pack in inputs["packs"]]
        loss = torch.stack(losses).sum()
        self.step_loss += loss
        self.step_tokens += inputs["tokens"]
        self.step_supervised += sum(supervised_count(pack) for pack in inputs["packs"])
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean cross entropy in nats over the supervised tokens of the whole optimizer step."""
        return supervised_loss(model, inputs) / torch.as_tensor(num_items_in_batch).clamp(min=1)

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
        packs = self.pack(rows)
        total, count = 0.0, 0
        self.model.eval()
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                for done, pack in enumerate(packs):
                    self.watcher.part(done, len(packs))
                    if self.watcher.stopping():
                        raise Stopped
                    total += supervised_loss(self.model, self._prepare_inputs(dict(pack))).item()
                    count += supervised_count(pack)
        finally:
            self.model.train()
        if not math.isfinite(total):
            raise DivergedError(
                f"The held-out loss is not a finite number at step {self.state.global_step}: "
                f"lower train.learning_rate (now {self.settings.learning_rate:g})."
            )
        self.watcher.phase("training")
        return total / count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Each optimizer step ends here, with its gradient norm and learning rate."""
        if "loss" in logs:
            self._record_step(logs)
        self.state.log_history.append({**logs, "step": self.state.global_step})

    def _record_step(self, logs: dict[str, float]) -> None:
        step, loss = self.state.global_step, self.step_loss.item()
        # Under fp16 a step whose gradients overflowed is skipped and the scale lowered: no divergence.
        skipped = self.args.fp16 and self.accelerator.optimizer_step_was_skipped
        norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(loss) or not (skipped or math.isfinite(norm)):
            raise DivergedError(
                f"The loss is not a finite number at step {step}: lower train.learning_rate "
                f"(now {self.settings.learning_rate:g}) or set train.max_grad_norm to 1."
            )
        seconds = time.perf_counter() - self.step_began
        values = {
            "loss": loss,
            "learning_rate": logs["learning_rate"],
            "grad_norm": norm if math.isfinite(norm) else 0.0,
            "tokens": self.step_tokens,
            "supervised": self.step_supervised,
            "seconds": seconds,
            "tokens_per_second": self.step_tokens / seconds,
        }
        self.watcher.metric("train", step, self.state.epoch or 0.0, values)
        if step in self.probe_steps:
            self.probe()

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
        self.step_loss.zero_()
        self.step_tokens = self.step_supervised = 0
        self.step_began = time.perf_counter()

    def remember_random(self) -> None:
        """Keep the random states as the step that has just finished left them."""
        self.random_states = {
            "python": random.getstate(),
            "numpy": numpy.random.get_state(),
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.loaded.device.type == "cuda" else [],
        }

    def keep_last_step(self) -> None:
        """Leave a checkpoint of the last finished step, so that a stopped run can go on from it.

        Wherever the stop came (in a step, an evaluation, a new epoch), weights and optimizer are
        still that step's; the random states may have moved on and are put back.
        """
        if self.state.global_step <= self.saved_step or not self.random_states:
            return
        random.setstate(self.random_states["python"])
        numpy.random.set_state(self.random_states["numpy"])
        torch.set_rng_state(self.random_states["cpu"])
        if self.random_states["cuda"]:
            torch.cuda.set_rng_state_all(self.random_states["cuda"])
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint beside and rename it, so that a torn one is never found."""
        self.watcher.phase("saving")
        final = Path(self.args.output_dir)
        partial = final / ".partial"
        self.args.output_dir = str(partial)
        try:
            # SFTTrainer would add a model card to each checkpoint; the Trainer's own part is wanted.
            super(SFTTrainer, self)._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(final)
        written = partial / f"checkpoint-{self.state.global_step}"
        replace_folder(written, final / written.name)
        prune_checkpoints(final, self.settings.save_total_limit, spare=self.best_step())
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

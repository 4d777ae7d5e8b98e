"""TRL's ``SFTTrainer`` with padding-free passes, and with the lab's own metrics, validation, checkpoints and stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy
from trl import SFTTrainer

from ..batching.loss import supervised_count, supervised_loss
from ..batching.packing import Pack
from ..batching.sampler import EpochSampler
from ..config.run_config import TrainSettings
from ..errors import DivergedError
from ..kernels.bf16_products import in_bf16
from ..models import lora
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample
from ..util import atomic_write
from . import rng_state
from .checkpoints import (
    Evaluation,
    at_step,
    best_evaluation,
    evaluations_since_best,
    prune_checkpoints,
)
from .interruptible import interruptible
from .micro_batches import MicroBatches
from .precision import bf16_layers, resumed_bf16_layers
from .sft_config import sft_config
from .step_metrics import StepMetrics
from .types import TrainingData, TrainingListener
from .validation import HeldOut


class Trainer(SFTTrainer):
    """SFTTrainer with padding-free passes, an LM head on supervised positions only, and flat checkpoints."""

    def __init__(
        self,
        loaded: LoadedModel,
        name: str,
        data: TrainingData,
        settings: TrainSettings,
        folder: Path,
        listener: TrainingListener,
    ):
        self.loaded, self.name, self.data, self.settings, self.listener = loaded, name, data, settings, listener
        self.metrics = StepMetrics(loaded.device, listener, settings.learning_rate)
        self.probe_steps: set[int] = set()
        self.sample_steps: set[int] = set()
        self.evaluations: list[Evaluation] = []
        self.saved_step = 0
        self.random_states: dict[str, Any] = {}
        self.bf16_layers: list[torch.nn.Linear] = []
        """Those that multiply in bfloat16 in training steps; empty where all is in one precision."""
        self.passes = MicroBatches(loaded, self.memory_ran_out, self.memory_is_short)
        args = sft_config(settings, folder, loaded.device)
        if not data.evaluation:
            args.eval_strategy = IntervalStrategy.NO
        # The detached LM head computes gradients before the loss is scaled, for which float16 is too narrow.
        self.separable = loaded.separable and not args.fp16
        # The lab trains on one device; transformers would wrap the model for every GPU it sees.
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(
            model=loaded.model,
            args=args,
            # TRL requires a datasets.Dataset; the rows it trains on are set as train_dataset below.
            train_dataset=_as_dataset(data.train),
            eval_dataset=_as_dataset(data.evaluation) if data.evaluation else None,
            processing_class=loaded.tokenizer,
            data_collator=self.collate,
        )
        self.train_dataset = _Rows(data.train)
        self.held_out = HeldOut(loaded, self.passes, self.separable, self.compute_loss_context_manager, listener)
        # The loss below is already divided by the supervised tokens of the whole optimizer step.
        self.model_accepts_loss_kwargs = True

    def collate(self, rows: Sequence[TokenizedExample]) -> dict[str, Any]:
        """One micro-batch: its rows unchanged; ``MicroBatches`` builds the passes."""
        return {"rows": rows}

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> int:
        """Supervised tokens of the whole optimizer step, counted on the host without synchronising the device."""
        return sum(supervised_count(batch["rows"]) for batch in batch_samples)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(len(self.data.train), self.settings.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward over the micro-batch; returns its share of the step's loss.

        Where memory runs out, the step is repeated in smaller passes, from the initial random states and gradients.
        """
        rows, one_pass = inputs["rows"], super().training_step
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in trainable]
        states = rng_state.capture(self.loaded.device)

        def undo() -> None:
            rng_state.restore(states)
            for parameter, gradient in zip(trainable, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()

        def work(packs: list[Pack]) -> torch.Tensor:
            return torch.stack([one_pass(model, pack, num_items_in_batch) for pack in packs]).sum()

        with interruptible(self.loaded.base, self.listener.stopping), in_bf16(self.bf16_layers):
            loss = self.passes.within_memory(rows, work, undo)
        self.metrics.add(rows, loss)
        return loss

    def choose_precision(self) -> None:
        """Before the first step: decide which layers multiply in bfloat16, and note it for a resume."""
        self.bf16_layers = bf16_layers(
            self.loaded, self.settings, self.data.train, self._loss_without_dropout, self.listener.log_event
        )
        self._note_precision()

    def _note_precision(self) -> None:
        in_bf16 = bool(self.bf16_layers)
        self.state.log_history.append({"bf16_products": in_bf16, "step": self.state.global_step})
        self.listener.multiplies(in_bf16)

    def memory_ran_out(self, tokens: int) -> None:
        """Note that passes have ``tokens`` tokens from now on; the history in each checkpoint keeps it for a resume."""
        self.listener.log_event(f"Memory ran out: passes of {tokens} tokens from now on.")
        self.state.log_history.append({"tokens_per_pass": tokens, "step": self.state.global_step})

    def memory_is_short(self) -> None:
        """Note that layers are computed twice from now on, also after a resume."""
        self.listener.log_event(
            "Memory ran out with one row a pass: layers are computed twice from now on, a third slower."
        )
        self.state.log_history.append({"recomputes": True, "step": self.state.global_step})

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: int = 1
    ) -> torch.Tensor:
        """Mean cross entropy in nats over the supervised tokens of the whole optimizer step."""
        loss = supervised_loss(model, inputs, self.separable)
        return loss / max(num_items_in_batch, 1)

    def floating_point_ops(self, inputs: Any) -> int:
        """0: transformers' estimate assumes padded batches, so the operations are not counted."""
        return 0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Token-weighted loss of the evaluation rows (transformers' own is a mean of batch means)."""
        loss = self.held_out_loss(self.data.evaluation)
        step = self.state.global_step
        self.listener.metric("eval", step, self.state.epoch or 0.0, {"eval_loss": loss})
        self.evaluations.append((step, loss))
        self.state.log_history.append({"eval_loss": loss, "step": step})
        # Otherwise the end of an epoch would evaluate the same step again.
        self.control.should_evaluate = False
        # The trainer saves after it evaluates, so the best step always has a checkpoint.
        if step == self.best_step():
            self.control.should_save = True
        self._notify_evaluated()
        return {"eval_loss": loss}

    def best_step(self) -> int | None:
        """The step with the lowest held-out loss so far; None without ``load_best_model_at_end`` or evaluations."""
        best = best_evaluation(self.evaluations) if self.settings.load_best_model_at_end else None
        return best[0] if best else None

    def out_of_patience(self) -> bool:
        """Whether the held-out loss has not improved for ``early_stopping_patience`` evaluations."""
        patience = self.settings.early_stopping_patience
        return patience is not None and evaluations_since_best(self.evaluations) >= patience

    def catch_up(self) -> None:
        """After a resume: read the earlier evaluations, and do what a stop prevented at the step of the checkpoint."""
        state = self.state
        # Every checkpoint contains the trainer's state, and that contains this history.
        self.evaluations = [(entry["step"], entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]
        halved = [entry["tokens_per_pass"] for entry in state.log_history if "tokens_per_pass" in entry]
        self.passes.tokens = min([self.passes.tokens, *halved])
        if any("recomputes" in entry for entry in state.log_history):
            self.passes.recompute()
        sessions = [entry["bf16_products"] for entry in state.log_history if "bf16_products" in entry]
        self.bf16_layers = resumed_bf16_layers(
            self.loaded, self.settings, sessions[-1] if sessions else False, self.listener.log_event
        )
        self._note_precision()
        self.look_at_the_beginning()
        for measure in self.left_to_measure():
            measure()

    def left_to_measure(self) -> list[Callable[[], object]]:
        """What the present step is to be measured by and is not yet; the last step is evaluated wherever it falls."""
        left: list[Callable[[], object]] = []
        state, args = self.state, self.args
        noted, last = self._logged_names(state.global_step), state.global_step >= state.max_steps
        if state.global_step in self.probe_steps and "probed" not in noted:
            left.append(self.probe)
        by_steps = args.eval_strategy == IntervalStrategy.STEPS and (last or state.global_step % args.eval_steps == 0)
        by_epoch = args.eval_strategy == IntervalStrategy.EPOCH and (last or float(state.epoch or 0).is_integer())
        if by_steps or by_epoch:
            if "eval_loss" not in noted:
                left.append(self.evaluate)
            elif "evaluated" not in noted:
                left.append(self._notify_evaluated)
        return left

    def held_out_loss(self, rows: Sequence[TokenizedExample]) -> float:
        """Mean loss in nats a supervised token over ``rows``, without dropout."""
        loss = self._loss_without_dropout(rows)
        if not math.isfinite(loss):
            raise DivergedError(
                f"The held-out loss is not a finite number at step {self.state.global_step}: "
                f"lower train.learning_rate (now {self.settings.learning_rate:g})."
            )
        return loss

    def _loss_without_dropout(self, rows: Sequence[TokenizedExample]) -> float:
        loss = self.held_out.loss(rows)
        self.listener.phase("training")
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Append transformers' own log entries to the history, and show them nowhere else."""
        self.state.log_history.append({**logs, "step": self.state.global_step})

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, *rest: Any, learning_rate: float | None = None
    ) -> None:
        """The end of each optimizer step: note its metrics, and read them before a probe, an evaluation or a save."""
        step, new = self.state.global_step, self.control.should_log
        # The end of an epoch calls this a second time.
        self.control.should_log = False
        if new:
            self._note_step(grad_norm, learning_rate or 0.0)
        probing = new and step in self.probe_steps
        if probing or self.control.should_evaluate or self.control.should_save:
            self.metrics.flush()
        if new and step == 1:
            self.look_at_the_beginning()
        if probing:
            self.probe()
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, learning_rate=learning_rate)

    def _note_step(self, grad_norm: torch.Tensor, learning_rate: float) -> None:
        # Under fp16, gradients that overflow skip the step and lower the scale: the run has not diverged.
        skipped = self.args.fp16 and self.accelerator.optimizer_step_was_skipped
        self.metrics.note(self.state.global_step, self.state.epoch or 0.0, learning_rate, grad_norm, skipped)

    def probe(self) -> None:
        """Measure the run after the steps so far; not yet at step 0, where it still equals base.

        Base can be measured later too, and nothing should delay the first step.
        """
        step = self.state.global_step
        if step == 0 and lora.is_zero(self.loaded, self.name):
            self.state.log_history.append({"begins_as_base": True, "step": 0})
            return
        self._measure_losses(step, self.state.epoch or 0.0)
        if step in self.sample_steps:
            self._notify_probed(step, self.name)
        else:
            self.state.log_history.append({"probed": True, "step": step})

    def look_at_the_beginning(self) -> None:
        """Measure step 0, if that was put off until after the first step and has not happened yet."""
        beginning = self._logged_names(0)
        if "begins_as_base" in beginning and "probed" not in beginning:
            self.metrics.flush()
            with lora.answering_as(self.loaded, [lora.BASE]):
                self._measure_losses(0, 0.0)
            self._notify_probed(0, lora.BASE)

    def _measure_losses(self, step: int, epoch: float) -> None:
        """The loss of the probe rows; at a sample step that of the general text too."""
        for kind, rows in (("probe", self.data.probe), ("general", self.data.general)):
            if rows and (kind == "probe" or step in self.sample_steps):
                loss = self.held_out_loss(rows)
                self.listener.metric(kind, step, epoch, {f"{kind}_loss": loss})

    def _logged_names(self, step: int) -> set[str]:
        """The names that the history has for ``step``, those from before a resume included."""
        return {name for entry in self.state.log_history if entry["step"] == step for name in entry}

    def _notify_probed(self, step: int, adapter_name: str) -> None:
        self.listener.probed(step, adapter_name)
        self.state.log_history.append({"probed": True, "step": step})

    def _notify_evaluated(self) -> None:
        self.listener.evaluated(self.state.global_step, self.state.epoch or 0.0)
        self.state.log_history.append({"evaluated": True, "step": self.state.global_step})

    def log_what_is_slower(self) -> None:
        """Before the first step, log why parts of this run are slower than usual."""
        longest = max(len(row.input_ids) for row in self.data.train)
        if longest > self.passes.tokens:
            self.listener.log_event(
                f"The longest row has {longest} tokens: it goes alone, in a pass longer than the others."
            )
        if not self.loaded.separable:
            self.listener.log_event("This model changes its head's logits, so the loss is not computed in chunks.")

    def remember_random(self) -> None:
        """Keep the random states at the end of the step that has just finished."""
        self.random_states = rng_state.capture(self.loaded.device)

    def keep_last_step(self) -> None:
        """Write a checkpoint of the last finished step, from which a stopped run can resume.

        Wherever the stop came (in a step, an evaluation, a new epoch), weights and optimizer are
        still that step's; the random states may have advanced and are restored.
        """
        self.metrics.flush()
        if self.state.global_step <= self.saved_step or not self.random_states:
            return
        rng_state.restore(self.random_states)
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint to a temporary folder and rename it, so that no incomplete one is ever read."""
        self.listener.phase("saving")
        folder = Path(self.args.output_dir)
        with atomic_write.atomic_folder(at_step(folder, self.state.global_step)) as written:
            self.args.output_dir = str(written.parent)
            try:
                # Skip SFTTrainer's method, which adds a model card to each checkpoint.
                super(SFTTrainer, self)._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = str(folder)
        prune_checkpoints(folder, self.settings.save_total_limit, best=self.best_step())
        self.saved_step = self.state.global_step
        self.listener.phase("training")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        lora.save(self.loaded, self.name, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        lora.restore(self.loaded, self.name, Path(resume_from_checkpoint))


def _as_dataset(rows: Sequence[TokenizedExample]) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"input_ids": [row.input_ids for row in rows]})


class _Rows(torch.utils.data.Dataset):
    """The tokenised rows as a torch Dataset; the collator gets them unchanged."""

    def __init__(self, rows: Sequence[TokenizedExample]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedExample:
        return self.rows[index]

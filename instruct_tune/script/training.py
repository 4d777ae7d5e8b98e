"""The Train tab as code: LoRA on the model, TRL's arguments, and a trainer with the lab's order of batches."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..config.catalog import LORA_TARGETS
from ..config.run_config import LoraSettings, RunConfig, TrainSettings
from ..text.python_literal import literal
from .code import Line, Section, argument, assign, code, note
from .only_in_lab import left_out
from .record import Record
from .versions import version_of

USUAL_TARGETS = LORA_TARGETS["llama"]


def train_sections(config: RunConfig, record: Record | None) -> list[Section]:
    """Sections from the base weights to the trained adapter."""
    return [
        Section("train", "The model with LoRA", (*_precision(config.train), *_lora(config.lora, config.train))),
        Section("train", "Arguments", tuple(_arguments(config.train, record))),
        Section("train", "Train", (*_history(record), *_trainer(config.train), *left_out())),
    ]


# The model


def _precision(train: TrainSettings) -> Iterator[Line]:
    """BF16 and FP16, as ``training.sft_config`` resolves them."""
    bf16, fp16 = train.bf16, train.fp16
    automatic = "GPU and torch.cuda.is_bf16_supported(including_emulation=False)"
    yield from code("""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        GPU = torch.cuda.is_available()
    """)
    chosen = "False" if fp16 is True else automatic if bf16 == "auto" else literal(bf16)
    yield Line(f"BF16 = {chosen}", ("train.bf16", "train.fp16"))
    half = "GPU and not BF16" if fp16 == "auto" and bf16 == "auto" else "GPU" if fp16 is True else "False"
    yield Line(f"FP16 = {half}", ("train.fp16", "train.bf16"))
    yield Line("")


def _lora(lora: LoraSettings, train: TrainSettings) -> Iterator[Line]:
    yield from assign("TRAIN_SEED", train.seed, "train.seed", why="draws LoRA's A matrices, the order of rows, dropout")
    yield from code("""
        base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16 if BF16 else torch.float32)
        torch.manual_seed(TRAIN_SEED)
        # The update of a layer is B·A: A is random and B zero, so that training begins exactly at base.
    """)
    yield from _targets(lora.target_modules)
    yield Line("lora = LoraConfig(")
    yield argument("r", lora.r, "lora.r")
    yield argument("lora_alpha", lora.lora_alpha, "lora.lora_alpha")
    yield argument("lora_dropout", lora.lora_dropout, "lora.lora_dropout")
    yield Line("    target_modules=TARGETS,")
    scale = "alpha / sqrt(r)" if lora.use_rslora else "alpha / r"
    yield argument("use_rslora", lora.use_rslora, "lora.use_rslora", why=f"the update is scaled by {scale}")
    yield from code("""
        #
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(base, lora)
        model.print_trainable_parameters()
    """)[1:]


def _targets(targets: str | tuple[str, ...]) -> Iterator[Line]:
    name = "lora.target_modules"
    if targets == "auto":
        others = {kind: list(names) for kind, names in LORA_TARGETS.items() if names != USUAL_TARGETS}
        yield from note(
            "The attention's query and value projections, by the names that an architecture gives them.", name
        )
        yield Line(f"fused = {literal(others)}", (name,))
        yield Line(f"TARGETS = fused.get(base.config.model_type, {literal(USUAL_TARGETS)})", (name,))
    elif targets == "all-linear" or not isinstance(targets, str):
        yield from assign("TARGETS", targets, name)
    else:
        # The lab takes a plain name for a module's; PEFT takes any text for a pattern of whole paths.
        plain = re.fullmatch(r"[\w.]+", targets) is not None
        yield from assign("TARGETS", [targets] if plain else targets, name)


# Arguments


def _arguments(train: TrainSettings, record: Record | None) -> Iterator[Line]:
    yield from code("""
        from accelerate import PartialState
        from trl import SFTConfig

        state = PartialState(cpu=not GPU)
    """)
    yield from assign(
        "BATCH", train.per_device_train_batch_size, "train.per_device_train_batch_size", why="rows of a micro-batch"
    )
    yield from code("""
        # Several processes share a batch, so that a step has the same rows as with one.
        share = max(1, BATCH // state.num_processes)
        if state.num_processes > 1:
            print(state.num_processes, "processes, each with", share, "rows of a micro-batch")
        if share * state.num_processes != BATCH:
            print(f"Together that is {share * state.num_processes} rows and not {BATCH}: other steps than the lab's.")
        arguments = SFTConfig(
            output_dir="tuned",
    """)
    for name in ("num_train_epochs", "max_steps"):
        yield argument(name, getattr(train, name), f"train.{name}")
    yield Line("    per_device_train_batch_size=share,", ("train.per_device_train_batch_size",))
    for name in (
        "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay",
        "max_grad_norm",
    ):  # fmt: skip
        yield argument(name, getattr(train, name), f"train.{name}")
    optimizer = (
        '"adamw_torch_fused" if GPU else "adamw_torch"' if train.optim == "adamw_torch" else literal(train.optim)
    )
    yield Line(f"    optim={optimizer},", ("train.optim",))
    yield from (
        Line("    bf16=BF16,"),
        Line("    fp16=FP16,"),
        Line("    use_cpu=not GPU,"),
        Line("    seed=TRAIN_SEED,"),
    )
    yield from _evaluating(train)
    yield from _saving(train)
    yield from code("""
        #
            # The rows above are ids and labels already: no chat template, no cutting, no packing by the library.
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            packing=False,
            router_aux_loss_coef=0.0,  # cross entropy alone, in a mixture of experts too
    """)[1:]
    yield Line(f"    {_checkpointing(record)}=False,  # set it where memory is short: the same numbers, a third slower")
    yield from code("""
        #
            logging_steps=1,
            logging_nan_inf_filter=False,  # a loss that is not a number has to be seen
            report_to="none",
            disable_tqdm=True,
        )
    """)[1:]


def _checkpointing(record: Record | None) -> str:
    """The argument's name, which transformers changed."""
    version = version_of("transformers", record.versions() if record else {})
    renamed = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) >= (5, 23)
    return "activation_checkpointing" if renamed else "gradient_checkpointing"


def _evaluating(train: TrainSettings) -> Iterator[Line]:
    strategy = f'{literal(train.eval_strategy)} if held_out_rows else "no"'
    yield Line(f"    eval_strategy={strategy},", ("train.eval_strategy",))
    if train.eval_steps is not None:
        yield argument("eval_steps", train.eval_steps, "train.eval_steps")


def _saving(train: TrainSettings) -> Iterator[Line]:
    if train.load_best_model_at_end:
        names = ("train.load_best_model_at_end", "train.save_strategy")
        yield Line('    save_strategy="best",  # the best step has a checkpoint; the lab keeps others beside it', names)
        yield argument("load_best_model_at_end", True, "train.load_best_model_at_end")
    else:
        yield argument("save_strategy", train.save_strategy, "train.save_strategy")
        if train.save_steps is not None:
            yield argument("save_steps", train.save_steps, "train.save_steps")
    yield argument("save_total_limit", train.save_total_limit, "train.save_total_limit")
    if train.load_best_model_at_end or train.early_stopping_patience is not None:
        yield Line('    metric_for_best_model="eval_loss",')
        yield Line("    greater_is_better=False,")


# Training


def _history(record: Record | None) -> Iterator[Line]:
    """What of a stored run's beginning no configuration holds."""
    if record is None:
        return
    provenance = record.provenance
    yield from note(f"In the lab this run is {record.ended}.")
    if isinstance(parent := provenance.get("parent"), dict):
        yield from note(
            f"Only in the lab: it went on from the adapter of {parent.get('name')}, step {parent.get('step')}. Here "
            "training begins at base. To begin where it did, export that run and load its adapter into the model above."
        )
    if record.imported:
        yield from note(f"Only in the lab: {record.imported} This trains a new one.")


def _trainer(train: TrainSettings) -> Iterator[Line]:
    yield from code('''
        from accelerate.utils import gather_object
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import SFTTrainer
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)


        class EpochOrder(torch.utils.data.Sampler):
            """The lab's order of rows: a permutation that depends on the seed and the epoch alone."""

            epoch = 0

            def set_epoch(self, epoch):
                self.epoch = epoch

            def __len__(self):
                return len(train_rows)

            def __iter__(self):
                generator = torch.Generator().manual_seed(TRAIN_SEED * 1_000_003 + self.epoch)
                yield from torch.randperm(len(train_rows), generator=generator).tolist()


        class Trainer(SFTTrainer):
            """TRL's trainer. Its loss is the mean over the supervised tokens of a whole optimizer step."""

            def _get_train_sampler(self, *_):
                return EpochOrder()

            @torch.no_grad()
            def evaluate(self, *_, **__):
                """The held-out loss as a mean over tokens; the library's own is a mean of the means of batches."""
                self.model.eval()
                total, tokens = 0.0, 0
                mine = held_out_rows[self.args.process_index :: self.args.world_size]
                for at in range(0, len(mine), 4):
                    batch = {name: each.to(self.args.device) for name, each in collate(mine[at : at + 4]).items()}
                    labels = batch.pop("labels")[:, 1:]  # a token is predicted at the place before it
                    with self.compute_loss_context_manager():
                        logits = self.model(**batch).logits[:, :-1].float()
                    logits, labels = logits.flatten(0, 1), labels.flatten()
                    total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
                    tokens += (labels != IGNORED).sum().item()
                self.model.train()
                shares = gather_object([(total, tokens)])
                metrics = {"eval_loss": sum(total for total, _ in shares) / sum(tokens for _, tokens in shares)}
                self.log(metrics)
                self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
                return metrics

            def log(self, logs, start_time=None):
                super().log(logs, start_time)
                step = self.state.global_step
                if "eval_loss" in logs:
                    print(f"step {step}: held-out loss {logs['eval_loss']:.4f}")
    ''')
    yield Line(f'        elif "loss" in logs and step % {train.logging_steps} == 0:', ("train.logging_steps",))
    yield from code("""
        #
                    print(f"step {step} of {self.state.max_steps}: loss {logs['loss']:.4f}")


        for name in ("logits_soft_cap", "output_logit_soft_cap"):  # RecurrentGemma's and xLSTM's
            if hasattr(base.config, name):
                base.config.final_logit_softcapping = getattr(base.config, name)  # the one that TRL's loss reads
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(train_rows),
            eval_dataset=Dataset.from_list(held_out_rows) if held_out_rows else None,
            processing_class=tokenizer,
            data_collator=collate,
        )
        trainer.remove_callback(PrinterCallback)  # it would print every log a second time
    """)[1:]
    if train.early_stopping_patience is not None:
        yield Line("from transformers import EarlyStoppingCallback")
        yield Line("")
        patience = literal(train.early_stopping_patience)
        yield Line("if held_out_rows:  # it watches their loss")
        yield Line(
            f"    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience={patience}))",
            ("train.early_stopping_patience",),
        )
    yield from code("""
        trainer.train()
        if state.is_main_process:
            model.save_pretrained("tuned/adapter")  # PeftModel.from_pretrained(base, "tuned/adapter") loads it
        history = trainer.state.log_history
        losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
        held_out_losses = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    """)

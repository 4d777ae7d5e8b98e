"""The stock alternatives: TRL's trainer as the lesson would use it today, a plain PyTorch loop, and a pipeline.

Each gets the same weights, rows and settings as the lab, on a model as transformers loads it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, PreTrainedModel, TrainerCallback, pipeline
from transformers.trainer_callback import PrinterCallback

from instruct_tune.config.run_config import GenerationSettings, LoraSettings
from instruct_tune.data.splits import Example
from instruct_tune.models.lora_targets import resolve_targets
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training import activation_checkpointing

from .ours import LEARNING_RATE, Trained
from .workload import MAX_LENGTH, Subject


def lora_config(model: PreTrainedModel) -> LoraConfig:
    """The lab's default LoRA as a peft ``LoraConfig``."""
    lora = LoraSettings()
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=resolve_targets(model, lora.target_modules),
        task_type="CAUSAL_LM",
    )


class _Clock(TrainerCallback):
    began = 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = self.began or time.perf_counter()

    def on_train_end(self, args, state, control, **kwargs):
        _wait_for_device(args.device)
        self.ended = time.perf_counter()


def _wait_for_device(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def sft_trainer_trains(subject: Subject, rows: Sequence[Example], batch: int, bf16: bool | None = None) -> Trained:
    """One epoch with TRL's ``SFTTrainer``: prompt and completion, padded to the longest row of a batch.

    ``bf16``: autocast to bfloat16; None: as the weights are.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dataset = Dataset.from_list([{"prompt": LESSON.render(e.instruction), "completion": e.output} for e in rows])
    clock, model = _Clock(), subject.plain()
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=LEARNING_RATE,
            max_length=MAX_LENGTH,
            bf16=subject.dtype is torch.bfloat16 if bf16 is None else bf16,
            use_cpu=subject.device.type == "cpu",
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            disable_tqdm=True,
            dataloader_pin_memory=subject.device.type == "cuda",
            # On by default; it would trade the stock side's speed for memory.
            **{activation_checkpointing.NAME: False},
        )
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=dataset,
            processing_class=subject.tokenizer,
            peft_config=lora_config(model),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return Trained(clock.ended - clock.began, statistics.fmean(losses))


def plain_loop_trains(subject: Subject, rows: Sequence[TokenizedExample], batch: int) -> Trained:
    """One epoch in a plain PyTorch loop: padded batches, the model's own loss from labels, AdamW on peft's LoRA."""
    base = subject.plain()
    model = get_peft_model(base, lora_config(base)).train()
    device, pad = subject.device, subject.tokenizer.pad_token_id
    loader = torch.utils.data.DataLoader(
        rows, batch, shuffle=True, generator=torch.Generator().manual_seed(0), collate_fn=lambda rows: padded(rows, pad)
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    losses = []
    began = time.perf_counter()
    for inputs in loader:
        loss = model(**{name: values.to(device) for name, values in inputs.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    _wait_for_device(device)
    return Trained(time.perf_counter() - began, torch.stack(losses).mean().item())


def padded(rows: Sequence[TokenizedExample], pad: int) -> dict[str, torch.Tensor]:
    """The usual padded batch; each tensor is [rows, longest row]."""

    def fill(values: list[Sequence[int]], filler: int) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in values]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)

    return {
        "input_ids": fill([row.input_ids for row in rows], pad),
        "attention_mask": fill([[1] * len(row.input_ids) for row in rows], 0),
        "labels": fill([row.labels for row in rows], IGNORE),
    }


def pipeline_answers(
    subject: Subject, model: PreTrainedModel, prompts: Sequence[Example], settings: GenerationSettings
) -> list[str]:
    """Answers of the lesson's pipeline, two prompts at a time, on ``model`` as transformers loads it."""
    tokenizer = subject.tokenizer
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=2)
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **({"early_stopping": True} if settings.num_beams > 1 else {}),
    )
    texts = [LESSON.render(e.instruction, e.input) for e in prompts]
    return [
        outputs[0]["generated_text"] for outputs in generator(texts, generation_config=config, return_full_text=False)
    ]

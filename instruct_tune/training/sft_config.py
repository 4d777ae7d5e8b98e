"""A run's settings as an ``SFTConfig``; settings left to ``auto`` are resolved for the device."""

from __future__ import annotations

from pathlib import Path

import torch
from trl import SFTConfig

from ..config.run_config import TrainSettings
from ..util.device import has_bf16
from . import activation_checkpointing


def sft_config(settings: TrainSettings, folder: Path, device: torch.device) -> SFTConfig:
    """TRL's arguments for these settings. Every default that differs from TRL's is explicit."""
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
        max_length=None,
        eval_strategy=settings.eval_strategy,
        eval_steps=settings.eval_steps,
        save_strategy=settings.save_strategy,
        save_steps=settings.save_steps or 500,
        save_total_limit=settings.save_total_limit,
        seed=settings.seed,
        # Each step's own loss is stored, and a NaN must be visible, not replaced by the average.
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        use_cpu=device.type == "cpu",
        report_to=[],
        disable_tqdm=True,
        # TRL's default is on, which trades speed for memory. ``MicroBatches`` switches it on where memory runs out.
        **{activation_checkpointing.NAME: False},
    )


def _optimizer(settings: TrainSettings, device: torch.device) -> str:
    """The configured optimizer; on a GPU fused AdamW: one kernel instead of several a matrix, equal up to rounding."""
    return "adamw_torch_fused" if device.type == "cuda" and settings.optim == "adamw_torch" else settings.optim


def _precision(settings: TrainSettings, device: torch.device) -> tuple[bool, bool]:
    """(bf16, fp16): as configured; for ``auto`` the format that the device computes fast, float32 on a CPU."""
    on_gpu = device.type == "cuda"
    bf16 = on_gpu and has_bf16() if settings.bf16 == "auto" else bool(settings.bf16)
    if settings.fp16 == "auto":
        return bf16, on_gpu and not bf16 and settings.bf16 == "auto"
    return bf16 and not settings.fp16, bool(settings.fp16) and on_gpu

"""Activation checkpointing under its name in the installed transformers: the last for Python 3.10 has the old one."""

from __future__ import annotations

from transformers import PreTrainedModel

RENAMED = hasattr(PreTrainedModel, "activation_checkpointing_enable")
NAME = "activation_checkpointing" if RENAMED else "gradient_checkpointing"
"""The setting of ``TrainingArguments``, and part of the names of the model's methods."""


def is_on(model: PreTrainedModel) -> bool:
    """Whether the model computes its layers again in the backward pass."""
    return bool(getattr(model, f"is_{NAME}"))


def switch_on(model: PreTrainedModel) -> None:
    """Keep each layer's input only, and compute the rest again."""
    getattr(model, f"{NAME}_enable")()


def switch_off(model: PreTrainedModel) -> None:
    """Keep all activations."""
    getattr(model, f"{NAME}_disable")()

"""Restores the shared model after a trainer has changed it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from ..models.base_model import LoadedModel
from . import activation_checkpointing


@contextmanager
def restores_model(loaded: LoadedModel) -> Iterator[None]:
    """Undo, on exit, everything but the weights that the trainer changes on the shared model.

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
            # Instance attributes that SFTTrainer, and accelerate under mixed precision, set over the class's methods.
            for patched in ("forward", "_original_forward"):
                model.__dict__.pop(patched, None)
        if activation_checkpointing.is_on(base):
            activation_checkpointing.switch_off(base)
        base.config.__dict__.clear()
        base.config.__dict__.update(config)
        base.generation_config = generation
        loaded.tokenizer.padding_side = padding_side
        loaded.model.zero_grad(set_to_none=True)
        loaded.model.eval()

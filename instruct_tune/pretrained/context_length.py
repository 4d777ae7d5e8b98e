"""A model's context length in tokens, read from its configuration without loading weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .read_model import read_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

NO_LIMIT = 2**31
"""Stands for no limit: more tokens than any row has."""


def context_of(config: PretrainedConfig) -> int:
    """The context length in tokens, prompt and answer together.

    XLNet has -1, because its positions are unbounded. MPT names the field ``max_seq_len``. A multimodal model has it
    in its text configuration. LongRoPE (Phi-3's long versions) counts up to its original length only: one longer row
    changes the frequencies of all rows in its pass, and an answer that grows beyond it those of keys already cached.
    """
    text = config.get_text_config(decoder=True)
    positions = int(getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None) or 0)
    return min([positions if positions > 0 else NO_LIMIT, *_original_lengths(text)])


def _original_lengths(config: PretrainedConfig) -> list[int]:
    """The original lengths of the layers' LongRoPE; some architectures have a rope for each type of layer."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict):
        return []
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    lengths = [part.get("original_max_position_embeddings") for part in ropes if part.get("rope_type") == "longrope"]
    return [int(length) for length in lengths if length]


def context_in(folder: Path) -> int:
    """The context length of the model in ``folder``. Raises ModelError if its configuration cannot be read."""
    return context_of(read_config(folder.name, folder))


def row_limit(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """The most tokens of a training row: the lesser of ``max_length`` and the model's context length.

    The model's configuration is in the folder that the tokenizer was read from.
    """
    folder = tokenizer.name_or_path
    return min(max_length, context_in(Path(folder))) if os.path.isdir(folder) else max_length

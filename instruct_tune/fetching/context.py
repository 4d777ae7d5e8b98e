"""How many tokens a model reads at once, from its configuration: no weights are loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

NO_LIMIT = 2**31
"""More tokens than any row has."""


def context_of(config: PretrainedConfig) -> int:
    """The most positions that an architecture has, prompt and answer together."""
    return int(getattr(config, "max_position_embeddings", None) or NO_LIMIT)


def context_in(folder: Path) -> int:
    """The context of the model in ``folder``. Raises ModelError where its configuration cannot be read."""
    from transformers import AutoConfig

    try:
        return context_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise ModelError(f"The configuration of the model in {folder.name} cannot be read: {reason}.") from error


def row_limit(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """The most tokens of a training row: ``max_length``, or the context of the tokenizer's model where that is less.

    That model's configuration lies in the folder that the tokenizer was read from.
    """
    folder = tokenizer.name_or_path
    return min(max_length, context_in(Path(folder))) if os.path.isdir(folder) else max_length

"""Trial run of a loaded model on a few tokens, so that unusable files are rejected at load, not in a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import MemoryLimitError, ModelError
from ..text.plain_text import first_line
from ..util.memory import ran_out
from .model_errors import model_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")
PLAIN = frozenset(
    {
        *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "use_cache"),
        *("do_sample", "temperature", "top_k", "top_p", "transformers_version", "_from_model_config"),
        *("output_attentions", "output_hidden_states"),
    }
)
"""Fields of a model's generation defaults that do not change the most likely token."""
OVERRIDDEN = {
    # Else the model's own values would apply, and the scores would depend on a hidden setting.
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    # Each prompt yields one text and no other output.
    "num_return_sequences": 1,
    "num_beam_groups": 1,
    "return_dict_in_generate": False,
}
"""Generation settings that override the model's own."""
UNCUT = {"min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
"""Settings of sampling that cut nothing: unset, the model's own would apply, and nobody would see them."""
_TOKENS = 8
FAULTS = (AssertionError, AttributeError, IndexError, KeyError, ValueError, TypeError, RuntimeError)
"""Exceptions of a model's code if it cannot do what is tried."""


def is_plain(base: PreTrainedModel) -> bool:
    """Whether the model's generation defaults leave the most likely token unchanged."""
    return set(base.generation_config.to_diff_dict()) <= PLAIN


@torch.no_grad()
def try_out(name: str, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Raise ModelError if a loaded model computes no finite numbers, or its generation settings allow no answer.

    Draws no random numbers. ``vocabulary``: number of token ids, from 0, that the model accepts. Raises
    MemoryLimitError if memory runs out.
    """
    ids = torch.arange(_TOKENS, device=base.device).remainder(vocabulary)[None]
    mask = torch.ones_like(ids)
    try:
        logits = base(ids, attention_mask=mask, use_cache=False).logits
    except FAULTS as error:
        raise _too_little_memory() if ran_out(error) else does_not_run(base, error) from error
    # The maximum is NaN if one element is. A model may rule tokens out with minus infinity.
    if not bool(logits.max().isfinite()):
        raise ModelError(
            f"{name} computes numbers that are not finite: its config.json is damaged, or its training diverged. "
            "Download it again, or choose another model."
        )
    for beams in () if is_plain(base) else (1, 2):
        more = {"num_beams": beams, "pad_token_id": tokenizer.pad_token_id, "tokenizer": tokenizer, **OVERRIDDEN}
        _computed(
            f"The generation_config.json of {name} allows no answer",
            partial(base.generate, ids, attention_mask=mask, max_new_tokens=2, do_sample=False, **more),
        )


def check_end_tokens(name: str, eos_token_id: object) -> None:
    """Raise ModelError if the ``eos_token_id`` of generation_config.json is neither an id nor a list of ids."""
    ids = eos_token_id if isinstance(eos_token_id, list) else [] if eos_token_id is None else [eos_token_id]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise ModelError(
            f"The generation_config.json of {name} must hold a token's number, or a list of them, as eos_token_id, not "
            f"{str(eos_token_id)[:60]!r}: mend it, or choose another model."
        )


def _computed(problem: str, compute: Callable[[], T]) -> T:
    with model_errors(problem):
        try:
            return compute()
        except RuntimeError as error:
            if ran_out(error):
                raise _too_little_memory() from error
            raise


def does_not_run(model: PreTrainedModel, error: Exception) -> ModelError:
    """The ModelError for a model whose code fails on the inputs of a causal language model."""
    return ModelError(
        f"This {model.config.model_type} model does not run on token ids alone ({first_line(error)}): "
        "choose a causal language model."
    )


def _too_little_memory() -> MemoryLimitError:
    return MemoryLimitError("The memory is too small for this model: choose a smaller one, or end other programs.")

"""The base model and its tokenizer in memory, ready for adapters."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .batching import probe
from .compute.device import best_device, has_bf16
from .errors import ModelError
from .fetching.context import context_of
from .fetching.converted import hold
from .fetching.loading import Loading
from .fetching.weights import Report, Weights, cache_dir, locate
from .packing import Packing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class LoadedModel:
    """One set of base weights, shared by base and every adapter.

    ``model`` starts as the plain transformers model and becomes a PeftModel around it when the
    first adapter is attached (see ``adapter``); ``base`` is always the plain one inside.
    """

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    weights: Weights
    packing: Packing
    separable: bool = False
    """Whether the LM head can be applied apart from the model (``head.is_separable``)."""

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def context_length(self) -> int:
        """The most positions the architecture has, prompt and answer together."""
        return context_of(self.base.config)


def weights_dtype(bf16: bool | str) -> torch.dtype:
    """float32 on a CPU; bfloat16 on a GPU that has it, unless a run says otherwise."""
    import torch

    wanted = best_device() == "cuda" and has_bf16() if bf16 == "auto" else bf16
    return torch.bfloat16 if wanted else torch.float32


def load_model(name: str, report: Report, bf16: bool | str = "auto", loading: Loading | None = None) -> LoadedModel:
    """Find ``name``, load it, and find out how its rows can be packed.

    Raises ModelError or HubError with one sentence that says what to do, Stopped where ``loading`` was.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    weights = locate(name, report, loading)
    report(f"loading {name}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.path, trust_remote_code=False)
        base, info = AutoModelForCausalLM.from_pretrained(
            weights.path,
            dtype=weights_dtype(bf16),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise ModelError(f"{name} cannot be loaded as a causal language model: {reason}.") from error
    if info["missing_keys"]:
        # transformers would draw them at random, and the run would train on noise.
        raise ModelError(f"{name} lacks weights the model needs: {', '.join(sorted(info['missing_keys'])[:3])}.")
    _check_tokenizer(name, tokenizer)
    make_ready(base)
    traits = probe(base.config)
    loaded = LoadedModel(base, base, tokenizer, weights, traits.packing, traits.separable)
    if weights.path.parent == cache_dir():
        # What is in memory is not what makes room for other conversions.
        weakref.finalize(loaded, os.close, hold(weights.path))
    return loaded


def make_ready(base: PreTrainedModel) -> None:
    """Put a base model on the device it computes on, frozen, with the lab's own ways of computing."""
    from .compute.attention import attend_by_rows
    from .compute.linear import quicken

    # Only adapters train; a layer that knows it is frozen computes the same with and without gradients.
    base.to(best_device()).eval().requires_grad_(False)
    attend_by_rows(base, best_device())
    quicken(base)


def _check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}'s tokenizer has no end-of-sequence token, so no answer could learn to end.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"

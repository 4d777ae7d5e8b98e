"""The base model and its tokenizer in memory, ready for adapters."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..batching.packing import detect_packing
from ..batching.packing_mode import Packing
from ..errors import MemoryLimitError
from ..pretrained.cache_folder import cache_dir
from ..pretrained.context_length import context_of
from ..pretrained.converted_cache import hold
from ..pretrained.locate import Report, Weights, locate
from ..pretrained.read_model import loaded_bytes, read_model
from ..pretrained.tokenizers import load_tokenizer
from ..pretrained.trial import check_end_tokens, try_out
from ..tokenization.vocabulary import check_special_tokens, embedded_tokens
from ..util.device import best_device, has_bf16
from ..util.progress import Loading
from .decoding_support import detect_decoding_support

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
    def vocabulary(self) -> int:
        """How many token ids, from 0, the model can read and predict."""
        return embedded_tokens(self.base)

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

    Raises ModelError or HubError with one sentence that says what to do, MemoryLimitError where the weights do not
    fit, Stopped where ``loading`` was.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    weights, dtype = locate(name, report, loading, require_memory), weights_dtype(bf16)
    require_memory(name, loaded_bytes(name, weights.path, dtype.itemsize), best_device())
    report(f"loading {name}")
    tokenizer = load_tokenizer(name, weights.path)
    base = read_model(name, weights.path, dtype)
    if warning := check_special_tokens(name, tokenizer, embedded_tokens(base)):
        report(warning)
    check_end_tokens(name, base.generation_config.eos_token_id)
    make_ready(base)
    try_out(name, base, tokenizer, embedded_tokens(base))
    traits = detect_packing(base.config, base)
    detect_decoding_support(base.config, base)
    loaded = LoadedModel(base, base, tokenizer, weights, traits.packing, traits.separable)
    if weights.path.parent == cache_dir():
        # What is in memory is not what makes room for other conversions.
        weakref.finalize(loaded, os.close, hold(weights.path))
    return loaded


def require_memory(name: str, needed: int, device: str = "cpu") -> None:
    """Raise MemoryLimitError where ``needed`` bytes, the weights of the model ``name``, do not fit.

    They are read into the machine's memory first, then moved to ``device``.
    """
    import torch

    from ..util.memory import free, give_back

    for place, words in {"cpu": "memory", device: "memory of the GPU" if device == "cuda" else "memory"}.items():
        there = free(torch.device(place))
        if there is not None and there < needed:
            # The allocator may still hold what the model before had.
            give_back()
            there = free(torch.device(place))
        if there is not None and there < needed:
            raise MemoryLimitError(
                f"The weights of {name} take {needed / 1e6:,.0f} MB of {words}, and {there / 1e6:,.0f} MB are free: "
                "choose a smaller model, or end other programs."
            )


def make_ready(base: PreTrainedModel) -> None:
    """Put a base model on the device it computes on, frozen, with the lab's own ways of computing."""
    from ..kernels.attention import attend_by_rows
    from ..kernels.linear import use_onednn_linear

    # Only adapters train; a layer that knows it is frozen computes the same with and without gradients.
    base.to(best_device()).eval().requires_grad_(False)
    attend_by_rows(base, best_device())
    use_onednn_linear(base)

"""Load the base model and its tokenizer, ready for adapters."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..batching.packing_mode import Packing
from ..batching.packing_trial import detect_packing
from ..errors import MemoryLimitError
from ..pretrained.cache_folder import cache_dir
from ..pretrained.context_length import context_of
from ..pretrained.converted_cache import hold
from ..pretrained.locate import Report, Weights, locate
from ..pretrained.located import UnloadedModel
from ..pretrained.read_model import check_weights, empty_model, loaded_bytes, read_model
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

    ``model`` starts as the plain transformers model and becomes a PeftModel around it when the first adapter is
    attached (see ``lora``). ``base`` is always the plain model inside.
    """

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    weights: Weights
    packing: Packing
    separable: bool = False
    """Whether the LM head can be applied apart from the model (``lm_head.is_separable``)."""

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def vocabulary(self) -> int:
        """Number of token ids, from 0, that the model can read and predict."""
        return embedded_tokens(self.base)

    @property
    def context_length(self) -> int:
        """The most positions that the architecture supports, prompt and answer together."""
        return context_of(self.base.config)


def weights_dtype(bf16: bool | str) -> torch.dtype:
    """Return the weights' type. ``auto``: float32 on a CPU, bfloat16 on a GPU that supports it."""
    import torch

    use_bf16 = best_device() == "cuda" and has_bf16() if bf16 == "auto" else bf16
    return torch.bfloat16 if use_bf16 else torch.float32


def load_model(
    name: str,
    report: Report,
    bf16: bool | str = "auto",
    loading: Loading | None = None,
    weights: Weights | None = None,
) -> LoadedModel:
    """Locate the model ``name``, load it, and determine how its rows can be packed.

    ``weights``: its files, where they are located already. Raises ModelError or HubError with a one-sentence remedy,
    MemoryLimitError if the weights do not fit, Stopped if ``loading`` was cancelled.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    weights, dtype = weights or locate(name, report, loading, require_memory), weights_dtype(bf16)
    require_memory(name, loaded_bytes(name, weights.path, dtype.itemsize), best_device())
    report(f"loading {name}")
    tokenizer = load_tokenizer(name, weights.path)
    base = read_model(name, weights.path, dtype)
    if warning := check_special_tokens(name, tokenizer, embedded_tokens(base)):
        report(warning)
    check_end_tokens(name, base.generation_config.eos_token_id)
    make_ready(base)
    try_out(name, base, tokenizer, embedded_tokens(base))
    support = detect_packing(base.config, base)
    detect_decoding_support(base.config, base)
    loaded = LoadedModel(base, base, tokenizer, weights, support.packing, support.separable)
    if weights.path.parent == cache_dir():
        # The conversion of a loaded model must not be removed to free disk space for others.
        weakref.finalize(loaded, os.close, hold(weights.path))
    return loaded


def locate_model(name: str, report: Report, loading: Loading | None = None) -> UnloadedModel:
    """Locate the model ``name`` and read its tokenizer and sizes, but no weights. Raises as ``load_model`` does."""
    weights = locate(name, report, loading, require_memory)
    check_weights(name, weights.path)
    tokenizer, shape = load_tokenizer(name, weights.path), empty_model(name, weights.path)
    if warning := check_special_tokens(name, tokenizer, embedded_tokens(shape)):
        report(warning)
    check_end_tokens(name, shape.generation_config.eos_token_id)
    return UnloadedModel(tokenizer, weights, embedded_tokens(shape), context_of(shape.config))


def require_memory(name: str, needed: int, device: str = "cpu") -> None:
    """Raise MemoryLimitError if the weights of the model ``name`` do not fit; ``needed``: their bytes.

    Weights are read into the machine's memory first, then moved to ``device``, so both must have enough.
    """
    import torch

    from ..util.memory import free, give_back

    for place, label in {"cpu": "memory", device: "memory of the GPU" if device == "cuda" else "memory"}.items():
        usable = free(torch.device(place))
        if usable is not None and usable < needed:
            # The allocator may still hold memory of the previous model.
            give_back()
            usable = free(torch.device(place))
        if usable is not None and usable < needed:
            raise MemoryLimitError(
                f"The weights of {name} take {needed / 1e6:,.0f} MB of {label}, and {usable / 1e6:,.0f} MB are free: "
                "choose a smaller model, or end other programs."
            )


def make_ready(base: PreTrainedModel) -> None:
    """Move a base model to the best device, freeze it, and install the lab's own kernels."""
    from ..kernels.attention import attend_by_rows
    from ..kernels.linear import use_onednn_linear
    from ..kernels.rms_norm import use_fused_rms_norm

    # Only adapters train. A frozen layer computes the same numbers with and without gradients.
    base.to(best_device()).eval().requires_grad_(False)
    attend_by_rows(base, best_device())
    use_onednn_linear(base)
    use_fused_rms_norm(base)

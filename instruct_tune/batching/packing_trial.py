"""Find out which packing is exact for an architecture, by a trial on a small model of random weights.

A wrong guess would silently train on rows that attend to each other.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..kernels.lm_head import is_separable
from ..pretrained.read_model import text_part
from ..pretrained.trial import FAULTS, does_not_run
from ..tokenization.encode import TokenizedExample
from .loss import model_inputs
from .packing import packed, padded
from .packing_mode import Packing

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

SMALL_VOCABULARY = 128
"""Vocabulary size of the small models for trials."""


@dataclass(frozen=True)
class PackingSupport:
    """Results of the packing trial for a configuration.

    ``packing``: how rows are packed. ``separable``: whether the LM head can be applied apart from the body.
    ``causal``: whether logits depend on earlier tokens only. ``flattening``: last name parts of modules that get the
    rows of a batch concatenated, without a row dimension. ``called``: last name parts of all modules that a forward
    pass calls. ``causal``, ``flattening`` and ``called`` are None if no model could be run.
    """

    packing: Packing
    separable: bool
    causal: bool | None = None
    flattening: frozenset[str] | None = None
    called: frozenset[str] | None = None


_SUPPORT: dict[tuple[str, str | None], PackingSupport] = {}
"""Trial results of this process, by configuration and attention implementation."""


def detect_packing(config: PretrainedConfig, model: PreTrainedModel | None = None) -> PackingSupport:
    """Determine which packing is exact for this configuration, with a trial on two random-weight layers of it.

    ``model``: the model itself, for a partial trial if no small one can be made. Raises ModelError if the
    configuration is not causal, or if the trial needs ``model`` and it does not run.
    """
    key = (config.to_json_string(use_diff=False), config._attn_implementation)
    support = _SUPPORT.get(key)
    if support is None or (support.causal is None and model is not None):
        support = _SUPPORT[key] = _try_small_model(config, model)
    if support.causal is False:
        raise ModelError(
            f"This {config.model_type} model is not causal: what it predicts after a token changes with the tokens "
            "that follow, so it cannot be trained to answer; choose a causal language model."
        )
    return support


def _try_small_model(config: PretrainedConfig, model: PreTrainedModel | None) -> PackingSupport:
    try:
        small = small_random(config)
        causal, modules = is_causal(small), called_modules(small)
    except FAULTS as error:
        log.info("no small %s could be tried (%s): batches are padded", config.model_type, error)
        return PackingSupport(Packing.PADDED, separable=False) if model is None else _try_model(model)
    # Of configurations with derived layer types older versions computed all logits: so their numbers come out the same.
    separable = not _derives_layer_types(config) and _separable(small)
    return PackingSupport(_exact_packing(small), separable, causal, *modules)


def _try_model(model: PreTrainedModel) -> PackingSupport:
    """Run the trial on the model itself, without packing: its attention windows may be longer than the trial rows."""
    try:
        causal, padded = is_causal(model), is_exact(model, Packing.PADDED)
        return PackingSupport(Packing.PADDED if padded else Packing.ALONE, False, causal, *called_modules(model))
    except FAULTS as error:
        raise does_not_run(model, error) from error


def _separable(model: PreTrainedModel) -> bool:
    try:
        return is_separable(model)
    except FAULTS as error:
        log.info("the LM head of %s cannot be applied apart from its body (%s)", model.config.model_type, error)
        return False


def _exact_packing(model: PreTrainedModel) -> Packing:
    for packing in (Packing.POSITIONS, Packing.MASK, Packing.PADDED):
        try:
            if is_exact(model, packing):
                return packing
        except FAULTS as error:
            log.info("%s does not take rows %s (%s)", model.config.model_type, packing.value, error)
    return Packing.ALONE


def small_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the configuration with two layers, a short attention window if it has one, and large random weights.

    Of a model that reads more than text, the other parts get one layer.
    """
    whole = copy.deepcopy(config)
    small = text_part(whole)
    layer_types = getattr(small, "layer_types", None)
    layers = 2
    if layer_types:
        # Keep the first layer of each type (sliding, full): either could leak between rows.
        layer_indices = sorted({layer_types.index(kind) for kind in layer_types})
        layers = len(layer_indices)
        if _derives_layer_types(small):
            layers = layer_indices[-1] + 1
        else:
            small.layer_types = [layer_types[index] for index in layer_indices]
    small.num_hidden_layers = layers
    small.vocab_size = SMALL_VOCABULARY
    if getattr(small, "sliding_window", None):
        small.sliding_window = 6
    for part in (whole, small):
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(part, name, 1)
        # The usual initialisation is so small that a leak between rows would be lost in rounding.
        for name in ("initializer_range", "init_std"):
            if hasattr(part, name):
                setattr(part, name, 0.2)
        part.dtype = "float32"
    return whole


def _derives_layer_types(config: PretrainedConfig) -> bool:
    """Whether layer types cannot be set: other fields determine them, layer by layer from the first."""
    name = config.attribute_map.get("layer_types", "layer_types")
    kinds = getattr(type(config), name, None)
    return isinstance(kinds, property) and kinds.fset is None


def small_random(config: PretrainedConfig) -> PreTrainedModel:
    """Return a model of ``small_config`` in eval mode, with the same weights each time."""
    from transformers import AutoModelForCausalLM

    small = small_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(small, dtype=torch.float32).eval()


@torch.no_grad()
def is_exact(model: PreTrainedModel, packing: Packing, tolerance: float = 1e-4) -> bool:
    """Whether logits of packed rows equal those of each row alone, within ``tolerance`` times the largest logit."""
    generator = torch.Generator().manual_seed(1)
    drawn = [random_ids(model, (length,), generator).tolist() for length in (11, 17, 13)]
    rows = [TokenizedExample(tuple(ids), tuple(ids), 0, 0) for ids in drawn]
    device = model.device
    alone = torch.cat([model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0] for ids in drawn])
    pack = padded(rows, 1, device) if packing is Packing.PADDED else packed(rows, packing, device)
    logits = model(**model_inputs(model, pack), use_cache=False).logits
    return logits_close(
        logits[pack["attention_mask"].bool()] if packing is Packing.PADDED else logits[0], alone, tolerance
    )


@torch.no_grad()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether a token's logits in a forward pass are independent of the tokens after it."""
    generator = torch.Generator().manual_seed(2)
    ids = random_ids(model, (1, 20), generator)
    other = torch.cat([ids[:, :12], random_ids(model, (1, 8), generator)], dim=1)
    before, after = (model(input_ids=each, use_cache=False).logits[:, :12] for each in (ids, other))
    return logits_close(after, before)


@torch.no_grad()
def called_modules(model: PreTrainedModel) -> tuple[frozenset[str], frozenset[str]]:
    """Return last name parts of modules in a pass of three rows: without a row dimension in the input, and all."""
    flattening: set[str] = set()
    called: set[str] = set()

    def note(name: str, _: torch.nn.Module, inputs: tuple[Any, ...], more: dict[str, Any]) -> None:
        called.add(name)
        first = next((each for each in (*inputs, *more.values()) if isinstance(each, Tensor)), None)
        if first is not None and (first.dim() < 2 or first.shape[0] != 3):
            flattening.add(name)

    hooks = [
        module.register_forward_pre_hook(partial(note, path.rpartition(".")[2]), with_kwargs=True)
        for path, module in model.named_modules()
    ]
    try:
        model(input_ids=random_ids(model, (3, 7), torch.Generator().manual_seed(3)), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return frozenset(flattening), frozenset(called)


def random_ids(model: PreTrainedModel, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return random ids that are not special tokens of the small model."""
    most = min(SMALL_VOCABULARY, model.get_input_embeddings().weight.shape[0])
    return torch.randint(3, most, shape, generator=generator).to(model.device)


def logits_close(logits: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether logits are equal within ``tolerance`` times the largest; the tolerance grows for lower precisions."""
    tolerance = max(tolerance, 4 * torch.finfo(expected.dtype).eps)
    largest = expected[expected.isfinite()].abs().max()
    return torch.allclose(logits, expected, rtol=0, atol=float(tolerance * largest))

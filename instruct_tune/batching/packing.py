"""Pack rows into batches without padding, in an order that is a pure function of (seed, epoch, step).

Rows are concatenated into one sequence with restarting positions. How they are kept apart depends on the
architecture and is determined by a trial (``detect_packing``): a wrong guess would silently train on rows that
attend to each other.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from ..errors import ModelError
from ..kernels.attention import row_starts, wants_row_starts
from ..kernels.lm_head import body_and_head, chunked_loss, is_separable
from ..pretrained.trial import FAULTS, does_not_run
from ..tokenization.encode import IGNORE, TokenizedExample
from .packing_mode import Packing

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 8192}
"""The most tokens per forward pass, by device; a longer row gets a pass of its own.

Each pass reads all weights, and products of few tokens are slow: on two AVX2 cores 127, 141, 158, 164 and 163 tokens/s
at 256, 512, 768, 1,024 and 2,048 tokens a pass. A pass of 1,024 takes the memory that the longest row takes which the
presets train on.
"""

Pack = dict[str, Tensor]
"""The inputs of one forward pass. Packed: ``input_ids``, ``labels`` and ``position_ids``, each [1, T], and
``attention_mask`` [1, 1, T, T] if the architecture needs it. Padded: [B, L] with a mask [B, L].
``kept`` [N]: indices into the flattened positions whose next token carries loss. It is computed on the CPU, since
``nonzero()`` on a GPU waits until the GPU has finished."""

CPU = torch.device("cpu")

SMALL_VOCABULARY = 128
"""Vocabulary size of the small models for trials."""


def pack_rows(
    rows: Sequence[TokenizedExample], packing: Packing, pad_token_id: int, budget: int, device: torch.device = CPU
) -> list[Pack]:
    """Group whole rows, in order, into passes of at most ``budget`` tokens. Padded rows are sorted by length."""
    if packing is Packing.PADDED:
        rows = sorted(rows, key=lambda row: len(row.input_ids))
        return [_padded(group, pad_token_id, device) for group in _groups(rows, budget, padded=True)]
    if packing is Packing.ALONE:
        return [_padded([row], pad_token_id, device) for row in rows]
    return [_packed(group, packing, device) for group in _groups(rows, budget, padded=False)]


def _groups(rows: Sequence[TokenizedExample], budget: int, padded: bool) -> Iterator[list[TokenizedExample]]:
    group: list[TokenizedExample] = []
    used = 0
    for row in rows:
        length = len(row.input_ids)
        # Padded rows are sorted by length, so the newest is the longest and sets the width.
        needed = length * (len(group) + 1) if padded else used + length
        if group and needed > budget:
            yield group
            group, used = [], 0
        group.append(row)
        used += length
    if group:
        yield group


def _packed(rows: Sequence[TokenizedExample], packing: Packing, device: torch.device = CPU) -> Pack:
    lengths = [len(row.input_ids) for row in rows]
    # No position predicts a row's first token: the position before it belongs to another row.
    labels = torch.tensor([[i for row in rows for i in (IGNORE, *row.labels[1:])]])
    pack = {
        "input_ids": torch.tensor([[i for row in rows for i in row.input_ids]]),
        "labels": labels,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "kept": _supervised_positions(labels),
    }
    pack = {name: _to_device(values, device) for name, values in pack.items()}
    if packing is Packing.MASK:
        row_of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        pack["attention_mask"] = _block_causal_mask(_to_device(row_of, device))
    return pack


def _block_causal_mask(row_of: Tensor) -> Tensor:
    """Return [1, 1, T, T], True where a position attends: same row, not later. ``row_of`` [T]: row of each position."""
    same_row = row_of[:, None] == row_of[None, :]
    return (same_row & torch.ones_like(same_row).tril())[None, None]


def _padded(rows: Sequence[TokenizedExample], pad_token_id: int, device: torch.device = CPU) -> Pack:
    width = max(len(row.input_ids) for row in rows)

    def fill(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    labels = torch.tensor([fill((IGNORE, *row.labels[1:]), IGNORE) for row in rows])
    pack = {
        "input_ids": torch.tensor([fill(row.input_ids, pad_token_id) for row in rows]),
        "labels": labels,
        # By position, never by token id: the padding token may be EOS, which carries loss.
        "attention_mask": torch.tensor([fill([1] * len(row.input_ids), 0) for row in rows]),
        "kept": _supervised_positions(labels),
    }
    return {name: _to_device(values, device) for name, values in pack.items()}


def _supervised_positions(labels: Tensor) -> Tensor:
    """Return indices into the flattened [B, L] whose next token carries loss. A row's first token never does."""
    return (labels.flatten()[1:] != IGNORE).nonzero().squeeze(1)


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU from pinned memory, so that the copy does not block."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)


def supervised_loss(model: torch.nn.Module, pack: Pack, separable: bool = False) -> Tensor:
    """Return the summed cross entropy (nats) over the pack's supervised positions.

    The LM head is applied to those positions only. If it is ``separable`` (``lm_head.is_separable``) and its weights
    are frozen, it runs in chunks; else through the model's own forward (``logits_to_keep``), so that architectures
    that scale or cap their logits stay correct.
    """
    inputs, labels, kept = _model_inputs(model, pack), pack["labels"], pack["kept"]
    targets = labels.flatten()[kept + 1]
    if separable:
        body, head = body_and_head(model)
        hidden = body(**inputs, use_cache=False).last_hidden_state
        return chunked_loss(head, hidden.flatten(0, 1).index_select(0, kept), targets)
    if labels.shape[0] == 1 and keeps_chosen_logits(model):
        logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[0]
    else:
        logits = model(**inputs, use_cache=False).logits.flatten(0, 1).index_select(0, kept)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def _model_inputs(model: Any, pack: Pack) -> Pack:
    """Return the model's inputs: the pack without labels and ``kept``, plus row starts if the model uses them."""
    inputs = {name: value for name, value in pack.items() if name not in ("labels", "kept")}
    if "position_ids" in pack and wants_row_starts(model.config):
        inputs["cu_seq_lens_q"] = row_starts(pack["position_ids"])
    return inputs


def keeps_chosen_logits(model: Any) -> bool:
    """Whether the model's forward can compute logits at chosen positions only (``logits_to_keep``)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(type(base).forward).parameters


def supervised_count(rows: Sequence[TokenizedExample]) -> int:
    """Count positions that carry loss; a row's first never does, since no position predicts it."""
    return sum(label != IGNORE for row in rows for label in row.labels[1:])


class EpochSampler(Sampler[int]):
    """Row order of an epoch: a permutation drawn from (seed, epoch) only.

    So a resumed run, or one interrupted by other jobs, gets the same batches.
    """

    def __init__(self, rows: int, seed: int):
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.rows, generator=generator).tolist()


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
        support = _SUPPORT[key] = _probe(config, model)
    if support.causal is False:
        raise ModelError(
            f"This {config.model_type} model is not causal: what it predicts after a token changes with the tokens "
            "that follow, so it cannot be trained to answer; choose a causal language model."
        )
    return support


def _probe(config: PretrainedConfig, model: PreTrainedModel | None) -> PackingSupport:
    try:
        small = small_random(config)
        causal, modules = is_causal(small), calls(small)
    except FAULTS as error:
        log.info("no small %s could be tried (%s): batches are padded", config.model_type, error)
        return PackingSupport(Packing.PADDED, separable=False) if model is None else _probe_itself(model)
    # For configurations with derived layer types, older versions could not make a small model and computed all logits.
    # Keeping that keeps their numbers the same to the last bit.
    separable = not _derives_layer_types(config) and _separable(small)
    return PackingSupport(_exact_packing(small), separable, causal, *modules)


def _probe_itself(model: PreTrainedModel) -> PackingSupport:
    """Run the trial on the model itself, without packing: its attention windows may be longer than the trial rows."""
    try:
        causal, padded = is_causal(model), is_exact(model, Packing.PADDED)
        return PackingSupport(Packing.PADDED if padded else Packing.ALONE, False, causal, *calls(model))
    except FAULTS as error:
        raise does_not_run(model, error) from error


def _separable(model: PreTrainedModel) -> bool:
    try:
        return is_separable(model)
    except FAULTS as error:
        log.info("the head of %s cannot be taken off (%s)", model.config.model_type, error)
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
    small = whole.get_text_config(decoder=True)
    for name in whole.sub_configs:
        part: Any = getattr(whole, name, None)
        if part is not small and hasattr(part, "num_hidden_layers"):
            part.num_hidden_layers = 1
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
    drawn = [draw(model, (length,), generator).tolist() for length in (11, 17, 13)]
    rows = [TokenizedExample(tuple(ids), tuple(ids), 0, 0) for ids in drawn]
    device = model.device
    alone = torch.cat([model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0] for ids in drawn])
    pack = _padded(rows, 1, device) if packing is Packing.PADDED else _packed(rows, packing, device)
    logits = model(**_model_inputs(model, pack), use_cache=False).logits
    return same(logits[pack["attention_mask"].bool()] if packing is Packing.PADDED else logits[0], alone, tolerance)


@torch.no_grad()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether a token's logits in a forward pass are independent of the tokens after it."""
    generator = torch.Generator().manual_seed(2)
    ids = draw(model, (1, 20), generator)
    other = torch.cat([ids[:, :12], draw(model, (1, 8), generator)], dim=1)
    before, after = (model(input_ids=each, use_cache=False).logits[:, :12] for each in (ids, other))
    return same(after, before)


@torch.no_grad()
def calls(model: PreTrainedModel) -> tuple[frozenset[str], frozenset[str]]:
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
        model(input_ids=draw(model, (3, 7), torch.Generator().manual_seed(3)), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return frozenset(flattening), frozenset(called)


def draw(model: PreTrainedModel, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return random ids that are not special tokens of the small model."""
    most = min(SMALL_VOCABULARY, model.get_input_embeddings().weight.shape[0])
    return torch.randint(3, most, shape, generator=generator).to(model.device)


def same(logits: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether logits are equal within ``tolerance`` times the largest; the tolerance grows for lower precisions."""
    tolerance = max(tolerance, 4 * torch.finfo(expected.dtype).eps)
    largest = expected[expected.isfinite()].abs().max()
    return torch.allclose(logits, expected, rtol=0, atol=float(tolerance * largest))

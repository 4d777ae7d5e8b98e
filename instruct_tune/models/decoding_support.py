"""Determine whether a model's prompts can be decoded in one batch, with a trial on two random-weight layers of it.

A batch is padded on the left, and decoded one token at a time with a cache. Some architectures then give other
logits: RWKV mixes up the rows of a batch, decoders of the BART family count padding as positions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..batching.packing_trial import logits_close, random_ids, small_random
from ..errors import ModelError
from ..kernels.kv_cache import growing_cache
from ..pretrained.trial import FAULTS, does_not_run
from .active_rows import ActiveRows, Prompts

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

STEPS = 3
"""Number of tokens that each trial decodes: the first from the prompt, the others with the cache."""


@dataclass(frozen=True)
class DecodingSupport:
    """``own_loop``: whether the lab's decoding loops and cache give exact logits.

    ``batches``: whether a left-padded batch gives each prompt the logits that it has alone. ``as_read``: whether
    decoding gives the logits of one forward pass over the whole text.
    """

    own_loop: bool
    batches: bool
    as_read: bool


_SUPPORT: dict[tuple[str, str | None], DecodingSupport] = {}
"""Trial results of this process, by configuration and attention implementation."""


def detect_decoding_support(config: PretrainedConfig, model: PreTrainedModel | None = None) -> DecodingSupport:
    """Determine how prompts of this configuration can be decoded.

    ``model``: the model itself, for the trial if no small one can be made. Without it, such a configuration counts
    as one that does not batch. Raises ModelError if the trial needs ``model`` and it does not run, or if decoding
    gives other logits than one forward pass over the whole text.
    """
    key = (config.to_json_string(use_diff=False), config._attn_implementation)
    if key not in _SUPPORT:
        try:
            _SUPPORT[key] = _probe(small_random(config))
        except FAULTS as error:
            log.info("no small %s could be decoded with (%s)", config.model_type, error)
            if model is None:
                return DecodingSupport(own_loop=False, batches=False, as_read=True)
            _SUPPORT[key] = _probe_itself(model)
    if not _SUPPORT[key].as_read:
        raise ModelError(
            f"This {config.model_type} model computes other numbers when it answers token by token than when it "
            "reads whole rows, as in training, so its answers would not be what it learned: choose another model."
        )
    return _SUPPORT[key]


def _probe_itself(model: PreTrainedModel) -> DecodingSupport:
    try:
        return _probe(model)
    except FAULTS as error:
        raise does_not_run(model, error) from error


@torch.no_grad()
def _probe(model: PreTrainedModel) -> DecodingSupport:
    generator = torch.Generator().manual_seed(1)
    prompts = [random_ids(model, (length,), generator) for length in (11, 17, 13)]
    trial = _decode_alone_by_loop(model, prompts) if model._supports_attention_backend else None
    decode = _by_generate if trial is None else _by_loop
    alone, read = trial or _decode_alone(model, prompts, decode)
    together, _ = decode(model, _left_padded(prompts))
    # Recurrent layers compute a whole text in another order than token by token, which rounds differently.
    return DecodingSupport(trial is not None, logits_close(together, alone), logits_close(alone, read, 1e-2))


def _decode_alone_by_loop(model: PreTrainedModel, prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Run ``_decode_alone`` with the lab's own loop; return None if that is not exact or does not run."""
    try:
        alone, read = _decode_alone(model, prompts, _by_loop)
    except FAULTS as error:
        log.info("the library's loop decodes %s (%s)", model.config.model_type, error)
        return None
    return (alone, read) if logits_close(alone, read) else None


def _decode_alone(
    model: PreTrainedModel,
    prompts: Sequence[Tensor],
    decode: Callable[[PreTrainedModel, Prompts], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Return logits [prompts, STEPS, vocabulary] of each prompt's answer: decoded, and of one pass without a cache."""
    decoded, read = [], []
    for prompt in prompts:
        logits, ids = decode(model, _left_padded([prompt]))
        text = torch.cat([prompt, ids[0, :-1]])[None]
        decoded.append(logits[0])
        read.append(model(input_ids=text, use_cache=False).logits[0, -STEPS:].float())
    return torch.stack(decoded), torch.stack(read)


def _left_padded(prompts: Sequence[Tensor]) -> Prompts:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(prompts, batch_first=True, padding_value=1, padding_side="left")
    mask = pad([torch.ones_like(prompt) for prompt in prompts], batch_first=True, padding_side="left")
    return Prompts(ids, mask)


def _by_loop(model: PreTrainedModel, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Return logits [rows, STEPS, vocabulary] and ids [rows, STEPS] of greedy answers, as in ``greedy.decode``."""
    rows = ActiveRows(model, prompts, growing_cache(model.config))
    new, mask, positions = prompts.input_ids, prompts.attention_mask, prompts.positions
    logits = []
    for _ in range(STEPS):
        logits.append(rows.read(new, mask, positions, 1)[:, -1])
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
        new, positions = logits[-1].argmax(-1)[:, None], positions[:, -1:] + 1
    stacked = torch.stack(logits, dim=1)
    return stacked, stacked.argmax(-1)


def _by_generate(model: PreTrainedModel, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Return the same as ``_by_loop``, from the library's ``generate``."""
    output = model.generate(
        input_ids=prompts.input_ids,
        attention_mask=prompts.attention_mask,
        do_sample=False,
        num_beams=1,
        min_new_tokens=STEPS,
        max_new_tokens=STEPS,
        pad_token_id=1,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.stack(output.logits, dim=1).float(), output.sequences[:, -STEPS:]


_CACHED_BEAM_SUPPORT: dict[tuple[str, str | None], bool] = {}
"""Results of ``beams_can_use_cache`` in this process, by configuration and attention implementation."""


def beams_can_use_cache(config: PretrainedConfig) -> bool:
    """Whether the library's beam search gives equal results with and without a cache: some caches cannot follow beams.

    True if no small model can be made for the trial.
    """
    key = (config.to_json_string(use_diff=False), config._attn_implementation)
    if key not in _CACHED_BEAM_SUPPORT:
        try:
            small = small_random(config)
        except FAULTS as error:
            log.info("no small %s could search with beams (%s)", config.model_type, error)
            return True
        _CACHED_BEAM_SUPPORT[key] = _same_beams(small)
    return _CACHED_BEAM_SUPPORT[key]


@torch.no_grad()
def _same_beams(model: PreTrainedModel) -> bool:
    ids = random_ids(model, (1, 12), torch.Generator().manual_seed(4))
    # Enough tokens for beams to change their order.
    search = {"do_sample": False, "num_beams": 4, "min_new_tokens": 6, "max_new_tokens": 6, "pad_token_id": 1}
    try:
        cached, plain = (
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                use_cache=use_cache,
                output_scores=True,
                return_dict_in_generate=True,
                **search,
            )
            for use_cache in (True, False)
        )
    except FAULTS as error:
        log.info("%s does not search with a cache (%s)", model.config.model_type, error)
        return False
    same_ids = torch.equal(cached.sequences, plain.sequences)
    return same_ids and torch.allclose(cached.sequences_scores, plain.sequences_scores, rtol=0, atol=1e-4)

"""LM head and cross entropy on supervised positions, in chunks.

Logits are the largest tensor of a training step: 400 positions of a vocabulary of 49,152 take 79 MB, and the usual
cross entropy holds three such tensors. Here each chunk's logits are turned into its loss and the gradient of its hidden
states at once, then freed. The backward pass keeps only a tensor of the size of the hidden states. The head itself
must be frozen, as it is under LoRA.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .linear import gradient_of_input

LOGITS_AT_ONCE = 12_000_000
"""Maximum elements of a chunk's logits (48 MB in float32). With fewer, the head's weights are read too often."""


def body_and_head(model: Any) -> tuple[Any, torch.nn.Linear]:
    """The transformer body (with adapters), whose output has ``last_hidden_state``, and the LM head."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(causal, causal.base_model_prefix), causal.get_output_embeddings()


@torch.no_grad()
def is_separable(model: Any) -> bool:
    """Whether the model's logits are exactly its head applied to its last hidden states.

    False if logits are scaled or capped afterwards (Cohere, Gemma 2).
    """
    body, head = body_and_head(model)
    if body is model or not isinstance(head, torch.nn.Linear):
        return False
    ids = torch.arange(3, 23)[None]
    expected = head(body(input_ids=ids, use_cache=False).last_hidden_state)
    logits = model(input_ids=ids, use_cache=False).logits
    return expected.shape == logits.shape and torch.allclose(expected, logits, rtol=1e-5, atol=1e-6)


def chunked_loss(head: torch.nn.Linear, hidden: Tensor, targets: Tensor) -> Tensor:
    """Summed cross entropy (nats) of ``targets`` [N] under the head's logits for ``hidden`` [N, width]."""
    return _Chunked.apply(hidden, head, targets)


class _Chunked(torch.autograd.Function):
    """The loss, and the gradient of the hidden states computed in the same pass over the logits."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: torch.nn.Linear, targets: Tensor) -> Tensor:
        loss = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        chunks = max(1, math.ceil(len(targets) * head.out_features / LOGITS_AT_ONCE))
        size = max(1, math.ceil(len(targets) / chunks))
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            at_targets = (torch.arange(len(targets[chunk]), device=hidden.device), targets[chunk])
            logarithms = head(hidden[chunk]).float().log_softmax(-1)
            loss -= logarithms[at_targets].sum()
            if gradient is not None:
                # The gradient of cross entropy by the logits: softmax minus one at the target.
                by_logits = logarithms.exp_()
                by_logits[at_targets] -= 1
                gradient[chunk] = gradient_of_input(head, by_logits.to(hidden.dtype))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * by_loss.to(gradient.dtype), None, None

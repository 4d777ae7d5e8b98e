"""The effect of an adapter: how far its predictions differ from base's, and how much it adds to each layer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.splits import Example
from ..errors import DataError
from ..models import lora
from ..models.lora import BASE
from ..tokenization.encode import tokenize_examples
from ..tokenization.prompt_template import PromptTemplate
from .score_row import in_parts, read_row

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

MAX_TOKENS = 512
"""The most tokens of a row that are read, prompt included."""


@dataclass(frozen=True)
class LayerNorm:
    """The adapter's addition to one layer: the Frobenius norm of scaling · BA, over all its adapted matrices.

    ``share``: that norm divided by the norm of the adapted matrices. ``layer`` is None for matrices
    outside the numbered layers.
    """

    layer: int | None
    norm: float
    share: float


@dataclass(frozen=True)
class AdapterEffect:
    """Tuned against base, over the ``tokens`` that carry loss in ``rows`` held-out rows.

    ``kl``: the mean KL divergence of tuned's next-token distribution to base's, KL(tuned ‖ base), in
    nats. ``changed``: the share of positions at which the likeliest token differs.
    """

    rows: int
    tokens: int
    kl: float
    changed: float
    layers: tuple[LayerNorm, ...]


def measure_adapter_effect(
    loaded: LoadedModel, template: PromptTemplate, examples: Sequence[Example], run_id: str
) -> AdapterEffect:
    """The effect of the adapter ``run_id`` on the rows. For the queue's thread. DataError where no row has an answer
    within the limit."""
    longest = min(MAX_TOKENS, loaded.context_length)
    rows = tokenize_examples(loaded.tokenizer, template, examples, longest)
    divergences, changed, places = 0.0, 0, 0
    rows = [row for row in rows if row.supervised]
    for row in rows:
        # Nothing predicts a row's first token.
        start, end = max(1, row.prompt_length) - 1, len(row.input_ids) - 1
        base_at, tuned_at = (read_row(loaded, adapter_name, row.input_ids) for adapter_name in (BASE, run_id))
        for part in in_parts(loaded, start, end):
            base, tuned = base_at(part), tuned_at(part)
            divergences += float(divergence(tuned, base).sum())
            changed += int((base.argmax(-1) != tuned.argmax(-1)).sum())
        places += end - start
    if not places:
        raise DataError("No held-out row is short enough to be looked at: use shorter rows.")
    return AdapterEffect(
        len(rows), places, max(0.0, divergences / places), changed / places, layer_norms(loaded, run_id)
    )


def divergence(tuned: Tensor, base: Tensor) -> Tensor:
    """KL(tuned ‖ base) in nats at each position, from logits [n, vocabulary]: Σ p ln(p / q), p tuned's, q base's."""
    p, q = (logits.log_softmax(-1) for logits in (tuned, base))
    return (p.exp() * (p - q)).sum(-1)


def layer_norms(loaded: LoadedModel, run_id: str) -> tuple[LayerNorm, ...]:
    """The norm of the adapter's addition, by layer in the model's order."""
    squares: dict[int | None, tuple[float, float]] = {}
    for matrix in lora.low_ranks(loaded, run_id):
        number = re.search(r"\.(\d+)\.", matrix.path)
        layer = int(number[1]) if number else None
        added, original = squares.get(layer, (0.0, 0.0))
        squares[layer] = added + matrix.norm() ** 2, original + float(matrix.weight.float().norm()) ** 2
    return tuple(
        LayerNorm(layer, math.sqrt(added), math.sqrt(added / original) if original else 0.0)
        for layer, (added, original) in squares.items()
    )

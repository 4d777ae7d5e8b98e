"""A model whose files are on this machine: its tokenizer and sizes, which need no weights in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .locate import Weights


class LocatedModel(Protocol):
    """What turns texts into a model's ids, and bounds them."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    @property
    def weights(self) -> Weights: ...

    @property
    def vocabulary(self) -> int:
        """Number of token ids, from 0, that the model can read and predict."""

    @property
    def context_length(self) -> int:
        """The most positions that the architecture supports, prompt and answer together."""


@dataclass(frozen=True)
class UnloadedModel:
    """A ``LocatedModel`` without its weights in memory."""

    tokenizer: PreTrainedTokenizerBase
    weights: Weights
    vocabulary: int
    context_length: int

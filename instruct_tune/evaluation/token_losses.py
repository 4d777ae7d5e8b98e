"""The losses of base and tuned on an answer, token by token.

The row is the same as in training (prompt, answer, EOS). A token's loss is -ln of its probability under the
model after all tokens before it; over the answer they sum to the loss of the row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.splits import Example
from ..errors import DataError
from ..models.lora import BASE
from ..tokenization.continuation import decode_continuation
from ..tokenization.encode import token_pieces, tokenize_examples
from ..tokenization.prompt_template import PromptTemplate
from .score_row import in_parts, read_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..models.base_model import LoadedModel

MAX_TOKENS = 1500
"""The most tokens of a row that are read, prompt included; a longer row is cut at its end."""

CANDIDATES = 5
"""The number of likeliest tokens at each position."""

_UNFINISHED = "\ufffd"


@dataclass(frozen=True)
class Candidate:
    """A possible token at a position, and its probability under the model (0 to 1)."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class TokenScore:
    """One model on one token of the answer: the ``loss`` in nats, and the likeliest tokens, best first."""

    loss: float
    candidates: tuple[Candidate, ...]

    @property
    def probability(self) -> float:
        return math.exp(-self.loss)


@dataclass(frozen=True)
class AnswerToken:
    """One token of the answer. ``text``: its part of the answer; ``ends``: it is the EOS after the answer."""

    id: int
    text: str
    ends: bool
    base: TokenScore
    tuned: TokenScore

    @property
    def gain(self) -> float:
        """Base's loss minus tuned's, in nats."""
        return self.base.loss - self.tuned.loss


@dataclass(frozen=True)
class AnswerLosses:
    """The tokens that carry loss, in order. ``cut``: how many further tokens were not read."""

    tokens: tuple[AnswerToken, ...]
    cut: int

    @property
    def base(self) -> float:
        """Base's loss on the row: the sum over its tokens, in nats."""
        return math.fsum(token.base.loss for token in self.tokens)

    @property
    def tuned(self) -> float:
        """Tuned's loss on the row: the sum over its tokens, in nats."""
        return math.fsum(token.tuned.loss for token in self.tokens)


def answer_losses(loaded: LoadedModel, template: PromptTemplate, example: Example, run_id: str) -> AnswerLosses:
    """The losses of base and the adapter ``run_id`` on the example's output. For the queue's thread.

    Raises DataError where the prompt leaves no context for an answer.
    """
    longest = min(MAX_TOKENS, loaded.context_length)
    row = tokenize_examples(loaded.tokenizer, template, [example], longest)[0]
    # Nothing predicts a row's first token.
    start = max(1, row.prompt_length)
    ids = row.input_ids[start:]
    if not ids:
        raise DataError(f"The prompt alone fills the {longest} tokens that are looked at: choose a shorter row.")
    scores = [_token_scores(loaded, adapter_name, row.input_ids, start) for adapter_name in (BASE, run_id)]
    pieces = token_pieces(loaded.tokenizer, ids, continuing=True)
    ends = [False] * (len(ids) - 1) + [row.truncated == 0]
    return AnswerLosses(
        tuple(AnswerToken(*each) for each in zip(ids, pieces, ends, *scores, strict=True)), row.truncated
    )


def _token_scores(loaded: LoadedModel, adapter_name: str, row: Sequence[int], start: int) -> list[TokenScore]:
    """The scores of ``adapter_name`` for each token of ``row`` from ``start`` on."""
    scores: list[TokenScore] = []
    logits_at = read_row(loaded, adapter_name, row)
    for places in in_parts(loaded, start - 1, len(row) - 1):
        first = start + len(scores)
        scores += _score_tokens(loaded.tokenizer, logits_at(places), row[first : first + len(places)])
    return scores


def _score_tokens(tokenizer: PreTrainedTokenizerBase, logits: Tensor, targets: Sequence[int]) -> list[TokenScore]:
    logarithms = logits.log_softmax(-1)
    losses = -logarithms.gather(1, torch.tensor(targets, device=logits.device)[:, None])[:, 0]
    best = logarithms.topk(min(CANDIDATES, logarithms.shape[1]))
    likeliest = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [
        TokenScore(
            loss, tuple(Candidate(token, _token_text(tokenizer, token), p) for token, p in zip(*each, strict=True))
        )
        for loss, each in zip(losses.tolist(), likeliest, strict=True)
    ]


def _token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """One token as text; the tokenizer's own spelling where the token is only part of a character."""
    text = decode_continuation(tokenizer, [token], skip_special_tokens=False)
    return text if _UNFINISHED not in text else str(tokenizer.convert_ids_to_tokens([token])[0])

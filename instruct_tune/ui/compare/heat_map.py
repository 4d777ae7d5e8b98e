"""Token losses as a heat map: the answer's tokens as boxes, coloured by loss, and each model's likeliest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ..formatting import percent
from ..scripted_html import Piece, packed

if TYPE_CHECKING:
    from ...evaluation.token_losses import AnswerLosses, TokenScore

_TEMPLATE = """
<div class="heat-choices" role="radiogroup" aria-label="What the colours show">
  <label><input type="radio" name="heat-mode" value="gain" checked> Difference</label>
  <label><input type="radio" name="heat-mode" value="base"> Base</label>
  <label><input type="radio" name="heat-mode" value="tuned"> Tuned</label>
  <label><input type="checkbox" class="heat-numbers"> Numbers</label>
</div>
<div class="heat-legend"></div>
<div class="heat" role="listbox" aria-label="The tokens of the answer, in order"></div>
<div class="heat-line" aria-live="polite"></div>
<div class="heat-candidates">
  <table class="heat-base"><caption>Base's likeliest</caption><tbody></tbody></table>
  <table class="heat-tuned"><caption>Tuned's likeliest</caption><tbody></tbody></table>
</div>
"""
PIECE = Piece("heat_map", _TEMPLATE)


def heat_map(elem_id: str, tokens: list[dict[str, Any]] | None) -> gr.HTML:
    """The component for tokens of ``heat_tokens``. One a page; the table beside it is its text alternative."""
    return PIECE.component(elem_id, visible=bool(tokens) or "hidden", value=packed(tokens) if tokens else None)


def heat_tokens(losses: AnswerLosses) -> list[dict[str, Any]]:
    """The tokens of an answer as JSON; packed, they are the component's value."""
    return [
        {
            "id": token.id,
            "text": token.text,
            "ends": token.ends,
            "base": _score_value(token.base),
            "tuned": _score_value(token.tuned),
        }
        for token in losses.tokens
    ]


def _score_value(score: TokenScore) -> dict[str, Any]:
    return {
        "loss": round(score.loss, 4),
        "percent": percent(score.probability),
        "candidates": [
            {"id": candidate.id, "text": candidate.text, "percent": percent(candidate.probability)}
            for candidate in score.candidates
        ],
    }

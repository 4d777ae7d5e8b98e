"""A row of tokens as boxes: border and label show a token's role, colour shows that it carries loss."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...inspection.token_view import Role, TokenView
from ..scripted_html import Piece, packed

# The page gets class names and labels of its own for the roles, no text of a dataset.
_CLASSES = {Role.PROMPT: "prompt", Role.SPECIAL: "special", Role.ANSWER: "answer", Role.EOS: "eos", Role.CUT: "cut"}

_TEMPLATE = """
<div class="token-legend">
  <span class="token role-prompt">prompt</span><span class="token role-special">special token</span>
  <span class="token role-answer loss">answer, carries loss</span><span class="token role-eos loss">EOS</span>
  <span class="token role-cut">cut off</span>
  <label><input type="checkbox" class="show-ids"> Token ids</label>
</div>
<div class="token-grid" role="listbox" aria-label="The tokens of the row, in order"></div>
<div class="token-line" aria-live="polite"></div>
"""
_NAMES = {_CLASSES[role]: role.value for role in Role}
PIECE = Piece("token_grid", _TEMPLATE, f"const ROLES = {json.dumps(_NAMES)};\n")


def token_grid(elem_id: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """The component; ``grid_value`` makes its value. The sentence beside it is its text alternative."""
    return PIECE.component(elem_id, value=value)


def grid_value(row: TokenView) -> dict[str, Any]:
    """The component's value for a row."""
    tokens = [
        {"id": token.id, "text": token.text, "role": _CLASSES[token.role], "loss": token.loss} for token in row.tokens
    ]
    return packed(tokens)

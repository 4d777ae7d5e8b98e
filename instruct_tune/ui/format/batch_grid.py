"""A step's passes as strips: rows end to end, tokens that carry loss coloured, and the attention mask as a square."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..scripted_html import Piece, packed
from .text import pass_title

if TYPE_CHECKING:
    from ...inspection.batch_view import Segment, StepView

MAX_PASSES = 24
"""Passes that are drawn; the table lists all."""

_TEMPLATE = """
<div class="batch-legend" aria-hidden="true">
  <span><i class="sample run"></i> read</span> <span><i class="sample run loss"></i> carries loss</span>
  <span><i class="sample pad"></i> padding</span>
  <span><i class="sample sees"></i> who sees whom: each row itself, backwards</span>
</div>
<div class="passes" role="group" aria-label="The passes of the step and the rows in them"></div>
<div class="border-line" aria-live="polite"></div>
<div class="border" role="group" aria-label="Tokens at the row's borders, with their positions"></div>
"""
PIECE = Piece("batch_grid", _TEMPLATE)


def batch_grid(elem_id: str) -> gr.HTML:
    """The component, hidden at first; ``grid_value`` makes its value. The table beside it is its text alternative."""
    return PIECE.component(elem_id, visible="hidden")


def grid_value(view: StepView) -> dict[str, Any]:
    """The component's value for a step."""
    passes = [
        {
            "title": pass_title(number, one),
            "width": one.width,
            "lanes": [[_segment(segment) for segment in lane] for lane in one.lanes],
        }
        for number, one in enumerate(view.passes[:MAX_PASSES], start=1)
    ]
    left_out = len(view.passes) - len(passes)
    more = f"And {left_out:,} more passes, which the table has." if left_out > 0 else ""
    return packed({"passes": passes, "more": more})


def _segment(segment: Segment) -> dict[str, Any]:
    first, last = ([vars(token) for token in end] for end in (segment.first, segment.last))
    return {
        "row": segment.row + 1,
        "start": segment.start,
        "length": segment.length,
        "runs": [[len(list(run)), loss] for loss, run in itertools.groupby(segment.loss)],
        "first": first,
        "last": last,
        "description": (
            f"Training row {segment.row + 1}: {segment.length} tokens at positions 0 to {segment.positions[-1]}, "
            f"{segment.supervised} carry loss."
        ),
    }

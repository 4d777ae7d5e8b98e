"""The view of one experiment: the guess, picked or drawn, and the measured effect laid over it.

The browser has all of it, and keeps the guesses: the lab gets none of them.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..scripted_html import Piece, packed

_TEMPLATE = """
<div class="experiment">
  <h2 class="exp-question"></h2>
  <p class="exp-changed"></p>
  <fieldset class="exp-choices"><legend>Your guess</legend></fieldset>
  <p class="exp-help"></p>
  <div class="exp-plot"></div>
  <p class="exp-curve"></p>
  <div class="exp-answer" role="status"></div>
</div>
"""
REVEAL = """() => {
  document.querySelector('#experiments-view .experiment')?.dispatchEvent(new Event('reveal'));
}"""


def experiment_view(value: dict[str, Any]) -> gr.HTML:
    """The component, with a value of ``text.view_value``."""
    return Piece("experiment", _TEMPLATE).component("experiments-view", value=packed(value))

"""A slider over a run's steps: the answers to its fixed prompts and its numbers as of each step.

The browser has all of it: dragging the slider sends nothing to the lab.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...runs.scrub import Scrub
from ..scripted_html import Piece, packed

_TEMPLATE = """
<p class="scrub-nothing" hidden></p>
<div class="scrubber" hidden>
  <div class="scrub-line">
    <input type="range" min="0" value="0" step="1" aria-label="Step of the training">
    <span class="scrub-step"></span>
    <button class="scrub-now" hidden>Now</button>
  </div>
  <div class="scrub-numbers" aria-live="polite"></div>
  <div class="scrub-best"></div>
  <div class="scrub-prompts" role="tablist" aria-label="Prompts that are answered at probes"></div>
  <div class="scrub-body">
    <p class="scrub-question"></p>
    <div class="scrub-texts">
      <div><h4 class="scrub-title"></h4><pre class="scrub-text now scrub-answer" tabindex="0"></pre></div>
      <div class="scrub-expected-side"><h4>Expected</h4><pre class="scrub-text scrub-expected" tabindex="0"></pre></div>
    </div>
    <span class="scrub-note"></span>
  </div>
</div>
"""
PIECE = Piece("scrubber", _TEMPLATE)


def scrubber(elem_id: str) -> gr.HTML:
    """The component, empty; ``scrubber_value`` makes its value."""
    return PIECE.component(elem_id)


def scrubber_value(run_id: str, live: bool, total_steps: int, probes: bool, scrub: Scrub) -> dict[str, Any]:
    """The component's value for a run of ``total_steps``. While it is ``live``, the slider follows the newest step.

    ``probes``: the run has probes, so its first numbers and answers are still to come.
    """
    sentence = nothing_measured(live, probes)
    return packed({"run": run_id, "live": live, "total": total_steps, "nothing": sentence, **scrub})


def nothing_measured(live: bool, probes: bool) -> str:
    """What stands in the slider's place while there is no step to show."""
    if not live:
        return "This run ended without a probe: there are no answers to show."
    return "Nothing measured yet" + (": the first numbers and answers come with the first probe." if probes else ".")

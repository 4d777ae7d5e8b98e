"""Whether the lab is idle, told to the page when that changes: what had to wait for it can be asked again."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...lab import Lab
from ..context import viewer


class AtRest:
    """``now``: whether nothing is at work. Fed by the page's timer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        # No gr.State: gradio tells nobody that one changed where the queue is passed by.
        self.now = gr.Checkbox(True, container=False, elem_id="at-rest", elem_classes="unseen")

    @property
    def inputs(self) -> list[Any]:
        return [self.now]

    @property
    def outputs(self) -> list[Any]:
        return [self.now]

    def show(self, seen: bool) -> list[Any]:
        """What is so now, where it was not so before."""
        now = self.lab.busy_with(viewer(self.lab)) is None
        return [gr.skip() if now == seen else now]

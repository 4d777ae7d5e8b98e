"""On Train, the run whose adapter the next one goes on from, if there is one, and the way back to base."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...lab import Lab
from ...text.markdown import plain
from ..context import said, viewer


class ParentPanel:
    """One line above Start, there while ``parent`` (a run's id, else None) says that a run is to be continued."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.parent = gr.State(None)
        with gr.Row(visible=False, elem_id="train-parent", elem_classes="callout") as self.row:
            self.sentence = gr.Markdown("", elem_id="train-parent-name")
            self.clear = gr.Button("× Begin from base", size="sm", scale=0, min_width=150, elem_id="train-parent-clear")
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.parent.change(self._tell, self.parent, [self.row, self.sentence], **private)
        # Hidden by the click itself: a state that changes outside the queue does not tell who listens to it.
        gone = [self.parent, self.row, self.sentence]
        self.clear.click(lambda: [None, gr.Row(visible=False), ""], None, gone, **private)

    @said
    def _tell(self, run_id: str | None) -> list[Any]:
        if run_id is None:
            return [gr.Row(visible=False), ""]
        name = plain(self.lab.visible_run(run_id, viewer(self.lab)).name)
        told = f"Continues **{name}**: a new run that begins with its adapter, with a schedule and seed of its own."
        return [gr.Row(visible=True), told]

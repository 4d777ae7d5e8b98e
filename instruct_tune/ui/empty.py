"""What Compare and Evaluate say, and offer, while there is no run that could answer."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from .context import said, viewer
from .events import leads_to


class EmptyState:
    """A line and the two ways out: train a run, or bring back the recorded ones; hidden once ``run`` is chosen."""

    def __init__(self, lab: Lab, run: gr.Dropdown, tabs: gr.Tabs, words: str, name: str):
        self.lab = lab
        with gr.Column(elem_id=f"{name}-empty") as all_of_it:
            gr.Markdown(words)
            with gr.Row():
                train = gr.Button("Go to Train", elem_id=f"{name}-to-train", size="md", min_width=160)
                recorded = gr.Button(
                    "Bring back the recorded runs", elem_id=f"{name}-recorded", size="md", min_width=260
                )
        # Shown until the page's timer has found a run.
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        leads_to(train, tabs, "Train")
        # The page's timer then finds them, and chooses one.
        run.change(lambda run_id: gr.Column(visible=not run_id), run, all_of_it, **private)
        recorded.click(self._bring_back, None, None, **private)

    @said
    def _bring_back(self) -> None:
        self.lab.restore_recorded(viewer(self.lab))

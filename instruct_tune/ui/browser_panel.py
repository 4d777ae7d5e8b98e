"""The foot of the page: what this browser keeps, and how to forget it."""

from __future__ import annotations

import gradio as gr

from .form import Form
from .memory import Memory, first_values


def build(form: Form, memory: Memory) -> None:
    """A fold under the tabs."""
    with gr.Accordion("This browser", open=False, elem_id="browser"):
        gr.Markdown("What you fill in is kept in this browser for your next visit, and nowhere else.")
        reset = gr.Button("Reset the form", elem_id="form-reset", size="sm", elem_classes="next")

    @form.when_complete
    def wire() -> None:
        memory.follow(form)
        reset.click(
            lambda: first_values(form), None, list(form.controls), api_visibility="private", show_progress="hidden"
        )

"""The foot of the page: what this browser keeps, how scripts pass for this visitor, and the host's token."""

from __future__ import annotations

import json

import gradio as gr

from ...errors import LabError
from ...lab import Lab
from ..browser_state import Memory, first_values
from ..context import HEADER, said, session
from ..form import Form


def build(lab: Lab, form: Form, memory: Memory) -> None:
    """Folds under the tabs."""
    with gr.Accordion("This browser", open=False, elem_id="browser"):
        gr.Markdown("What you fill in is kept in this browser for your next visit, and nowhere else.")
        reset = gr.Button("Reset the form", elem_id="form-reset", size="sm", elem_classes="next")
        key = gr.Textbox(
            label="Your secret for scripts",
            info=f"Sent as the header {HEADER}, it gives a script what is yours. Keep it to yourself.",
            type="password",
            interactive=False,
            buttons=["copy"],
            elem_id="browser-key",
        )
    memory.token.change(lambda token: token, memory.token, key, api_visibility="private", show_progress="hidden")
    if lab.visitors.admin_token:
        _host(lab)

    @form.when_complete
    def wire() -> None:
        first = first_values(form)
        # In the browser: an answer from the lab would undo what is filled in meanwhile.
        script = f"() => {json.dumps(list(first.values()))}"
        reset.click(None, None, list(first), js=script, api_visibility="private", show_progress="hidden")


def _host(lab: Lab) -> None:
    """Where the host shows the token of ``LAB_ADMIN_TOKEN``."""
    with gr.Accordion("Host", open=False, elem_id="host"), gr.Row(equal_height=True):
        token = gr.Textbox(
            label="The host's token",
            info="With it this page sees every run and may stop any, until it is closed",
            type="password",
            elem_id="host-token",
            scale=3,
        )
        enter = gr.Button("Enter", elem_id="host-enter", scale=1, min_width=120)

    @said
    def admit(text: str) -> str:
        if not lab.visitors.admit(session(), text):
            raise LabError("That is not the host's token.")
        gr.Info("This page now acts for the host.")
        return ""

    gr.on([enter.click, token.submit], admit, token, token, api_visibility="private")

"""Going to another tab, in the browser alone: an answer from the lab would throw people off the one they went to."""

from __future__ import annotations

import json

import gradio as gr


def leads_to(button: gr.Button, tabs: gr.Tabs, name: str) -> None:
    """Have ``button`` open the tab of that ``name``."""
    script = f"() => ({{__type__: 'update', selected: {json.dumps(name)}}})"
    button.click(None, None, tabs, js=script, api_visibility="private", show_progress="hidden")

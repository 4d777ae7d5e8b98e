"""What the browser does by itself: an answer from the lab would come late, and undo what people did meanwhile."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr


def setting(**properties: Any) -> str:
    """The script of an event that sets these properties of its one output."""
    return f"() => ({json.dumps({'__type__': 'update', **properties})})"


def open_tab_on_click(button: gr.Button, tabs: gr.Tabs, name: str) -> None:
    """Have ``button`` open the tab of that ``name``."""
    script = setting(selected=name)
    button.click(None, None, tabs, js=script, api_visibility="private", show_progress="hidden")

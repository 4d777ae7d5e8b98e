"""Events that only the browser handles: the lab's response would arrive late and undo what people did meanwhile."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from .context import QUIET


def setting(outputs: int = 1, **properties: Any) -> str:
    """JavaScript of an event that sets these properties of each of its outputs."""
    update = json.dumps({"__type__": "update", **properties})
    return f"() => ({update})" if outputs == 1 else f"() => [{', '.join([update] * outputs)}]"


def open_tab_on_click(button: gr.Button, tabs: gr.Tabs, name: str) -> None:
    """Make ``button`` open the tab with the id ``name``."""
    script = setting(selected=name)
    button.click(None, None, tabs, js=script, **QUIET)

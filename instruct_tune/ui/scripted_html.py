"""HTML components that a script of ``static/`` draws, and values that only such a script reads."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import Any, Literal

import gradio as gr

STATIC = Path(__file__).parent / "static"


@functools.cache
def static_text(name: str) -> str:
    """The text of a file in ``static/``."""
    return (STATIC / name).read_text(encoding="utf-8")


def scripted_html(
    name: str,
    template: str,
    elem_id: str,
    constants: str = "",
    visible: bool | Literal["hidden"] = True,
    value: Any = None,
) -> gr.HTML:
    """A component that ``static/NAME.js`` draws into ``template``, in the look of ``static/NAME.css``.

    The script has the functions of ``static/boxes.js`` and ``constants``, further JavaScript. ``value`` is what it
    draws at first.
    """
    return gr.HTML(
        value,
        html_template=template,
        css_template=static_text(f"{name}.css"),
        js_on_load=constants + static_text("boxes.js") + static_text(f"{name}.js"),
        elem_id=elem_id,
        visible=visible,
        padding=False,
    )


def packed(value: Any) -> dict[str, Any]:
    """A component's value as base64 of its JSON.

    Dataset text never becomes markup: nothing in base64 can be parsed as a template or a tag, and the scripts put
    texts on the page with ``textContent`` only.
    """
    return {"packed": base64.b64encode(json.dumps(value).encode()).decode()}

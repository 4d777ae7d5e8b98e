"""HTML components that a script of ``static/`` draws, and values that only such a script reads."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr

STATIC = Path(__file__).parent / "static"


@functools.cache
def static_text(name: str) -> str:
    """The text of a file in ``static/``."""
    return (STATIC / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Piece:
    """A drawing of the lab's page, some also of a run's own page: ``static/NAME.js`` draws it into ``template``.

    The script has the functions of ``static/boxes.js`` and ``constants``, further JavaScript.
    """

    name: str
    template: str
    constants: str = ""

    @property
    def css(self) -> str:
        """Its look; the rules are to be nested in a selector of the element."""
        return static_text(f"{self.name}.css")

    @property
    def script(self) -> str:
        """JavaScript that draws into ``element``; it takes ``props``, ``watch`` and ``trigger`` too."""
        return self.constants + static_text("boxes.js") + static_text(f"{self.name}.js")

    def component(self, elem_id: str, visible: bool | Literal["hidden"] = True, value: Any = None) -> gr.HTML:
        """The piece as a component of the lab's page. ``value`` is what it draws at first.

        A function and not a subclass of ``gr.HTML``: gradio writes a stub file beside every such subclass.
        """
        return gr.HTML(
            value,
            html_template=self.template,
            css_template=self.css,
            js_on_load=self.script,
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


def unpacked(value: dict[str, Any]) -> Any:
    """What ``packed`` packed, as JSON types."""
    return json.loads(base64.b64decode(value["packed"]))

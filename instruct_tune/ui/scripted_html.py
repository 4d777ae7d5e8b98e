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
    """A drawing that the lab's page and a run's own page share: ``template``, drawn by ``static/NAME.js``.

    ``constants`` is further JavaScript for it.
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

    def component(
        self, elem_id: str, visible: bool | Literal["hidden"] = True, value: dict[str, Any] | None = None
    ) -> gr.HTML:
        """The piece as a component of the lab's page. ``value`` is what it draws at first."""
        return scripted_html(self.name, self.template, elem_id, self.constants, visible, value)


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


def unpacked(value: dict[str, Any]) -> Any:
    """What ``packed`` packed, as JSON types."""
    return json.loads(base64.b64decode(value["packed"]))

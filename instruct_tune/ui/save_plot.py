"""Two small buttons by a plot or a table: the same as a file, for a paper, a slide or a sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..export.figures import FORMS
from .context import said
from .downloads import Outgoing, handing_out, press


def save_buttons(
    elem_id: str, name: str, chosen: list[Any], write: Callable[..., Path], forms: Sequence[str] = FORMS
) -> None:
    """``write(*chosen, to)`` writes ``name`` in one of the ``forms``, and the browser gets it."""
    outgoing = Outgoing()
    with gr.Row():
        buttons = {
            form: gr.Button(f"Save as {form.upper()}", size="sm", scale=0, min_width=120, elem_id=f"{elem_id}-{form}")
            for form in forms
        }
    file = handing_out(f"{elem_id}-file")

    def writing(form: str) -> Callable[..., str]:
        @said
        def written(*values: Any) -> str:
            return str(write(*values, outgoing.folder() / f"{name}.{form}"))

        return written

    for form, button in buttons.items():
        written = button.click(writing(form), chosen, file, api_visibility="private", show_progress="hidden")
        written.success(None, None, None, js=press(f"{elem_id}-file"))

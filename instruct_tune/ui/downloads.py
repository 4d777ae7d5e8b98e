"""Files on their way to a browser.

What a handler returns, gradio copies into a store of its own, which it empties (``delete_cache``). The
original has served then, but gradio leaves it where it is: it is removed here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from ..export.figures import FORMS
from .context import user_errors

SERVED_AFTER = 600.0
"""Seconds after which a file has long been written and copied, however large."""


class Outgoing:
    """A folder for such files, gone with the process; what has been served goes when the next one is made."""

    @cached_property
    def _all(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="lab-export-", ignore_cleanup_errors=True)

    def folder(self) -> Path:
        """A fresh folder, for one file."""
        for made in Path(self._all.name).iterdir():
            if made.stat().st_mtime < time.time() - SERVED_AFTER:
                shutil.rmtree(made, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._all.name))


def handing_out(elem_id: str) -> gr.DownloadButton:
    """A button nobody sees, to be pressed (``press``) once its file is written: it hands out what it already has.

    Unseen by its class: gradio shows ``visible="hidden"`` again with a column that it stands in.
    """
    return gr.DownloadButton(elem_id=elem_id, elem_classes="unseen")


def press(elem_id: str) -> str:
    """The JavaScript that presses it."""
    return f"() => document.querySelector('#{elem_id}').click()"


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
        @user_errors
        def written(*values: Any) -> str:
            return str(write(*values, outgoing.folder() / f"{name}.{form}"))

        return written

    for form, button in buttons.items():
        written = button.click(writing(form), chosen, file, api_visibility="private", show_progress="hidden")
        written.success(None, None, None, js=press(f"{elem_id}-file"))

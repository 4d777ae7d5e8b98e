"""Files for download.

gradio copies the file that a handler returns into its own cache, which it empties (``delete_cache``), but never
deletes the original. That is removed here.
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
from .context import QUIET

SERVED_AFTER = 600.0
"""Seconds after which a file has been written and copied, however large, so that it can be removed."""


class Outgoing:
    """A temporary directory for downloads, removed with the process; a new file removes those already served."""

    @cached_property
    def _all(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="lab-export-", ignore_cleanup_errors=True)

    def folder(self) -> Path:
        """A new folder for one file."""
        for old in Path(self._all.name).iterdir():
            if old.stat().st_mtime < time.time() - SERVED_AFTER:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._all.name))


def handing_out(elem_id: str) -> gr.DownloadButton:
    """A hidden download button, to be clicked by ``press`` after its file is written: it serves the file it has.

    Hidden by a CSS class: with ``visible="hidden"`` gradio shows it again together with its column.
    """
    return gr.DownloadButton(elem_id=elem_id, elem_classes="unseen")


def press(elem_id: str) -> str:
    """JavaScript that clicks the button."""
    return f"() => document.querySelector('#{elem_id}').click()"


def save_buttons(
    elem_id: str, name: str, chosen: list[Any], write: Callable[..., Path], forms: Sequence[str] = FORMS
) -> None:
    """Add a button for each file format in ``forms``: ``write(*chosen, to)`` writes the file ``name`` for download."""
    outgoing = Outgoing()
    with gr.Row():
        buttons = {
            form: gr.Button(f"Save as {form.upper()}", size="sm", scale=0, min_width=120, elem_id=f"{elem_id}-{form}")
            for form in forms
        }
    file = handing_out(f"{elem_id}-file")

    def handler(form: str) -> Callable[..., str]:
        def save(*values: Any) -> str:
            return str(write(*values, outgoing.folder() / f"{name}.{form}"))

        return save

    for form, button in buttons.items():
        written = button.click(handler(form), chosen, file, **QUIET)
        written.success(None, None, None, js=press(f"{elem_id}-file"))

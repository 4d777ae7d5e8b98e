"""A file that is still on its way from the browser: until it is stored, the form names the rows of before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ..errors import BusyError
from .context import QUIET

_PENDING = "Boolean(window.labStoring)"
"""While the browser sends a file, gradio's page holds clicks back; what follows is ``mark_storing``'s."""


def mark_storing(upload: gr.File, store: Callable[[], Any]) -> Any:
    """Let the browser know while a sent file is put into the form: by the event of ``upload`` that ``store`` makes."""
    # First, for gradio's page runs the listeners of an event one after the other, each to its end.
    upload.upload(None, None, None, js="() => { window.labStoring = true; }", **QUIET)
    stored = store()
    # Both, not "then", which gradio skips after an error.
    for ended in (stored.success, stored.failure):
        ended(None, None, None, js="() => { window.labStoring = false; }", **QUIET)
    return stored


class PendingUpload:
    """Tells the handler of a button whether a file was on its way when the button was pressed."""

    def __init__(self) -> None:
        self.control = gr.Checkbox(False, visible=False)

    def beside(self, inputs: set[Any]) -> dict[str, Any]:
        """The keywords of an event with ``inputs``, whose handler calls ``refuse``."""
        together = inputs | {self.control}
        # gradio sends the controls of a set in this order.
        place = sorted(control._id for control in together).index(self.control._id)
        return {
            "inputs": together,
            "js": f"(...values) => Object.assign(values.slice(0, {len(together)}), {{ {place}: {_PENDING} }})",
        }

    def refuse(self, values: Mapping[Any, Any]) -> None:
        """Raise BusyError where a run would be made of other rows than those of the file."""
        if values[self.control]:
            raise BusyError("Your file is still on its way: press it again once Data shows its rows.")

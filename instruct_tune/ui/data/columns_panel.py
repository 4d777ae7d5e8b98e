"""Which columns hold what, how the rows are split, and which part of a Hub dataset they come from."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...config.run_config import Columns
from ..form import Form

HELP = {
    "instruction": "What is asked",
    "input": "What it is asked about; empty: the dataset has none",
    "output": "The answer to learn",
    "system": "A system prompt, put in front of the instruction; empty: none",
    "ignore": "Columns that change what a row means and are left out on purpose (tools, history), with commas between",
}
LABELS = {"ignore": "Columns to leave out"}
DEFAULTS = {"system": "", "ignore": ""}


class ColumnsPanel:
    """A fold that opens by itself where columns with other names were found and proposed."""

    def __init__(self, form: Form):
        with gr.Accordion("Columns and split", open=False, elem_id="data-fold") as self._fold:
            self._boxes: dict[str, Any] = {}
            for parts in (("instruction", "input", "output"), ("system", "ignore")):
                with gr.Row():
                    self._boxes |= {part: form.add(f"data.columns.{part}", _box(part)) for part in parts}
            with gr.Row():
                form.add(
                    "data.test_size",
                    gr.Slider(0.05, 0.5, 0.2, step=0.05, label="Held-out share", info="Rows kept for measuring"),
                )
                form.add("data.seed", gr.Number(42, label="Seed", precision=0, info="Decides shuffle and split"))
                self.unify = form.add(
                    "data.unify_newlines",
                    gr.Checkbox(
                        False, label="Unify line ends", info="Every \\r\\n becomes \\n", elem_id="data-unify-newlines"
                    ),
                )
                form.add("data.split", gr.Textbox("train", label="Split", info="Which part of a Hub dataset"))

    @property
    def outputs(self) -> list[Any]:
        """What ``proposed`` fills in."""
        return [self._fold, *self._boxes.values()]

    def proposed(self, columns: Columns) -> dict[Any, Any]:
        """The names that were found, open to be changed."""
        names = {**vars(columns), "ignore": ", ".join(columns.ignore)}
        found = {box: names[part] or "" for part, box in self._boxes.items()}
        return {self._fold: gr.Accordion(open=True), **found}


def _box(part: str) -> gr.Textbox:
    label = LABELS.get(part, f"Column of the {part}")
    return gr.Textbox(DEFAULTS.get(part, part), label=label, info=HELP[part], elem_id=f"data-column-{part}")

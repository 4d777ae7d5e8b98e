"""Where a component is on the page: the tabs and folds that have to be opened to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block


@dataclass(frozen=True)
class Place:
    """``id``: in the document. ``tabs``: (tabs, the tab in them), ``folds``: their ids; outermost first."""

    id: str
    tabs: tuple[tuple[Block, gr.Tab], ...]
    folds: tuple[str, ...]

    def found_by(self) -> dict[str, Any]:
        """The place as JSON, with the labels of the tabs."""
        return {"id": self.id, "tabs": [tab.label for _, tab in self.tabs], "folds": list(self.folds)}


def place(block: Any) -> Place:
    """The place of a component that has an ``elem_id``, as have the folds around it."""
    tabs: list[tuple[Block, gr.Tab]] = []
    folds: list[str] = []
    each: Any = block
    while each is not None:
        if isinstance(each, gr.Accordion):
            folds.insert(0, str(each.elem_id))
        elif isinstance(each, gr.Tab):
            tabs.insert(0, (each.parent, each))
        each = each.parent
    return Place(str(block.elem_id), tuple(tabs), tuple(folds))

"""Rows chosen by hand: the one that is shown is dropped at once, or picked, to keep or drop several together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...config.filters import MOST_BY_HAND
from ...errors import DataError
from ..context import said
from ..form import Form
from .filters import FiltersPanel


class ByHandPanel:
    """Buttons under a row that is shown in full; ``row``: that row's id."""

    def __init__(self, filters: FiltersPanel):
        self._filters = filters
        self.row, self._picked = gr.State(None), gr.State([])
        with gr.Row():
            small: dict[str, Any] = {"size": "sm", "min_width": 130, "scale": 0}
            self._drop = gr.Button("Drop this row", elem_id="row-drop", **small)
            self._pick = gr.Button("Pick this row", elem_id="row-pick", **small)
            self._keep_picked = gr.Button(
                "Keep only the picked", visible=False, elem_id="picked-keep", **small | {"min_width": 170}
            )
            self._drop_picked = gr.Button(
                "Drop the picked", visible=False, elem_id="picked-drop", **small | {"min_width": 150}
            )
            self._forget = gr.Button("Pick none", visible=False, elem_id="picked-none", **small)
        self._count = gr.Markdown("", elem_id="picked", elem_classes="note")

    def wire(self, form: Form) -> list[Any]:
        """Connect the buttons; returns the events that change the filters."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [self._picked, self._count, self._keep_picked, self._drop_picked, self._forget]
        self._pick.click(said(self._add), [self.row, self._picked], shown, **quiet)
        self._forget.click(lambda: self._show([]), None, shown, **quiet)
        inputs = form.controls | self._filters.inputs | {self.row, self._picked}
        drop = self._drop.click(said(self._drop_it), inputs, self._filters.changed, **quiet)
        outputs = [*self._filters.changed, *shown]
        return [
            drop,
            self._keep_picked.click(said(lambda values: self._apply(values, "keep_rows")), inputs, outputs, **quiet),
            self._drop_picked.click(said(lambda values: self._apply(values, "drop_rows")), inputs, outputs, **quiet),
        ]

    def _drop_it(self, values: dict[Any, Any]) -> dict[Any, Any]:
        gr.Info("Dropped by a filter of the list: the rows are split anew. Undo brings it back.")
        return self._filters.add_by_hand(values, "drop_rows", (values[self.row],))

    def _add(self, row: str, picked: list[str]) -> list[Any]:
        """The row picked, or no longer where it was."""
        now = [each for each in picked if each != row]
        if len(now) == len(picked):
            now.append(row)
        if len(now) > MOST_BY_HAND:
            raise DataError(f"At most {MOST_BY_HAND:,} rows can be picked: keep or drop these first.")
        return self._show(now)

    def _apply(self, values: dict[Any, Any], kind: str) -> dict[Any, Any]:
        changed = self._filters.add_by_hand(values, kind, tuple(values[self._picked]))
        shown = [self._picked, self._count, self._keep_picked, self._drop_picked, self._forget]
        return {**changed, **dict(zip(shown, self._show([]), strict=True))}

    @staticmethod
    def _show(picked: list[str]) -> list[Any]:
        rows = f"{len(picked):,} row{'' if len(picked) == 1 else 's'} picked."
        return [picked, rows if picked else "", *[gr.Button(visible=bool(picked))] * 3]

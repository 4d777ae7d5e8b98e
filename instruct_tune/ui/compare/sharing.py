"""Keep what Compare shows: as a note on the run, or as a link that brings somebody else to the same question."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import DataError
from ...lab import Lab
from ...runs.annotations import LONGEST_NOTES
from ..context import said, viewer
from ..decoding_words import decoding
from ..sides import NAMES
from .decoding import settings
from .link import AS_LINK
from .text import TYPED

LONGEST_KEPT = 400
"""Characters of a question or an answer in a note."""


class KeepPanel:
    """Two buttons, and the box for the link. ``shown``: run, source, row, instruction and input, in this order.

    ``decoded``: the controls of decoding; ``named``: what else a link says, by its name there.
    """

    def __init__(self, lab: Lab):
        self.lab = lab
        with gr.Row(elem_classes="foot"):
            self.keep = gr.Button(
                "Keep as a note on the run", size="sm", elem_id="compare-keep", min_width=200, scale=0
            )
            self.link = gr.Button("Link to this question", size="sm", elem_id="compare-link", min_width=200, scale=0)
        self.address = gr.Code(
            "",
            label="Opens Compare with this run, question and settings",
            language=None,
            interactive=False,
            show_line_numbers=False,
            wrap_lines=True,
            buttons=["copy"],
            visible=False,
            elem_id="compare-address",
        )

    def wire(
        self, shown: Sequence[Any], decoded: Sequence[Any], answers: Sequence[Any], named: Mapping[str, Any]
    ) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.keep.click(self._keep, [*shown, *decoded, *answers], None, **quiet)
        showing = self.link.click(lambda: gr.Code(visible=True), None, self.address, **quiet)
        showing.then(None, list(named.values()), self.address, js=AS_LINK % list(named), **quiet)

    @said
    def _keep(
        self, run_id: str | None, source: str, number: float | None, instruction: str, input_text: str, *given: Any
    ) -> None:
        """Append question, answers and settings to the run's notes."""
        *decoded, strength, base, tuned = given
        if not run_id or not (base or tuned):
            raise DataError("There are no answers to keep yet: press Compare first.")
        row = "my own instruction" if source == TYPED else f"held-out row {int(number or 1)}"
        how = decoding(settings(*decoded)).rstrip(".") + ("" if strength == 1 else f", adapter at {strength:g}")
        note = [f"{time.strftime('%Y-%m-%d %H:%M')}, {row}. {how}.", f"Asked: {_short(instruction)}"]
        note += [f"Input: {_short(input_text)}"] if input_text else []
        note += [f"{name}: {_short(text)}" for name, text in zip(NAMES.values(), (base, tuned), strict=True)]
        who = viewer(self.lab)
        run = self.lab.visible_run(run_id, who)
        notes = "\n\n".join(filter(None, (run.notes, "\n".join(note))))
        if len(notes) > LONGEST_NOTES:
            raise DataError("The run's notes are full: make room under Runs, Tags and notes.")
        self.lab.annotate_run(run_id, list(run.tags), notes, who)
        gr.Info("Kept: it stands under Runs, Tags and notes.")


def _short(text: str | None) -> str:
    text = (text or "").strip()
    return text if len(text) <= LONGEST_KEPT else text[: LONGEST_KEPT - 1] + "…"

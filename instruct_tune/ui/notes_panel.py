"""Tags and notes of the chosen run: written by who may change it, read by everybody who sees it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..errors import NotFoundError
from ..lab import Lab
from ..notes import LONGEST_NOTES, LONGEST_TAG, MOST_TAGS
from .edge import said, viewer


class NotesPanel:
    """A fold with two boxes and a button; it follows the run that is chosen in the table."""

    def __init__(self, lab: Lab, chosen: gr.State):
        self.lab, self.chosen = lab, chosen
        with gr.Accordion("Tags and notes", open=False, elem_id="runs-notes-fold"):
            self.tags = gr.Textbox(
                label="Tags",
                info="Separated by commas; the search finds them",
                max_length=MOST_TAGS * (LONGEST_TAG + 2),
                interactive=False,
                elem_id="runs-tags",
            )
            self.notes = gr.Textbox(
                label="Notes",
                info="What was tried, and what came of it; whoever sees the run reads them",
                lines=3,
                max_lines=12,
                max_length=LONGEST_NOTES,
                interactive=False,
                elem_id="runs-notes",
            )
            self.save = gr.Button("Save tags and notes", size="sm", interactive=False, elem_id="runs-notes-save")

    def wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.chosen.change(self._show, self.chosen, [self.tags, self.notes, self.save], **quiet)
        gr.on(
            [self.save.click, self.tags.submit], self._save, [self.chosen, self.tags, self.notes], self.tags, **quiet
        )  # fmt: skip

    @said
    def _show(self, run_id: str | None) -> list[Any]:
        who = viewer(self.lab)
        if not run_id or not self.lab.sees_run(run_id, who):
            return [gr.Textbox("", interactive=False), gr.Textbox("", interactive=False), gr.Button(interactive=False)]
        run = self.lab.visible_run(run_id, who)
        may = self.lab.may_change(run, who)
        return [
            gr.Textbox(", ".join(run.tags), interactive=may),
            gr.Textbox(run.notes, interactive=may),
            gr.Button(interactive=may),
        ]

    @said
    def _save(self, run_id: str | None, tags: str, notes: str) -> str:
        """Returns the tags as they were kept."""
        if not run_id:
            raise NotFoundError("Choose a run first: click its row.")
        who = viewer(self.lab)
        self.lab.annotate_run(run_id, tags or "", notes or "", who)
        gr.Info("Saved.")
        return ", ".join(self.lab.visible_run(run_id, who).tags)

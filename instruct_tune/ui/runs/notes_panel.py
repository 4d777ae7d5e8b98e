"""Tags and notes of the chosen run: written by who may change it, read by everybody who sees it."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...errors import DataError, NotFoundError
from ...lab import Lab
from ...runs.annotations import LONGEST_NOTES, LONGEST_TAG, MOST_TAGS
from ..context import said, viewer


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
        # With the boxes, not in the session: another row may have been clicked whose notes are still on their way.
        self.read = gr.Textbox("", container=False, elem_id="runs-notes-read", elem_classes="unseen")
        """Whose notes are in the box, and what they were before anything was typed, as JSON."""

    def wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        boxes = [self.tags, self.notes, self.read]
        self.chosen.change(self._show, self.chosen, [*boxes, self.save], **quiet)
        gr.on([self.save.click, self.tags.submit], self._save, boxes, boxes, **quiet)

    @said
    def _show(self, run_id: str | None) -> list[Any]:
        who = viewer(self.lab)
        if not run_id or not self.lab.sees_run(run_id, who):
            empty = gr.Textbox("", interactive=False)
            return [empty, empty, "", gr.Button(interactive=False)]
        run = self.lab.visible_run(run_id, who)
        may = self.lab.may_change(run, who)
        return [
            gr.Textbox(", ".join(run.tags), interactive=may),
            gr.Textbox(run.notes, interactive=may),
            json.dumps([run_id, run.notes]),
            gr.Button(interactive=may),
        ]

    @said
    def _save(self, tags: str, notes: str, read: str) -> list[Any]:
        """Returns tags and notes where they were kept otherwise than typed: put in order, or with what Compare or
        another window has added meanwhile. Nothing else, for somebody may be typing on."""
        if not read:
            raise NotFoundError("Choose a run first: click its row.")
        who = viewer(self.lab)
        try:
            run_id, read = (str(each) for each in json.loads(read))
        except (TypeError, ValueError) as error:
            raise DataError("Click the run's row again, and save then.") from error
        now = self.lab.visible_run(run_id, who).notes
        if not now.startswith(read):
            raise DataError(
                "These notes were changed in another window meanwhile: copy what you typed, click the run again, "
                "and add it there."
            )
        self.lab.annotate_run(run_id, tags or "", (notes or "") + now[len(read) :], who)
        run = self.lab.visible_run(run_id, who)
        gr.Info("Saved.")
        kept = [", ".join(run.tags), run.notes]
        return [
            *(gr.skip() if now == typed else now for now, typed in zip(kept, (tags, notes), strict=True)),
            json.dumps([run_id, run.notes]),
        ]

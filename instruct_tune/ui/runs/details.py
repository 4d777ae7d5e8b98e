"""What the lab knows of the chosen run: its curve, what happened to it, what it was configured and measured with."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...errors import DataError, NotFoundError
from ...lab import Lab
from ...runs.annotations import LONGEST_NOTES, LONGEST_TAG, MAX_TAGS
from .. import run_text
from ..charts import loss_chart, loss_figure
from ..context import user_errors, viewer


class ChosenRun:
    """A plot and two folds; filled when a row is chosen, emptied when its run is deleted."""

    def __init__(self, lab: Lab):
        self.lab = lab
        with gr.Column(visible=False) as self.drawing:
            self.plot = loss_chart("runs-plot")

    def folds(self) -> None:
        """What stands further down the tab."""
        with gr.Accordion("What happened", open=False, elem_id="runs-happened"):
            self.failed = gr.Markdown("", elem_id="runs-failed")
            self.changes = gr.Textbox(
                label="Every change of state, newest first",
                lines=6,
                max_lines=12,
                interactive=False,
                elem_id="runs-changes",
                elem_classes="mono",
            )
            with gr.Accordion("Traceback", open=False, visible=False, elem_id="runs-traceback") as self.traceback:
                self.trace = gr.Textbox(show_label=False, max_lines=30, interactive=False, elem_classes="mono")
        with gr.Accordion("Configuration and what it was measured with", open=False):
            self.config = gr.Code(language="json", label="Configuration", interactive=False)
            self.facts = gr.Code(language="json", label="Facts", interactive=False)

    @property
    def outputs(self) -> list[Any]:
        drawn, happened = [self.plot, self.drawing], [self.failed, self.changes, self.traceback, self.trace]
        return [self.config, self.facts, *drawn, *happened]

    def show(self, run_id: str) -> list[Any]:
        """All that is told of the run."""
        told, trace = self.lab.runs.details(viewer(self.lab), run_id), self.lab.runs.traceback(viewer(self.lab), run_id)
        figure = None
        if told["metrics"]:
            figure = loss_figure(told["metrics"], told["id"], log_scale=False, findings=told["findings"])
        return [
            json.dumps(told["config"], indent=2),
            json.dumps(told["facts"], indent=2),
            figure,
            gr.Column(visible=figure is not None),
            run_text.failure_sentence(told),
            run_text.changes_text(told["changes"]),
            gr.Accordion(visible=trace is not None),
            trace or "",
        ]

    def emptied(self) -> list[Any]:
        """Nothing of any run."""
        return ["", "", None, gr.Column(visible=False), "", "", gr.Accordion(visible=False), ""]


def required(run_id: str | None) -> str:
    """The chosen run's id. Raises NotFoundError where none is chosen."""
    if not run_id:
        raise NotFoundError("Choose a run first: click its row.")
    return run_id


class NotesPanel:
    """A fold with two boxes and a button; it follows the run that is chosen in the table."""

    def __init__(self, lab: Lab, chosen: gr.State):
        self.lab, self.chosen = lab, chosen
        with gr.Accordion("Tags and notes", open=False, elem_id="runs-notes-fold"):
            self.tags = gr.Textbox(
                label="Tags",
                info="Separated by commas; the search finds them",
                max_length=MAX_TAGS * (LONGEST_TAG + 2),
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

    @user_errors
    def _show(self, run_id: str | None) -> list[Any]:
        who = viewer(self.lab)
        if not run_id or not self.lab.runs.is_visible(who, run_id):
            empty = gr.Textbox("", interactive=False)
            return [empty, empty, "", gr.Button(interactive=False)]
        run = self.lab.runs.get(who, run_id)
        may = self.lab.access.may_change(who, run)
        return [
            gr.Textbox(", ".join(run.tags), interactive=may),
            gr.Textbox(run.notes, interactive=may),
            json.dumps([run_id, run.notes]),
            gr.Button(interactive=may),
        ]

    @user_errors
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
        now = self.lab.runs.get(who, run_id).notes
        if not now.startswith(read):
            raise DataError(
                "These notes were changed in another window meanwhile: copy what you typed, click the run again, "
                "and add it there."
            )
        self.lab.runs.annotate(who, run_id, tags or "", (notes or "") + now[len(read) :])
        run = self.lab.runs.get(who, run_id)
        gr.Info("Saved.")
        kept = [", ".join(run.tags), run.notes]
        return [
            *(gr.skip() if now == typed else now for now, typed in zip(kept, (tags, notes), strict=True)),
            json.dumps([run_id, run.notes]),
        ]


SHARE, UNSHARE = "Share with everyone", "Make private"


class ShareButton:
    """The button beside a chosen run; it can be pressed where there is something to share."""

    def __init__(self, lab: Lab, chosen: gr.State):
        self.lab, self.chosen = lab, chosen
        self.button = gr.Button(SHARE, elem_id="runs-share", scale=1, min_width=200, interactive=False)

    def wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.chosen.change(self._label, self.chosen, self.button, **quiet)
        self.button.click(self._press, self.chosen, self.button, **quiet)

    def _label(self, run_id: str | None) -> Any:
        shared = self.lab.runs.is_shared(viewer(self.lab), run_id)
        return gr.Button(UNSHARE if shared else SHARE, interactive=shared is not None)

    @user_errors
    def _press(self, run_id: str | None) -> Any:
        who = viewer(self.lab)
        if run_id is None:
            raise NotFoundError("Choose a run first: click its row.")
        shared = not self.lab.runs.is_shared(who, run_id)
        self.lab.runs.share(who, run_id, shared)
        gr.Info("Everyone sees it now, its rows and answers too." if shared else "It is yours alone again.")
        return self._label(run_id)

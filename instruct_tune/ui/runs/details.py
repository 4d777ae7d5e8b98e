"""Details of the chosen run: its loss plot, history, configuration, provenance, notes, and whether it is shared."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import gradio as gr

from ...errors import DataError, NotFoundError
from ...runs.annotations import LONGEST_NOTES, LONGEST_TAG, MAX_TAGS, read_tags
from ...services.access import Access
from ...services.runs import Runs
from .. import run_text
from ..charts import LOSS_CHART, loss_figure
from ..context import QUIET, viewer

NO_CURVE = "No loss was measured yet."


class ChosenRun:
    """The curve, history and configuration of the chosen run; cleared when its run is deleted.

    The page's timer draws them anew where the run's state has changed, or it has another held-out loss.
    """

    def __init__(self, chosen: gr.State, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.seen = gr.State(None)
        self.inputs = [chosen, self.seen]

    def curve(self) -> None:
        """Add the loss plot, and the plot in words."""
        with gr.Column(visible=False) as self.drawing:
            self.plot = LOSS_CHART.component("runs-plot")
        self.words = gr.Markdown(NO_CURVE, elem_id="runs-curve-words", elem_classes="note")

    def happened(self) -> None:
        """Add the history of the run's states."""
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

    def configuration(self) -> None:
        """Add the run's configuration, and its provenance: the machine and the versions it ran on."""
        with gr.Row():
            self.config = gr.Code(
                language="json", label="Configuration", max_lines=24, min_width=320, interactive=False
            )
            self.provenance = gr.Code(language="json", label="Facts", max_lines=24, min_width=320, interactive=False)

    @property
    def outputs(self) -> list[Any]:
        drawn = [self.words, self.plot, self.drawing]
        happened = [self.failed, self.changes, self.traceback, self.trace]
        return [self.seen, self.config, self.provenance, *drawn, *happened]

    def show(self, chosen: str | None, seen: Any) -> list[Any]:
        """Changes since ``seen``, for the page's timer."""
        user, unchanged = viewer(self.access), [gr.skip()] * len(self.outputs)
        if not chosen or not seen or seen[0] == self.runs.version() or not self.runs.is_visible(user, chosen):
            return unchanged
        now = self._state(chosen)
        return [now, *unchanged[1:]] if now[1:] == seen[1:] else self.of(chosen)

    def _state(self, run_id: str) -> list[Any]:
        user, version = viewer(self.access), self.runs.version()
        held_out = [self.runs.last_metric(user, run_id, kind) for kind in ("probe", "eval")]
        return [version, run_id, self.runs.get(user, run_id).status, *held_out]

    def of(self, run_id: str) -> list[Any]:
        """The values of ``outputs`` for the run."""
        state = self._state(run_id)
        run, trace = (
            self.runs.details(viewer(self.access), run_id),
            self.runs.traceback(viewer(self.access), run_id),
        )
        figure = None
        if run["metrics"]:
            figure = loss_figure(
                run["metrics"],
                run["id"],
                log_scale=False,
                findings=run["findings"],
                provenance=run["facts"],
            )
        return [
            state,
            json.dumps(run["config"], indent=2),
            json.dumps(run["facts"], indent=2),
            run_text.loss_sentence(run["metrics"]) or NO_CURVE,
            figure,
            gr.Column(visible=figure is not None),
            run_text.failure_sentence(run),
            run_text.changes_text(run["changes"]),
            gr.Accordion(visible=trace is not None),
            trace or "",
        ]

    def emptied(self) -> list[Any]:
        """Values of ``outputs`` that clear them."""
        return [None, "", "", NO_CURVE, None, gr.Column(visible=False), "", "", gr.Accordion(visible=False), ""]


def required(run_id: str | None) -> str:
    """The chosen run's id. Raises NotFoundError if none is chosen."""
    if not run_id:
        raise NotFoundError("Choose a run first: click its row.")
    return run_id


_SHOW_SAVED = """(tags, notes, read, saved) => {
  const [newTags, newNotes, nowRead] = JSON.parse(saved);
  // Another row was clicked meanwhile: the boxes are that run's.
  if (!read || JSON.parse(read)[0] !== nowRead[0]) return [tags, notes, read];
  return [newTags ?? tags, newNotes ?? notes, JSON.stringify(nowRead)];
}"""


class NotesPanel:
    """The contents of the inner tab "Name and notes": tags and notes of the chosen run, and a Save button."""

    def __init__(self, chosen: gr.State, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.chosen = chosen
        self.tags = gr.Textbox(
            label="Tags",
            info="Separated by commas; the search finds them",
            max_length=MAX_TAGS * (LONGEST_TAG + 2),
            interactive=False,
            elem_id="runs-tags",
        )
        self.notes = gr.Textbox(
            label="Notes",
            info="What was tried, and what came of it; everybody who sees the run reads them",
            lines=3,
            max_lines=12,
            max_length=LONGEST_NOTES,
            interactive=False,
            elem_id="runs-notes",
        )
        self.save = gr.Button(
            "Save tags and notes", size="sm", interactive=False, elem_id="runs-notes-save", elem_classes="next"
        )
        # A component, not a gr.State: a click on another row sets the session's state before that run's notes arrive
        # in the boxes.
        self.read = gr.Textbox("", container=False, elem_id="runs-notes-read", elem_classes="unseen")
        """[run id, notes, tags] as the boxes showed them before anything was typed, as JSON."""
        self.saved = gr.Textbox("", container=False, elem_id="runs-notes-saved", elem_classes="unseen")

    def wire(self) -> None:
        boxes = [self.tags, self.notes, self.read]
        self.chosen.change(self._show, self.chosen, [*boxes, self.save], **QUIET)
        saved = gr.on([self.save.click, self.tags.submit], self._save, boxes, self.saved, **QUIET)
        saved.success(None, [*boxes, self.saved], boxes, js=_SHOW_SAVED)

    def _show(self, run_id: str | None) -> list[Any]:
        user = viewer(self.access)
        if not run_id or not self.runs.is_visible(user, run_id):
            empty = gr.Textbox("", interactive=False)
            return [empty, empty, "", gr.Button(interactive=False)]
        run = self.runs.get(user, run_id)
        may_change = self.access.may_change(user, run)
        return [
            gr.Textbox(", ".join(run.tags), interactive=may_change),
            gr.Textbox(run.notes, interactive=may_change),
            json.dumps([run_id, run.notes, run.tags]),
            gr.Button(interactive=may_change),
        ]

    def _save(self, tags: str, notes: str, read: str) -> str:
        """Save, and return what ``_SHOW_SAVED`` reads: tags and notes if they were stored otherwise than typed,
        normalised, or with text that Compare or another window added. Else null: the visitor may still be typing."""
        if not read:
            raise NotFoundError("Choose a run first: click its row.")
        user = viewer(self.access)
        try:
            run_id, read_notes, tags_before = json.loads(read)
            before = self.runs.get(user, str(run_id))
            now, read = before.notes, str(read_notes)
            merged = _merged(read_tags(tags_before), read_tags(tags or ""), before.tags)
        except (TypeError, ValueError) as error:
            raise DataError("Click the run's row again, and save then.") from error
        if not now.startswith(read):
            raise DataError(
                "These notes were changed in another window meanwhile: copy what you typed, click the run again, "
                "and add it there."
            )
        self.runs.annotate(user, before.id, merged, (notes or "") + now[len(read) :])
        run = self.runs.get(user, before.id)
        gr.Info("Saved.")
        stored = [", ".join(run.tags), run.notes]
        changed = [None if now == typed else now for now, typed in zip(stored, (tags, notes), strict=True)]
        return json.dumps([*changed, [run.id, run.notes, run.tags]])


def _merged(before: Sequence[str], typed: Sequence[str], now: Sequence[str]) -> list[str]:
    """The tags ``now`` with what a person changed of those ``before``; another window may have changed others."""
    if tuple(now) == tuple(before):
        return list(typed)
    kept = [tag for tag in now if tag in typed or tag not in before]
    return [*kept, *(tag for tag in typed if tag not in before and tag not in now)]


SECOND_CLICK_SECONDS = 2.0
SHARE, UNSHARE = "Share with everyone", "Make private"


class ShareButton:
    """The button that shares the chosen run; enabled where it can be shared or made private."""

    def __init__(self, chosen: gr.State, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.chosen, self._made_private = chosen, gr.State(0.0)
        self.button = gr.Button(SHARE, elem_id="runs-share", size="sm", min_width=0, interactive=False)

    def wire(self) -> None:
        self.chosen.change(self._label, self.chosen, self.button, **QUIET)
        self.button.click(
            self._press, [self.chosen, self.button, self._made_private], [self.button, self._made_private], **QUIET
        )

    def _label(self, run_id: str | None) -> Any:
        shared = self.runs.is_shared(viewer(self.access), run_id)
        return gr.Button(UNSHARE if shared else SHARE, interactive=shared is not None)

    def _press(self, run_id: str | None, label: str, made_private: float) -> list[Any]:
        """Do what the button says, which may be older than what another window did."""
        user, now = viewer(self.access), time.monotonic()
        if run_id is None:
            raise NotFoundError("Choose a run first: click its row.")
        shared = label == SHARE
        if shared and now - made_private < SECOND_CLICK_SECONDS:
            # The second click of a double click must not share what the first made private.
            return [gr.skip(), made_private]
        self.runs.share(user, run_id, shared)
        gr.Info("Everyone sees it now, its rows and answers too." if shared else "It is yours alone again.")
        return [self._label(run_id), made_private if shared else now]

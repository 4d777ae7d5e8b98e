"""What can be done on Train with the run that is shown there: pause, stop, discard, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ...lab import Lab
from ...store.run_store import Run
from ...text.markdown import plain
from ..context import said, viewer

Piece = tuple[Any, Callable[[], Any]]
"""What a component depends on, and how it is made when that has changed."""

_IN_SIGHT = "() => document.querySelector('#train-discard-yes')?.scrollIntoView({block: 'nearest'})"


class RunControls:
    """A row of buttons that keeps its place: what does not apply cannot be pressed.

    Pause and Resume share a place, for a run is either at work or it is not. Discarding removes a run
    for good, so it is asked for in one place and meant in another, which a double click does not reach.
    """

    def __init__(self, lab: Lab):
        self.lab = lab
        self.asked = gr.State(None)
        """The run that is to be discarded, if that is meant."""
        with gr.Row(elem_id="run-controls"):
            self.pause = _button("Pause", "train-pause")
            self.resume = _button("Resume", "train-resume", visible=False)
            self.stop = _button("Stop, keep the adapter", "train-stop")
            self.discard = _button("Stop and discard…", "train-discard")
        with gr.Row(visible=False, elem_id="train-discard-sure", elem_classes="callout") as self.sure:
            self.question = gr.Markdown("", elem_id="train-discard-question")
            self.yes = gr.Button("Discard it", variant="stop", size="sm", elem_id="train-discard-yes", min_width=120)
            self.no = gr.Button("No", size="sm", elem_id="train-discard-no", min_width=120)

    @property
    def outputs(self) -> list[Any]:
        return [self.pause, self.resume, self.stop, self.discard, self.sure]

    def pieces(self, run: Run) -> list[Piece]:
        """What each of ``outputs`` depends on, and how it is made."""
        mine = self.lab.may_change(run, viewer(self.lab))
        live, early = run.live and mine, run.ended_early and mine
        can_leave = live and run.status != "stopping"
        return [
            ([early, can_leave], lambda: gr.Button(visible=not early, interactive=can_leave)),
            (early, lambda: gr.Button(visible=early, interactive=early)),
            (can_leave, lambda: gr.Button(interactive=can_leave)),
            (live, lambda: gr.Button(interactive=live)),
            ([live, run.id], lambda: gr.Row(visible=False)),
        ]

    def wire(self, shown_run: gr.State, show: Callable[..., list[Any]], inputs: list[Any], outputs: list[Any]) -> None:
        """Connect the buttons; what a person did shows at once, not at the timer's next tick."""
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        for button, handler, about, changed in (
            (self.pause, self._pause, shown_run, None),
            (self.stop, self._stop, shown_run, None),
            (self.resume, self._resume, shown_run, None),
            (self.yes, self._discard, self.asked, self.sure),
        ):
            done = button.click(handler, about, changed, **private)
            done.then(show, inputs, outputs, queue=False, **private)
        asked = self.discard.click(self._ask, shown_run, [self.asked, self.sure, self.question], **private)
        asked.then(None, None, None, js=_IN_SIGHT, **private)
        self.no.click(lambda: gr.Row(visible=False), None, self.sure, queue=False, **private)

    @said
    def _pause(self, run_id: str) -> None:
        self.lab.pause_run(run_id, viewer(self.lab))

    @said
    def _stop(self, run_id: str) -> None:
        self.lab.stop_run(run_id, viewer=viewer(self.lab))

    @said
    def _resume(self, run_id: str) -> None:
        self.lab.resume_run(run_id, viewer(self.lab))

    @said
    def _ask(self, run_id: str) -> list[Any]:
        run = self.lab.changeable_run(run_id, viewer(self.lab), "discard")
        question = f"Discard **{plain(run.name)}**? Its adapter, checkpoints and numbers are then gone for good."
        return [run_id, gr.Row(visible=True), question]

    @said
    def _discard(self, run_id: str) -> Any:
        status = self.lab.stop_run(run_id, keep=False, viewer=viewer(self.lab))
        if status not in ("stopping", "stopped"):
            gr.Info(f"It was {status} before that was asked, so it is still there: Runs can delete it.")
        return gr.Row(visible=False)


def _button(label: str, elem_id: str, visible: bool = True) -> gr.Button:
    return gr.Button(label, elem_id=elem_id, size="sm", min_width=110, visible=visible, interactive=False)

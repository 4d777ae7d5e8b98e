"""The buttons of the shown run on the Train tab: pause, resume, stop, discard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.runs import Runs
from ...services.training import Training
from ...store.run import Run
from ...text.markdown import plain
from ..context import QUIET, viewer
from ..device_choice import CPU, DeviceChoice

Piece = tuple[Any, Callable[[], Any]]
"""(key, build): a component is built again when its key changes."""

_SCROLL_INTO_VIEW = "() => document.querySelector('#train-discard-yes')?.scrollIntoView({block: 'nearest'})"


class RunControls:
    """A row of buttons; those that do not apply are disabled, and ``static/page.css`` hides them.

    Pause and Resume share a place, because a run is either live or not. Discarding removes a run for good, so it is
    confirmed by a button in another place, which a double click does not reach.
    """

    def __init__(self, device: DeviceChoice, *, runs: Runs, training: Training, access: Access):
        self.device = device
        self.runs, self.training, self.access = runs, training, access
        self.to_discard = gr.State(None)
        """The id of the run to discard, if that is confirmed."""
        with gr.Row(elem_id="run-controls"):
            self.pause = _button("Pause", "train-pause")
            self.resume = _button("Resume", "train-resume", visible=False)
            self.stop = _button("Stop, keep the adapter", "train-stop")
            self.discard = _button("Stop and discard…", "train-discard")

    def confirmation(self) -> None:
        """Add the question before a run is discarded."""
        with gr.Row(visible=False, elem_id="train-discard-sure", elem_classes="callout") as self.sure:
            self.question = gr.Markdown("", elem_id="train-discard-question")
            self.yes = gr.Button("Discard it", variant="stop", size="sm", elem_id="train-discard-yes", min_width=120)
            self.no = gr.Button("No", size="sm", elem_id="train-discard-no", min_width=120)

    @property
    def outputs(self) -> list[Any]:
        return [self.pause, self.resume, self.stop, self.discard, self.sure]

    def pieces(self, run: Run) -> list[Piece]:
        """The key and the builder of each of ``outputs``."""
        mine = self.access.may_change(viewer(self.access), run)
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
        """Connect the buttons; their effect shows at once, not at the timer's next poll."""
        for button, handler, about, changed in (
            (self.pause, self._pause, shown_run, None),
            (self.stop, self._stop, shown_run, None),
            (self.resume, self._resume, [shown_run, self.device.control], None),
            (self.yes, self._discard, self.to_discard, self.sure),
        ):
            done = button.click(handler, about, changed, **QUIET)
            done.then(show, inputs, outputs, queue=False, **QUIET)
        opened = self.discard.click(
            self._show_question, shown_run, [self.to_discard, self.sure, self.question], **QUIET
        )
        opened.then(None, None, None, js=_SCROLL_INTO_VIEW, **QUIET)
        self.no.click(lambda: gr.Row(visible=False), None, self.sure, queue=False, **QUIET)

    def _pause(self, run_id: str) -> None:
        self.training.pause(viewer(self.access), run_id)

    def _stop(self, run_id: str) -> None:
        self.training.stop(viewer(self.access), run_id)

    def _resume(self, run_id: str, device: str) -> None:
        self.training.resume(viewer(self.access), run_id, device == CPU)

    def _show_question(self, run_id: str) -> list[Any]:
        run = self.runs.get_to_change(viewer(self.access), run_id, "discard")
        question = f"Discard **{plain(run.name)}**? Its adapter, checkpoints and numbers are then gone for good."
        return [run_id, gr.Row(visible=True), question]

    def _discard(self, run_id: str) -> Any:
        status = self.training.stop(viewer(self.access), run_id, keep=False)
        if status not in ("stopping", "stopped"):
            gr.Info(f"The run was already {status}, so it was not discarded: delete it on Runs.")
        return gr.Row(visible=False)


def _button(label: str, elem_id: str, visible: bool = True) -> gr.Button:
    return gr.Button(label, elem_id=elem_id, size="sm", min_width=110, visible=visible, interactive=False)

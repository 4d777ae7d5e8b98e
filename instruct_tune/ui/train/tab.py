"""The Train tab: presets, a few controls, the cost, Start, and the shown run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import gradio as gr

from ...config.viewer import Viewer
from ...runs.naming import default_name
from ...services.access import Access
from ...services.datasets import Datasets
from ...services.devices import Devices
from ...services.estimates import Estimates
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.training import Training
from ...services.transfers import Transfers
from ...services.uploads import Uploads
from ...text.markdown import plain
from .. import run_picker
from ..as_python import AsPython
from ..context import PRIVATE, QUIET, viewer
from ..device_choice import CPU, DeviceChoice
from ..events import open_tab_on_click, setting
from ..form import Form
from ..pending_upload import PendingUpload
from ..workbench import workbench
from .cost import CostPanel
from .presets import PresetPanel
from .run_view import TrainPanel
from .settings_form import few_controls, folds


class ParentPanel:
    """One line above Start, visible while ``parent`` (a run's id, else None) is set: the run to continue."""

    def __init__(self, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.parent = gr.State(None)
        with gr.Row(visible=False, elem_id="train-parent", elem_classes="callout") as self.row:
            self.sentence = gr.Markdown("", elem_id="train-parent-name")
            self.remembered = gr.Textbox("", container=False, elem_id="train-parent-run", elem_classes="unseen")
            """``parent`` as the browser can store it."""
            self.clear = gr.Button("× Begin from base", size="sm", scale=0, min_width=150, elem_id="train-parent-clear")
        shown = [self.row, self.sentence, self.remembered]
        described = self.parent.change(self._describe, self.parent, shown, **QUIET)
        # The click itself hides the row: a state that is set outside gradio's queue fires no change event.
        cleared = self.clear.click(lambda: [None, gr.Row(visible=False), "", ""], None, [self.parent, *shown], **QUIET)
        self.changes = (described, cleared)

    def _describe(self, run_id: str | None) -> list[Any]:
        if run_id is None:
            return [gr.Row(visible=False), "", ""]
        name = plain(self.runs.get(viewer(self.access), run_id).name)
        sentence = f"Continues **{name}**: a new run that begins with its adapter, with a schedule and seed of its own."
        return [gr.Row(visible=True), sentence, run_id]

    def restored(self, run_id: str | None) -> str:
        """The value of ``remembered`` for a stored run; empty where it is gone, or is not the visitor's to see."""
        is_there = run_id is not None and self.runs.is_visible(viewer(self.access), run_id)
        return str(run_id) if is_there else ""

    def restore_after(self, event: Any) -> None:
        """Take over ``remembered`` after ``event``, in gradio's queue: else the state fires no change."""
        event.then(lambda run_id: run_id or None, self.remembered, self.parent, **QUIET)


SECOND_CLICK_SECONDS = 2.0


def is_second_click(before: Any, request: Any, now: float) -> bool:
    """Whether the same request came a moment ago (``before``: [request, time]): a double click starts one run.

    A request is [configuration, parent, name]; the second click's name is empty where the first has cleared the field.
    """
    if before is None or now - before[1] >= SECOND_CLICK_SECONDS:
        return False
    *same, name = request
    *started, started_name = before[0]
    return same == started and name in (started_name, "")


_CLEAR_NAME = "name => (name === window.labStartedName ? '' : name)"
"""The next run gets a name of its own; one that was typed since the click stays."""


class FormLimits(Protocol):
    """The locks of a link or a room on the form. ``opened``: what the page was opened with."""

    opened: gr.State

    def hold(self, viewer: Viewer, opened: Any, config: Mapping[str, Any]) -> Mapping[str, Any]: ...


class TrainTab:
    """The tab's contents.

    ``presets`` fill the form, ``continued`` holds the run that is trained further, ``panel`` shows a run,
    ``following`` is the button to the next tab, and ``now`` starts a run from any tab.
    """

    def __init__(
        self,
        form: Form,
        as_python: AsPython,
        tab: gr.Tab,
        at_rest: gr.Checkbox,
        lesson: FormLimits,
        *,
        uploads: Uploads,
        datasets: Datasets,
        runs: Runs,
        training: Training,
        evaluations: Evaluations,
        estimates: Estimates,
        transfers: Transfers,
        devices: Devices,
        access: Access,
    ):
        """``at_rest``: whether the lab is idle. ``lesson``: the locks that hold for the form."""
        self._datasets, self._training, self._access = datasets, training, access
        self._form, self._tab, self._at_rest, self._lesson = form, tab, at_rest, lesson
        bench = workbench("train")
        with bench.act:
            self._device = DeviceChoice(devices, "train-device")
        with bench.choose:
            self.presets = PresetPanel(form, uploads=uploads, estimates=estimates, access=access)
            few_controls(form)
            self.continued = ParentPanel(runs=runs, access=access)
            run_picker.build(
                form, self.continued.parent, "train-template", run_picker.GOES_ON, runs=runs, access=access
            )
            self._cost = CostPanel(form, self._device, training=training, estimates=estimates, access=access)
            self.presets.changes_line()
            self._cost.folds()
            folds(form)
        with bench.act:
            self._name = gr.Textbox(
                show_label=False,
                container=False,
                placeholder="Name of the run (optional)",
                elem_id="run-name",
                max_length=200,
            )
            self._start = gr.Button("Start", variant="primary", elem_id="train-start")
        with bench.show:
            self.panel = TrainPanel(
                self._device, runs=runs, training=training, evaluations=evaluations, transfers=transfers, access=access
            )
            as_python.fold("train")
            self.following = gr.Button("Next: Compare", elem_id="train-next", size="sm", elem_classes="next")
        self._started, self._upload = gr.State(None), PendingUpload()
        form.when_complete(self._wire)

    def _wire(self) -> None:
        self.presets.follow(self._tab)
        # What chooses the rows measures first: until then Start would take those of before.
        self._cost.fit.click(None, None, self._starters, js=setting(2, interactive=False), **QUIET)
        self._enable_after(self._cost.follow(self._tab, self._at_rest))
        for button in (self._start, self.now):
            self._starts(button)

    def offer(self, tabs: gr.Tabs) -> None:
        """Add ``now``, which opens this tab and starts the run of the form.

        It is disabled until ``open_to`` the visitor: before, the form is not theirs yet.
        """
        self.now = gr.Button("Train now", size="sm", interactive=False, elem_id="train-now")
        open_tab_on_click(self.now, tabs, "Train")

    def open_to(self, restored: Any) -> None:
        """Enable ``now`` after the event ``restored``."""
        restored.then(None, None, self.now, js=setting(interactive=True), **PRIVATE)

    def _starts(self, button: gr.Button) -> None:
        # The buttons are disabled while the request runs; ``is_second_click`` catches a click before that.
        # Disabled in the browser, so that the form is read as it is at the click.
        button.click(None, None, self._starters, js=setting(2, interactive=False), **QUIET)
        button.click(None, self._name, None, js="name => { window.labStartedName = name; }", **QUIET)
        own = {self._name, self._started, self.continued.parent, self._device.control, self._lesson.opened}
        begun = button.click(
            self._begin,
            outputs=[self.panel.shown_run, self._started],
            **self._upload.beside(self._form.controls | own),
            **PRIVATE,
        )
        begun.success(None, self._name, self._name, js=_CLEAR_NAME, **QUIET)
        self._enable_after(begun)

    @property
    def _starters(self) -> list[gr.Button]:
        return [self._start, self.now]

    def _enable_after(self, event: Any) -> None:
        # Both, not "then", which gradio skips after an error.
        for ended in (event.success, event.failure):
            ended(None, None, self._starters, js=setting(2, interactive=True), **QUIET)

    def _begin(self, values: dict[Any, Any]) -> dict[Any, Any]:
        self._upload.refuse(values)
        requester, name, parent = viewer(self._access), values[self._name] or "", values[self.continued.parent]
        config = self._lesson.hold(requester, values[self._lesson.opened], self._form.read(values))
        request = [config, parent, name]
        if is_second_click(values[self._started], request, time.monotonic()):
            return {self.panel.shown_run: gr.skip()}
        if self._datasets.is_quick_to_read(requester, config):
            # Refuse a file that cannot be read, before there is a run that fails.
            self._datasets.summary(requester, config)
        # Scripts get the run's id for a name; people would read it.
        own_device = values[self._device.control] == CPU
        run_id = self._training.start(requester, config, name.strip() or default_name(config), parent, own_device)
        return {self.panel.shown_run: run_id, self._started: [request, time.monotonic()]}

"""The Runs tab: the history of runs, to find, open, compare, resume, export or delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.answerers import Answerers
from ...services.configurations import Configurations
from ...services.hub_jobs import HubJobs
from ...services.push import Push
from ...services.runs import Runs
from ...services.training import Training
from ...services.transfers import Transfers
from ...store.disk_usage import DiskUse
from ..context import ONE_BY_ONE, QUIET, viewer
from ..events import setting
from ..exhibit import FRAMES, copyable
from ..form import Form
from ..run_picker import answering, labelled, newest
from ..workbench import workbench
from .details import ChosenRun, NotesPanel, ShareButton, required
from .files import RunFiles, WritePage
from .hub_job import HubJobPanel
from .push import PushPanel
from .side_by_side import SideBySide
from .table import ACTIONS, IN_SIGHT, BinPanel, RunsPanel


@contextmanager
def _group(title: str) -> Iterator[None]:
    """A title, and below it the small buttons that are added inside."""
    with gr.Column(elem_classes="group", min_width=0):
        gr.Markdown(title)
        with gr.Row(elem_classes="buttons"):
            yield


class RunsTab:
    """The tab's contents. ``write_page`` writes a run as one page."""

    def __init__(
        self,
        *,
        configs: Configurations,
        runs: Runs,
        training: Training,
        answerers: Answerers,
        transfers: Transfers,
        push: Push,
        hub_jobs: HubJobs,
        disk: DiskUse,
        access: Access,
        write_page: WritePage,
    ):
        self.configs, self.runs, self.training, self.answerers, self.access = configs, runs, training, answerers, access
        self.panel = RunsPanel(runs=runs, training=training, answerers=answerers, disk=disk, access=access)
        self._pushes, self._hub_jobs = push, hub_jobs
        self.files = RunFiles(configs=configs, runs=runs, transfers=transfers, access=access, write_page=write_page)
        self.bin = BinPanel(runs=runs, access=access)
        self.details = ChosenRun(self.panel.chosen, runs=runs, access=access)
        self.by_itself = gr.State(None)
        """The run that the tab chose itself, when it was opened."""
        bench = workbench("runs")
        with bench.choose:
            self.panel.controls()
            self._groups()
        with bench.act:
            for name in IN_SIGHT:
                self.panel.action(name)
        with bench.show:
            self.panel.listing()
            self._depth()

    def _groups(self) -> None:
        """The actions for the chosen run, by what one wants."""
        with _group("Go on"):
            for name in ("evaluate", "clone", "further", "resume"):
                self.panel.action(name)
        with _group("Take along"):
            for name in ("export", "merged", "gguf", "page", "embed"):
                self.panel.action(name)
            self.share = ShareButton(self.panel.chosen, runs=self.runs, access=self.access)
        self.frames = copyable("One line a view, for a run that others see", "runs-frames")
        self.files.page_choice()
        self.push = PushPanel(self.panel.chosen, push=self._pushes, runs=self.runs, access=self.access)
        self.job = HubJobPanel(self.panel.chosen, hub_jobs=self._hub_jobs, runs=self.runs, access=self.access)
        with _group("Bring in"):
            self.files.import_button()
        with _group("Remove"):
            self.panel.action("delete")

    def _depth(self) -> None:
        """The inner tabs on the chosen run."""
        with gr.Tabs(elem_id="runs-tabs") as self.inner:
            with gr.Tab("Curve"):
                self.details.curve()
            with gr.Tab("What happened"):
                self.details.happened()
            with gr.Tab("Configuration"):
                self.details.configuration()
            with gr.Tab("Name and notes"):
                with gr.Row(elem_classes="foot"):
                    self.name = gr.Textbox(
                        label="New name", placeholder="New name", elem_id="runs-name", max_length=200, scale=3
                    )
                    self.rename = gr.Button(
                        "Rename", size="sm", elem_id="runs-rename", scale=0, min_width=130, interactive=False
                    )
                self.notes = NotesPanel(self.panel.chosen, runs=self.runs, access=self.access)
            with gr.Tab("Side by side") as self.beside:
                self.overlay = SideBySide(self.panel.chosen, runs=self.runs, access=self.access)
            with gr.Tab("Trash", id="Trash"):
                self.bin.contents()

    def wire(
        self,
        form: Form,
        shown_run: gr.State,
        compare_run: gr.Dropdown,
        evaluate_run: gr.Dropdown,
        parent: gr.State,
        tabs: gr.Tabs,
        tab: gr.Tab,
    ) -> Any:
        """Connect the buttons; returns the events that fill the form with a run's settings.

        Opening ``tab`` chooses a run. Opening a run sets ``shown_run``, which Train follows, or
        ``compare_run`` or ``evaluate_run``; training it further sets ``parent``.
        """
        chosen, buttons = self.panel.chosen, self.panel.buttons
        begun = [chosen, self.by_itself, *self.details.outputs]
        tab.select(self._arrive, [chosen, self.by_itself], begun, **QUIET)
        picked = [chosen, self.by_itself, *self.details.outputs]
        self.panel.table.select(self._choose, None, picked, **ONE_BY_ONE, **QUIET)
        # Who writes about the run that the tab chose has chosen it.
        gr.on([self.notes.notes.focus, self.notes.tags.focus], lambda: None, None, self.by_itself, **QUIET)
        buttons["open"].click(self._in_train, chosen, [shown_run, tabs], **QUIET)
        for name, run in (("compare", compare_run), ("evaluate", evaluate_run)):
            buttons[name].click(self._in_tab(ACTIONS[name]), chosen, [run, tabs], **QUIET)
        buttons["resume"].click(self._resume, chosen, [shown_run, tabs], **QUIET)
        buttons["delete"].click(self._delete, chosen, [chosen, self.inner, *self.details.outputs], **QUIET)
        gr.on([self.rename.click, self.name.submit], self._rename, [chosen, self.name], self.name, **QUIET)
        chosen.change(lambda run_id: gr.Button(interactive=bool(run_id)), chosen, self.rename, **QUIET)
        taken = [buttons[name] for name in ("export", "merged", "gguf", "page")]
        lines = buttons["embed"].click(self._embed, chosen, self.frames, **QUIET)
        lines.success(None, self.frames, self.frames, js=FRAMES, **QUIET)
        chosen.change(None, None, self.frames, js=setting(visible=False), **QUIET)
        imported = self.files.wire(form, chosen, *taken)
        for arrived in (imported, self.bin.wire(chosen)):
            arrived.success(self.details.of, chosen, self.details.outputs, **QUIET)
        self.overlay.wire(self.beside)
        for part in (self.share, self.push, self.job, self.notes, self.panel):
            part.wire()

        def use_settings(run_id: str | None) -> dict[Any, Any]:
            return {**self._settings(run_id, form), tabs: gr.Tabs(selected="Train")}

        def train_further(run_id: str | None) -> dict[Any, Any]:
            return {**use_settings(run_id), parent: run_id}

        cloned = buttons["clone"].click(use_settings, chosen, [*form.controls, tabs], **QUIET)
        continued = buttons["further"].click(train_further, chosen, [*form.controls, parent, tabs], **QUIET)
        return cloned, continued

    def _in_train(self, run_id: str | None) -> list[Any]:
        return [required(run_id), gr.Tabs(selected="Train")]

    def _in_tab(self, tab: str) -> Callable[[str | None], list[Any]]:
        """A handler that opens ``tab`` with the chosen run."""

        def handler(run_id: str | None) -> list[Any]:
            # The choices are sent too: gradio rejects a value that is not among them, and the timer may not have listed
            # this run yet.
            choices = labelled(answering(runs=self.runs, answerers=self.answerers, access=self.access))
            return [gr.Dropdown(choices=choices, value=required(run_id)), gr.Tabs(selected=tab)]

        return handler

    def _arrive(self, chosen: str | None, by_itself: str | None) -> list[Any]:
        """The run that the tab shows when it is opened: the visitor's choice, else ``newest``; read anew each time."""
        user = viewer(self.access)
        if chosen and chosen != by_itself and self.runs.is_visible(user, chosen):
            return [chosen, by_itself, *self.details.of(chosen)]
        first = newest(self.runs, self.access)
        return [first, first, *(self.details.of(first) if first else self.details.emptied())]

    def _choose(self, event: gr.SelectData) -> list[Any]:
        # By the id in the row: the list may have changed since it was drawn.
        return [event.row_value[-1], None, *self.details.of(event.row_value[-1])]

    def _embed(self, run_id: str | None) -> Any:
        """The run's id, of which the browser makes the lines."""
        return gr.Code(required(run_id), visible=True)

    def _resume(self, run_id: str | None) -> list[Any]:
        return [self.training.resume(viewer(self.access), required(run_id)), gr.Tabs(selected="Train")]

    def _delete(self, run_id: str | None) -> list[Any]:
        self.runs.trash(viewer(self.access), required(run_id))
        gr.Info("Deleted. For an hour it can be restored: see Trash.")
        return [None, gr.Tabs(selected="Trash"), *self.details.emptied()]

    def _rename(self, run_id: str | None, text: str) -> str:
        self.runs.rename(viewer(self.access), required(run_id), text)
        return ""

    def _settings(self, run_id: str | None, form: Form) -> dict[Any, Any]:
        """The form's values for the run, without its dataset if that is somebody else's upload."""
        user = viewer(self.access)
        config = self.runs.config(user, required(run_id))
        filled = form.fill(config)
        if not self.configs.may_use(user, config.data.source):
            gr.Info("Everything but its dataset: that is somebody else's upload.")
            filled.pop(form["data.source"])
        return filled

"""The page: its tabs and one polling timer. The lab owns all state; a browser tab owns none."""

from __future__ import annotations

from . import gradio_import  # noqa: F401  isort: skip: before any module imports gradio itself

import functools

import gradio as gr
from starlette.routing import Route

from ..lab import Lab
from ..text.markdown import plain
from . import agent_tools, api
from .as_python import AsPython
from .browser_state import Memory
from .charts import PLOTLY_JS
from .compare.tab import CompareTab
from .context import PRIVATE, QUIET
from .data.tab import DataTab
from .evaluate.tab import EvaluateTab
from .events import open_tab_on_click
from .experiments.tab import ExperimentsTab
from .form import Form
from .format.tab import FormatTab
from .layout import polling, session, sign_in
from .layout.blocks import PageBlocks
from .layout.busy_notice import BusyNotice
from .layout.exhibit_link import ExhibitLink
from .layout.polling import IdleFlag, hide_progress_on
from .layout.session import build as build_session_panel
from .layout.status_bar import Announcer, StatusBar
from .links.making import LinkMaker
from .links.strip import LessonStrip
from .path.notices import Notices
from .path.panel import PathPanel
from .room.routes import RoomRoutes
from .run_page.page import run_page, write_run_page
from .run_picker import RunPicker
from .runs.tab import RunsTab
from .theme import CSS, MEND, THEME
from .train.tab import TrainTab

__all__ = ["CSS", "THEME", "build_ui", "room_routes"]

FORGETS = (
    "**This Space has no storage: runs and uploads vanish when it restarts.** Download what you want to keep: "
    "*Runs*, click its row, *Export adapter*."
)


def build_ui(lab: Lab) -> gr.Blocks:
    """Build the whole page for one lab."""
    gr.set_static_paths([PLOTLY_JS])
    form = Form()
    # gradio's copies of uploads and exports expire when the lab's own do.
    keep_seconds = 3600 * lab.housekeeping.keep_hours
    login = sign_in.button()
    with PageBlocks(
        title="Instruction-Tuning Lab",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, keep_seconds),
    ) as page:
        memory = Memory(lab.data_dir)
        # Registered before all other change listeners: they run one after the other, and some call the lab.
        form.when_complete(lambda: memory.follow(form))
        as_python = AsPython(form, scripts=lab.scripts, access=lab.access)
        with gr.Row(elem_id="head"):
            gr.Markdown("# Instruction-Tuning Lab\nTeach a small model to follow instructions", elem_id="title")
            status_bar = StatusBar(
                uploads=lab.uploads,
                runs=lab.runs,
                training=lab.training,
                default_model=lab.default_model,
                access=lab.access,
            )
            beside_title = gr.Row(elem_id="head-buttons")
        lesson = LessonStrip(rooms=lab.rooms, configs=lab.configs, access=lab.access)
        # Before the tabs, so that the Tab key reaches it first.
        path = _path(lab, memory)
        _notices(lab)
        exhibit = ExhibitLink(configs=lab.configs, runs=lab.runs, answerers=lab.answerers, access=lab.access)
        busy_notice = BusyNotice(training=lab.training, access=lab.access)
        announcer = Announcer(runs=lab.runs, training=lab.training, access=lab.access)
        idle_flag = IdleFlag(training=lab.training, access=lab.access)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data", id="Data") as tab:
                data = _data(lab, form, as_python, memory, tab)
            with gr.Tab("Format", id="Format") as tab:
                formatting = _format(lab, form, as_python, memory, tab)
            with gr.Tab("Train", id="Train") as tab:
                train = _train(lab, form, as_python, tab, idle_flag.now, lesson)
            with gr.Tab("Compare", id="Compare"):
                compare = _compare(lab, form, as_python, tabs)
            with gr.Tab("Evaluate", id="Evaluate"):
                evaluate = _evaluate(lab, form, as_python, tabs)
            with gr.Tab("Runs", id="Runs") as runs_tab:
                runs = _runs(lab)
                shown_run, replay = train.panel.shown_run, train.panel.replay
                fill_events = runs.wire(
                    form, shown_run, compare.run, evaluate.run, train.continued.parent, tabs, runs_tab
                )
            with gr.Tab("Experiments", id="Experiments"):
                experiments = _experiments(lab, form, tabs)
        with beside_title:
            replay_button = replay.offer(tabs)
            train.offer(tabs)
            path.offer()
        as_python.offer()
        busy_notice.offer(replay, tabs, replay_button)
        next_buttons = {
            "Format": data.following,
            "Train": formatting.following,
            "Compare": train.following,
            "Evaluate": compare.following,
            "Runs": evaluate.following,
        }
        for name, button in next_buttons.items():
            open_tab_on_click(button, tabs, name)
        if login:
            sign_in.build(page, login)
        LinkMaker(form, memory, train.presets.radio, configs=lab.configs, access=lab.access)
        reset = build_session_panel(lab.access, form, memory)
        form.complete()
        lesson.connect(form, tabs)
        choices = RunPicker(
            shown_run, compare.run, evaluate.run, runs=lab.runs, answerers=lab.answerers, access=lab.access
        )
        status_bar.follow(form, shown_run)
        announcer.follow(shown_run)
        exhibit.connect(form, shown_run, formatting)
        loaded = session.welcome(page, form, memory, shown_run, exhibit, lesson, runs=lab.runs, access=lab.access)
        exhibit.follow(loaded, tabs, compare.views)
        polled: list[polling.PolledPanel] = [status_bar, busy_notice, announcer, idle_flag, choices]
        polled += [train.panel, evaluate.panel, runs.panel, runs.push, runs.job, runs.bin, path, lesson]
        polled += experiments.polled
        drawn = lab.default_model.page_is_drawn
        polling.feed(memory, polled, runs=lab.runs, training=lab.training, access=lab.access, drawn=drawn)
        compare.follow_link(loaded, tabs, shown_run, choices.seen)
        data.refresh_after(loaded.then)
        train.open_to(loaded)
        # At once, not at the first poll.
        panel = train.panel
        for event in (loaded.then, shown_run.change):
            event(panel.follow, panel.inputs, panel.outputs, queue=False, **QUIET)
        fill_events = (*fill_events, *experiments.fill_events)
        for event in (loaded, *fill_events):
            train.presets.settle_after(event)
        path.wire(page, form, loaded)
        lesson.hold_after(*(event.then for event in (loaded, reset, *train.presets.filled, *fill_events)))
        path.forget_after(train.presets.radio.input, *(event.then for event in fill_events))
        page.load(None, None, None, js=MEND, **PRIVATE)
        api.expose(lab)
        agent_tools.expose(lab)
        hide_progress_on(page, memory.token)
    return page


def room_routes(lab: Lab) -> list[Route]:
    """The room's pages and endpoints, for the server of the page."""
    return RoomRoutes(lab, functools.partial(run_page, lab.run_pages)).routes


def _notices(lab: Lab) -> None:
    if lab.notice:
        gr.Markdown(plain(lab.notice), elem_id="notice", elem_classes="note")
    if lab.ephemeral_storage:
        gr.Markdown(FORGETS, elem_id="forgets", elem_classes="note")


def _path(lab: Lab, memory: Memory) -> PathPanel:
    notices = Notices(lab.datasets, lab.tokenizers, lab.runs, lab.evaluations)
    return PathPanel(memory, lab.data_dir, notices=notices, configs=lab.configs, access=lab.access)


def _data(lab: Lab, form: Form, as_python: AsPython, memory: Memory, tab: gr.Tab) -> DataTab:
    return DataTab(
        form,
        as_python,
        memory,
        tab,
        configs=lab.configs,
        uploads=lab.uploads,
        datasets=lab.datasets,
        housekeeping=lab.housekeeping,
        access=lab.access,
    )


def _format(lab: Lab, form: Form, as_python: AsPython, memory: Memory, tab: gr.Tab) -> FormatTab:
    return FormatTab(
        form,
        as_python,
        memory,
        tab,
        configs=lab.configs,
        tokenizers=lab.tokenizers,
        datasets=lab.datasets,
        estimates=lab.estimates,
        access=lab.access,
    )


def _train(lab: Lab, form: Form, as_python: AsPython, tab: gr.Tab, idle: gr.Checkbox, lesson: LessonStrip) -> TrainTab:
    return TrainTab(
        form,
        as_python,
        tab,
        idle,
        lesson,
        uploads=lab.uploads,
        datasets=lab.datasets,
        runs=lab.runs,
        training=lab.training,
        evaluations=lab.evaluations,
        estimates=lab.estimates,
        transfers=lab.transfers,
        devices=lab.devices,
        access=lab.access,
    )


def _compare(lab: Lab, form: Form, as_python: AsPython, tabs: gr.Tabs) -> CompareTab:
    return CompareTab(
        form,
        as_python,
        tabs,
        runs=lab.runs,
        answerers=lab.answerers,
        inference=lab.inference,
        evaluations=lab.evaluations,
        access=lab.access,
    )


def _evaluate(lab: Lab, form: Form, as_python: AsPython, tabs: gr.Tabs) -> EvaluateTab:
    return EvaluateTab(
        form,
        as_python,
        tabs,
        runs=lab.runs,
        evaluations=lab.evaluations,
        transfers=lab.transfers,
        devices=lab.devices,
        access=lab.access,
    )


def _runs(lab: Lab) -> RunsTab:
    return RunsTab(
        configs=lab.configs,
        runs=lab.runs,
        training=lab.training,
        answerers=lab.answerers,
        transfers=lab.transfers,
        push=lab.push,
        hub_jobs=lab.hub_jobs,
        disk=lab.disk,
        access=lab.access,
        write_page=functools.partial(write_run_page, lab.run_pages),
    )


def _experiments(lab: Lab, form: Form, tabs: gr.Tabs) -> ExperimentsTab:
    return ExperimentsTab(
        form,
        tabs,
        configs=lab.configs,
        runs=lab.runs,
        training=lab.training,
        access=lab.access,
    )

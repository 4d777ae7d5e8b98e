"""The page: its tabs and one polling timer. The lab owns all state; a browser tab owns none."""

from __future__ import annotations

import gradio as gr

from ..lab import Lab
from ..text.markdown import plain
from . import api, run_picker
from .browser_state import Memory
from .charts import PLOTLY_JS
from .compare.tab import CompareTab
from .context import PRIVATE
from .data.tab import DataTab
from .evaluate.tab import EvaluateTab
from .events import open_tab_on_click
from .form import Form
from .format.tab import FormatTab
from .layout import polling, session
from .layout.busy_notice import BusyNotice
from .layout.polling import IdleFlag, SkippingBlocks, hide_progress_on
from .layout.session import build as build_session_panel
from .layout.status_bar import Announcer, StatusBar
from .run_picker import RunPicker, run_choice
from .runs.tab import RunsTab
from .theme import CSS, MEND, THEME
from .train.tab import TrainTab

__all__ = ["CSS", "THEME", "build_ui"]

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
    with SkippingBlocks(
        title="Instruction-Tuning Lab", analytics_enabled=False, delete_cache=(3600, keep_seconds)
    ) as page:
        memory = Memory(lab.data_dir)
        # Registered before all other change listeners: they run one after the other, and some call the lab.
        form.when_complete(lambda: memory.follow(form))
        beside_title = _head(lab)
        status_bar = StatusBar(uploads=lab.uploads, runs=lab.runs, training=lab.training, access=lab.access)
        busy_notice = BusyNotice(training=lab.training, access=lab.access)
        announcer = Announcer(runs=lab.runs, training=lab.training, access=lab.access)
        idle_flag = IdleFlag(training=lab.training, access=lab.access)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data", id="Data"):
                data = _data(lab, form, memory)
            with gr.Tab("Format", id="Format"):
                formatting = _format(lab, form, memory)
            with gr.Tab("Train", id="Train") as tab:
                train = _train(lab, form, tab, idle_flag.now)
            with gr.Tab("Compare", id="Compare"):
                compare_run = run_choice("compare-run")
                run_picker.build(form, compare_run, "compare-template", runs=lab.runs, access=lab.access)
                compare = _compare(lab, compare_run, tabs)
            with gr.Tab("Evaluate", id="Evaluate"):
                evaluate_run = run_choice("evaluate-run")
                run_picker.build(form, evaluate_run, "evaluate-template", runs=lab.runs, access=lab.access)
                evaluate = _evaluate(lab, evaluate_run, tabs)
            with gr.Tab("Runs", id="Runs"):
                runs = _runs(lab)
                shown_run, replay = train.panel.shown_run, train.panel.replay
                fill_events = runs.wire(form, shown_run, compare_run, train.continued.parent, tabs)
        with beside_title:
            replay_button = replay.offer(tabs)
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
        build_session_panel(lab.access, form, memory)
        form.complete()
        choices = RunPicker(
            shown_run, compare_run, evaluate_run, runs=lab.runs, answerers=lab.answerers, access=lab.access
        )
        status_bar.follow(form, shown_run)
        announcer.follow(shown_run)
        loaded = session.welcome(page, form, memory, shown_run, runs=lab.runs, access=lab.access)
        panels = (train.panel, evaluate.panel, runs.panel, runs.bin)
        polled = (status_bar, busy_notice, announcer, *panels, idle_flag, choices)
        polling.feed(memory, polled, runs=lab.runs, training=lab.training, access=lab.access)
        compare.link.follow(loaded, tabs, shown_run, choices.seen)
        for event in (loaded, *fill_events):
            train.presets.settle_after(event)
        page.load(None, None, None, js=MEND, **PRIVATE)
        api.expose(lab)
        hide_progress_on(page, status_bar.line)
    return page


def _head(lab: Lab) -> gr.Column:
    """Build the title and the notices. Returns the column beside the title."""
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            gr.Markdown("# Instruction-Tuning Lab")
        beside = gr.Column(scale=0, min_width=220)
    if lab.notice:
        gr.Markdown(plain(lab.notice), elem_id="notice", elem_classes="note")
    if lab.ephemeral_storage:
        gr.Markdown(FORGETS, elem_id="forgets", elem_classes="note")
    return beside


def _data(lab: Lab, form: Form, memory: Memory) -> DataTab:
    return DataTab(
        form,
        memory,
        configs=lab.configs,
        uploads=lab.uploads,
        datasets=lab.datasets,
        housekeeping=lab.housekeeping,
        access=lab.access,
    )


def _format(lab: Lab, form: Form, memory: Memory) -> FormatTab:
    return FormatTab(
        form,
        memory,
        tokenizers=lab.tokenizers,
        datasets=lab.datasets,
        estimates=lab.estimates,
        access=lab.access,
    )


def _train(lab: Lab, form: Form, tab: gr.Tab, idle: gr.Checkbox) -> TrainTab:
    return TrainTab(
        form,
        tab,
        idle,
        uploads=lab.uploads,
        runs=lab.runs,
        training=lab.training,
        evaluations=lab.evaluations,
        estimates=lab.estimates,
        transfers=lab.transfers,
        access=lab.access,
    )


def _compare(lab: Lab, run: gr.Dropdown, tabs: gr.Tabs) -> CompareTab:
    return CompareTab(run, tabs, runs=lab.runs, answerers=lab.answerers, inference=lab.inference, access=lab.access)


def _evaluate(lab: Lab, run: gr.Dropdown, tabs: gr.Tabs) -> EvaluateTab:
    return EvaluateTab(
        run, tabs, runs=lab.runs, evaluations=lab.evaluations, transfers=lab.transfers, access=lab.access
    )


def _runs(lab: Lab) -> RunsTab:
    return RunsTab(
        configs=lab.configs,
        runs=lab.runs,
        training=lab.training,
        answerers=lab.answerers,
        transfers=lab.transfers,
        disk=lab.disk,
        access=lab.access,
    )

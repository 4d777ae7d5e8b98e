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
        status_bar, busy_notice, announcer, idle_flag = StatusBar(lab), BusyNotice(lab), Announcer(lab), IdleFlag(lab)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data", id="Data"):
                data = DataTab(lab, form, memory)
            with gr.Tab("Format", id="Format"):
                formatting = FormatTab(lab, form, memory)
            with gr.Tab("Train", id="Train") as tab:
                train = TrainTab(lab, form, tab, idle_flag.now)
            with gr.Tab("Compare", id="Compare"):
                compare_run = run_choice("compare-run")
                run_picker.build(lab, form, compare_run, "compare-template")
                compare = CompareTab(lab, compare_run, tabs)
            with gr.Tab("Evaluate", id="Evaluate"):
                evaluate_run = run_choice("evaluate-run")
                run_picker.build(lab, form, evaluate_run, "evaluate-template")
                evaluate = EvaluateTab(lab, evaluate_run, tabs)
            with gr.Tab("Runs", id="Runs"):
                runs = RunsTab(lab)
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
        build_session_panel(lab, form, memory)
        form.complete()
        choices = RunPicker(lab, shown_run, compare_run, evaluate_run)
        status_bar.follow(form, shown_run)
        announcer.follow(shown_run)
        loaded = session.welcome(lab, page, form, memory, shown_run)
        panels = (train.panel, evaluate.panel, runs.panel, runs.bin)
        polling.feed(lab, memory, (status_bar, busy_notice, announcer, *panels, idle_flag, choices))
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

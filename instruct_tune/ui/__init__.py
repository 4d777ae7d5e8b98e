"""The page: tabs from left to right, one timer, and nothing that belongs to a browser tab alone."""

from __future__ import annotations

import gradio as gr

from ..lab import Lab
from ..text.markdown import plain
from . import api, run_picker
from .browser_state import Memory
from .charts import PLOTLY_JS
from .compare.tab import CompareTab
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
    """The whole page over one lab."""
    gr.set_static_paths([PLOTLY_JS])
    form = Form()
    # gradio's own copies of uploads and exports go when the lab's do.
    kept = 3600 * lab.housekeeping.keep_hours
    with SkippingBlocks(title="Instruction-Tuning Lab", analytics_enabled=False, delete_cache=(3600, kept)) as page:
        memory = Memory(lab.data_dir)
        # Before all others that hear of a change: they are heard one after the other, and the lab takes its time.
        form.when_complete(lambda: memory.follow(form))
        beside_title = _head(lab)
        strip, meanwhile, announcer, at_rest = StatusBar(lab), BusyNotice(lab), Announcer(lab), IdleFlag(lab)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data", id="Data"):
                data = DataTab(lab, form, memory)
            with gr.Tab("Format", id="Format"):
                formatting = FormatTab(lab, form, memory)
            with gr.Tab("Train", id="Train") as tab:
                train = TrainTab(lab, form, tab, at_rest.now)
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
                filling = runs.wire(form, shown_run, compare_run, train.continued.parent, tabs)
        with beside_title:
            offered = replay.offer(tabs)
        meanwhile.offer(replay, tabs, offered)
        following = {
            "Format": data.following,
            "Train": formatting.following,
            "Compare": train.following,
            "Evaluate": compare.following,
            "Runs": evaluate.following,
        }
        for name, button in following.items():
            open_tab_on_click(button, tabs, name)
        build_session_panel(lab, form, memory)
        form.complete()
        choices = RunPicker(lab, shown_run, compare_run, evaluate_run)
        strip.follow(form, shown_run)
        announcer.follow(shown_run)
        opened = session.welcome(lab, page, form, memory, shown_run)
        panels = (train.panel, evaluate.panel, runs.panel, runs.bin)
        polling.feed(lab, memory, (strip, meanwhile, announcer, *panels, at_rest, choices))
        compare.link.follow(opened, tabs, shown_run, choices.seen)
        for filled in (opened, *filling):
            train.presets.settle_after(filled)
        page.load(None, None, None, js=MEND, api_visibility="private")
        api.expose(lab)
        hide_progress_on(page, strip.line)
    return page


def _head(lab: Lab) -> gr.Column:
    """The title and what everybody has to know; returns the place beside the title."""
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            gr.Markdown("# Instruction-Tuning Lab")
        beside = gr.Column(scale=0, min_width=220)
    if lab.notice:
        gr.Markdown(plain(lab.notice), elem_id="notice", elem_classes="note")
    if lab.ephemeral_storage:
        gr.Markdown(FORGETS, elem_id="forgets", elem_classes="note")
    return beside

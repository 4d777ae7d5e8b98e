"""The page: tabs from left to right, one timer, and nothing that belongs to a browser tab alone."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import Any, Protocol

import gradio as gr

from ..archive.recorded import BEST
from ..errors import DataError
from ..lab import Lab
from ..store import LIVE
from ..words.markdown import plain
from . import (
    api,
    browser_panel,
    compare_tab,
    data_tab,
    evaluate_tab,
    format_tab,
    template_note,
    train_panel,
    train_tab,
    view,
)
from .announcer import Announcer
from .at_rest import AtRest
from .charts import PLOTLY_JS
from .edge import polled, session, viewer
from .form import Form
from .lean import LeanBlocks, spare
from .look import CSS, MEND, THEME
from .meanwhile import Meanwhile
from .memory import RESTORED, Memory, restored
from .pace import USUAL, Pace
from .runs_tab import RunsTab

__all__ = ["CSS", "THEME", "build_ui"]

FORGETS = (
    "**This Space has no storage: runs and uploads vanish when it restarts.** Download what you want to keep: "
    "*Runs*, click its row, *Export adapter*."
)
TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs")


def build_ui(lab: Lab) -> gr.Blocks:
    """The whole page over one lab."""
    gr.set_static_paths([PLOTLY_JS])
    form = Form()
    # gradio's own copies of uploads and exports go when the lab's do.
    kept = 3600 * lab.keep_uploads_hours
    with LeanBlocks(title="Instruction-Tuning Lab", analytics_enabled=False, delete_cache=(3600, kept)) as page:
        memory = Memory(lab.data_dir)
        with gr.Row(equal_height=True):
            with gr.Column(min_width=300):
                gr.Markdown("# Instruction-Tuning Lab")
            welcome = gr.Column(scale=0, min_width=220)
        if lab.notice:
            gr.Markdown(plain(lab.notice), elem_id="notice", elem_classes="note")
        if lab.forgets:
            gr.Markdown(FORGETS, elem_id="forgets", elem_classes="note")
        strip = gr.Markdown("", elem_id="strip")
        meanwhile = Meanwhile(lab)
        announcer, at_rest = Announcer(lab), AtRest(lab)
        following = {}
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Data", id="Data"):
                following["Format"] = data_tab.build(lab, form, memory)
            with gr.Tab("Format", id="Format"):
                following["Train"] = format_tab.build(lab, form, memory)
            with gr.Tab("Train", id="Train") as tab:
                train, presets, continued, following["Compare"] = train_tab.build(lab, form, tab, at_rest.now)
            with gr.Tab("Compare", id="Compare"):
                compare_run = _run_choice("compare-run")
                template_note.build(lab, form, compare_run, "compare-template")
                following["Evaluate"], link = compare_tab.build(lab, compare_run, tabs)
            with gr.Tab("Evaluate", id="Evaluate"):
                evaluate_run = _run_choice("evaluate-run")
                template_note.build(lab, form, evaluate_run, "evaluate-template")
                evaluation, following["Runs"] = evaluate_tab.build(lab, evaluate_run, tabs)
            with gr.Tab("Runs", id="Runs"):
                runs = RunsTab(lab)
                filling = runs.wire(form, train.shown_run, compare_run, continued.parent, tabs)
        with welcome:
            offered = train.replay.offer(tabs)
        meanwhile.offer(train.replay, tabs, offered)
        for tab, button in following.items():
            button.click(lambda chosen=tab: gr.Tabs(selected=chosen), None, tabs, api_visibility="private")
        browser_panel.build(lab, form, memory)
        form.complete()
        choices, fed = (compare_run, evaluate_run), (evaluation, runs.panel, runs.bin, at_rest)
        arrival, seen_runs = _follow(lab, page, form, memory, strip, meanwhile, announcer, train, fed, choices)
        link.follow(arrival, tabs, train.shown_run, seen_runs)
        for filled in (arrival, *filling):
            presets.settle_after(filled)
        page.load(None, None, None, js=MEND, api_visibility="private")
        api.expose(lab)
        spare(page, strip)
    return page


class Fed(Protocol):
    """A panel that knows by itself what the timer has to bring it: ``show(*inputs)`` fills ``outputs``."""

    @property
    def inputs(self) -> list[Any]: ...
    @property
    def outputs(self) -> list[Any]: ...
    @property
    def show(self) -> Callable[..., list[Any]]: ...


def _run_choice(elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label="Run", info="The trained adapter that answers beside base", elem_id=elem_id)


def _follow(
    lab: Lab,
    page: gr.Blocks,
    form: Form,
    memory: Memory,
    strip: gr.Markdown,
    meanwhile: Meanwhile,
    announcer: Announcer,
    train: train_panel.TrainPanel,
    panels: tuple[Fed, ...],
    choices: tuple[gr.Dropdown, gr.Dropdown],
) -> tuple[Any, gr.State]:
    """One timer feeds all that follows the lab; page load does the same once, so a refresh loses nothing.

    Returns the event of a page that was opened, after which the form shows what was remembered, and the runs that
    the page knows of.
    """
    timer, pace = gr.Timer(USUAL), Pace()
    seen_strip, seen_runs = gr.State(None), gr.State(None)
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def strip_text(source: str, model: str, limit: Any, run_id: str | None, seen: Any) -> list[Any]:
        run = None
        who = viewer(lab)
        if run_id and lab.sees_run(run_id, who):
            run = {**lab.run_status(run_id, who), "name": lab.visible_run(run_id, who).name}
        now = view.strip(
            lab.source_name(str(source)),
            int(limit) if isinstance(limit, int | float) else None,
            str(model),
            run,
            lab.busy_with(who),
        )
        return [gr.skip(), gr.skip()] if now == seen else [now, now]

    def run_choices(shown: str | None, first: str | None, second: str | None, seen: Any) -> list[Any]:
        """The runs that can answer. The one that Train follows is chosen as soon as it can."""
        ready = [run for run in lab.list_runs(viewer(lab)) if lab.has_adapter(run["id"], viewer(lab))]
        now = [view.run_choices(ready), shown]
        if now == seen:
            return [gr.skip()] * 3
        ids = [run["id"] for run in ready]
        known = [run_id for _, run_id in seen[0]] if seen else []
        arrived = shown in ids and (shown not in known or shown != seen[1])
        own = [run["id"] for run in ready if not run["recorded"]]
        usual = next(iter(own or [run_id for run_id in ids if run_id == BEST] or ids), None)
        values = [shown if arrived else each if each in ids else usual for each in (first, second)]
        return [now, *(gr.Dropdown(choices=now[0], value=value) for value in values)]

    def ask_again(seconds: Any) -> list[Any]:
        """In how many seconds the page asks the next time."""
        wanted = pace.seconds(session() or "", lab.others_at_work(viewer(lab)) is not None)
        return [gr.skip() if seconds == wanted else gr.Timer(wanted)]

    def begin() -> str | None:
        """The run that is at work, else the newest of this lab's own: what a fresh or second window follows."""
        known = [run for run in lab.list_runs(viewer(lab)) if not run["recorded"]]
        # What waits in the line is newer than what is at work.
        known.sort(key=lambda run: (run["status"] not in LIVE, run["status"] == "queued"))
        return next((run["id"] for run in known), None)

    strip_inputs = [form["data.source"], form["model"], form["data.limit"], train.shown_run, seen_strip]
    choice_inputs = [train.shown_run, *choices, seen_runs]
    feeds: tuple[tuple[Callable[..., list[Any]], list[Any], list[Any]], ...] = (
        (ask_again, [timer], [timer]),
        (strip_text, strip_inputs, [strip, seen_strip]),
        (meanwhile.show, [meanwhile.seen], meanwhile.outputs),
        (announcer.show, [train.shown_run, announcer.seen], announcer.outputs),
        (train.show, train.inputs, train.outputs),
        *((panel.show, panel.inputs, panel.outputs) for panel in panels),
        (run_choices, choice_inputs, [seen_runs, *choices]),
    )

    def tick(token: Any, *values: Any) -> list[Any]:
        """All feeds in one request: a viewer costs one poll, not nine."""
        _recognise(lab, token)
        told: list[Any] = []
        given = iter(values)
        with lab.glance():
            for feed, inputs, outputs in feeds:
                told += polled(feed, list(itertools.islice(given, len(inputs))), len(outputs))
        return told

    def arrive(token: Any, kept: Any) -> dict[Any, Any]:
        """Somebody opens the page: their secret (made at their first visit), their form, the run to follow."""
        # With no run to follow nothing is set: they may have asked for a recorded one by now.
        known = token if _recognise(lab, token) else secrets.token_urlsafe(24)
        lab.visitors.arrive(session(), known)
        return {memory.token: known, train.shown_run: begin() or gr.skip(), **restored(form, kept)}

    arrival = page.load(arrive, [memory.token, memory.form], [memory.token, train.shown_run, *form.controls], **quiet)
    arrival.then(None, None, None, js=RESTORED, api_visibility="private")
    every_input = [component for _, inputs, _ in feeds for component in inputs]
    every_output = [component for _, _, outputs in feeds for component in outputs]
    timer.tick(tick, [memory.token, *every_input], every_output, **quiet)
    return arrival, seen_runs


def _recognise(lab: Lab, token: Any) -> bool:
    """Note who is behind the page that asks; False where what its browser remembers is no secret."""
    try:
        lab.visitors.arrive(session(), token)
    except DataError:
        return False
    return True

"""Runs: what was trained, to find again, open, compare, resume, export or delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import NotFoundError
from ..lab import Lab
from ..store import LIVE
from . import run_table, run_words, view
from .bin_panel import BinPanel
from .charts import loss_chart, loss_figure
from .edge import said, viewer
from .form import Form
from .notes_panel import NotesPanel
from .outgoing import Outgoing
from .share import ShareButton
from .side_by_side import SideBySide

CHOOSE = "Click a row to choose a run."
ACTIONS = {
    "open": "Show in Train",
    "compare": "Compare",
    "clone": "Use its settings",
    "further": "Train further",
    "resume": "Resume",
    "export": "Export adapter",
    "merged": "Export merged model",
    "delete": "Delete",
}


class RunsPanel:
    """The table of runs, and what can be done with the chosen one; fed by the page's timer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.seen, self.chosen, self.page = gr.State(None), gr.State(None), gr.State(0)
        self.cloned: Any = None
        """The event that fills the form with a run's settings."""
        self.continued: Any = None
        """The same, of a run that is then to be trained further."""
        with gr.Row(equal_height=True):
            self.search = gr.Textbox(
                label="Search",
                info="Words of the name, tags, notes, state, model, data or id",
                elem_id="runs-search",
                scale=3,
                min_width=240,
            )
            self.sort = gr.Dropdown(
                list(run_table.SORTS),
                value="Newest first",
                label="Sort",
                info="All runs, not only this page",
                elem_id="runs-sort",
                min_width=200,
            )
        self.table = gr.Dataframe(
            headers=run_table.HEADERS,
            column_widths=run_table.WIDTHS,
            interactive=False,
            show_label=False,
            wrap=True,
            max_height=420,
            elem_id="runs-table",
        )
        with gr.Row(elem_classes="pager"):
            self.back = gr.Button("Previous page", size="sm", scale=0, min_width=140, elem_id="runs-back")
            self.count = gr.Markdown("", elem_id="runs-count")
            self.on = gr.Button("Next page", size="sm", scale=0, min_width=140, elem_id="runs-on")
        self.details = gr.Markdown(CHOOSE, elem_id="runs-details")
        with gr.Row(elem_classes="actions"):
            self.buttons = {
                name: gr.Button(label, elem_id=f"runs-{name}", min_width=130, interactive=False)
                for name, label in ACTIONS.items()
            }

    @property
    def inputs(self) -> list[Any]:
        return [self.chosen, self.search, self.sort, self.page, self.seen]

    @property
    def outputs(self) -> list[Any]:
        fed = [self.table, self.count, self.details, self.back, self.on, *self.buttons.values()]
        return [self.seen, self.page, *fed]

    def show(self, chosen: str | None, search: str, sort: str, number: int, seen: Any) -> list[Any]:
        """What changed since ``seen``: nothing is computed while nobody writes, nothing sent that is the same."""
        who = viewer(self.lab)
        asked = [self.lab.version(), who.host, chosen, search, sort, number]
        if seen and asked == seen[0]:
            return [gr.skip()] * len(self.outputs)
        told = self._tell(chosen, str(search or ""), str(sort), number)
        before = seen[1] if seen else [None] * len(told)
        changed = [now if now != then else gr.skip() for now, then in zip(told, before, strict=True)]
        page, table, count, details, back, on, *able = changed
        buttons = [each if _skipped(each) else gr.Button(interactive=each) for each in (back, on, *able)]
        return [[asked, told], page, table, count, details, *buttons]

    def _tell(self, chosen: str | None, search: str, sort: str, number: int) -> list[Any]:
        """Page number, table, count, details, and for each button whether it applies."""
        lab, who = self.lab, viewer(self.lab)
        listed = lab.list_runs(who)
        sizes = lab.disk.of(run["id"] for run in listed)
        runs = run_table.with_numbers(listed, lab.last_evaluations(who), sizes)
        page = run_table.page_of(runs, search, sort, number)
        held_out = {run["id"]: (lab.last_metric(run["id"], "probe", who) or {}).get("probe_loss") for run in page.runs}
        mine = next((run for run in listed if run["id"] == chosen), None)
        return [
            page.number,
            run_table.table(page, held_out, chosen),
            run_table.sentence(page, len(listed), sum(sizes.values()), search),
            f"**{view.plain(mine['name'])}** · {view.run_sentence(lab.run_status(mine['id'], who))}"
            if mine
            else CHOOSE,
            page.number > 0,
            page.number < page.pages - 1,
            *self._able(mine),
        ]

    def _able(self, run: dict[str, Any] | None) -> list[bool]:
        """Which of ``ACTIONS`` make sense for the chosen run."""
        if run is None:
            return [False] * len(ACTIONS)
        live = run["status"] in LIVE
        can = {
            "compare": self.lab.has_adapter(run["id"], viewer(self.lab)),
            "further": not live and self.lab.has_saved_adapter(run["id"], viewer(self.lab)),
            "resume": not live and run["status"] != "finished",
            "export": self.lab.has_saved_adapter(run["id"], viewer(self.lab)),
            "merged": self.lab.has_saved_adapter(run["id"], viewer(self.lab)),
            "delete": not live,
        }
        return [can.get(name, True) for name in ACTIONS]


def _skipped(value: Any) -> bool:
    return not isinstance(value, bool)


def build(
    lab: Lab, form: Form, shown_run: gr.State, compare_run: gr.Dropdown, parent: gr.State, tabs: gr.Tabs
) -> tuple[RunsPanel, BinPanel]:
    """The tab's contents. Opening a run sets ``shown_run``, which Train follows, or ``compare_run``; training it
    further sets ``parent``."""
    panel, outgoing = RunsPanel(lab), Outgoing()
    # A DownloadButton hands out what it already has; this one is pressed once the zip is written.
    download = gr.DownloadButton(visible="hidden", elem_id="runs-download")
    with gr.Row(equal_height=True):
        name = gr.Textbox(show_label=False, placeholder="New name", elem_id="runs-name", max_length=200, scale=3)
        rename = gr.Button("Rename", elem_id="runs-rename", scale=1, min_width=130, interactive=False)
        share = ShareButton(lab, panel.chosen)
        arriving = gr.UploadButton(
            "Import a run or adapter (.zip)", file_types=[".zip"], elem_id="runs-import", scale=1, min_width=200
        )
    bin = BinPanel(lab)
    with gr.Column(visible=False) as drawing:
        plot = loss_chart("runs-plot")
    notes, overlay = NotesPanel(lab, panel.chosen), SideBySide(lab, panel.chosen)
    with gr.Accordion("What happened", open=False, elem_id="runs-happened"):
        failed = gr.Markdown("", elem_id="runs-failed")
        changes = gr.Textbox(
            label="Every change of state, newest first",
            lines=6,
            max_lines=12,
            interactive=False,
            elem_id="runs-changes",
            elem_classes="mono",
        )
        with gr.Accordion("Traceback", open=False, visible=False, elem_id="runs-traceback") as fold:
            trace = gr.Textbox(show_label=False, max_lines=30, interactive=False, elem_classes="mono")
    with gr.Accordion("Configuration and what it was measured with", open=False):
        config = gr.Code(language="json", label="Configuration", interactive=False)
        facts = gr.Code(language="json", label="Facts", interactive=False)

    @said
    def choose(event: gr.SelectData) -> list[Any]:
        # By the row's own id: the list may have moved on since it was drawn.
        told = lab.show_run(event.row_value[-1], viewer(lab))
        figure = (
            loss_figure(told["metrics"], told["id"], log_scale=False, findings=told["findings"])
            if told["metrics"]
            else None
        )
        shown = gr.Column(visible=figure is not None)
        where = lab.run_traceback(told["id"], viewer(lab))
        happened = [run_words.failure_sentence(told), run_words.changes_text(told["changes"])]
        return [
            told["id"],
            json.dumps(told["config"], indent=2),
            json.dumps(told["facts"], indent=2),
            figure,
            shown,
            *happened,
            gr.Accordion(visible=where is not None),
            where or "",
        ]

    @said
    def export_to(run_id: str | None) -> str:
        chosen = lab.visible_run(_chosen(run_id), viewer(lab)).id
        return str(lab.export_run(chosen, outgoing.folder() / f"{chosen}.zip", viewer(lab)))

    @said
    def merge_to(run_id: str | None) -> str:
        chosen = lab.visible_run(_chosen(run_id), viewer(lab)).id
        gr.Info("Merging the adapter into a copy of its base model: the download begins when the zip is written.")
        return str(lab.export_merged(chosen, outgoing.folder() / f"{chosen}-merged.zip", viewer=viewer(lab)))

    @said
    def take_in(values: dict[Any, Any]) -> str:
        # Rows to compare and measure it on, where its own did not come along: those that the Data tab has.
        run_id = lab.import_run(Path(values[arriving]), "", viewer(lab), form.read(values, "data")["data"])
        gr.Info(lab.visible_run(run_id, viewer(lab)).message)
        return run_id

    @said
    def remove(run_id: str | None) -> list[Any]:
        lab.bin_run(_chosen(run_id), viewer(lab))
        gr.Info("Deleted. For an hour it can be restored: see under the buttons.")
        emptied = ["", "", None, gr.Column(visible=False), "", "", gr.Accordion(visible=False), ""]
        return [None, gr.Accordion(visible=True, open=True), *emptied]

    @said
    def go_on(run_id: str | None) -> list[Any]:
        return [lab.resume_run(_chosen(run_id), viewer(lab)), gr.Tabs(selected="Train")]

    @said
    def call_it(run_id: str | None, text: str) -> str:
        lab.rename_run(_chosen(run_id), text, viewer(lab))
        return ""

    @said
    def use_settings(run_id: str | None) -> dict[Any, Any]:
        config, who = lab.run_config(_chosen(run_id), viewer(lab)), viewer(lab)
        filled = form.fill(config)
        if not lab.may_use(config.data.source, who):
            gr.Info("Everything but its dataset: that is somebody else's upload.")
            filled.pop(form["data.source"])
        return {**filled, tabs: gr.Tabs(selected="Train")}

    @said
    def train_further(run_id: str | None) -> dict[Any, Any]:
        return {**use_settings(run_id), parent: run_id}

    def open_in(tab: str) -> Any:
        @said
        def opened(run_id: str | None) -> list[Any]:
            return [_chosen(run_id), gr.Tabs(selected=tab)]

        return opened

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    buttons, described = panel.buttons, [config, facts, plot, drawing, failed, changes, fold, trace]
    panel.table.select(choose, None, [panel.chosen, *described], **private)
    panel.back.click(lambda number: max(number - 1, 0), panel.page, panel.page, **private)
    panel.on.click(lambda number: number + 1, panel.page, panel.page, **private)
    gr.on([panel.search.input, panel.sort.input], lambda: 0, None, panel.page, **private)
    buttons["open"].click(open_in("Train"), panel.chosen, [shown_run, tabs], **private)
    buttons["compare"].click(open_in("Compare"), panel.chosen, [compare_run, tabs], **private)
    panel.cloned = buttons["clone"].click(use_settings, panel.chosen, [*form.controls, tabs], **private)
    further = buttons["further"].click(train_further, panel.chosen, [*form.controls, parent, tabs], **private)
    panel.continued = further
    buttons["resume"].click(go_on, panel.chosen, [shown_run, tabs], **private)
    for name_of, write in (("export", export_to), ("merged", merge_to)):
        written = buttons[name_of].click(write, panel.chosen, download, api_visibility="private")
        written.success(None, None, None, js="() => document.querySelector('#runs-download').click()")
    buttons["delete"].click(remove, panel.chosen, [panel.chosen, bin.fold, *described], **private)
    arriving.upload(take_in, form.controls | {arriving}, panel.chosen, **private)
    bin.wire(panel.chosen)
    gr.on([rename.click, name.submit], call_it, [panel.chosen, name], name, **private)
    panel.chosen.change(lambda run_id: gr.Button(interactive=bool(run_id)), panel.chosen, rename, **private)
    share.wire()
    overlay.wire()
    notes.wire()
    # What a person did shows at once, not at the timer's next tick.
    changed = [panel.chosen.change, panel.page.change, panel.search.input, panel.sort.input]
    gr.on(
        changed, panel.show, panel.inputs, panel.outputs, queue=False, trigger_mode="always_last", **private
    )  # fmt: skip
    return panel, bin


def _chosen(run_id: str | None) -> str:
    if not run_id:
        raise NotFoundError("Choose a run first: click its row.")
    return run_id

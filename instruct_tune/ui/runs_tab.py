"""Runs: what was trained, to open, resume, export or delete."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import NotFoundError
from ..export import loss_png
from ..lab import Lab
from ..settings import RunConfig
from . import view
from .edge import said
from .form import Form


class RunsPanel:
    """The table of runs and what can be done with the chosen one."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.seen = gr.State(None)
        self.chosen = gr.State(None)
        self.table = gr.Dataframe(
            headers=view.RUN_HEADERS,
            interactive=False,
            label="Runs, newest first",
            max_height=360,
            elem_id="runs-table",
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.table]

    def show(self, seen: Any) -> list[Any]:
        rows = view.run_rows(self.lab.list_runs()[:200])
        return [gr.skip(), gr.skip()] if rows == seen else [rows, rows]


def build(lab: Lab, form: Form, shown_run: gr.State, tabs: gr.Tabs) -> RunsPanel:
    """The tab's contents; opening a run sets ``shown_run``, which Train follows."""
    panel = RunsPanel(lab)
    details = gr.Markdown("Click a row to choose a run.", elem_id="runs-details")
    with gr.Row():
        opened = gr.Button("Show in Train", elem_id="runs-open")
        clone = gr.Button("Use its settings", elem_id="runs-clone")
        resume = gr.Button("Resume", elem_id="runs-resume")
        export = gr.Button("Export adapter", elem_id="runs-export")
        # A DownloadButton hands out what it already has; this one is pressed once the zip is written.
        download = gr.DownloadButton(visible="hidden", elem_id="runs-download")
        delete = gr.Button("Delete", elem_id="runs-delete")
    with gr.Row(equal_height=True):
        name = gr.Textbox(show_label=False, placeholder="New name", elem_id="runs-name", max_length=200, scale=3)
        rename = gr.Button("Rename", elem_id="runs-rename", scale=1)
    plot = gr.Image(label="Loss", interactive=False, visible=False, elem_id="runs-plot", buttons=["download"])
    with gr.Accordion("Configuration and what it was measured with", open=False):
        config = gr.Code(language="json", label="Configuration", interactive=False)
        facts = gr.Code(language="json", label="Facts", interactive=False)

    @said
    def choose(event: gr.SelectData) -> list[Any]:
        # By the row's own id: the table may be sorted differently in the browser.
        run_id = event.row_value[-1]
        return [run_id, *describe(run_id)]

    def describe(run_id: str) -> list[Any]:
        told = lab.show_run(run_id)
        status = lab.run_status(run_id)
        image = _image(loss_png(told["metrics"], told["name"])) if told["metrics"] else None
        return [
            f"**{view.plain(told['name'])}** · {view.run_sentence(status)}",
            json.dumps(told["config"], indent=2),
            json.dumps(told["facts"], indent=2),
            gr.Image(image, visible=image is not None),
        ]

    @said
    def export_to(run_id: str | None) -> str:
        folder = Path(tempfile.mkdtemp(prefix="lab-export-"))
        return str(lab.export_run(_chosen(run_id), folder / f"{_chosen(run_id)}.zip"))

    @said
    def remove(run_id: str | None) -> list[Any]:
        lab.delete_run(_chosen(run_id))
        return [None, "Deleted. Click a row to choose a run.", None, None, gr.Image(visible=False)]

    @said
    def go_on(run_id: str | None) -> str:
        return lab.resume_run(_chosen(run_id))

    @said
    def call_it(run_id: str | None, text: str) -> list[Any]:
        lab.rename_run(_chosen(run_id), text)
        return ["", *describe(_chosen(run_id))]

    @said
    def use_settings(run_id: str | None) -> dict[Any, Any]:
        config = RunConfig.from_dict(lab.store.get(_chosen(run_id)).config)
        return {**form.fill(config), tabs: gr.Tabs(selected="Train")}

    @said
    def open_in_train(run_id: str | None) -> list[Any]:
        return [_chosen(run_id), gr.Tabs(selected="Train")]

    described = [panel.chosen, details, config, facts, plot]
    panel.table.select(choose, None, described, api_visibility="private")
    opened.click(open_in_train, panel.chosen, [shown_run, tabs], api_visibility="private")
    resume.click(go_on, panel.chosen, shown_run, api_visibility="private")
    rename.click(call_it, [panel.chosen, name], [name, *described[1:]], api_visibility="private")
    clone.click(use_settings, panel.chosen, [*form.controls, tabs], api_visibility="private")
    written = export.click(export_to, panel.chosen, download, api_visibility="private")
    written.success(None, None, None, js="() => document.querySelector('#runs-download').click()")
    delete.click(remove, panel.chosen, described, api_visibility="private")
    return panel


def _chosen(run_id: str | None) -> str:
    if not run_id:
        raise NotFoundError("Choose a run first: click its row.")
    return run_id


def _image(png: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(png))

"""Data: which rows, what the filters kept, how they were split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import DataError, SettingsError
from ..lab import Lab
from ..limits import MEGABYTE, max_upload_bytes
from ..visitors import ANONYMOUS, known_by
from . import view
from .edge import said, viewer
from .filter_words import read_steps, usual_for, write_steps
from .filters_panel import FiltersPanel
from .form import Form
from .load_panel import LoadPanel
from .memory import Memory, with_recent
from .recent import source_choices
from .report_panel import ReportPanel
from .rows_panel import RowsPanel
from .streaming import all_so_far

UPLOAD_NOTE = (
    "Whoever runs this lab can read what you upload: bring nothing that is secret. Other visitors see neither it nor "
    "the runs made of it, unless you share one (Runs). Both are removed after {kept}."
)
COLUMN_HELP = {
    "instruction": "What is asked",
    "input": "What it is asked about; empty: the dataset has none",
    "output": "The answer to learn",
}


def build(lab: Lab, form: Form, memory: Memory) -> gr.Button:
    """The tab's contents; returns the button that leads to the next tab."""
    gr.Markdown("Pick an instruction dataset. The rows are filtered, shuffled and split exactly as in the lesson.")
    with gr.Row():
        form.add(
            "data.source",
            gr.Dropdown(
                source_choices(lab, [], ANONYMOUS),
                value="bundled",
                label="Dataset",
                info="From the list, hub:OWNER/NAME, or the path of a .json, .jsonl, .csv or .parquet file",
                allow_custom_value=True,
                elem_id="data-source",
                scale=2,
                min_width=320,
            ),
        )
        upload = gr.File(
            label=f"Or upload a file (at most {max_upload_bytes() // MEGABYTE:,} MB)",
            file_types=[".json", ".jsonl", ".csv", ".parquet"],
            elem_id="data-upload",
            height=150,
        )
    gr.Markdown(
        UPLOAD_NOTE.format(kept=view.hours(lab.keep_uploads_hours)), elem_id="data-upload-note", elem_classes="note"
    )
    filters = FiltersPanel(lab, form)
    with gr.Accordion("Columns and split", open=False, elem_id="data-fold") as fold:
        with gr.Row():
            for part in ("instruction", "input", "output"):
                form.add(
                    f"data.columns.{part}",
                    gr.Textbox(
                        part,
                        label=f"Column of the {part}",
                        info=COLUMN_HELP[part],
                        elem_id=f"data-column-{part}",
                    ),
                )
        with gr.Row():
            form.add(
                "data.test_size",
                gr.Slider(0.05, 0.5, 0.2, step=0.05, label="Held-out share", info="Rows kept for measuring"),
            )
            form.add("data.seed", gr.Number(42, label="Seed", precision=0, info="Decides shuffle and split"))
            form.add("data.split", gr.Textbox("train", label="Split", info="Which part of a Hub dataset"))
    load = gr.Button("Load and split", variant="primary", elem_id="data-load")
    arriving = LoadPanel(lab)
    summary = gr.Markdown("Nothing loaded yet: press **Load and split**.", elem_id="data-summary")
    following = gr.Button("Next: Format", elem_id="data-next", size="sm", elem_classes="next")
    report = ReportPanel(lab, form, filters)
    rows = RowsPanel(lab, form, filters)
    columns = {part: form[f"data.columns.{part}"] for part in COLUMN_HELP}

    @said
    def show(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield from all_so_far(arrive(values, request))

    def arrive(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        asked = lab.config(form.rows(values), viewer(lab))
        config = yield from arriving.follow(asked, request)
        if config is None:
            yield {summary: "Cancelled: nothing was loaded."}
            return
        told = lab.data(config, viewer=viewer(lab))
        named, proposed = config.data.columns, config != asked
        sentence = view.data_sentence(told, lab.source_name(config.data.source))
        yield {
            summary: f"{sentence} {view.columns_sentence(told, named, proposed)}",
            # What is to be done next stands out.
            load: gr.Button(variant="secondary"),
            following: gr.Button(variant="primary"),
            **({fold: gr.Accordion(open=True)} if proposed else {}),
            **{box: getattr(named, part) or "" for part, box in columns.items() if proposed},
            **filters.show(config.data.filters, told),
            **report.waiting(),
            **rows.page(config, values, 1),
            memory.recent: with_recent(values[memory.recent], config.data.source),
        }

    def again(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """What a changed list does to the rows; where they would have to be read first, nothing happens by itself."""
        if filters.nothing_loaded(values) or not lab.rows_at_hand(form.rows(values), viewer(lab)):
            yield {summary: gr.skip()}
        else:
            yield from show(values, request)

    def usual(source: str, text: str) -> Any:
        try:
            return write_steps(usual_for(source, read_steps(text)))
        except SettingsError:
            return gr.skip()

    def keep_upload(file: str | None, recent: Any, text: str) -> Any:
        if not file:
            return gr.skip(), gr.skip()
        who = viewer(lab)
        kept = str(lab.keep_upload(Path(file), who))
        return gr.Dropdown(choices=source_choices(lab, with_recent(recent, kept), who), value=kept), usual(kept, text)

    def offer(recent: Any, token: Any) -> Any:
        # At the beginning of a visit the lab may not have been told yet who this is.
        try:
            who = known_by(token)
        except DataError:  # a first visit, or a memory that is broken
            who = viewer(lab)
        return gr.Dropdown(choices=source_choices(lab, recent, who))

    @form.when_complete
    def wire() -> None:
        inputs = form.controls | rows.inputs | filters.inputs | {memory.recent}
        shown = [
            summary,
            load,
            following,
            *filters.outputs,
            fold,
            *columns.values(),
            *rows.outputs,
            *arriving.outputs,
            *report.outputs,
            memory.recent,
        ]
        # The page says itself how far it is.
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        load.click(show, inputs, shown, **quiet)
        # Only what a person chooses here: a preset or a former run brings its own filter along.
        source, steps = form["data.source"], form["data.filters"]
        source.input(usual, [source, steps], steps, **quiet)
        kept = upload.upload(
            said(keep_upload), [upload, memory.recent, steps], [source, steps], api_visibility="private"
        )
        kept.success(show, inputs, shown, **quiet)
        # At a new visit too: what the browser kept arrives as a change.
        memory.recent.change(offer, [memory.recent, memory.token], source, **quiet)
        arriving.wire()
        filters.file.wire(show, inputs, shown)
        for edited in (*filters.wire(), *rows.wire()):
            edited.success(said(again), inputs, shown, **quiet)
        renewed = report.wire().success(show, inputs, shown, **quiet)
        renewed.success(said(report.check), form.controls, report.shown, **quiet)

    return following

"""Where rows come from: the list, the Hub, a path, or a file that is uploaded here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.environment import MEGABYTE, max_upload_bytes
from ...config.viewer import ANONYMOUS, known_by
from ...errors import DataError, SettingsError
from ...lab import Lab
from ...services.datasets import UPLOAD_SUFFIXES
from ..browser_state import Memory, with_recent
from ..context import said, viewer
from ..form import Form
from ..formatting import hours
from .filter_text import read_steps, usual_for, write_steps
from .recent import source_choices

UPLOAD_NOTE = (
    "Whoever runs this lab can read what you upload: bring nothing that is secret. Other visitors see neither it nor "
    "the runs made of it, unless you share one (Runs). Both are removed after {kept}."
)


class SourcePanel:
    """The choice of a dataset, with the filter that is usual for it, and the upload that becomes one."""

    def __init__(self, lab: Lab, form: Form, memory: Memory):
        self._lab, self._form, self._memory = lab, form, memory
        with gr.Row():
            self._source = form.add(
                "data.source",
                gr.Dropdown(
                    source_choices(lab, [], ANONYMOUS),
                    value="bundled",
                    label="Dataset",
                    info="From the list, hub:OWNER/NAME, or the path of a .json, .jsonl, .csv, .tsv or .parquet file",
                    allow_custom_value=True,
                    elem_id="data-source",
                    scale=2,
                    min_width=320,
                ),
            )
            self._upload = gr.File(
                label=f"Or upload a file (at most {max_upload_bytes() // MEGABYTE:,} MB)",
                # A browser looks at the last ending alone.
                file_types=[*UPLOAD_SUFFIXES, ".gz"],
                elem_id="data-upload",
                height=150,
            )
        gr.Markdown(
            UPLOAD_NOTE.format(kept=hours(lab.keep_uploads_hours)), elem_id="data-upload-note", elem_classes="note"
        )

    def wire(self, show: Callable[..., Any], inputs: set[Any], shown: list[Any]) -> None:
        """Connect the events. ``show`` fills ``shown`` with the rows, at once where a file was uploaded."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        steps, recent = self._form["data.filters"], self._memory.recent
        # Only what a person chooses here: a preset or a former run brings its own filter along.
        # A dropdown says it was used whenever it is left, so what it was when it was entered has to be known.
        before = gr.State(None)
        self._source.focus(lambda source: source, self._source, before, queue=False, **quiet)
        self._source.input(_usual, [self._source, steps, before], [steps, before], trigger_mode="always_last", **quiet)
        kept = self._upload.upload(
            self._keep, [self._upload, recent, steps], [self._source, steps, before], api_visibility="private"
        )
        kept.success(show, inputs, shown, **quiet)
        # At a new visit too: what the browser kept arrives as a change.
        recent.change(self._offer, [recent, self._memory.token], self._source, **quiet)

    @said
    def _keep(self, file: str | None, recent: Any, text: str) -> Any:
        if not file:
            return [gr.skip()] * 3
        who = viewer(self._lab)
        kept = str(self._lab.keep_upload(Path(file), who))
        choices = source_choices(self._lab, with_recent(recent, kept), who)
        return [gr.Dropdown(choices=choices, value=kept), *_usual(kept, text, None)]

    def _offer(self, recent: Any, token: Any) -> Any:
        # At the beginning of a visit the lab may not have been told yet who this is.
        try:
            who = known_by(token)
        except DataError:  # a first visit, or a memory that is broken
            who = viewer(self._lab)
        return gr.Dropdown(choices=source_choices(self._lab, recent, who))


def _usual(source: str, text: str, before: str | None) -> list[Any]:
    """The list of filters with the one that is usual for ``source``, where it is another than ``before``; and it."""
    if source == before:
        return [gr.skip(), gr.skip()]
    try:
        return [write_steps(usual_for(source, read_steps(text))), source]
    except SettingsError:
        return [gr.skip(), source]

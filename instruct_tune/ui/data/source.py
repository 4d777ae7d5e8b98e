"""The source of the rows: a dataset of the list, of the Hub, a path, or an uploaded file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.catalog import DATASETS
from ...config.environment import MEGABYTE, max_upload_bytes
from ...config.run_config import Columns
from ...config.viewer import ANONYMOUS, Viewer, known_by
from ...data.file_formats import ENDINGS
from ...errors import DataError, SettingsError
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.housekeeping import Housekeeping
from ...services.uploads import Uploads
from ..browser_state import Memory, recent_sources, with_recent
from ..context import PRIVATE, QUIET, viewer
from ..form import Form
from ..formatting import hours
from ..number_box import NumberBox, OpenSlider
from ..pending_upload import mark_storing
from .filter_text import read_steps, usual_for, write_steps


def source_choices(recent: Any, viewer: Viewer, *, configs: Configurations, uploads: Uploads) -> list[tuple[str, str]]:
    """(label, source) of the catalog and of the browser's recent sources.

    The browser's list is untrusted: files that are gone and sources that ``viewer`` may not use are left out.
    """
    offered = [(f"{card.source}: {card.note}", card.source) for card in DATASETS]
    catalog = {source for _, source in offered}
    recent_files = [source for source in recent_sources(recent) if source not in catalog and _exists(source)]
    recent_files = [source for source in recent_files if configs.may_use(viewer, source)]
    return offered + [(f"{uploads.display_name(source)}: loaded lately", source) for source in recent_files]


def _exists(source: str) -> bool:
    return source.startswith("hub:") or os.path.isfile(os.path.expanduser(source))


UPLOAD_NOTE = (
    "Whoever runs this lab can read what you upload. Other visitors see neither it nor the runs made of it, unless you "
    "share one. Both are removed after {kept}."
)


class SourcePanel:
    """The dropdown of datasets, which also sets the default filter of each, and the upload."""

    def __init__(
        self,
        form: Form,
        memory: Memory,
        *,
        configs: Configurations,
        uploads: Uploads,
        housekeeping: Housekeeping,
        access: Access,
    ):
        self._configs, self._uploads, self._access = configs, uploads, access
        self._form, self._memory = form, memory
        with gr.Row():
            self._source = form.add(
                "data.source",
                gr.Dropdown(
                    source_choices([], ANONYMOUS, configs=configs, uploads=uploads),
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
                # A browser compares only the last suffix, so .json.gz needs .gz.
                file_types=[*ENDINGS, ".gz"],
                elem_id="data-upload",
                height=72,
            )
        gr.Markdown(
            UPLOAD_NOTE.format(kept=hours(housekeeping.keep_hours)), elem_id="data-upload-note", elem_classes="note"
        )

    def wire(self, show: Callable[..., Any], inputs: set[Any], shown: list[Any]) -> tuple[Any, Any]:
        """Connect the events. ``show`` loads the rows into ``shown``; it runs right after an upload.

        Returns the event of another choice in the dropdown, and that which shows an upload.
        """
        steps, recent = self._form["data.filters"], self._memory.recent
        # "input" only: a preset or a former run sets the source together with its own filters.
        # gradio's dropdown sends "input" whenever it loses focus, so its value on focus is kept for comparison.
        before = gr.State(None)
        self._source.focus(lambda source: source, self._source, before, queue=False, **QUIET)
        chosen = self._source.input(
            _with_default_filter, [self._source, steps, before], [steps, before], trigger_mode="always_last", **QUIET
        )
        sent, named = [self._upload, recent, steps], [self._source, steps, before]
        # The last of several files counts, also where it is sent while the one before is being stored.
        always = {"trigger_mode": "always_last", **PRIVATE}
        uploaded = mark_storing(self._upload, lambda: self._upload.upload(self._store_upload, sent, named, **always))
        # A file that was refused is not in use: the box does not go on naming it, or one that was sent after it.
        uploaded.failure(None, None, self._upload, js="() => null", **QUIET)
        loaded = uploaded.success(show, inputs, shown, trigger_mode="multiple", **QUIET)
        # Covers a new visit too: the browser's stored value arrives as a change.
        recent.change(self._refresh_choices, [recent, self._memory.token], self._source, **QUIET)
        return chosen, loaded

    def _store_upload(self, file: str | None, recent: Any, text: str) -> Any:
        if not file:
            return [gr.skip()] * 3
        requester = viewer(self._access)
        uploaded = str(self._uploads.keep(requester, Path(file)))
        choices = source_choices(with_recent(recent, uploaded), requester, configs=self._configs, uploads=self._uploads)
        return [gr.Dropdown(choices=choices, value=uploaded), *_with_default_filter(uploaded, text, None)]

    def _refresh_choices(self, recent: Any, token: Any) -> Any:
        # At the start of a visit the request may not carry the visitor's token yet.
        try:
            requester = known_by(token)
        except DataError:  # first visit, or an invalid token in the browser
            requester = viewer(self._access)
        return gr.Dropdown(choices=source_choices(recent, requester, configs=self._configs, uploads=self._uploads))


def _with_default_filter(source: str, text: str, before: str | None) -> list[Any]:
    """Filters with the default one of ``source``, and ``source``; nothing changes where it equals ``before``."""
    if source == before:
        return [gr.skip(), gr.skip()]
    try:
        return [write_steps(usual_for(source, read_steps(text))), source]
    except SettingsError:
        return [gr.skip(), source]


FOLD = "Columns and split"
HELP = {
    "instruction": "What is asked",
    "input": "What it is asked about; empty: the dataset has none",
    "output": "The answer to learn",
    "system": "A system prompt, put in front of the instruction; empty: none",
    "ignore": "Columns that change what a row means and are left out on purpose (tools, history), with commas between",
}
LABELS = {"ignore": "Columns to leave out"}
DEFAULTS = {"system": "", "ignore": ""}


class ColumnsPanel:
    """A fold of column names and split settings; it opens where other column names were proposed."""

    def __init__(self, form: Form):
        with gr.Accordion(FOLD, open=False, elem_id="data-fold") as self._fold:
            self._boxes: dict[str, Any] = {}
            for part in ("instruction", "input", "output", "system", "ignore"):
                self._boxes[part] = form.add(f"data.columns.{part}", _box(part), FOLD)
            self._share = form.add(
                "data.test_size",
                OpenSlider(0.05, 0.5, 0.2, step=0.05, label="Held-out share", info="Rows kept for measuring"),
                FOLD,
            )
            self._seed = form.add(
                "data.seed", NumberBox(42, label="Seed", precision=0, info="Decides shuffle and split"), FOLD
            )
            self.unify = form.add(
                "data.unify_newlines",
                gr.Checkbox(
                    False, label="Unify line ends", info="Every \\r\\n becomes \\n", elem_id="data-unify-newlines"
                ),
                FOLD,
            )
            self._split = form.add(
                "data.split", gr.Textbox("train", label="Split", info="Which part of a Hub dataset"), FOLD
            )

    def wire(self) -> list[Any]:
        """Make the events after which the rows may be others; they do nothing else. Text counts once it is left."""
        texts = [event for box in (*self._boxes.values(), self._split) for event in (box.blur, box.submit)]
        return [
            gr.on([*texts, self._share.release, self._seed.submit, self._seed.blur, self.unify.input], None, **QUIET)
        ]

    @property
    def outputs(self) -> list[Any]:
        """The components that ``proposed`` updates."""
        return [self._fold, *self._boxes.values()]

    def proposed(self, columns: Columns) -> dict[Any, Any]:
        """Open the fold with the proposed column names, so that a person can change them."""
        names = {**vars(columns), "ignore": ", ".join(columns.ignore)}
        texts = {box: names[part] or "" for part, box in self._boxes.items()}
        return {self._fold: gr.Accordion(open=True), **texts}


def _box(part: str) -> gr.Textbox:
    label = LABELS.get(part, f"Column of the {part}")
    return gr.Textbox(DEFAULTS.get(part, part), label=label, info=HELP[part], elem_id=f"data-column-{part}")

"""A ledger as a file of one's own: saved with what each filter kept, loaded to get the same rows again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ...data import ledger as ledger_file
from ...errors import DataError
from ...export.machine_paths import data_to_share, last_name, ledger_to_share, source_to_share
from ...lab import Lab
from ...services.datasets import UPLOAD_SUFFIXES
from ..context import said, viewer
from ..downloads import Outgoing, handing_out, press
from ..form import Form


class LedgerPanel:
    """Two buttons; loading one fills in all that the Data tab asks."""

    def __init__(self, lab: Lab, form: Form):
        self._lab, self._form, self._outgoing = lab, form, Outgoing()
        with gr.Row():
            self._save = gr.Button("Save as a file", size="md", elem_id="ledger-save", min_width=160)
            self._load = gr.UploadButton(
                "Load a saved one", file_types=[".json"], size="md", elem_id="ledger-load", min_width=160
            )
        gr.Markdown(
            "The file holds dataset, columns, filters and split, and the fingerprint of the rows that they gave.",
            elem_classes="note",
        )
        self._download = handing_out("ledger-download")
        self._expected = gr.State("")

    def wire(self, show: Any, inputs: set[Any], shown: list[Any]) -> None:
        """Connect the buttons; ``show`` loads what a file asks for."""
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        written = self._save.click(said(self._write), self._form.controls, self._download, **quiet)
        written.success(None, None, None, js=press("ledger-download"))
        asked = [control for name, control in self._form.named.items() if name.startswith("data.")]
        read = self._load.upload(
            said(self._read),
            {self._load, self._form["model"], self._form["data.source"]},
            [*asked, self._expected],
            **quiet,
        )
        there = read.success(show, inputs, shown, **quiet)
        there.success(said(self._compare), self._form.controls | {self._expected}, None, **quiet)

    def _write(self, values: dict[Any, Any]) -> str:
        who = viewer(self._lab)
        config = self._lab.config(self._form.rows(values), who)
        if not self._lab.rows_at_hand(config, who):
            raise DataError("Press Load and split first: the file says what each filter kept.")
        told = self._lab.data(config, viewer=who)
        file = self._outgoing.folder() / "ledger.json"
        ledger = ledger_to_share(told["ledger"])
        ledger_file.save(file, data_to_share(config.data), ledger, told["fingerprint"])
        return str(file)

    def _read(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        saved = ledger_file.read(Path(values[self._load]))
        # One that was written by hand may leave it to the model whose tokens are counted.
        given = {
            "model": values[self._form["model"]],
            "data": found_again(saved.data, values[self._form["data.source"]]),
        }
        config = self._lab.config(given, viewer(self._lab))
        filled = self._form.fill(config)
        names = [name for name in self._form.named if name.startswith("data.")]
        return {**{self._form[name]: filled[self._form[name]] for name in names}, self._expected: saved.fingerprint}

    def _compare(self, values: Mapping[Any, Any]) -> None:
        told = self._lab.data(self._form.rows(values), viewer=viewer(self._lab))
        if told["fingerprint"] == values[self._expected]:
            gr.Info("These are the same rows as when it was saved.")
        else:
            gr.Warning("These are other rows than when it was saved: the dataset has changed since, or the file.")


def found_again(saved: Mapping[str, Any], current: Any) -> dict[str, Any]:
    """The saved ``data`` section, where it names a file without its folder: with the form's source, if it is that file.

    Raises DataError where it is another file.
    """
    source = saved.get("source")
    if not isinstance(source, str) or source != last_name(source) or os.path.isfile(source):
        return dict(saved)
    if Path(source).suffix.lower() not in UPLOAD_SUFFIXES:
        return dict(saved)
    if source == source_to_share(str(current)):
        return {**saved, "source": current}
    raise DataError(f"The list is of the file {source[:80]}: choose or upload that file first, then load the list.")

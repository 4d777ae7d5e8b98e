"""Export of adapters, merged models, GGUF adapters and runs as one page, and import of a zip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.viewer import Viewer
from ...errors import BusyError
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.runs import Runs
from ...services.transfers import Transfers
from ..context import PRIVATE, QUIET, inform, viewer
from ..downloads import Outgoing, handing_out, press
from ..form import Form
from .details import required

WritePage = Callable[[Viewer, str, Path, bool], Path]
"""Writes a run as one page: (viewer, run's id, file, whether with the texts of private rows)."""


class RunFiles:
    """The hidden button that downloads an exported zip, and the import button."""

    def __init__(
        self, *, configs: Configurations, runs: Runs, transfers: Transfers, access: Access, write_page: WritePage
    ):
        self.configs, self.runs, self.transfers, self.access = configs, runs, transfers, access
        self.write_page = write_page
        self.outgoing = Outgoing()
        self._merging: set[str] = set()
        """The runs whose merged model is being written: a double click would write it twice."""
        self.download = handing_out("runs-download")

    def import_button(self) -> None:
        """Add the button that imports a run or an adapter."""
        self.arriving = gr.UploadButton(
            "Import a run or adapter (.zip)", file_types=[".zip"], elem_id="runs-import", size="sm", min_width=0
        )

    def page_choice(self) -> None:
        """Add the choice of what a page of a run on private rows holds."""
        self.with_rows = gr.Checkbox(
            False,
            label="Private rows in the page",
            info="Else it holds no text of an upload, a file or a private dataset",
            elem_id="runs-page-rows",
            container=False,
        )

    def wire(
        self, form: Form, chosen: gr.State, export: gr.Button, merged: gr.Button, gguf: gr.Button, page: gr.Button
    ) -> Any:
        """Connect the buttons; returns the event of an import, whose run becomes the ``chosen`` one."""

        def take_in(values: dict[Any, Any]) -> str:
            # The Data tab's rows are those to compare and measure it on, if the zip has none of its own.
            rows = self.configs.read(viewer(self.access), form.rows(values)).to_dict()["data"]
            run_id = self.transfers.import_run(viewer(self.access), Path(values[self.arriving]), "", rows)
            inform(self.runs.get(viewer(self.access), run_id).message)
            return run_id

        # The second press may be for another run.
        each = {**PRIVATE, "trigger_mode": "multiple"}
        for button, write in ((export, self._export), (merged, self._merge), (gguf, self._gguf)):
            written = button.click(write, chosen, self.download, **each)
            written.success(None, None, None, js=press("runs-download"))
        written = page.click(self._page, [chosen, self.with_rows], self.download, **each)
        written.success(None, None, None, js=press("runs-download"))
        inputs = form.controls | {self.arriving}
        return self.arriving.upload(take_in, inputs, chosen, trigger_mode="multiple", **QUIET)

    def _export(self, run_id: str | None) -> str:
        chosen = self.runs.get(viewer(self.access), required(run_id)).id
        return str(self.transfers.export(viewer(self.access), chosen, self.outgoing.folder() / f"{chosen}.zip"))

    def _page(self, run_id: str | None, with_rows: bool) -> str:
        requester = viewer(self.access)
        chosen = self.runs.get(requester, required(run_id)).id
        return str(self.write_page(requester, chosen, self.outgoing.folder() / f"{chosen}.html", bool(with_rows)))

    def _merge(self, run_id: str | None) -> str:
        chosen = self.runs.get(viewer(self.access), required(run_id)).id
        if chosen in self._merging:
            raise BusyError("This run is being merged already: the download begins when the zip is written.")
        gr.Info("Merging the adapter into a copy of its base model: the download begins when the zip is written.")
        zipped = self.outgoing.folder() / f"{chosen}-merged.zip"
        self._merging.add(chosen)
        try:
            return str(self.transfers.export_merged(viewer(self.access), chosen, zipped))
        finally:
            self._merging.discard(chosen)

    def _gguf(self, run_id: str | None) -> str:
        chosen = self.runs.get(viewer(self.access), required(run_id)).id
        return str(
            self.transfers.export_gguf(viewer(self.access), chosen, self.outgoing.folder() / f"{chosen}-gguf.zip")
        )

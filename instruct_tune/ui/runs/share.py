"""Share: a run made of an upload is its uploader's alone until this button is pressed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import NotFoundError
from ...lab import Lab
from ..context import said, viewer

SHARE, UNSHARE = "Share with everyone", "Make private"


class ShareButton:
    """The button beside a chosen run; it can be pressed where there is something to share."""

    def __init__(self, lab: Lab, chosen: gr.State):
        self.lab, self.chosen = lab, chosen
        self.button = gr.Button(SHARE, elem_id="runs-share", scale=1, min_width=200, interactive=False)

    def wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.chosen.change(self._label, self.chosen, self.button, **quiet)
        self.button.click(self._press, self.chosen, self.button, **quiet)

    def _label(self, run_id: str | None) -> Any:
        shared = self.lab.sharing(run_id, viewer(self.lab))
        return gr.Button(UNSHARE if shared else SHARE, interactive=shared is not None)

    @said
    def _press(self, run_id: str | None) -> Any:
        who = viewer(self.lab)
        if run_id is None:
            raise NotFoundError("Choose a run first: click its row.")
        shared = not self.lab.sharing(run_id, who)
        self.lab.share_run(run_id, shared, who)
        gr.Info("Everyone sees it now, its rows and answers too." if shared else "It is yours alone again.")
        return self._label(run_id)

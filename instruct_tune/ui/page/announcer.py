"""What reaches people who look elsewhere: the browser tab's title, and a screen reader's polite region.

It stands outside the tabs, since what is in a tab that is not open is not in the page.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...lab import Lab
from ...store.run_store import LIVE
from .. import run_text
from ..context import viewer

# The region itself stays and only its text changes: that is what screen readers listen for.
_TELL = """
const region = element.querySelector('.announcer');
const tell = () => {
  const told = props.value;
  if (!told) { return; }
  if (region.textContent !== told.said) { region.textContent = told.said; }
  if (document.title !== told.title) { document.title = told.title; }
};
watch('value', tell);
tell();
"""


class Announcer:
    """Follows the same run as the Train tab; fed by the page's timer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.seen = gr.State(None)
        self.voice = gr.HTML(
            None,
            html_template='<div class="announcer" role="status" aria-live="polite"></div>',
            # Out of sight, but not hidden: what is hidden is not read out.
            css_template=".announcer { position: absolute; width: 1px; height: 1px; overflow: hidden; "
            "clip-path: inset(50%); white-space: nowrap; }",
            js_on_load=_TELL,
            elem_id="announcer",
        )

    def follow(self, shown_run: gr.State) -> None:
        """Name the run that it speaks of, once Train is there."""
        self.inputs = [shown_run, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.voice]

    def show(self, run_id: str | None, seen: Any) -> list[Any]:
        """Words for the run that is followed, where they are others than before."""
        if run_id is None or not self.lab.sees_run(run_id, viewer(self.lab)):
            return [gr.skip(), gr.skip()]
        told = self.lab.run_status(run_id, viewer(self.lab))
        live = told["status"] in LIVE
        # Seen at work by this window; what ended before it was opened needs no announcement.
        was_live = live or (seen is not None and seen["run"] == run_id and seen["live"])
        said = run_text.announcement(told) if was_live else ""
        now = {"run": run_id, "live": was_live, "said": said, "title": run_text.window_title(told, was_live)}
        if now == seen:
            return [gr.skip(), gr.skip()]
        return [now, {"said": now["said"], "title": now["title"]}]

"""The strip above the tabs: data, model, the run that is followed, and what the lab is busy with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...lab import Lab
from ...store.run_store import LIVE
from ...text.markdown import plain
from .. import run_text
from ..context import viewer
from ..form import Form


class StatusBar:
    """One line of text; fed by the page's timer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.line = gr.Markdown("", elem_id="strip")
        self._seen = gr.State(None)

    def follow(self, form: Form, shown_run: gr.State) -> None:
        """Name what it tells of, once the tabs below it are there."""
        self.inputs = [form["data.source"], form["model"], form["data.limit"], shown_run, self._seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.line, self._seen]

    def show(self, source: str, model: str, limit: Any, run_id: str | None, seen: Any) -> list[Any]:
        """The line, where it is another than before."""
        run = None
        who = viewer(self.lab)
        if run_id and self.lab.runs.is_visible(who, run_id):
            run = {**self.lab.training.status(who, run_id), "name": self.lab.runs.get(who, run_id).name}
        now = words(
            self.lab.uploads.display_name(str(source)),
            int(limit) if isinstance(limit, int | float) else None,
            str(model),
            run,
            self.lab.training.busy_with(who),
        )
        return [gr.skip(), gr.skip()] if now == seen else [now, now]


def words(dataset: str, rows: int | None, model: str, run: Mapping[str, Any] | None, busy: str | None) -> str:
    """What is chosen and what is going on, in one line above the tabs."""
    parts = [f"**Data** {plain(dataset, 40)}" + (f" ({rows:,} rows)" if rows else ""), f"**Model** {plain(model, 60)}"]
    if run:
        state = run["status"] + (f", step {run['step']}/{run['total_steps']}" if run["total_steps"] else "")
        state += f", place {run['place']} in line" if run["place"] else ""
        parts.append(f"**Run** {plain(run['name'], 40)}: {state}")
    parts.append(f"**Lab** busy with {plain(busy, 60)}" if busy else "**Lab** idle")
    return " &nbsp;·&nbsp; ".join(parts)


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
        if run_id is None or not self.lab.runs.is_visible(viewer(self.lab), run_id):
            return [gr.skip(), gr.skip()]
        told = self.lab.training.status(viewer(self.lab), run_id)
        live = told["status"] in LIVE
        # Seen at work by this window; what ended before it was opened needs no announcement.
        was_live = live or (seen is not None and seen["run"] == run_id and seen["live"])
        said = run_text.announcement(told) if was_live else ""
        now = {"run": run_id, "live": was_live, "said": said, "title": run_text.window_title(told, was_live)}
        if now == seen:
            return [gr.skip(), gr.skip()]
        return [now, {"said": now["said"], "title": now["title"]}]

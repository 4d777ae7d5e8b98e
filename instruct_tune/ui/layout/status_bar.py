"""The status bar above the tabs (data, model, the shown run, what the lab does), and its screen-reader text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...errors import DataError
from ...services.access import Access
from ...services.default_model import DefaultModel
from ...services.runs import Runs
from ...services.training import Training
from ...services.uploads import Uploads
from ...store.run import LIVE
from ...text.markdown import plain
from .. import run_text
from ..context import QUIET, viewer
from ..form import Form


class StatusBar:
    """One line of text, updated by the page's timer, and a button while the default model is fetched."""

    def __init__(
        self, *, uploads: Uploads, runs: Runs, training: Training, default_model: DefaultModel, access: Access
    ):
        self.uploads, self.runs, self.training, self.access = uploads, runs, training, access
        self.default_model = default_model
        self.line = gr.Markdown("", elem_id="strip")
        self._stop = gr.Button("Stop the download", size="sm", visible=False, elem_id="strip-stop", min_width=0)
        self._stop.click(self.stop_download, None, self._stop, **QUIET)
        self._seen = gr.State(None)

    def follow(self, form: Form, shown_run: gr.State) -> None:
        """Set the inputs, once the tabs have added them."""
        self.inputs = [form["data.source"], form["model"], form["data.limit"], shown_run, self._seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.line, self._seen, self._stop]

    def show(self, source: str, model: str, limit: Any, run_id: str | None, seen: Any) -> list[Any]:
        """The line, if it has changed."""
        run = None
        user = viewer(self.access)
        if run_id and self.runs.is_visible(user, run_id):
            run = {**self.training.status(user, run_id), "name": self.runs.get(user, run_id).name}
        fetched = self.default_model.progress
        can_stop = self.default_model.is_downloading and self._may_stop()
        now = words(
            self.uploads.display_name(str(source)),
            int(limit) if isinstance(limit, int | float) else None,
            str(model),
            run,
            self.training.busy_with(user),
            fetched,
        )
        if [now, can_stop] == seen:
            return [gr.skip()] * 3
        return [now, [now, can_stop], gr.Button(visible=can_stop)]

    def stop_download(self) -> Any:
        """Stop fetching the default model, for the host; hides the button."""
        if not self._may_stop():
            raise DataError("Only the host of this lab can stop the download.")
        self.default_model.stop()
        return gr.Button(visible=False)

    def _may_stop(self) -> bool:
        return viewer(self.access).host or not self.access.multi_user


_BETWEEN = " &nbsp;·&nbsp; "


def words(
    dataset: str,
    rows: int | None,
    model: str,
    run: Mapping[str, Any] | None,
    busy: str | None,
    fetched: str | None = None,
) -> str:
    """The chosen data and model, the shown run, and what the lab is busy with, in one line of markdown.

    ``fetched``: what is done for the default model now.
    """
    chosen = [
        f"**Data** {plain(dataset, 40)}" + (f" (at most {rows:,} rows)" if rows else ""),
        f"**Model** {plain(short_name(model), 60)}",
    ]
    parts = []
    if run:
        state = run["status"] + (f", step {run['step']}/{run['total_steps']}" if run["total_steps"] else "")
        state += f", place {run['place']} in line" if run["place"] else ""
        parts.append(f"**Run** {plain(run['name'], 40)}: {state}")
    # First: a run that has been started meanwhile waits for it.
    if fetched:
        parts.append(f"**Lab** gets the first model ready: {plain(fetched, 80)}")
    else:
        parts.append(f"**Lab** busy with {plain(busy, 60)}" if busy else "**Lab** idle")
    # A phone shows the rest alone.
    wide = f'<span class="wide">{"".join(f"{part}{_BETWEEN}" for part in chosen)}</span>'
    return wide + _BETWEEN.join(parts)


def short_name(model: str) -> str:
    """The last part of a Hub id or of a folder's path."""
    return model.rstrip("/").rpartition("/")[2]


# Only the region's text changes, not the node: screen readers announce that.
_ANNOUNCE = """
const region = element.querySelector('.announcer');
const update = () => {
  const value = props.value;
  if (!value) { return; }
  if (region.textContent !== value.text) { region.textContent = value.text; }
  if (document.title !== value.title) { document.title = value.title; }
};
watch('value', update);
update();
"""


class Announcer:
    """Announces the run shown on the Train tab to screen readers, and sets the window's title; updated by the timer."""

    def __init__(self, *, runs: Runs, training: Training, access: Access):
        self.runs, self.training, self.access = runs, training, access
        self.seen = gr.State(None)
        self.voice = gr.HTML(
            None,
            html_template='<div class="announcer" role="status" aria-live="polite"></div>',
            # Out of sight, but not hidden: hidden text is not read out.
            css_template=".announcer { position: absolute; width: 1px; height: 1px; overflow: hidden; "
            "clip-path: inset(50%); white-space: nowrap; }",
            js_on_load=_ANNOUNCE,
            elem_id="announcer",
        )

    def follow(self, shown_run: gr.State) -> None:
        """Set the inputs, once the Train tab has made ``shown_run``."""
        self.inputs = [shown_run, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.voice]

    def show(self, run_id: str | None, seen: Any) -> list[Any]:
        """The text and the title for the shown run, if they have changed."""
        if run_id is None or not self.runs.is_visible(viewer(self.access), run_id):
            return [gr.skip(), gr.skip()]
        status = self.training.status(viewer(self.access), run_id)
        live = status["status"] in LIVE
        # Whether this window saw the run live; one that ended before it was opened needs no announcement.
        was_live = live or (seen is not None and seen["run"] == run_id and seen["live"])
        text = run_text.announcement(status) if was_live else ""
        now = {"run": run_id, "live": was_live, "text": text, "title": run_text.window_title(status, was_live)}
        if now == seen:
            return [gr.skip(), gr.skip()]
        return [now, {"text": now["text"], "title": now["title"]}]

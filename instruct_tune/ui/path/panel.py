"""The panel Learn: it shows a step, shows the step on the page and puts the form back, and notices what is done.

The server sends a whole path when the panel is opened, and sentences about what the visitor did. All else happens in
the browser, in ``static/path.js``: the next step answers at once, and the form stays the visitor's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from ...config.environment import paths_dir
from ...config.viewer import Viewer
from ...errors import DataError, LabError
from ...lesson.library import hosted_path, own_path
from ...lesson.parse import MAX_BYTES, LessonPath, parse_path
from ...services.access import Access
from ...services.configurations import Configurations
from ...text.plain_text import shortened
from ..browser_state import Memory
from ..context import PRIVATE, QUIET, viewer
from ..form import Form
from ..scripted_html import STATIC, packed, static_text
from .notices import OF_FORM, Notices
from .places import Places, stored_step

LABEL = "Learn"
_PANEL = """
<div class="top"><select class="of" aria-label="Step"></select><button type="button" class="close">Close</button></div>
<p class="origin"></p>
<h2 tabindex="-1"></h2>
<div class="said"></div>
<p class="task"></p>
<p class="noticed" role="status" aria-live="polite"></p>
<div class="shown"></div>
<div class="buttons">
  <button type="button" class="backward">Back</button>
  <button type="button" class="demo"></button>
  <button type="button" class="forward">Next</button>
</div>
<p class="own">You can write a path of your own for a class: see docs/teaching.md.
<a href="room">A class meets in a room.</a></p>
<p class="announced" role="status" aria-live="polite"></p>
"""
SCRIPT = STATIC / "path.js"
_VERSION = hashlib.sha256(static_text(SCRIPT.name).encode()).hexdigest()[:12]
_ADDRESS = f"gradio_api/file={quote(str(SCRIPT))}?{_VERSION}"
_SCRIPT = f"import(new URL({json.dumps(_ADDRESS)}, document.baseURI))"
"""The panel's script is no part of the page: most who open a page do not open the panel. The version in its address
keeps a browser from using the script of an older page."""
_DRAW = f"{_SCRIPT}.then(script => script.default(element, props, watch));"
_OPEN = f"async kept => (await {_SCRIPT}).wanted(kept, {MAX_BYTES})"
_APPLY = "(...values) => window.labPath.apply(values)"
_RETURN = """(kept, label) => {
  const query = new URLSearchParams(location.search);
  const wanted = query.has('path') || query.has('step');
  if (kept?.open || wanted) setTimeout(() => {
    window.labPathOpensItself = !wanted;
    document.querySelector('#path-open').click();
  });
  return [kept?.step > 0 ? `LABEL · ${kept.step + 1}` : label];
}""".replace("LABEL", LABEL)
"""Opens the panel again for who left it open, or for a link with a path."""


class PathPanel:
    """The button in the head, and the panel that it opens; the panel's notice is updated by the page's timer."""

    def __init__(self, memory: Memory, data_dir: Path, *, notices: Notices, configs: Configurations, access: Access):
        self._memory, self._folder = memory, paths_dir(data_dir)
        self._notices, self._configs, self._access = notices, configs, access
        self._path, self.seen = gr.State(None), gr.State(None)
        """The path of a link; None for the lab's own. What the notice was made of."""
        with gr.Column(visible=False, elem_id="path") as self._panel:
            gr.set_static_paths([SCRIPT])
            self._words = gr.HTML(
                None,
                html_template=_PANEL,
                css_template=static_text("path.css"),
                js_on_load=_DRAW,
                elem_id="path-words",
                padding=False,
                apply_default_css=False,
            )
            self.notice = gr.HTML(
                None,
                html_template="<span hidden></span>",
                js_on_load="const tell = () => window.labPath?.notice(props.value);\nwatch('value', tell);\ntell();",
                elem_id="path-notice",
                elem_classes="unseen",
            )
            self._apply = gr.Button("Apply", elem_id="path-apply", elem_classes="unseen")
            self._look = gr.Button("Look", elem_id="path-look", elem_classes="unseen")

    def offer(self) -> None:
        """Add the button that opens the panel."""
        self._open_button = gr.Button(LABEL, size="sm", elem_id="path-open")

    def wire(self, page: gr.Blocks, form: Form, loaded: Any) -> None:
        """Connect the events, once the page is complete. ``loaded``: the event that restores the visitor's form."""
        self._form, self._places = form, Places(page, form)
        kept = self._memory.path
        loaded.then(None, [kept, self._open_button], self._open_button, js=_RETURN, **PRIVATE)
        opened = self._open_button.click(
            self._open, kept, [kept, self._path, self._panel, self._words], js=_OPEN, **QUIET
        )
        controls = list(self._places.controls.values())
        self._apply.click(
            None,
            [kept, *controls],
            [kept, self._panel, self._open_button, *self._places.tabs, *controls],
            js=_APPLY,
            **QUIET,
        )
        row, fault = self._places.controls["format-row"], self._places.controls["format-fault"]
        self._about = (row, fault)
        looked = form.controls | {kept, self._path, row, fault}
        for event in (opened.then, self._look.click):
            event(self._notice_form, looked, [self.seen, self.notice], trigger_mode="always_last", **QUIET)

    def forget_after(self, *events: Callable[..., Any]) -> None:
        """After each event the whole form is the visitor's choice: nothing is put back any more."""
        for event in events:
            event(None, None, None, js="() => { window.labPath?.forget(); }", **QUIET)

    # Opening

    def _open(self, kept: Any) -> list[Any]:
        """Show the lab's path, or that of the link; where that has a fault, the lab's own, and the fault."""
        kept = kept if isinstance(kept, Mapping) else {}
        wanted = kept.get("wanted")
        wanted = wanted if isinstance(wanted, Mapping) else {}
        name = shortened(str(wanted.get("name") or ""), 500)
        origin, fault, path = "", "", None
        try:
            path, origin = self._wanted(wanted, name)
        except LabError as error:
            name, fault = "", f"{error} This is the lab's own path."
        shown = path or own_path()
        step = stored_step(kept, shown) if kept.get("name", "") == name else 0
        if linked := wanted.get("step"):
            step, fault = _linked_step(linked, shown, step, fault)
        value = {**self._places.value(shown), "at": step, "origin": origin, "fault": fault}
        return [
            {"open": True, "step": step, "name": name},
            path,
            gr.Column(visible=True),
            packed(value),
        ]

    def _wanted(self, wanted: Mapping[str, Any], name: str) -> tuple[LessonPath | None, str]:
        """The path of the link and a sentence on where it is from; (None, "") without one. Raises DataError.

        The browser has fetched a path from elsewhere: the lab itself never opens an address that a visitor chose.
        """
        if not name:
            return None, ""
        if wanted.get("fault"):
            raise DataError(f"The path of this link cannot be had: {shortened(str(wanted['fault']), 200)}.")
        if "content" not in wanted:
            return hosted_path(name, self._folder), "A path of this lab's host."
        host = shortened(str(wanted.get("host") or "elsewhere"), 100)
        try:
            content = base64.b64decode(str(wanted["content"])[: 2 * MAX_BYTES], validate=True)
        except (binascii.Error, ValueError):
            raise DataError("The path of this link arrived damaged: open the link again.") from None
        file = shortened(name.partition("?")[0].rstrip("/").rpartition("/")[2], 60)
        return parse_path(content, file), f"A path from {host}, which is not this lab's."

    # Noticing

    @property
    def inputs(self) -> list[Any]:
        return [self._memory.path, self._path, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.notice]

    def show(self, kept: Any, path: LessonPath | None, seen: Any) -> list[Any]:
        """What is noticed about runs, if that has changed."""
        kind = self._kind(kept, path)
        if kind is None or kind in OF_FORM:
            return [gr.skip(), gr.skip()]
        key, sentence = self._notices.of_runs(kind, viewer(self._access))
        return [gr.skip(), gr.skip()] if key == seen else [key, _noticed(kept, path, sentence())]

    def _notice_form(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """What is noticed for the step that was opened, or for the form that was changed."""
        kept, path, about = values[self._memory.path], values[self._path], viewer(self._access)
        kind = self._kind(kept, path)
        if kind is None:
            key: Any = None
            text = ""
        elif kind in OF_FORM:
            text = self._of_form(kind, values, about)
            key = [kind, text]
        else:
            key, sentence = self._notices.of_runs(kind, about)
            text = sentence()
        return {self.seen: key, self.notice: _noticed(kept, path, text)}

    def _of_form(self, kind: str, values: dict[Any, Any], about: Viewer) -> str:
        row, fault = (values[each] for each in self._about)
        try:
            config = self._configs.read(about, self._form.read(values))
            return self._notices.of_form(kind, about, config, int(row or 1), str(fault)) or ""
        except LabError:
            # The tab itself says what is wrong with a setting.
            return ""

    def _kind(self, kept: Any, path: LessonPath | None) -> str | None:
        if not (isinstance(kept, Mapping) and kept.get("open")):
            return None
        shown = path or own_path()
        return shown.steps[stored_step(kept, shown)].notices


def _linked_step(linked: Any, path: LessonPath, step: int, fault: str) -> tuple[int, str]:
    """The index of the step that a link names, from 1; else ``step``, and what is wrong with the link's."""
    if type(linked) is int and 1 <= linked <= len(path.steps):
        return linked - 1, fault
    return step, fault or f"The link's step is not there: this path has {len(path.steps)} steps."


def _noticed(kept: Any, path: LessonPath | None, text: str) -> dict[str, Any]:
    """The notice's value, with the step that it is about."""
    return packed({"at": stored_step(kept, path or own_path()), "text": text})

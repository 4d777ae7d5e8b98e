"""State that a visitor's browser keeps between visits: their secret, the form, recent sources, templates.

The lab keeps none of it. A browser can send anything, so old, broken or forged values are ignored and never raise.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .context import QUIET
from .form import Form
from .number_box import OpenSlider

RECENT_SOURCES = 6
PARENT = "parent"
"""Beside the form's values: the run to continue."""
LONGEST_TEXT = 20_000
"""Longest stored text that is restored, in characters; nobody types more into a form."""


class Memory:
    """The stored state as components: ``token`` (str), ``form`` ({name: value}), ``recent`` ([source]),
    ``templates`` ({name: texts}), ``path`` (the panel Learn: ``{open, step, name}``).

    ``token`` identifies a visitor; it is a secret between their browser and the lab.
    """

    def __init__(self, data_dir: Path):
        key, secret = _keys(data_dir / "browser.json")
        self.token = gr.BrowserState("", storage_key=f"{key}-visitor", secret=secret)
        self.form = gr.BrowserState({}, storage_key=f"{key}-form", secret=secret)
        self.recent = gr.BrowserState([], storage_key=f"{key}-recent", secret=secret)
        self.templates = gr.BrowserState({}, storage_key=f"{key}-templates", secret=secret)
        self.path = gr.BrowserState({}, storage_key=f"{key}-path", secret=secret)

    def follow(self, form: Form, parent: gr.Textbox, parent_changes: Sequence[Any]) -> None:
        """Store the form's values and ``parent`` at each change, in the browser alone: no request to the lab.

        ``parent``: the run to continue. ``parent_changes``: the events after which it is another.
        """
        names, controls = [*form.named, PARENT], [*form.named.values(), parent]
        stores = {"fn": None, "inputs": [self.form, *controls], "outputs": self.form,
                  "js": _REMEMBER.replace("NAMES", json.dumps(names)), **QUIET}  # fmt: skip
        gr.on([control.change for control in form.named.values()], **stores)
        for event in parent_changes:
            event.then(**stores)


# The initial values fire change events before the stored form is read; they must not overwrite it.
_REMEMBER = """(kept, ...values) => {
    if (!window.labFormIsRestored) return [kept];
    // What the panel Learn shows for a moment is not the visitor's own.
    const own = window.labPath ? window.labPath.own : (name, value) => value;
    window.labPath?.formChanged();
    window.labLimits?.check(NAMES, values);
    const now = Object.fromEntries(NAMES.map((name, at) => [name, own(name, values[at]) ?? null]));
    // A link's form is kept beside the visitor's own, which is there again once they leave the link.
    const link = location.search;
    return [/[?&](preset=|set\\.|lock\\.)/.test(link) ? {...kept, linked: {link, form: now}} : now];
}"""

ARRIVING = """(token, kept) => {
    let visitor, resumed = false;
    try {
        // The room's pages keep the secret there. It is read before gradio's has a value at a first visit only.
        visitor = localStorage.getItem('lab-visitor');
        resumed = sessionStorage.getItem('lab-link') === location.search && kept?.linked?.link === location.search;
        sessionStorage.setItem('lab-link', location.search);
    } catch {
        // A browser may refuse storage: then a link fills the form at each load.
    }
    return [token || visitor || '', {...kept, resumed}];
}"""
"""JavaScript before the page's first request: the visitor's secret, and whether this browser tab has opened the same
link before."""

ARRIVED = """token => {
    try {
        localStorage.setItem('lab-visitor', token);
    } catch {
        // Without storage the room's pages meet a new visitor.
    }
}"""
"""JavaScript to run once the visitor's secret is known: the room's pages are theirs too."""

RESTORED = "() => { setTimeout(() => { window.labFormIsRestored = true; }, 500); }"
"""JavaScript to run once the form shows the stored values."""


def restored(form: Form, kept: Any) -> dict[gr.components.Component, Any]:
    """The values to restore, by control; a stored value that its control cannot show is left out.

    A stored value that equals the initial one is left out too: it may have been changed while the state was read.
    """
    if not isinstance(kept, Mapping):
        return {}
    return {
        control: kept[name]
        for name, control in form.named.items()
        if name in kept and kept[name] != control.value and _could_show(control, kept[name])
    }


def restored_parent(kept: Any) -> str | None:
    """The stored run to continue, which may be gone or somebody else's; None if none was chosen."""
    run_id = kept.get(PARENT) if isinstance(kept, Mapping) else None
    return run_id if isinstance(run_id, str) and run_id else None


def is_resumed(kept: Any) -> bool:
    """Whether this browser tab has opened the page's link before (``ARRIVING``)."""
    return isinstance(kept, Mapping) and kept.get("resumed") is True and isinstance(kept.get("linked"), Mapping)


def own_or_linked(kept: Any) -> Any:
    """The stored values to restore: those of the link that the tab is on, else the visitor's own."""
    return kept["linked"].get("form") if is_resumed(kept) else kept


def first_values(form: Form) -> dict[gr.components.Component, Any]:
    """The initial value of each control."""
    return {control: control.value for control in form.named.values()}


def with_recent(recent: Any, source: str) -> list[str]:
    """The valid recent sources with ``source`` first: no duplicates, at most ``RECENT_SOURCES``."""
    return [source, *(each for each in recent_sources(recent) if each != source)][:RECENT_SOURCES]


def recent_sources(recent: Any) -> list[str]:
    """The valid sources in ``recent``, newest first; it comes from the browser and may be anything."""
    if not isinstance(recent, Sequence) or isinstance(recent, str):
        return []
    return [each for each in recent if isinstance(each, str) and 0 < len(each) <= 500][:RECENT_SOURCES]


def _could_show(control: gr.components.Component, value: Any) -> bool:
    if isinstance(control, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(control, gr.Dropdown | gr.Radio):
        choices = [choice for _, choice in control.choices]
        free = isinstance(control, gr.Dropdown) and control.allow_custom_value
        return value in choices or (free and isinstance(value, str) and len(value) <= LONGEST_TEXT)
    if isinstance(control, gr.Number | gr.Slider):
        if value is None or value == "":
            return isinstance(control, gr.Number)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if isinstance(control, OpenSlider):
            # Validation says which values beyond its ends are right.
            return True
        low, high = control.minimum, control.maximum
        return (low is None or value >= low) and (high is None or value <= high)
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _keys(file: Path) -> tuple[str, str]:
    """The browsers' storage key and secret for this lab, kept in ``file``: with new ones after a restart no
    visitor would be recognised as the owner of their runs."""
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))
        return str(keys["key"]), str(keys["secret"])
    except (OSError, ValueError, KeyError, TypeError):
        keys = {"key": f"lab-{secrets.token_hex(8)}", "secret": secrets.token_hex(16)}
    file.write_text(json.dumps(keys), encoding="utf-8")
    return keys["key"], keys["secret"]

"""What a visitor's browser keeps between visits: who they are to this lab, and what the form showed.

Nothing of it is kept by the lab. It comes back from the browser as anything at all, so all that does
not fit is ignored: a memory can be old, broken or made up, and is never an error.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .form import Form

RECENT_SOURCES = 6
LONGEST_TEXT = 20_000
"""Characters of a remembered text; nobody types more into a form."""


class Memory:
    """The browser's keepsakes as components: ``token`` (a text), ``form`` ({name: value}), ``recent`` ([source]),
    ``templates`` ({name: texts}).

    ``token`` tells one visitor from another; it is a secret between a browser and the lab.
    """

    def __init__(self, data_dir: Path):
        key, secret = _keys(data_dir / "browser.json")
        self.token = gr.BrowserState("", storage_key=f"{key}-visitor", secret=secret)
        self.form = gr.BrowserState({}, storage_key=f"{key}-form", secret=secret)
        self.recent = gr.BrowserState([], storage_key=f"{key}-recent", secret=secret)
        self.templates = gr.BrowserState({}, storage_key=f"{key}-templates", secret=secret)

    def follow(self, form: Form) -> None:
        """Keep what the form shows whenever it changes. In the browser alone: the lab is not asked."""
        names, controls = list(form.named), list(form.named.values())
        gr.on(
            [control.change for control in controls],
            None,
            [self.form, *controls],
            self.form,
            js=_REMEMBER.replace("NAMES", json.dumps(names)),
            api_visibility="private",
            show_progress="hidden",
        )


# The page's first values announce themselves as changes, before the memory was read: they must not replace it.
_REMEMBER = """(kept, ...values) => {
    if (!window.labFormIsRestored) return [kept];
    return [Object.fromEntries(NAMES.map((name, at) => [name, values[at] ?? null]))];
}"""

RESTORED = "() => { setTimeout(() => { window.labFormIsRestored = true; }, 500); }"
"""To be run in the browser once the form shows what was remembered."""


def restored(form: Form, kept: Any) -> dict[gr.components.Component, Any]:
    """What each control has to show for a memory; only those whose remembered value they could have.

    What a control shows anyway is left alone: it may have been changed while the memory was read.
    """
    if not isinstance(kept, Mapping):
        return {}
    kept = {**_older_filters(kept), **kept}
    return {
        control: kept[name]
        for name, control in form.named.items()
        if name in kept and kept[name] != control.value and _could_show(control, kept[name])
    }


def _older_filters(kept: Mapping[Any, Any]) -> dict[str, str]:
    """The list of filters out of a form that kept it as a choice, further steps in JSON, and a check box."""
    if "filters" not in kept:
        return {}
    steps = list(_OLDER_CHOICES.get(str(kept["filters"]), ()))
    try:
        further = json.loads(str(kept.get("filters.more") or "[]"))
    except (ValueError, RecursionError):
        further = []
    steps += further if isinstance(further, list) else []
    steps += [{"step": "drop_leakage"}] if kept.get("filters.leakage") is True else []
    return {"data.filters": json.dumps(steps, ensure_ascii=False)}


_OLDER_CHOICES = {
    "Rows without an input (as in the lesson)": [{"step": "without_input"}],
    "Rows with an input": [{"step": "with_input"}],
}


def first_values(form: Form) -> dict[gr.components.Component, Any]:
    """What each control showed before anybody touched it."""
    return {control: control.value for control in form.named.values()}


def with_recent(recent: Any, source: str) -> list[str]:
    """The recent sources with ``source`` in front: each once, the last six, whatever was remembered."""
    return [source, *(each for each in recent_sources(recent) if each != source)][:RECENT_SOURCES]


def recent_sources(recent: Any) -> list[str]:
    """The sources a visitor loaded lately, newest first, out of what their browser says it remembers."""
    if not isinstance(recent, Sequence) or isinstance(recent, str):
        return []
    return [each for each in recent if isinstance(each, str) and 0 < len(each) <= 500][:RECENT_SOURCES]


def _could_show(control: gr.components.Component, value: Any) -> bool:
    if isinstance(control, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(control, gr.Dropdown | gr.Radio):
        known = [choice for _, choice in control.choices]
        free = isinstance(control, gr.Dropdown) and control.allow_custom_value
        return value in known or (free and isinstance(value, str) and len(value) <= LONGEST_TEXT)
    if isinstance(control, gr.Number | gr.Slider):
        if value is None:
            return isinstance(control, gr.Number)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        low, high = control.minimum, control.maximum
        return (low is None or value >= low) and (high is None or value <= high)
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _keys(file: Path) -> tuple[str, str]:
    """The names under which browsers keep things for this lab. Kept in the data folder: with other
    names after a restart every visitor would be a stranger to their own runs."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return str(kept["key"]), str(kept["secret"])
    except (OSError, ValueError, KeyError, TypeError):
        kept = {"key": f"lab-{secrets.token_hex(8)}", "secret": secrets.token_hex(16)}
    file.write_text(json.dumps(kept), encoding="utf-8")
    return kept["key"], kept["secret"]

"""A link that opens Compare with a run, a question and settings: how it is made, and how it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...lab import Lab
from ..run_picker import answering, labelled
from .text import HELD_OUT
from .third_model import ThirdPanel

LONGEST = 2000
"""Characters of a text in a link: more than that, and some servers refuse the address."""

AS_LINK = (
    "(...values) => {const names = %s; const said = new URLSearchParams({tab: 'compare'});"
    f"const row = values[names.indexOf('source')] === '{HELD_OUT}';"
    "names.forEach((name, at) => {const value = values[at];"
    "if (row && (name === 'instruction' || name === 'input')) return;"
    "if (value !== null && value !== undefined && value !== '')"
    f" said.set(name, String(value).slice(0, {LONGEST}));}});"
    "return location.origin + location.pathname + '?' + said;}"
)
"""What makes it, in the browser, which knows the page's address. Filled with the names of the values it is given."""


class Link:
    """Reads the page's address when it is opened. ``named``: the controls that a link sets, by their names there."""

    def __init__(self, lab: Lab, run: gr.Dropdown, third: ThirdPanel, named: Mapping[str, Any]):
        self.lab, self.run, self.third, self.named = lab, run, third, named

    def follow(self, opened: Any, tabs: gr.Tabs, shown: gr.State, seen: gr.State) -> None:
        """Listen to the ``opened`` page. ``shown``: the run Train follows; ``seen``: the runs the page knows of."""
        controls = [control for name, control in self.named.items() if name != "run"]
        outputs = [tabs, self.run, seen, *controls]
        opened.then(self._go, shown, outputs, show_progress="hidden", api_visibility="private")

    def _go(self, shown: str | None, request: gr.Request) -> list[Any]:
        given = dict(request.query_params)
        nothing = [gr.skip()] * (2 + len(self.named))
        if given.get("tab") != "compare":
            return nothing
        ready = answering(self.lab)
        run_id = given.get("run", "")
        if run_id not in {run["id"] for run in ready}:
            gr.Info("The run of this link is not here for you: it was deleted, or is private. Another one is chosen.")
            run_id = ""
        choices = labelled(ready)
        run = [gr.Dropdown(choices=choices, value=run_id), [choices, shown]] if run_id else [gr.skip()] * 2
        values = {name: read(self.named[name], text) for name, text in given.items() if name in self.named}
        controls = [self._set(name, values, run_id) for name in self.named if name != "run"]
        return [gr.Tabs(selected="Compare"), *run, *controls]

    def _set(self, name: str, values: Mapping[str, Any], run_id: str) -> Any:
        value = values.get(name)
        if name == "third":
            return self.third.listed(run_id, value or "") if value else gr.skip()
        return gr.skip() if value is None else value


def read(control: Any, text: str) -> Any:
    """What a link says for a control, if the control can have it; else None."""
    if isinstance(control, gr.Radio):
        return text if text in {value for _, value in control.choices} else None
    if isinstance(control, gr.Slider | gr.Number):
        try:
            number = float(text)
        except ValueError:
            return None
        low, high = control.minimum, control.maximum
        fits = math.isfinite(number) and (low is None or number >= low) and (high is None or number <= high)
        return (int(number) if number.is_integer() else number) if fits else None
    return text[:LONGEST]

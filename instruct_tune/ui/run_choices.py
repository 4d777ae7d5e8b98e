"""The runs that Compare and Evaluate can ask, and which of them is chosen without anybody's doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..archive.recorded import BEST
from ..lab import Lab
from .edge import viewer


def run_choice(elem_id: str) -> gr.Dropdown:
    """The choice of a run on one tab."""
    return gr.Dropdown([], label="Run", info="The trained adapter that answers beside base", elem_id=elem_id)


class RunChoices:
    """Both tabs' choices; fed by the page's timer. ``seen``: the runs that the page knows of."""

    def __init__(self, lab: Lab, shown_run: gr.State, first: gr.Dropdown, second: gr.Dropdown):
        self.lab = lab
        self.seen = gr.State(None)
        self.inputs = [shown_run, first, second, self.seen]
        self.outputs = [self.seen, first, second]

    def show(self, shown: str | None, first: str | None, second: str | None, seen: Any) -> list[Any]:
        """The runs that can answer. The one that Train follows is chosen as soon as it can."""
        who = viewer(self.lab)
        ready = [run for run in self.lab.list_runs(who) if self.lab.has_adapter(run["id"], who)]
        now = [labelled(ready), shown]
        if now == seen:
            return [gr.skip()] * 3
        ids = [run["id"] for run in ready]
        known = [run_id for _, run_id in seen[0]] if seen else []
        arrived = shown in ids and (shown not in known or shown != seen[1])
        own = [run["id"] for run in ready if not run["recorded"]]
        usual = next(iter(own or [run_id for run_id in ids if run_id == BEST] or ids), None)
        values = [shown if arrived else each if each in ids else usual for each in (first, second)]
        return [now, *(gr.Dropdown(choices=now[0], value=value) for value in values)]


def labelled(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown, newest first."""
    return [
        (f"{run['name']} · {run['recorded'] or run['status']} · {run['model'].split('/')[-1]}", run["id"])
        for run in runs
    ]

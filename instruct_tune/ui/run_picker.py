"""The runs that Compare and Evaluate can ask, and which of them is chosen without anybody's doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..lab import Lab
from ..runs.examples import BEST
from .context import viewer


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
        ready = answering(self.lab)
        now = [labelled(ready), shown]
        if now == seen:
            return [gr.skip()] * 3
        ids = [run["id"] for run in ready]
        known = [run_id for _, run_id in seen[0]] if seen else []
        arrived = shown in ids and (shown not in known or shown != seen[1])
        own = [run["id"] for run in ready if not run["recorded"]]
        usual = next(iter(own or [run_id for run_id in ids if run_id == BEST] or ids), None)
        gone = not set(known) <= set(ids)

        def listing(chosen: str | None) -> gr.Dropdown:
            value = shown if arrived else chosen if chosen in ids else usual
            if value == chosen and not gone:
                # What stays is not said: somebody may be choosing another one just now.
                return gr.Dropdown(choices=now[0])
            # Where a run is gone all is said: gradio refuses the next poll of a dropdown with what its list has not.
            return gr.Dropdown(choices=now[0], value=value)

        return [now, listing(first), listing(second)]


def answering(lab: Lab) -> list[dict[str, Any]]:
    """The runs that can answer the one who asks, newest first."""
    who = viewer(lab)
    return [run for run in lab.list_runs(who) if lab.has_adapter(run["id"], who)]


def labelled(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown, newest first."""
    return [
        (f"{run['name']} · {run['recorded'] or run['status']} · {run['model'].split('/')[-1]}", run["id"])
        for run in runs
    ]

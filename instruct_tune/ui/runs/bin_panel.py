"""The bin: deleted runs that can still be restored, in every window of whoever may; fed by the page's timer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import NotFoundError
from ...lab import Lab
from ..context import said, viewer


class BinPanel:
    """A fold that is there while something is in the bin: which run, how long it can be restored, and the button."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.seen = gr.State([])
        with (
            gr.Accordion("Deleted, can be restored", open=False, visible=False, elem_id="runs-bin") as self.fold,
            gr.Row(elem_classes="foot"),
        ):
            self.run = gr.Dropdown(
                [],
                label="Run",
                info="Deleted for good when its time is over, or when the lab starts again",
                elem_id="runs-binned",
                scale=3,
                min_width=240,
            )
            self.restore = gr.Button("Restore", elem_id="runs-undo", scale=1, min_width=130)

    @property
    def inputs(self) -> list[Any]:
        # Not the choice: one that is in the list no more would make gradio refuse the whole poll.
        return [self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.fold, self.run]

    def show(self, seen: list[Any]) -> list[Any]:
        """What changed since ``seen``; the run that was deleted last is chosen when others are there than before."""
        now = bin_choices(self.lab.binned_runs(viewer(self.lab)))
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        ids, known = ([run_id for _, run_id in choices] for choices in (now, seen))
        same = gr.Dropdown(choices=now)
        run = same if ids == known else gr.Dropdown(choices=now, value=next(iter(ids), None))
        return [now, gr.Accordion(visible=bool(now)), run]

    def wire(self, chosen: gr.State) -> None:
        """Connect the button; what is restored becomes the ``chosen`` run of the table."""
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.restore.click(self._restore, self.run, chosen, **private)
        # What a person did shows at once, not at the timer's next tick.
        chosen.change(self.show, self.inputs, self.outputs, queue=False, **private)

    @said
    def _restore(self, run_id: str | None) -> str:
        if not run_id:
            raise NotFoundError("Choose which of the deleted runs to restore.")
        self.lab.unbin_run(run_id, viewer(self.lab))
        return run_id


def bin_choices(binned: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown: each deleted run and how long it can still be restored."""
    return [(f"{run['name']} · {_minutes(run['seconds_left'])} left", run["id"]) for run in binned]


def _minutes(seconds: float) -> str:
    return f"{int(seconds / 60)} min" if seconds >= 60 else "less than a minute"

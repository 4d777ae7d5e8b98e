"""A third answer beside base and the run: another run, an earlier checkpoint, or the run at another strength."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...lab import Lab
from ...services.answerers import BASE_RUN, MAX_STRENGTH
from ...store.run_store import Run
from ..context import user_errors, viewer

NOBODY = ""
"""What is chosen where there is no third."""


class ThirdModelPanel:
    """A fold with who it is and how strong. ``who`` names a run, or ``run@step`` for a checkpoint of it."""

    def __init__(self, lab: Lab, run: gr.Dropdown):
        self.lab, self.run = lab, run
        with gr.Accordion("A third answer", open=False, elem_id="compare-third-fold") as self.fold, gr.Row():
            self.who = gr.Dropdown(
                [("Nobody", NOBODY)],
                value=NOBODY,
                label="Also ask",
                info="This run at another strength, a checkpoint it has kept, or another run of the same base model",
                elem_id="compare-third-who",
                min_width=320,
            )
            self.strength = gr.Slider(
                0.05,
                MAX_STRENGTH,
                1,
                step=0.05,
                label="Its adapter's strength",
                info="1: as trained",
                elem_id="compare-third-strength",
                min_width=220,
            )
        self.controls = [self.who, self.strength]

    def wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        for changed in (self.fold.expand, self.run.change):
            changed(self._list, [self.run, self.who], self.who, **quiet)

    @user_errors
    def _list(self, run_id: str | None, chosen: str) -> Any:
        """Who can be asked now; the choice stays where it still can."""
        choices = self._choices(run_id)
        if chosen in {value for _, value in choices}:
            # What stays is not said: somebody may be choosing another one just now.
            return gr.Dropdown(choices=choices)
        return gr.Dropdown(choices=choices, value=NOBODY)

    def listed(self, run_id: str | None, chosen: str) -> Any:
        """The list for a run, with ``chosen`` in it if it can answer beside that run."""
        choices = self._choices(run_id)
        there = chosen in {value for _, value in choices}
        return gr.Dropdown(choices=choices, value=chosen if there else NOBODY)

    def _choices(self, run_id: str | None) -> list[tuple[str, str]]:
        who = viewer(self.lab)
        there = run_id and self.lab.runs.is_visible(who, run_id) and self.lab.answerers.has_adapter(who, run_id)
        joining = self.lab.inference.comparable(who, run_id) if run_id and there else []
        return [("Nobody", NOBODY), *((label(run, step, run_id), _value(run, step)) for run, step in joining)]

    def label_of(self, chosen: str, run_id: str) -> str:
        """What the third is called above its answer."""
        third, step = _parts(chosen)
        return label(self.lab.runs.get(viewer(self.lab), third), step, run_id)


def speakers(run_id: str, strength: float, chosen: str, third_strength: float) -> list[dict[str, Any]]:
    """Base, the run, and the third if there is one, as ``lab.compare_many`` takes them."""
    asked: list[dict[str, Any]] = [{"run_id": BASE_RUN}, {"run_id": run_id, "strength": strength}]
    if chosen:
        third, step = _parts(chosen)
        asked.append({"run_id": third, "step": step, "strength": third_strength})
    return asked


def label(run: Run, step: int | None, run_id: str | None) -> str:
    """``This run at step 10``, ``This run``, or another's name."""
    if run.id != run_id:
        return run.name
    return "This run" if step is None else f"This run at step {step}"


def _value(run: Run, step: int | None) -> str:
    return run.id if step is None else f"{run.id}@{step}"


def _parts(chosen: str) -> tuple[str, int | None]:
    run_id, _, step = chosen.partition("@")
    return run_id, int(step) if step.isdecimal() else None

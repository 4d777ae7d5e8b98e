"""An optional third answer beside base and the run: another run, a checkpoint, or the run at another strength."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...compute.answer_work import BASE_RUN
from ...services.access import Access
from ...services.answerers import MAX_STRENGTH, Answerers
from ...services.inference import Inference
from ...services.runs import Runs
from ...store.run import Run
from ..context import QUIET, viewer

NOBODY = ""
"""The dropdown's value for no third model."""


class ThirdModelPanel:
    """A fold with the third model and its strength. ``who``: a run's id, or ``run@step`` for a checkpoint of it."""

    def __init__(self, run: gr.Dropdown, *, runs: Runs, answerers: Answerers, inference: Inference, access: Access):
        self.runs, self.answerers, self.inference, self.access = runs, answerers, inference, access
        self.run = run
        with gr.Accordion("A third answer", open=False, elem_id="compare-third-fold") as self.fold:
            self.who = gr.Dropdown(
                [("Nobody", NOBODY)],
                value=NOBODY,
                label="Also ask",
                info="This run at another strength, a checkpoint it has kept, or another run of the same base model",
                elem_id="compare-third-who",
            )
            self.strength = gr.Slider(
                0.05,
                MAX_STRENGTH,
                1,
                step=0.05,
                label="Its adapter's strength",
                info="1: as trained",
                elem_id="compare-third-strength",
            )
        self.controls = [self.who, self.strength]

    def wire(self) -> None:
        for changed in (self.fold.expand, self.run.change):
            changed(self._list, [self.run, self.who], self.who, **QUIET)

    def _list(self, run_id: str | None, chosen: str) -> Any:
        """Refresh the choices; the chosen one stays selected where it is still among them."""
        choices = self._choices(run_id)
        if chosen in {value for _, value in choices}:
            # The value is left out where it stays: somebody may be choosing another one at this moment.
            return gr.Dropdown(choices=choices)
        return gr.Dropdown(choices=choices, value=NOBODY)

    def listed(self, run_id: str | None, chosen: str) -> Any:
        """The dropdown for a run; ``chosen`` is selected if it can answer beside that run."""
        choices = self._choices(run_id)
        available = chosen in {value for _, value in choices}
        return gr.Dropdown(choices=choices, value=chosen if available else NOBODY)

    def _choices(self, run_id: str | None) -> list[tuple[str, str]]:
        requester = viewer(self.access)
        can_answer = (
            run_id and self.runs.is_visible(requester, run_id) and self.answerers.has_adapter(requester, run_id)
        )
        others = self.inference.comparable(requester, run_id) if run_id and can_answer else []
        return [("Nobody", NOBODY), *((label(run, step, run_id), _value(run, step)) for run, step in others)]

    def label_of(self, chosen: str, run_id: str) -> str:
        """The label above the third answer."""
        third, step = _parts(chosen)
        return label(self.runs.get(viewer(self.access), third), step, run_id)


def answerers(run_id: str, strength: float, chosen: str, third_strength: float) -> list[dict[str, Any]]:
    """Base, the run, and the third if there is one, as ``services.inference`` takes answerers."""
    answerers: list[dict[str, Any]] = [{"run_id": BASE_RUN}, {"run_id": run_id, "strength": strength}]
    if chosen:
        third, step = _parts(chosen)
        answerers.append({"run_id": third, "step": step, "strength": third_strength})
    return answerers


def label(run: Run, step: int | None, run_id: str | None) -> str:
    """``This run at step 10``, ``This run``, or the name of another run."""
    if run.id != run_id:
        return run.name
    return "This run" if step is None else f"This run at step {step}"


def _value(run: Run, step: int | None) -> str:
    return run.id if step is None else f"{run.id}@{step}"


def _parts(chosen: str) -> tuple[str, int | None]:
    run_id, _, step = chosen.partition("@")
    return run_id, int(step) if step.isdecimal() else None

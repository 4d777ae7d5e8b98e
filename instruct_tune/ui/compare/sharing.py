"""Keep a comparison as a note on the run, or share its question as a link."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import DataError
from ...runs.annotations import LONGEST_NOTES
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.runs import Runs
from ..context import QUIET, user_errors, viewer
from ..formatting import NAMES, decoding
from ..run_picker import answering, labelled
from .decoding import settings
from .text import HELD_OUT, TYPED
from .third_model import ThirdModelPanel

LONGEST = 2000
"""Characters of a text in a link; some servers reject longer addresses."""

AS_LINK = (
    "(...values) => {const names = %s; const query = new URLSearchParams({tab: 'compare'});"
    f"const row = values[names.indexOf('source')] === '{HELD_OUT}';"
    "names.forEach((name, at) => {const value = values[at];"
    "if (row && (name === 'instruction' || name === 'input')) return;"
    "if (value !== null && value !== undefined && value !== '')"
    f" query.set(name, String(value).slice(0, {LONGEST}));}});"
    "return location.origin + location.pathname + '?' + query;}"
)
"""JavaScript that makes the link in the browser, which knows the page's address. ``%s``: the names of its values."""


class Link:
    """Applies a link's query parameters when the page opens. ``named``: parameter → the control it sets."""

    def __init__(
        self,
        run: gr.Dropdown,
        third: ThirdModelPanel,
        named: Mapping[str, Any],
        *,
        runs: Runs,
        answerers: Answerers,
        access: Access,
    ):
        self.runs, self.answerers, self.access = runs, answerers, access
        self.run, self.third, self.named = run, third, named

    def follow(self, opened: Any, tabs: gr.Tabs, shown: gr.State, seen: gr.State) -> Any:
        """Connect to the page's load event. ``shown``: the run Train follows; ``seen``: the page's list of runs.

        Returns the event after which the controls are set.
        """
        controls = [control for name, control in self.named.items() if name != "run"]
        outputs = [tabs, self.run, seen, *controls]
        return opened.then(self._apply, shown, outputs, **QUIET)

    def _apply(self, shown: str | None, request: gr.Request) -> list[Any]:
        params = dict(request.query_params)
        unchanged = [gr.skip()] * (2 + len(self.named))
        if not is_link(request):
            return unchanged
        ready = answering(runs=self.runs, answerers=self.answerers, access=self.access)
        run_id = params.get("run", "")
        if run_id not in {run["id"] for run in ready}:
            gr.Info("The run of this link is not here for you: it was deleted, or is private. Another one is chosen.")
            run_id = ""
        choices = labelled(ready)
        run = [gr.Dropdown(choices=choices, value=run_id), [choices, shown]] if run_id else [gr.skip()] * 2
        values = {name: read(self.named[name], text) for name, text in params.items() if name in self.named}
        controls = [self._control_update(name, values, run_id) for name in self.named if name != "run"]
        return [gr.Tabs(selected="Compare"), *run, *controls]

    def _control_update(self, name: str, values: Mapping[str, Any], run_id: str) -> Any:
        value = values.get(name)
        if name == "third":
            return self.third.listed(run_id, value or "") if value else gr.skip()
        return gr.skip() if value is None else value


def is_link(request: gr.Request) -> bool:
    """Whether a link to a question opened the page."""
    return request.query_params.get("tab") == "compare"


def read(control: Any, text: str) -> Any:
    """A link's value for a control; None where the control does not accept it."""
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


LONGEST_KEPT = 400
"""Characters of a question or an answer in a note."""


class SharingPanel:
    """A fold with two buttons and the box for the link.

    ``wire`` takes ``shown``: run, source, row, instruction and input, in this order; ``decoded``: the controls of
    decoding; ``recorded``: how recorded answers were decoded, empty for others; ``answers``: base and tuned;
    ``named``: query parameter of the link → control.
    """

    def __init__(self, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        with gr.Accordion("Keep and share", open=False, elem_id="compare-sharing"):
            self.keep = gr.Button("Keep as a note on the run", size="sm", elem_id="compare-keep")
            self.link = gr.Button("Link to this question", size="sm", elem_id="compare-link")
            self.address = gr.Code(
                "",
                label="Opens Compare with this run, question and settings",
                language=None,
                interactive=False,
                show_line_numbers=False,
                wrap_lines=True,
                buttons=["copy"],
                visible=False,
                elem_id="compare-address",
            )

    def wire(
        self,
        shown: Sequence[Any],
        decoded: Sequence[Any],
        recorded: gr.State,
        answers: Sequence[Any],
        named: Mapping[str, Any],
    ) -> None:
        """Connect the buttons to the components that the class describes."""
        self.keep.click(self._keep, [*shown, *decoded, recorded, *answers], None, **QUIET)
        revealed = self.link.click(lambda: gr.Code(visible=True), None, self.address, **QUIET)
        revealed.then(None, list(named.values()), self.address, js=AS_LINK % list(named), **QUIET)

    @user_errors
    def _keep(
        self, run_id: str | None, source: str, number: float | None, instruction: str, input_text: str, *values: Any
    ) -> None:
        """Append question, answers and settings to the run's notes."""
        *decoded, strength, recorded, base, tuned = values
        if not run_id or not (base or tuned):
            raise DataError("There are no answers to keep: Compare makes some.")
        row = "my own instruction" if source == TYPED else f"held-out row {int(number or 1)}"
        # The controls may have changed since an evaluation made its answers.
        how = recorded.rstrip(".") or (
            decoding(settings(*decoded)).rstrip(".") + ("" if strength == 1 else f", adapter at {strength:g}")
        )
        note = [f"{time.strftime('%Y-%m-%d %H:%M')}, {row}. {how}.", f"Asked: {_short(instruction)}"]
        note += [f"Input: {_short(input_text)}"] if input_text else []
        note += [f"{name}: {_short(text)}" for name, text in zip(NAMES.values(), (base, tuned), strict=True)]
        requester = viewer(self.access)
        run = self.runs.get(requester, run_id)
        notes = "\n\n".join(filter(None, (run.notes, "\n".join(note))))
        if len(notes) > LONGEST_NOTES:
            raise DataError("The run's notes are full: make room under Runs, Tags and notes.")
        self.runs.annotate(requester, run_id, list(run.tags), notes)
        gr.Info("Kept: it stands under Runs, Tags and notes.")


def _short(text: str | None) -> str:
    text = (text or "").strip()
    return text if len(text) <= LONGEST_KEPT else text[: LONGEST_KEPT - 1] + "…"

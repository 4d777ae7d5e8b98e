"""Keep a comparison as a note on the run, or share its question as a link."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import DataError
from ...runs.annotations import LONGEST_NOTES
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.runs import Runs
from ..context import QUIET, viewer
from ..events import setting
from ..exhibit import FRAME, LONGEST, copyable, read
from ..formatting import NAMES, decoding
from ..run_picker import answering, labelled
from .decoding import settings
from .text import HELD_OUT, TYPED
from .third_model import ThirdModelPanel

AS_LINK = (
    "(...values) => {const names = NAMES; const query = new URLSearchParams({tab: 'compare'});"
    f"const row = values[names.indexOf('source')] === '{HELD_OUT}';"
    "names.forEach((name, at) => {const value = values[at];"
    "if (row && (name === 'instruction' || name === 'input')) return;"
    "if (value !== null && value !== undefined && value !== '')"
    f" query.set(name, String(value).slice(0, {LONGEST}));}});"
    "const link = location.origin + location.pathname + '?' + query; query.delete('tab');"
    f"const frames = ['compare', 'beams'].map(name => ({FRAME})(name, query));"
    "return [link, frames.join('\\n\\n')];}"
)
"""JavaScript that makes the link and the frames in the browser, which knows the page's address. ``NAMES``: those
of its values."""


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
        if run_id and run_id not in {run["id"] for run in ready}:
            if "exhibit" in params:
                # It says so in its own place.
                return unchanged
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
    """Whether a link to a question opened the page, or to an exhibit of one."""
    params = request.query_params
    return params.get("tab") == "compare" or params.get("exhibit") in ("beams", "compare")


def decoded_how(generation: Mapping[str, Any], strength: float) -> str:
    """How answers are decoded, in words, and the adapter's strength where it is not its own."""
    return decoding(generation).rstrip(".") + ("." if strength == 1 else f", adapter at {strength:g}.")


LONGEST_KEPT = 400
"""Characters of a question or an answer in a note."""


class SharingPanel:
    """A fold with two buttons and the box for the link.

    ``wire`` takes ``shown``: run, source, row, instruction and input, in this order; ``decoded``: the controls of
    decoding; ``how_decoded``: how the shown answers were, which the controls need not say any more; ``answers``: base
    and tuned;
    ``named``: query parameter of the link → control.
    """

    def __init__(self, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        with gr.Accordion("Keep and share", open=False, elem_id="compare-sharing"):
            self.keep = gr.Button("Keep as a note on the run", size="sm", elem_id="compare-keep")
            self.link = gr.Button("Link to this question", size="sm", elem_id="compare-link")
            self.address = copyable("Opens Compare with this run, question and settings", "compare-address")
            self.frames = copyable("Shows the answers, or the beams, in a page of yours", "compare-frames")

    def wire(
        self,
        shown: Sequence[Any],
        decoded: Sequence[Any],
        how_decoded: gr.State,
        answers: Sequence[Any],
        named: Mapping[str, Any],
    ) -> None:
        """Connect the buttons to the components that the class describes."""
        self.keep.click(self._keep, [*shown, *decoded, how_decoded, *answers], None, **QUIET)
        shown_texts = [self.address, self.frames]
        revealed = self.link.click(lambda: [gr.Code(visible=True)] * 2, None, shown_texts, **QUIET)
        # A link of before would open another question than the one beside it.
        changes = [control.change for control in named.values()]
        gr.on(changes, None, None, shown_texts, js=setting(2, visible=False), **QUIET)
        revealed.then(None, list(named.values()), shown_texts, js=AS_LINK.replace("NAMES", str(list(named))), **QUIET)

    def _keep(
        self, run_id: str | None, source: str, number: float | None, instruction: str, input_text: str, *values: Any
    ) -> None:
        """Append question, answers and settings to the run's notes."""
        *decoded, strength, how_decoded, base, tuned = values
        if not run_id or not (base or tuned):
            raise DataError("There are no answers to keep: Compare makes some.")
        row = "my own instruction" if source == TYPED else f"held-out row {int(number or 1)}"
        # The controls may have changed since the answers were made.
        how = (how_decoded or decoded_how(settings(*decoded), strength)).rstrip(".")
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

"""The tab "Search": how base and tuned come to their answers, and what they would say after another token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...errors import DataError, LabError
from ...runs.examples import BEST
from ...services.access import Access
from ...services.inference import Inference, SearchResult
from ...services.questions import MAX_SEARCH_TOKENS
from ...text.markdown import plain
from ..context import PRIVATE, QUIET, session, viewer
from ..events import setting
from ..scripted_html import Piece, packed
from ..streaming import Turns
from ..workbench import Workbench
from .first_views import RECORDED, FirstViews
from .search_text import beams_value, greedy_value

BEFORE = "**Search** shows every choice that the two models make on the way to their answers."
SEARCHING = "Decoding greedily…"
BEAMS_NEXT = "Searching with five beams…"
FIRST_TOKENS = 16
"""Of the recorded search too: its tree fits the screen."""
DONE = "Press a candidate, or a token of a beam: both models continue from there."
NOTHING_SEARCHED = "Nothing is searched yet: press Search first."
_ANSWERS = """
<div class="heading"></div>
<div class="rows"></div>
"""
_BEAMS = """
<div class="controls">
  <span class="heading">Five beams</span>
  <button type="button" class="play">Play</button>
  <input type="range" class="step" min="1" max="1" value="1" step="1" aria-label="Step of the search">
  <span class="step-text"></span>
</div>
<div class="legend">
  <span class="of-best">best so far</span><span>goes on</span><span class="of-dead">given up</span>
  <span class="of-end">complete: score ÷ length, rank</span>
</div>
<div class="trees"></div>
"""


@dataclass(frozen=True)
class Question:
    """What the shown search is about, so that a branch continues the same answer."""

    run_id: str
    instruction: str
    input: str
    tokens: int
    strength: float


class SearchPanel:
    """A tab with its own buttons. The tab clears it with ``outputs`` and ``before`` when the question changes.

    ``first``: what it shows from the start.
    """

    def __init__(
        self,
        bench: Workbench,
        first: FirstViews | None,
        *,
        inference: Inference,
        access: Access,
    ):
        self._inference, self._access = inference, access
        self._searches, self._branches = Turns(), Turns()
        value = first.search if first else {}
        with bench.choose, gr.Column(elem_classes=["of-view", "of-search"]):
            self.tokens = gr.Slider(
                8, MAX_SEARCH_TOKENS, FIRST_TOKENS, step=4, label="Tokens", info="At most, of each answer",
                elem_id="compare-search-tokens",
            )  # fmt: skip
        with bench.act, gr.Row(elem_classes=["of-view", "of-search"]):
            self.button = gr.Button("Search", variant="primary", elem_id="compare-search-start")
            self.stop = gr.Button("Stop", elem_id="compare-search-stop", visible=False)
        with gr.Tab("Search", id="Search", elem_id="compare-search"):
            gr.Markdown(
                "Greedy decoding takes the likeliest token at each place: the line under a token is as long as its "
                "probability. Beam search keeps five beginnings, and ranks complete answers by their score per token.",
                elem_classes="note",
            )
            self.state = gr.Markdown(
                f"{DONE} {RECORDED}" if first else BEFORE, elem_id="compare-search-state", elem_classes="note"
            )
            self.greedy = _shown("search", _ANSWERS, "compare-search-greedy", value.get("greedy"))
            self.branch = _shown("search", _ANSWERS, "compare-search-branch", None)
            self.beams = _shown("beam_tree", _BEAMS, "compare-search-beams", value.get("beams"))
            self.question = gr.State(_question(value) if first else None)

    @property
    def outputs(self) -> list[Any]:
        return [self.question, self.state, self.greedy, self.branch, self.beams, self.stop]

    def before(self, first: FirstViews | None) -> list[Any]:
        """The updates that show what was recorded, or clear the outputs where nothing was."""
        hidden, idle = gr.HTML(None, visible="hidden"), gr.Button(visible=False)
        if not first:
            return [None, BEFORE, hidden, hidden, hidden, idle]
        greedy, beams = (gr.HTML(packed(first.search[name]), visible=True) for name in ("greedy", "beams"))
        return [_question(first.search), f"{DONE} {RECORDED}", greedy, hidden, beams, idle]

    def wire(self, run: Any, instruction: Any, input: Any, strength: Any) -> Any:
        """Connect the buttons and the candidates. Returns the search's event, for cancelling."""
        options = {"concurrency_limit": 4, "trigger_mode": "multiple", **QUIET}
        inputs = [run, instruction, input, self.tokens, strength]
        searching = self.button.click(self._search, inputs, self.outputs, **options)
        branch_options = {**options, **PRIVATE, "show_progress": "minimal", "show_progress_on": self.state}
        works = [searching]
        for shown in (self.greedy, self.branch, self.beams):
            works.append(shown.click(self._branch, self.question, self.branch, **branch_options))
            shown.click(None, None, self.stop, js=setting(visible=True), **QUIET)
        for work in works:
            # Both, not "then", which gradio skips after an error.
            for ended in (work.success, work.failure):
                ended(self._show_stop, None, self.stop, **QUIET)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)
        return searching

    def drop(self, window: str | None) -> None:
        """End what the window searches, and show no more of it."""
        self._searches.drop(window)
        self._branches.drop(window)

    def _stop(self, request: gr.Request) -> None:
        self._searches.stop(request.session_hash)
        self._branches.stop(request.session_hash)

    def _show_stop(self, request: gr.Request) -> Any:
        """Stop, while there is something to stop."""
        at_work = (turns.is_at_work(request.session_hash) for turns in (self._searches, self._branches))
        return gr.Button(visible=any(at_work))

    def _search(
        self, run_id: str | None, instruction: str, input: str, tokens: float, strength: float
    ) -> Iterator[list[Any]]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        window, person = session(), viewer(self._access)
        question = Question(run_id, instruction, input or "", int(tokens), strength)
        self._branches.drop(window)
        with self._searches.of(window) as stop:
            _, _, *hidden, _ = self.before(None)
            yield [None, SEARCHING, *hidden, gr.Button(visible=True)]
            try:
                for result in self._inference.search(
                    person, run_id, instruction, question.input, question.tokens, stop, strength
                ):
                    if not self._searches.holds(window, stop):
                        break
                    warning = f" **{plain(result.warning, 500)}**" if result.warning else ""
                    greedy, trees = gr.skip(), gr.skip()
                    if result.beams:
                        trees = gr.HTML(packed(beams_value(result.beams, result.greedy)), visible=True)
                    else:
                        greedy = gr.HTML(packed(greedy_value(result.greedy)), visible=True)
                    state = (DONE if result.beams else BEAMS_NEXT) + warning
                    yield [question, state, greedy, gr.skip(), trees, gr.skip()]
            except LabError:
                if not stop.is_set():
                    yield [gr.skip(), BEFORE, *[gr.skip()] * 4]
                    raise
                if self._searches.holds(window, stop):
                    yield [gr.skip(), "Stopped.", *[gr.skip()] * 4]
            # gradio sends a stream's last item again at its end, maybe after a newer update.
            yield [gr.skip()] * len(self.outputs)

    def _branch(self, question: Question | None, event: gr.EventData) -> Any:
        if question is None:
            raise DataError(NOTHING_SEARCHED)
        window = session()
        with self._branches.of(window) as stop:
            try:
                answers = self._inference.branch(
                    viewer(self._access), question.run_id, question.instruction, question.input,
                    event._data.get("ids"), question.tokens, stop, question.strength,
                )  # fmt: skip
            except LabError:
                if stop.is_set():
                    return gr.skip()
                raise
            return gr.HTML(packed(greedy_value(answers)), visible=True)


def search_value(result: SearchResult, instruction: str, input: str, tokens: int) -> dict[str, Any]:
    """What the tab shows of a whole search, and its question, as JSON."""
    beams = beams_value(result.beams, result.greedy) if result.beams else None
    return {
        "instruction": instruction,
        "input": input,
        "tokens": tokens,
        "greedy": greedy_value(result.greedy),
        "beams": beams,
    }


def _question(value: dict[str, Any]) -> Question:
    return Question(BEST, value["instruction"], value["input"], value["tokens"], 1.0)


def _shown(name: str, template: str, elem_id: str, value: Any) -> gr.HTML:
    return Piece(name, template).component(elem_id, bool(value) or "hidden", value and packed(value))

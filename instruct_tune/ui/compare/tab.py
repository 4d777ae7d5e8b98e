"""The Compare tab: one instruction, the expected answer, base and tuned side by side, and an optional third."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.answerers import Answerers
from ...services.inference import Inference
from ...services.runs import Runs
from ...text.code_language import guess
from ..context import QUIET, session, user_errors, viewer
from ..diff_panel import DiffPanel
from ..formatting import NAMES, THIRD, WHO
from ..run_picker import EmptyState
from ..streaming import Turns, at_most
from . import decoding
from .adapter_effect import EffectPanel
from .batch import BatchPanel
from .decoding import DecodingPanel
from .question import QuestionPanel, answer_box, no_expected
from .sharing import Link, SharingPanel
from .text import TYPED, answer_facts, state_sentence
from .third_model import NOBODY, ThirdModelPanel
from .third_model import answerers as chosen_answerers
from .token_losses import TokenLossesPanel

NO_RUN = "No trained run yet, so there is nothing to compare with base. Half a minute of training gives one."
BEFORE = "Choose a row or type an instruction, then press **Compare**."


class CompareTab:
    """The tab's contents below the choice of the run, and the decoding that runs in each window.

    ``following`` is the button to the next tab. ``link`` applies a link to a question when the page opens.
    """

    def __init__(
        self, run: gr.Dropdown, tabs: gr.Tabs, *, runs: Runs, answerers: Answerers, inference: Inference, access: Access
    ):
        self.inference, self.access = inference, access
        self.run = run
        self.turns = Turns()
        self.empty = EmptyState(run, tabs, NO_RUN, "compare", runs=runs, access=access)
        self.question = QuestionPanel(run, runs=runs, answerers=answerers, access=access)
        self.decoding = DecodingPanel()
        self.third = ThirdModelPanel(run, runs=runs, answerers=answerers, inference=inference, access=access)
        with gr.Row():
            self.ask = gr.Button("Compare", variant="primary", elem_id="compare-ask", scale=4, interactive=False)
            self.stop = gr.Button("Stop", elem_id="compare-stop", scale=1)
        self.state = gr.Markdown(BEFORE, elem_id="compare-state")
        self._answers()
        self.kept = SharingPanel(runs=runs, access=access)
        self.difference = DiffPanel("compare", {**NAMES, THIRD: "Third"})
        self.why = TokenLossesPanel(answerers=answerers, inference=inference, access=access)
        BatchPanel(run, self.third, self.decoding.controls, inference=inference, access=access)
        EffectPanel(run, runs=runs, inference=inference, access=access)
        self.following = gr.Button("Next: Evaluate", elem_id="compare-next", size="sm", elem_classes="next")
        self.link = Link(run, self.third, self._link_controls(), runs=runs, answerers=answerers, access=access)
        self._wire()

    def _answers(self) -> None:
        self.answers, self.facts = [], []
        self.columns: dict[str, gr.Column] = {}
        with gr.Row():
            for side, name in {**NAMES, THIRD: "Third"}.items():
                classes = [f"{side}-answer", "answer"]
                with gr.Column(min_width=320, elem_classes=classes, visible=side != THIRD) as self.columns[side]:
                    self.answers.append(answer_box(name, f"compare-{side}", lines=14))
                    self.facts.append(gr.Markdown("", elem_id=f"compare-{side}-facts", elem_classes="answer-facts"))

    def _link_controls(self) -> dict[str, Any]:
        names = ("run", "source", "row", "instruction", "input")
        decoded = ("way", "longest", "beams", "temperature", "top_p", "seed", "stop", "strength")
        question = dict(zip(names, self.question.shown, strict=True))
        decoding_controls = dict(zip(decoded, self.decoding.controls, strict=True))
        return {**question, **decoding_controls, "third": self.third.who, "third_strength": self.third.strength}

    def _wire(self) -> None:
        question = self.question
        answering = gr.on(
            [self.ask.click, self.decoding.strength.release],
            self._answer,
            [self.run, question.instruction, question.input, question.expected, *self.third.controls,
             *self.decoding.controls],
            [*self.answers, *self.facts, self.state],
            concurrency_limit=4,
            # A second click starts at once: the decoding before it is dropped, not awaited.
            trigger_mode="multiple",
            **QUIET,
        )  # fmt: skip
        self.difference.wire(answering, question.expected, self.answers)
        reading = self.why.wire(question.shown)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)
        question.wire()
        self.third.wire()
        self.third.who.change(
            self._show_third, self.third.who, [self.columns[THIRD], self.answers[-1], self.facts[-1]], **QUIET
        )
        self.kept.wire(question.shown, self.decoding.controls, self.answers[: len(NAMES)], self.link.named)
        self._wire_changes(answering, reading)

    def _wire_changes(self, answering: Any, reading: Any) -> None:
        """Clear the answers when the question changes."""
        question = self.question
        answer_outputs = [*self.answers, *self.facts, self.state, *self.difference.outputs, *self.why.outputs]
        inputs = [self.run, question.source, question.number]
        outputs = [question.instruction, question.input, question.expected, self.ask, *answer_outputs]
        # Cancels nothing: editing changes the source too, and a decoding started since is about the edited text.
        question.source.change(self._source, inputs, outputs, **QUIET)
        for trigger in (self.run.change, question.number.change):
            # In two steps: the page may still be rendering updates of the answer that is cancelled.
            cancelled = trigger(self._drop_decoding, None, None, cancels=[answering, reading], **QUIET)
            cancelled.then(self._row, inputs, outputs, trigger_mode="always_last", **QUIET)
        for box in (question.instruction, question.input):
            box.input(
                self._on_edit,
                None,
                [question.source, question.expected, *answer_outputs],
                # Not the answer event: it may belong to a newer question. ``_on_edit`` drops the older decoding.
                cancels=[reading],
                # Once is enough: a second run would come late and clear the answer of a newer question.
                trigger_mode="once",
                **QUIET,
            )

    @property
    def _blank(self) -> list[Any]:
        empty = [*[gr.Code("", language=None)] * len(WHO), *[""] * len(WHO), BEFORE]
        return [*empty, *self.difference.blank, *self.why.blank]

    def _drop_decoding(self, request: gr.Request) -> None:
        self.turns.drop(request.session_hash)

    def _source(self, run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
        """The kind of question changed. A typed instruction keeps the texts on the page and their answers."""
        if source == TYPED:
            return [gr.skip(), gr.skip(), no_expected(source), gr.skip(), *[gr.skip()] * len(self._blank)]
        self._drop_decoding(request)
        return self._row(run_id, source, number)

    def _row(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """Another row or run: show its texts and clear the answers."""
        ready = gr.Button(interactive=bool(run_id))
        return [*self.question.row(run_id, source, number), ready, *self._blank]

    def _on_edit(self, request: gr.Request) -> list[Any]:
        """Edited text is a typed instruction; clear the answers, which belong to the former text."""
        self.turns.drop(request.session_hash)
        return [TYPED, no_expected(TYPED), *self._blank]

    def _show_third(self, third: str) -> list[Any]:
        """Another third model: show its empty column, or hide the column."""
        return [gr.Column(visible=third != NOBODY), gr.Code("", language=None), ""]

    def _stop(self, request: gr.Request) -> None:
        self.turns.stop(request.session_hash)

    @user_errors
    def _answer(
        self,
        run_id: str | None,
        instruction: str,
        input_text: str,
        expected: str,
        third: str,
        third_strength: float,
        *controls: Any,
    ) -> Iterator[list[Any]]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        *decoded, strength = controls
        settings = decoding.settings(*decoded)
        # Guessed once, so that the highlighting does not change while the answers stream.
        language = guess(expected or "")
        labels = [*NAMES.values(), self.third.label_of(third, run_id) if third else "Third"]
        empty = [gr.Code("", language=language, label=label) for label in labels]
        yield [*empty, *[""] * len(WHO), "Waiting for the model…"]
        window = session()
        with self.turns.of(window) as stop:
            question = (instruction, input_text or "", settings, stop)
            if third:
                answerers = chosen_answerers(run_id, strength, third, third_strength)
                updates = self.inference.compare_many(viewer(self.access), answerers, *question, names=WHO)
            else:
                updates = self.inference.compare(viewer(self.access), run_id, *question, strength=strength)
            for texts in at_most(updates):
                if not self.turns.holds(window, stop):
                    break
                boxes = [texts.get(side, "") for side in WHO]
                if texts["done"]:
                    boxes = [gr.Code(text, language=guess(text) or language) for text in boxes]
                yield [
                    *boxes,
                    *(answer_facts(texts, side) for side in WHO),
                    state_sentence(texts, settings, strength),
                ]
                if texts["done"]:
                    # Texts only: gradio merges an empty item into boxes that are not rendered yet, which would remove
                    # their last words (see ``all_so_far``).
                    yield [*(texts.get(side, "") for side in WHO), *[gr.skip()] * (len(WHO) + 1)]
            # gradio sends a stream's last item again when the stream ends. That may arrive after the window's next
            # update and put an answer beside another row, so the last item changes nothing.
            yield [gr.skip()] * (2 * len(WHO) + 1)

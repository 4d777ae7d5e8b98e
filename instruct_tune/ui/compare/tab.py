"""Compare: one instruction, the expected answer, base and tuned side by side, and a third who is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...lab import Lab
from ...text.code_language import guess
from ..context import session, user_errors, viewer
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
from .third_model import NOBODY, ThirdModelPanel, speakers
from .token_losses import TokenLossesPanel

NO_RUN = "No trained run yet, so there is nothing to compare with base. Half a minute of training gives one."
BEFORE = "Choose a row or type an instruction, then press **Compare**."


class CompareTab:
    """The tab's contents below the choice of the run, and who is being answered in which window.

    ``following`` is the button that leads to the next tab, ``link`` reads a link to a question when the page is opened.
    """

    def __init__(self, lab: Lab, run: gr.Dropdown, tabs: gr.Tabs):
        self.lab, self.run = lab, run
        self.turns = Turns()
        self.empty = EmptyState(lab, run, tabs, NO_RUN, "compare")
        self.question = QuestionPanel(lab, run)
        self.decoding = DecodingPanel()
        self.third = ThirdModelPanel(lab, run)
        with gr.Row():
            self.ask = gr.Button("Compare", variant="primary", elem_id="compare-ask", scale=4, interactive=False)
            self.stop = gr.Button("Stop", elem_id="compare-stop", scale=1)
        self.state = gr.Markdown(BEFORE, elem_id="compare-state")
        self._answers()
        self.kept = SharingPanel(lab)
        self.difference = DiffPanel("compare", {**NAMES, THIRD: "Third"})
        self.why = TokenLossesPanel(lab)
        BatchPanel(lab, run, self.third, self.decoding.controls)
        EffectPanel(lab, run)
        self.following = gr.Button("Next: Evaluate", elem_id="compare-next", size="sm", elem_classes="next")
        self.link = Link(lab, run, self.third, self._in_a_link())
        self._wire()

    def _answers(self) -> None:
        self.answers, self.facts = [], []
        self.columns: dict[str, gr.Column] = {}
        with gr.Row():
            for who, name in {**NAMES, THIRD: "Third"}.items():
                classes = [f"{who}-answer", "answer"]
                with gr.Column(min_width=320, elem_classes=classes, visible=who != THIRD) as self.columns[who]:
                    self.answers.append(answer_box(name, f"compare-{who}", lines=14))
                    self.facts.append(gr.Markdown("", elem_id=f"compare-{who}-facts", elem_classes="answer-facts"))

    def _in_a_link(self) -> dict[str, Any]:
        names = ("run", "source", "row", "instruction", "input")
        decoded = ("way", "longest", "beams", "temperature", "top_p", "seed", "stop", "strength")
        asked = dict(zip(names, self.question.shown, strict=True))
        how = dict(zip(decoded, self.decoding.controls, strict=True))
        return {**asked, **how, "third": self.third.who, "third_strength": self.third.strength}

    def _wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        question = self.question
        asked = gr.on(
            [self.ask.click, self.decoding.strength.release],
            self._answer,
            [self.run, question.instruction, question.input, question.expected, *self.third.controls,
             *self.decoding.controls],
            [*self.answers, *self.facts, self.state],
            concurrency_limit=4,
            # Who asks again does not wait for the answers that are dropped.
            trigger_mode="multiple",
            **quiet,
        )  # fmt: skip
        self.difference.wire(asked, question.expected, self.answers)
        read = self.why.wire(question.shown)
        self.stop.click(self._stop, None, None, queue=False, **quiet)
        question.wire()
        self.third.wire()
        self.third.who.change(
            self._joined, self.third.who, [self.columns[THIRD], self.answers[-1], self.facts[-1]], **quiet
        )
        self.kept.wire(question.shown, self.decoding.controls, self.answers[: len(NAMES)], self.link.named)
        self._wire_changes(asked, read, quiet)

    def _wire_changes(self, asked: Any, read: Any, quiet: dict[str, Any]) -> None:
        """Another question takes the answers to the one before away."""
        question = self.question
        cleared = [*self.answers, *self.facts, self.state, *self.difference.outputs, *self.why.outputs]
        about = [self.run, question.source, question.number]
        outputs = [question.instruction, question.input, question.expected, self.ask, *cleared]
        # Cancels nothing: editing turns it too, and what was asked since is about the edited text.
        question.source.change(self._source, about, outputs, **quiet)
        for trigger in (self.run.change, question.number.change):
            # In two steps: gradio's page may still be showing what it was sent of the answer that is cancelled.
            left = trigger(self._leave, None, None, cancels=[asked, read], **quiet)
            left.then(self._row, about, outputs, trigger_mode="always_last", **quiet)
        for box in (question.instruction, question.input):
            box.input(
                self._edited,
                None,
                [question.source, question.expected, *cleared],
                # Not ``asked``, which may have been asked since: ``_edited`` itself drops the one before.
                cancels=[read],
                # Once is enough: a second time would come late, and take away what was asked since.
                trigger_mode="once",
                **quiet,
            )

    @property
    def _blank(self) -> list[Any]:
        empty = [*[gr.Code("", language=None)] * len(WHO), *[""] * len(WHO), BEFORE]
        return [*empty, *self.difference.blank, *self.why.blank]

    def _leave(self, request: gr.Request) -> None:
        self.turns.drop(request.session_hash)

    def _source(self, run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
        """The kind of instruction: a person's own is what stands there, with its answers if there are any."""
        if source == TYPED:
            return [gr.skip(), gr.skip(), no_expected(source), gr.skip(), *[gr.skip()] * len(self._blank)]
        self._leave(request)
        return self._row(run_id, source, number)

    def _row(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """Another row or run: its texts, and no answer that belonged to the one before."""
        ready = gr.Button(interactive=bool(run_id))
        return [*self.question.row(run_id, source, number), ready, *self._blank]

    def _edited(self, request: gr.Request) -> list[Any]:
        """Edited text is an instruction of one's own, and the answers on the page were to another one."""
        self.turns.drop(request.session_hash)
        return [TYPED, no_expected(TYPED), *self._blank]

    def _joined(self, third: str) -> list[Any]:
        """Another third: a column for what it will say, or none."""
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
        # Guessed once, so that colours do not change while the answers grow.
        language = guess(expected or "")
        labels = [*NAMES.values(), self.third.label_of(third, run_id) if third else "Third"]
        empty = [gr.Code("", language=language, label=label) for label in labels]
        yield [*empty, *[""] * len(WHO), "Waiting for the model…"]
        window = session()
        with self.turns.of(window) as stop:
            asked = (instruction, input_text or "", settings, stop)
            if third:
                who = speakers(run_id, strength, third, third_strength)
                told = self.lab.inference.compare_many(viewer(self.lab), who, *asked, names=WHO)
            else:
                told = self.lab.inference.compare(viewer(self.lab), run_id, *asked, strength=strength)
            for texts in at_most(told):
                if not self.turns.holds(window, stop):
                    break
                boxes = [texts.get(who, "") for who in WHO]
                if texts["done"]:
                    boxes = [gr.Code(text, language=guess(text) or language) for text in boxes]
                yield [*boxes, *(answer_facts(texts, who) for who in WHO), state_sentence(texts, settings, strength)]
                if texts["done"]:
                    # Texts alone: an item that says nothing would be worked into the boxes before they are shown, and
                    # take their last words away (see ``all_so_far``).
                    yield [*(texts.get(who, "") for who in WHO), *[gr.skip()] * (len(WHO) + 1)]
            # gradio sends a stream's last item again when it ends, and that may arrive after what the window is
            # sent next: an answer beside another row. So the last item says nothing.
            yield [gr.skip()] * (2 * len(WHO) + 1)

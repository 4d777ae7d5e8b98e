"""Compare: one instruction, the expected answer, base and tuned side by side."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..lab import Lab
from ..languages import guess
from . import decoding_panel
from .compare_view import HELD_OUT, NAMES, TYPED, answer_facts, state_sentence
from .decoding_panel import DecodingPanel
from .diff_panel import DiffPanel
from .edge import said, viewer
from .effect_panel import EffectPanel
from .empty import EmptyState
from .streaming import Turns, at_most
from .why_panel import WhyPanel

NO_EXPECTED = "Expected answer: an instruction of your own has none"
EXPECTED = "Expected answer (the dataset's own)"
NO_RUN = "No trained run yet, so there is nothing to compare with base. Half a minute of training gives one."
BEFORE = "Choose a row or type an instruction, then press **Compare**."


class CompareTab:
    """The controls, and who is being answered in which window."""

    def __init__(self, lab: Lab, run: gr.Dropdown, tabs: gr.Tabs):
        self.lab, self.run = lab, run
        self.turns = Turns()
        self.empty = EmptyState(lab, run, tabs, NO_RUN, "compare")
        self._prompt()
        self.decoding = DecodingPanel()
        with gr.Row():
            self.ask = gr.Button("Compare", variant="primary", elem_id="compare-ask", scale=4, interactive=False)
            self.stop = gr.Button("Stop", elem_id="compare-stop", scale=1)
        self.state = gr.Markdown(BEFORE, elem_id="compare-state")
        self._answers()
        self.difference = DiffPanel()
        self.why = WhyPanel(lab)
        EffectPanel(lab, run)
        self.following = gr.Button("Next: Evaluate", elem_id="compare-next", size="sm", elem_classes="next")
        self._wire()

    def _prompt(self) -> None:
        with gr.Row(equal_height=True):
            self.source = gr.Radio(
                [HELD_OUT, TYPED],
                value=HELD_OUT,
                label="Ask",
                info="Held-out rows were never trained on",
                elem_id="compare-source",
                min_width=280,
            )
            self.number = gr.Number(
                1,
                label="Row",
                info="In the order of the split",
                precision=0,
                minimum=1,
                elem_id="compare-row",
                min_width=120,
            )
            with gr.Column(min_width=240, elem_classes="beside"), gr.Row():
                self.back = gr.Button("Previous", size="sm", elem_id="compare-previous", min_width=70)
                self.on = gr.Button("Next", size="sm", elem_id="compare-following", min_width=70)
                self.any = gr.Button("Random", size="sm", elem_id="compare-random", min_width=70)
        with gr.Row():
            self.instruction = gr.Textbox(
                label="Instruction", min_width=320, lines=2, max_lines=8, elem_id="compare-instruction"
            )
            self.input = gr.Textbox(
                label="Input (optional)", min_width=320, lines=2, max_lines=8, elem_id="compare-input"
            )
        self.expected = _answer_box(EXPECTED, "compare-expected", lines=4)

    def _answers(self) -> None:
        self.answers, self.facts = [], []
        with gr.Row():
            for who, name in NAMES.items():
                with gr.Column(min_width=320, elem_classes=[f"{who}-answer", "answer"]):
                    self.answers.append(_answer_box(name, f"compare-{who}", lines=14))
                    self.facts.append(gr.Markdown("", elem_id=f"compare-{who}-facts", elem_classes="answer-facts"))

    def _wire(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        asked = gr.on(
            [self.ask.click, self.decoding.strength.release],
            self._answer,
            [self.run, self.instruction, self.input, self.expected, *self.decoding.controls],
            [*self.answers, *self.facts, self.state],
            concurrency_limit=4,
            # Who asks again does not wait for the answers that are dropped.
            trigger_mode="multiple",
            **quiet,
        )
        self.difference.wire(asked, self.expected, self.answers)
        read = self.why.wire([self.run, self.source, self.number, self.instruction, self.input])
        self.stop.click(self._stop, None, None, queue=False, **quiet)
        cleared = [*self.answers, *self.facts, self.state, *self.difference.outputs, *self.why.outputs]
        about = [self.run, self.source, self.number]
        outputs = [self.instruction, self.input, self.expected, self.ask, *cleared]
        # Cancels nothing: editing turns it too, and what was asked since is about the edited text.
        self.source.change(self._source, about, outputs, **quiet)
        for trigger in (self.run.change, self.number.change):
            # In two steps: gradio's page may still be showing what it was sent of the answer that is cancelled.
            left = trigger(self._leave, None, None, cancels=[asked, read], **quiet)
            left.then(self._row, about, outputs, **quiet)
        for button, step in ((self.back, -1), (self.on, 1), (self.any, 0)):
            button.click(self._turn_to(step), [self.run, self.number], [self.source, self.number], **quiet)
        for box in (self.instruction, self.input):
            box.input(
                self._edited,
                None,
                [self.source, self.expected, *cleared],
                # Not ``asked``, which may have been asked since: ``_edited`` itself drops the one before.
                cancels=[read],
                # Once is enough: a second time would come late, and take away what was asked since.
                trigger_mode="once",
                **quiet,
            )

    @property
    def _blank(self) -> list[Any]:
        return [*[gr.Code("", language=None)] * 2, "", "", BEFORE, *self.difference.blank, *self.why.blank]

    def _leave(self, request: gr.Request) -> None:
        self.turns.drop(request.session_hash)

    def _source(self, run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
        """The kind of instruction: a person's own is what stands there, with its answers if there are any."""
        if source == TYPED:
            return [gr.skip(), gr.skip(), _no_expected(source), gr.skip(), *[gr.skip()] * len(self._blank)]
        self._leave(request)
        return self._row(run_id, source, number)

    def _row(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """Another row or run: its texts, and no answer that belonged to the one before."""
        ready = gr.Button(interactive=bool(run_id))
        if source == TYPED or not run_id or not self.lab.sees_run(run_id, viewer(self.lab)):
            return [gr.skip(), gr.skip(), _no_expected(source), ready, *self._blank]
        return [*self._texts(run_id, number), ready, *self._blank]

    @said
    def _texts(self, run_id: str, number: float | None) -> list[Any]:
        example = self.lab.held_out_row_of(run_id, int(number or 1) - 1, viewer(self.lab))
        return [
            example.instruction,
            example.input,
            gr.Code(example.output, language=guess(example.output), label=EXPECTED),
        ]

    def _turn_to(self, step: int) -> Any:
        """A handler that goes ``step`` held-out rows on, round and round; to any of them where it is 0."""

        @said
        def turn(run_id: str | None, number: float | None) -> list[Any]:
            if not run_id:
                return [HELD_OUT, 1]
            rows = self.lab.held_out_count_of(run_id, viewer(self.lab))
            at = int(number or 1) - 1
            return [HELD_OUT, (at + step) % rows + 1 if step else random.randrange(rows) + 1]

        return turn

    def _edited(self, request: gr.Request) -> list[Any]:
        """Edited text is an instruction of one's own, and the answers on the page were to another one."""
        self.turns.drop(request.session_hash)
        return [TYPED, _no_expected(TYPED), *self._blank]

    def _stop(self, request: gr.Request) -> None:
        self.turns.stop(request.session_hash)

    @said
    def _answer(
        self,
        run_id: str | None,
        instruction: str,
        input_text: str,
        expected: str,
        way: str,
        longest: int,
        beams: int,
        temperature: float,
        top_p: float,
        seed: float,
        strength: float,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        settings = decoding_panel.settings(way, longest, beams, temperature, top_p, seed)
        # Guessed once, so that colours do not change while the answers grow.
        language = guess(expected or "")
        yield [*[gr.Code("", language=language)] * 2, "", "", "Waiting for the model…"]
        with self.turns.of(request.session_hash) as stop:
            told = self.lab.compare(run_id, instruction, input_text or "", settings, stop, viewer(self.lab), strength)
            for texts in at_most(told):
                if not self.turns.holds(request.session_hash, stop):
                    break
                boxes = [texts[who] for who in NAMES]
                if texts["done"]:
                    boxes = [gr.Code(text, language=guess(text) or language) for text in boxes]
                yield [*boxes, *(answer_facts(texts, who) for who in NAMES), state_sentence(texts, settings, strength)]
                if texts["done"]:
                    # Texts alone: an item that says nothing would be worked into the boxes before they are shown, and
                    # take their last words away (see ``all_so_far``).
                    yield [*(texts[who] for who in NAMES), *[gr.skip()] * (len(NAMES) + 1)]
            # gradio sends a stream's last item again when it ends, and that may arrive after what the window is
            # sent next: an answer beside another row. So the last item says nothing.
            yield [gr.skip()] * (2 * len(NAMES) + 1)


def _answer_box(label: str, elem_id: str, lines: int) -> gr.Code:
    return gr.Code(
        label=label,
        language=None,
        lines=lines,
        max_lines=lines,
        interactive=False,
        wrap_lines=True,
        show_line_numbers=False,
        buttons=["copy"],
        elem_id=elem_id,
    )


def _no_expected(source: str) -> Any:
    return gr.Code("", language=None, label=NO_EXPECTED) if source == TYPED else gr.skip()


def build(lab: Lab, run: gr.Dropdown, tabs: gr.Tabs) -> gr.Button:
    """The tab's contents below the choice of the run; returns the button that leads to the next tab."""
    return CompareTab(lab, run, tabs).following

"""The Compare tab: one instruction, the expected answer, base and tuned side by side, and an optional third."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from ...errors import LabError
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.evaluations import Evaluations
from ...services.inference import Inference
from ...services.runs import Runs
from ...text.code_language import guess
from .. import run_picker
from ..as_python import AsPython
from ..context import QUIET, session, viewer
from ..diff_panel import DiffPanel
from ..events import setting
from ..form import Form
from ..formatting import NAMES, THIRD, WHO
from ..streaming import Newest, Turns, at_most
from ..workbench import workbench
from . import decoding, first_views
from .adapter_effect import EffectPanel
from .batch import BatchPanel
from .decoding import DecodingPanel
from .held_out import HeldOutRow, HeldOutRows
from .question import QuestionPanel, answer_box, no_expected, texts
from .search import SearchPanel
from .sharing import Link, SharingPanel, decoded_how, is_link
from .text import HELD_OUT, TYPED, answer_details, recorded_details, state_sentence
from .third_model import NOBODY, ThirdModelPanel
from .third_model import answerers as chosen_answerers
from .token_losses import TokenLossesPanel

NO_RUN = "No trained run yet, so there is nothing to compare with base. Half a minute of training gives one."
BEFORE = "**Compare** asks base and tuned."


class CompareTab:
    """The tab's contents, and the decoding that runs in each window.

    ``run`` is the choice of the run. ``following`` is the button to the next tab.
    """

    def __init__(
        self,
        form: Form,
        as_python: AsPython,
        tabs: gr.Tabs,
        *,
        runs: Runs,
        answerers: Answerers,
        inference: Inference,
        evaluations: Evaluations,
        access: Access,
    ):
        self.runs, self.inference, self.access = runs, inference, access
        self.turns, self.rows_shown = Turns(), Newest()
        self.rows = HeldOutRows(runs=runs, answerers=answerers, evaluations=evaluations, access=access)
        ready = run_picker.by_preference(run_picker.answering(runs=runs, answerers=answerers, access=access))[:1]
        first = self.rows.first(ready[0]["id"] if ready else None)
        # How recorded answers were decoded; empty where the answers on the page are of now.
        self.how_decoded = gr.State(first.decoding)
        bench = workbench("compare")
        with bench.choose:
            self.run = run_picker.run_choice("compare-run", ready if first.answers else [])
            run_picker.build(form, self.run, "compare-template", runs=runs, access=access)
            with gr.Column(elem_classes=["of-view", "of-answers", "of-why", "of-search"]):
                self.question = QuestionPanel(self.run, first.example)
        with bench.act, gr.Row(elem_classes=["of-view", "of-answers"]):
            self.ask = gr.Button("Compare", variant="primary", elem_id="compare-ask", interactive=bool(first.answers))
            self.stop = gr.Button("Stop", elem_id="compare-stop", visible=False)
        with bench.show:
            run_picker.EmptyState(self.run, tabs, NO_RUN, "compare", runs=runs, access=access)
            with gr.Tabs(elem_id="compare-views", elem_classes="views") as self.views:
                with gr.Tab("Answers", id="Answers", elem_id="compare-texts"):
                    self._answers(first)
                views = first_views.of_row(self.run.value, 1)
                self.why = TokenLossesPanel(bench, self.rows, views, inference=inference, access=access)
                self.search = SearchPanel(bench, views, inference=inference, access=access)
                EffectPanel(bench, self.run, runs=runs, inference=inference, access=access)
                self.many = BatchPanel(bench, self.run, inference=inference, access=access)
            as_python.fold("compare")
            self.following = gr.Button("Next: Evaluate", elem_id="compare-next", size="sm", elem_classes="next")
        with bench.choose:
            with gr.Column(elem_classes=["of-view", "of-answers", "of-search", "of-many"]):
                self.decoding = DecodingPanel()
            with gr.Column(elem_classes=["of-view", "of-answers", "of-many"]):
                self.third = ThirdModelPanel(
                    self.run, runs=runs, answerers=answerers, inference=inference, access=access
                )
            with gr.Column(elem_classes=["of-view", "of-answers"]):
                self.kept = SharingPanel(runs=runs, access=access)
        self.link = Link(self.run, self.third, self._link_controls(), runs=runs, answerers=answerers, access=access)
        decoding = self.decoding
        as_python.count_own("compare", decoding.by_setting, lambda values: {"generation": decoding.read(values)})
        self._wire()

    def _answers(self, first: HeldOutRow) -> None:
        """The expected answer and the others, each above its difference. ``static/compare.css`` places them."""
        self.answers, self.details = [], []
        self.columns: dict[str, gr.Column] = {}
        recorded = first.answers or {}
        self.state = gr.Markdown(first.sentence or BEFORE, elem_id="compare-state")
        with gr.Column(elem_id="compare-answers", min_width=0):
            self.question.add_expected()
            with gr.Row():
                for side, name in {**NAMES, THIRD: "Third"}.items():
                    classes = [f"{side}-answer", "answer"]
                    with gr.Column(min_width=0, elem_classes=classes, visible=side != THIRD) as self.columns[side]:
                        self.answers.append(answer_box(name, f"compare-{side}", recorded.get(side, ""), lines=8))
                        self.details.append(
                            gr.Markdown(
                                recorded_details(recorded, side),
                                elem_id=f"compare-{side}-facts",
                                elem_classes="answer-facts",
                            )
                        )
            self.difference = DiffPanel(
                "compare",
                {**NAMES, THIRD: "Third"},
                shown=True,
                first=[first.example.output, *(recorded.get(side, "") for side in WHO)],
            )

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
            self._outputs,
            concurrency_limit=4,
            # A second click starts at once: the decoding before it is dropped, not awaited.
            trigger_mode="multiple",
            **QUIET,
        )  # fmt: skip
        # An error ends the decoding without its last update.
        answering.failure(lambda: gr.Button(visible=False), None, self.stop, **QUIET)
        self.difference.wire(answering, question.expected, self.answers)
        reading = self.why.wire(question.shown)
        searching = self.search.wire(self.run, question.instruction, question.input, self.decoding.strength)
        self.many.wire(self.third, self.decoding.controls)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)
        self.third.wire()
        self.third.who.change(
            self._show_third, self.third.who, [self.columns[THIRD], self.answers[-1], self.details[-1]], **QUIET
        )
        self.kept.wire(question.shown, self.decoding.controls, self.how_decoded, self.answers[: len(NAMES)],
                       self.link.named)  # fmt: skip
        self._wire_changes(answering, reading, searching)

    def _wire_changes(self, answering: Any, reading: Any, searching: Any) -> None:
        """Show the recorded answers when the question changes, or none."""
        question = self.question
        answer_outputs = [*self._outputs, *self.why.outputs, *self.search.outputs]
        inputs = [self.run, question.source, question.number]
        outputs = self._row_outputs
        for button, step in question.steps:
            # At once and for each click: of quick clicks ``always_last`` below handles only some.
            button.click(None, question.number, question.number, js=_step(step), **QUIET)
        # The row of another run takes a moment: an answer to the former one would be taken away then.
        self.run.change(None, None, self.ask, js=setting(interactive=False), **QUIET)
        # A row that the page sets itself comes together with its texts and answers: hence "input", not "change".
        for triggers, handler in (
            ([button.click for button, _ in question.steps], self._stepped),
            ([question.random.click], self._random),
            ([self.run.change], self._row),
            ([question.number.input], self._row),
        ):
            # In two steps: the page may still be rendering updates of the answer that is cancelled.
            dropped = gr.on(
                triggers, self._drop_decoding, None, None, cancels=[answering, reading, searching], queue=False,
                **QUIET,
            )  # fmt: skip
            shown = dropped.then(self._newest(handler), inputs, outputs, trigger_mode="always_last", **QUIET)
            # A row that cannot be read leaves instructions to type.
            shown.failure(lambda run_id: gr.Button(interactive=bool(run_id)), self.run, self.ask, **QUIET)
        # Of two quick choices the last one counts.
        question.source.input(
            self._source, inputs, outputs, cancels=[reading], **{**QUIET, "trigger_mode": "always_last"}
        )
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

    def follow_link(self, opened: Any, tabs: gr.Tabs, shown: gr.State, seen: gr.State) -> None:
        """Apply the link that opened the page, if one did, and show its row. See ``Link.follow``."""
        question = self.question
        inputs = [self.run, question.source, question.number]
        applied = self.link.follow(opened, tabs, shown, seen)
        applied.then(self._linked, inputs, self._row_outputs, **QUIET)

    @property
    def _row_outputs(self) -> list[Any]:
        """What another row updates, in the order of ``_row``."""
        question = self.question
        texts = [question.source, question.number, question.instruction, question.input, question.expected]
        return [*texts, self.ask, *self._outputs, *self.why.outputs, *self.search.outputs]

    @property
    def _outputs(self) -> list[Any]:
        """What an answer updates, in the order of ``_updates``."""
        return [*self.answers, *self.details, self.state, self.stop, self.how_decoded, *self.difference.outputs]

    def _updates(
        self, boxes: Sequence[Any], details: Sequence[str], state: str, at_work: bool = False, how_decoded: str = ""
    ) -> list[Any]:
        """The updates of ``_outputs`` for other answers, without a difference."""
        return [*boxes, *details, state, gr.Button(visible=at_work), how_decoded, *self.difference.blank]

    @property
    def _blank(self) -> list[Any]:
        return [*self._no_answers, *self.why.before(None), *self.search.before(None)]

    @property
    def _no_answers(self) -> list[Any]:
        return self._updates([gr.Code("", language=None)] * len(WHO), [""] * len(WHO), BEFORE)

    def _recorded(self, row: HeldOutRow) -> list[Any]:
        """The updates of ``_outputs`` for the answers of an evaluation."""
        answers = row.answers or {}
        texts = [answers.get(side, "") for side in WHO]
        language = guess(row.example.output)
        boxes = [gr.Code(text, language=guess(text) or language) for text in texts]
        details = [recorded_details(answers, side) for side in WHO]
        shown = self._updates(boxes, details, row.sentence, how_decoded=row.decoding)
        return [*shown[: -len(self.difference.outputs)], *self.difference.updates(row.example.output, *texts)]

    def _drop_decoding(self, request: gr.Request) -> None:
        self.turns.drop(request.session_hash)
        self.search.drop(request.session_hash)

    def _source(self, run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
        """Another kind of question was chosen. A typed instruction keeps the texts on the page and their answers."""
        if source == TYPED:
            self.rows_shown.drop(request.session_hash)
            return [*[gr.skip()] * 4, no_expected(source), *[gr.skip()] * (len(self._row_outputs) - 5)]
        self._drop_decoding(request)
        return self._newest(self._row)(run_id, source, number, request)

    def _linked(self, run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
        """The row of the link that opened the page; nothing changes where none did."""
        if not is_link(request):
            return [gr.skip()] * len(self._row_outputs)
        return self._newest(self._row)(run_id, source, number, request)

    def _newest(self, handler: Callable[[str | None, str, float | None], list[Any]]) -> Callable[..., list[Any]]:
        """``handler`` of another row, which shows nothing where the window has called for a later one meanwhile."""

        def show(run_id: str | None, source: str, number: float | None, request: gr.Request) -> list[Any]:
            with self.rows_shown.of(request.session_hash) as is_newest:
                updates = handler(run_id, source, number)
                if is_newest():
                    return updates
            # Without a later row an own question has taken this one's place, and may be asked.
            waits = self.rows_shown.is_under_way(request.session_hash)
            ready = gr.skip() if waits else gr.Button(interactive=bool(run_id))
            return [ready if output is self.ask else gr.skip() for output in self._row_outputs]

        return show

    def _stepped(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """The row of the number that ``_step`` has set; beyond the last and before the first it wraps around."""
        asked = int(number or 0)
        to = self.rows.wrapped(run_id, asked) if run_id else 1
        # The number is the page's where it can be: a quick click after this one may have changed it.
        return [HELD_OUT, gr.skip() if to == asked else to, *self._row(run_id, HELD_OUT, to)[2:]]

    def _random(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        to = self.rows.random(run_id) if run_id else 1
        return [HELD_OUT, to, *self._row(run_id, HELD_OUT, to)[2:]]

    def _row(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """Another row or run: show its texts, and the answers of its evaluation where there are some.

        A typed instruction keeps its texts.
        """
        kept, ready = [gr.skip(), gr.skip()], gr.Button(interactive=bool(run_id))
        if source == TYPED or not run_id or not self.runs.is_visible(viewer(self.access), run_id):
            return [*kept, *kept, no_expected(source), ready, *self._blank]
        row = self.rows.get(run_id, int(number or 1))
        views = first_views.of_row(run_id, int(number or 1))
        answers = self._recorded(row) if row.answers else self._no_answers
        return [*kept, *texts(row.example), ready, *answers, *self.why.before(views), *self.search.before(views)]

    def _on_edit(self, request: gr.Request) -> list[Any]:
        """Edited text is a typed instruction; clear the answers, which belong to the former text."""
        self._drop_decoding(request)
        self.rows_shown.drop(request.session_hash)
        return [TYPED, no_expected(TYPED), *self._blank]

    def _show_third(self, third: str) -> list[Any]:
        """Another third model: show its empty column, or hide the column."""
        return [gr.Column(visible=third != NOBODY), gr.Code("", language=None), ""]

    def _stop(self, request: gr.Request) -> None:
        self.turns.stop(request.session_hash)

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
        how = decoded_how(settings, strength)
        yield self._updates(empty, [""] * len(WHO), "Waiting for the model…", at_work=True, how_decoded=how)
        unchanged = [gr.skip()] * (len(self._outputs) - 2 * len(WHO) - 2)
        window = session()
        with self.turns.of(window) as stop:
            question = (instruction, input_text or "", settings, stop)
            if third:
                answerers = chosen_answerers(run_id, strength, third, third_strength)
                updates = self.inference.compare_many(viewer(self.access), answerers, *question, names=WHO)
            else:
                updates = self.inference.compare(viewer(self.access), run_id, *question, strength=strength)
            try:
                for answer in at_most(updates):
                    if not self.turns.holds(window, stop):
                        break
                    boxes = [answer.get(side, "") for side in WHO]
                    if answer["done"]:
                        boxes = [gr.Code(text, language=guess(text) or language) for text in boxes]
                    details = [answer_details(answer, side) for side in WHO]
                    stopping = gr.Button(visible=False) if answer["done"] else gr.skip()
                    yield [*boxes, *details, state_sentence(answer, settings, strength), stopping, *unchanged]
            except LabError:
                # Not when the window shows another question by now.
                if self.turns.holds(window, stop):
                    yield [*[gr.skip()] * 2 * len(WHO), BEFORE, gr.skip(), *unchanged]
                raise
            # gradio sends a stream's last item again when the stream ends. That may arrive after the window's next
            # update and put an answer beside another row, so the last item changes nothing.
            yield [gr.skip()] * len(self._outputs)


def _step(step: int) -> str:
    """JavaScript that goes ``step`` rows on; the box is empty before the first row, where the last one follows."""
    return f"row => Math.max(0, Number(row) + {step}) || ''"

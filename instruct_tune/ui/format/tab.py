"""The Format tab: one training row token by token, each with its role and whether it carries loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ...inspection.token_view import Fault, TokenView
from ...services.access import Access
from ...services.datasets import Datasets
from ...services.estimates import Estimates
from ...services.tokenizers import Tokenizers
from ...text.markdown import plain
from ...tokenization.prompt_template import TEMPLATES
from ..browser_state import Memory
from ..context import PRIVATE, QUIET, user_errors, viewer
from ..fetch_progress import FetchProgressPanel, Updates
from ..form import CUSTOM_TEMPLATE, Form
from ..streaming import all_so_far
from . import batches
from .template_editor import PARTS, TemplateEditor, faults
from .text import TOKEN_HEADERS, answer_of, prompt_of, token_rows
from .token_grid import grid_value, token_grid


class FormatTab:
    """The tab's contents. ``following`` is the button to the next tab."""

    def __init__(
        self,
        form: Form,
        memory: Memory,
        *,
        tokenizers: Tokenizers,
        datasets: Datasets,
        estimates: Estimates,
        access: Access,
    ):
        self._tokenizers, self._datasets, self._access = tokenizers, datasets, access
        self._form = form
        gr.Markdown("See the exact row the trainer gets. The prompt is read; only the answer and its EOS carry loss.")
        self._build_choices()
        TemplateEditor(form, memory)
        self._button = gr.Button("Show the row", variant="primary", elem_id="format-show")
        self._progress = FetchProgressPanel("format")
        self._sentence = gr.Markdown("Nothing shown yet: press **Show the row**.", elem_id="format-sentence")
        self._grid = token_grid("format-tokens")
        with gr.Column(visible=False) as self._details:
            self._build_details()
        batches.build(form, tokenizers=tokenizers, datasets=datasets, estimates=estimates, access=access)
        self.following = gr.Button("Next: Train", elem_id="format-next", size="sm", elem_classes="next")
        form.when_complete(self._wire)

    def _build_choices(self) -> None:
        with gr.Row():
            self._form.add(
                "template",
                gr.Radio(
                    [*TEMPLATES, CUSTOM_TEMPLATE],
                    value="lesson",
                    label="Template",
                    info="How a row becomes a prompt: the same for training and for every answer later",
                    elem_id="format-template",
                    scale=3,
                    min_width=320,
                ),
            )
            self._number = gr.Number(
                1,
                label="Training row",
                info="From 1 on",
                precision=0,
                minimum=1,
                elem_id="format-row",
                scale=1,
                min_width=200,
            )

    def _build_details(self) -> None:
        with gr.Accordion("Prompt and answer as text", open=False), gr.Row():
            self._prompt, self._answer = (
                gr.Textbox(label=label, min_width=320, lines=6, max_lines=14, interactive=False, elem_classes="mono")
                for label in ("Prompt", "Answer")
            )
        with gr.Accordion("Every token as a table", open=False):
            self._tokens = gr.Dataframe(headers=TOKEN_HEADERS, interactive=False, max_height=400, label="Tokens")
        with gr.Accordion("Broken on purpose, for teaching", open=False, elem_id="format-broken"):
            gr.Markdown("The same row with a classic fault. Only shown here; no run is ever trained like this.")
            self._fault = gr.Radio([fault.value for fault in Fault], label="Fault", elem_id="format-fault")
            self._lesson = gr.Markdown("Choose a fault.", elem_id="format-lesson")
            self._broken = token_grid("format-broken-tokens")

    def _wire(self) -> None:
        inputs = self._form.controls | {self._number, self._fault}
        fault_parts = [self._lesson, self._broken]
        shown = [self._sentence, self._grid, self._details, self._prompt, self._answer, self._tokens, *fault_parts]
        shown += self._progress.outputs
        self._progress.wire()
        show = self._show
        for trigger in (self._button.click, self._number.change, self._form["template"].change):
            trigger(show, inputs, shown, show_progress_on=self._sentence, **PRIVATE)
        for part in PARTS:
            on_change = self._form[f"template.{part}"].change
            on_change(self._follow_edits, inputs | {self._prompt}, shown, trigger_mode="always_last", **QUIET)
        show_broken = self._show_broken
        self._fault.input(
            show_broken, inputs, [*fault_parts, *self._progress.outputs], trigger_mode="always_last", **QUIET
        )

    @user_errors
    def _show(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        yield from all_so_far(self._with_tokenizer(values, request, self._row))

    @user_errors
    def _show_broken(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        yield from all_so_far(self._with_tokenizer(values, request, self._broken_row))

    def _with_tokenizer(
        self, values: dict[Any, Any], request: gr.Request, show: Callable[[dict[Any, Any]], Updates]
    ) -> Iterator[Updates]:
        """Fetch the tokenizer if needed, then yield ``show(values)``; nothing more where the fetch is cancelled."""
        config, requester = self._form.read(values, "model"), viewer(self._access)
        has_tokenizer = self._tokenizers.has(str(config["model"]))
        if not has_tokenizer:
            has_tokenizer, _ = yield from self._progress.follow(
                request, lambda loading: self._datasets.start_fetching(requester, config, loading)
            )
        if has_tokenizer:
            yield show(values)

    def _row(self, values: dict[Any, Any]) -> Updates:
        row = self._token_view(values)
        return {
            self._sentence: f"**{plain(row.explanation, 400)}**",
            self._grid: gr.HTML(grid_value(row), visible=True),
            self._details: gr.Column(visible=True),
            self._prompt: prompt_of(row),
            self._answer: answer_of(row),
            self._tokens: token_rows(row),
            **(self._broken_row(values) if values[self._fault] else {}),
        }

    @user_errors
    def _follow_edits(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Render the shown row again while the custom template is edited; only while both texts are complete."""
        texts = [values[self._form[f"template.{part}"]] for part in PARTS]
        shown = values[self._prompt] and values[self._form["template"]] == CUSTOM_TEMPLATE
        if not shown or faults(*texts):
            return {self._sentence: gr.skip()}
        return self._row(values)

    def _broken_row(self, values: dict[Any, Any]) -> Updates:
        row = self._token_view(values, values[self._fault])
        sentence = f"**{row.supervised} of {row.length} tokens carry loss.** {plain(row.explanation, 500)}"
        return {self._lesson: sentence, self._broken: gr.HTML(grid_value(row), visible=True)}

    def _token_view(self, values: dict[Any, Any], fault: str | None = None) -> TokenView:
        config = self._form.read(values, "model", "data", "template")
        config["train"] = {name: values[self._form[f"train.{name}"]] for name in ("max_length", "overlong")}
        return self._datasets.token_view(
            viewer(self._access), config, max(1, int(values[self._number] or 1)) - 1, fault
        )

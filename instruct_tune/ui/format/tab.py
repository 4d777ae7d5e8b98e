"""The Format tab: one training row token by token, each with its role and whether it carries loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...errors import LabError
from ...inspection.first_content import first_content, recorded_tokens
from ...inspection.token_view import NO_FAULT, Fault
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ...services.estimates import Estimates
from ...services.tokenizers import Tokenizers
from ...tokenization.prompt_template import TEMPLATES
from ..as_python import AsPython
from ..browser_state import Memory
from ..context import QUIET, error_sentence, viewer
from ..exhibit import read
from ..fetch_progress import FetchProgressPanel, Updates
from ..form import CUSTOM_TEMPLATE, Form
from ..number_box import NumberBox
from ..workbench import workbench
from .batches import BatchPanel
from .requirements import Requirements
from .template_editor import PARTS, TemplateEditor, faults
from .token_views import TokenViews

RECORDED = "Recorded with the default settings; another choice is computed here."
UNFINISHED = (
    "The custom template has a fault, so nothing is drawn anew: below stands the last row in the last template that "
    "had none."
)

_STEP = "row => [Math.max(1, (Number(row) || 1) + BY)]"


class FormatTab:
    """The tab's contents. ``following`` is the button to the next tab."""

    def __init__(
        self,
        form: Form,
        as_python: AsPython,
        memory: Memory,
        tab: gr.Tab,
        *,
        configs: Configurations,
        tokenizers: Tokenizers,
        datasets: Datasets,
        estimates: Estimates,
        access: Access,
    ):
        self._configs, self._datasets, self._access = configs, datasets, access
        self._form, self._tab, self._requirements = form, tab, Requirements(tokenizers, datasets)
        bench = workbench("format")
        with bench.choose:
            self._build_choices()
            TemplateEditor(form, memory)
            with gr.Accordion("Broken on purpose, for teaching", open=False, elem_id="format-broken"):
                self._fault = gr.Radio(
                    [NO_FAULT, *(fault.value for fault in Fault)],
                    value=NO_FAULT,
                    label="Fault",
                    info="A classic one, only shown here: no run of yours is trained like this",
                    elem_id="format-fault",
                )
        with bench.act, gr.Row():
            self._download = gr.Button("Download tokenizer", variant="primary", visible=False, elem_id="format-show")
            self.following = gr.Button("Next: Train", variant="primary", elem_id="format-next")
        with bench.show:
            # The presets that a page begins with differ in nothing that row 1 shows.
            self._views = TokenViews(first_content("minute").tokens, RECORDED)
            self._progress = FetchProgressPanel("format")
            self._batch = BatchPanel(form, self._requirements, configs=configs, estimates=estimates, access=access)
            self._views.build(self._batch.build)
            as_python.fold("format")
        form.when_complete(self._wire)

    @property
    def linked_outputs(self) -> list[Any]:
        """The components that ``linked`` updates."""
        return [self._number, self._fault, *self._views.outputs]

    def linked(self, params: Mapping[str, str]) -> Updates:
        """Set what the address of an exhibit names: ``row`` and ``fault``. No other row is shown until that is read."""
        named = {"row": self._number, "fault": self._fault}
        values = {control: read(control, params[name]) for name, control in named.items() if name in params}
        chosen = {control: value for control, value in values.items() if value is not None}
        return self._views.clear("Reading the row…") | chosen

    def _build_choices(self) -> None:
        self._form.add(
            "template",
            gr.Radio(
                [*TEMPLATES, CUSTOM_TEMPLATE],
                value="lesson",
                label="Template",
                info="How a row becomes a prompt: the same for training and for every answer later",
                elem_id="format-template",
            ),
        )
        self._number = NumberBox(1, label="Training row", precision=0, minimum=1, elem_id="format-row")
        with gr.Row():
            self._previous = gr.Button("Previous row", size="sm", elem_id="format-previous")
            self._next = gr.Button("Next row", size="sm", elem_id="format-following")

    def _wire(self) -> None:
        inputs = self._form.controls | {self._number, self._fault}
        shown = [*self._views.outputs, self._download, self.following, *self._progress.outputs]
        self._progress.wire()
        for button, by in ((self._previous, "- 1"), (self._next, "+ 1")):
            button.click(None, self._number, self._number, js=_STEP.replace("+ BY", by), **QUIET)
        texts = [self._form[f"template.{part}"].change for part in PARTS]
        redraws = [self._tab.select, self._number.change, self._form["template"].change, self._fault.change, *texts]
        # Bound once: gradio counts concurrent runs by function identity.
        show = self._show
        # Nobody waits for another visitor's tokenizer.
        options: dict[str, Any] = {**QUIET, "concurrency_limit": 4}
        drawn = gr.on(redraws, show, inputs, shown, trigger_mode="always_last", **options)
        fetched = self._download.click(self._fetch, inputs, [self._download, *self._progress.outputs], **options)
        drawn_after = fetched.success(show, inputs, shown, **options)
        self._batch.wire(drawn, drawn_after)

    def _fetch(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Download the model's tokenizer."""
        # Where it has arrived meanwhile, nothing else is yielded.
        yield {self._download: gr.skip()}
        requester = viewer(self._access)
        yield from self._requirements.load(requester, self._config(values), request, self._progress)

    def _show(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Show the row as the settings stand. An error stands in its place: nobody has clicked for a toast."""
        texts = [values[self._form[f"template.{part}"]] for part in PARTS]
        if values[self._form["template"]] == CUSTOM_TEMPLATE and faults(*texts):
            yield self._views.explain(UNFINISHED)
            return
        try:
            yield from self._row(values, request)
        except LabError as error:
            yield self._views.clear(error_sentence(error)) | self._offer(False)

    def _row(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        requester, config = viewer(self._access), self._config(values)
        index = max(1, int(values[self._number] or 1)) - 1
        fault = None if values[self._fault] == NO_FAULT else values[self._fault]
        recorded = None if index or fault else recorded_tokens(config)
        if recorded:
            yield self._views.show(recorded, note=RECORDED) | self._offer(False)
        elif missing := self._requirements.missing(requester, config):
            yield self._views.clear(missing.sentence) | self._offer(missing.tokenizer)
        elif (yield from self._requirements.load(requester, config, request, self._progress)):
            row = self._datasets.token_view(requester, config, index)
            broken = self._datasets.token_view(requester, config, index, fault) if fault else None
            yield self._views.show(row, broken) | self._offer(False)

    def _offer(self, download: bool) -> Updates:
        """The updates of the buttons: only one of them is the primary one."""
        return {
            self._download: gr.Button(visible=download),
            self.following: gr.Button(variant="secondary" if download else "primary"),
        }

    def _config(self, values: dict[Any, Any]) -> RunConfig:
        config = self._form.read(values, "model", "data", "template")
        config["train"] = {name: values[self._form[f"train.{name}"]] for name in ("max_length", "overlong")}
        return self._configs.read(viewer(self._access), config)

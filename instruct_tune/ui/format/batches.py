"""The view of how rows are packed into passes for one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...errors import LabError
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.estimates import Estimates
from ..context import QUIET, error_sentence, viewer
from ..fetch_progress import FetchProgressPanel, Updates
from ..form import Form
from ..number_box import NumberBox
from .batch_grid import batch_grid, grid_value
from .requirements import Requirements
from .text import HEADERS, sentence, table

_SHAPING = ("max_length", "overlong", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs")
_SETTINGS = (*_SHAPING, "max_steps", "seed")
"""The training settings that decide which rows share a step, and how they are packed."""


class BatchPanel:
    """The passes that training would make with the form's current settings; computed when their tab is opened."""

    def __init__(
        self,
        form: Form,
        requirements: Requirements,
        *,
        configs: Configurations,
        estimates: Estimates,
        access: Access,
    ):
        self._form, self._requirements = form, requirements
        self._configs, self._estimates, self._access = configs, estimates, access
        # Not computed while the tab is closed: it takes a turn on the thread that trains. Not inside gr.Tabs, which
        # counts every child as a tab.
        self._is_open = gr.State(False)

    def build(self) -> None:
        """Build the tab."""
        with gr.Tab("Batch", id="Batch", elem_id="batch") as self._tab:
            with gr.Row(elem_classes="foot"):
                self._step = NumberBox(
                    1, label="Optimizer step", precision=0, minimum=1, elem_id="batch-step", scale=0, min_width=160
                )
                self._words = gr.Markdown("", elem_id="batch-sentence")
            self._progress = FetchProgressPanel("batch")
            self._grid = batch_grid("batch-grid")
            self._rows = gr.Dataframe(
                headers=HEADERS,
                interactive=False,
                max_height=400,
                label="Every row of the step",
                visible=False,
                elem_id="batch-rows",
            )

    def wire(self, *redrawn: Any) -> None:
        """Connect the events, once the form is complete; ``redrawn``: after these the settings may be others."""
        self._progress.wire()
        inputs = self._form.controls | {self._step, self._is_open}
        shown = [self._words, self._grid, self._rows, *self._progress.outputs]
        show = self._show
        opened = self._tab.select(lambda: True, None, self._is_open, queue=False, **QUIET)
        triggers = [opened.then, self._step.change, *(each.then for each in redrawn)]
        for trigger in triggers:
            trigger(show, inputs, shown, trigger_mode="always_last", **QUIET)

    def _show(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Show the step as the settings stand, once the tab was opened."""
        if values[self._is_open]:
            yield from self._passes_or_error(values, request)
        else:
            yield {self._words: gr.skip()}

    def _passes_or_error(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        try:
            yield from self._passes(values, request)
        except LabError as error:
            yield self._clear(error_sentence(error))

    def _passes(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        requester, config = viewer(self._access), self._config(values)
        if missing := self._requirements.missing(requester, config):
            yield self._clear(missing.sentence)
        elif (yield from self._requirements.load(requester, config, request, self._progress)):
            # Other work may come first; until then the former step stands here.
            yield {self._words: "Drawing the step…"}
            view = self._estimates.step_view(requester, config, max(1, int(values[self._step] or 1)))
            yield {
                self._words: sentence(view),
                self._grid: gr.HTML(grid_value(view), visible=True),
                self._rows: gr.Dataframe(table(view), visible=True),
            }

    def _clear(self, sentence: str) -> Updates:
        return {
            self._words: sentence,
            self._grid: gr.HTML(None, visible="hidden"),
            self._rows: gr.Dataframe(visible=False),
        }

    def _config(self, values: dict[Any, Any]) -> RunConfig:
        config = self._form.read(values, "model", "data", "template")
        config["train"] = {name: values[self._form[f"train.{name}"]] for name in _SETTINGS}
        return self._configs.read(viewer(self._access), config)

"""The fold under the token view that shows how rows are packed into passes for one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.datasets import Datasets
from ...services.estimates import Estimates
from ...services.tokenizers import Tokenizers
from ..context import PRIVATE, user_errors, viewer
from ..fetch_progress import FetchProgressPanel, Updates
from ..form import Form
from ..streaming import all_so_far
from .batch_grid import MAX_PASSES, batch_grid, grid_value
from .text import HEADERS, sentence, table

_SHAPING = ("max_length", "overlong", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs")
_SETTINGS = (*_SHAPING, "max_steps", "seed")
"""The training settings that decide which rows share a step, and how they are packed."""


def build(form: Form, *, tokenizers: Tokenizers, datasets: Datasets, estimates: Estimates, access: Access) -> None:
    """Build the fold; it shows the passes that training would make with the form's current settings."""
    with gr.Accordion("How rows become a batch", open=False, elem_id="batch"):
        gr.Markdown(
            "The passes that training makes of one optimizer step, with the data and settings as they stand. "
            "A row's number is its number among the training rows."
        )
        with gr.Row(elem_classes="foot"):
            step = gr.Number(1, label="Optimizer step", info="From 1 on", precision=0, minimum=1, elem_id="batch-step")
            button = gr.Button("Show the step", elem_id="batch-show", size="md")
        progress = FetchProgressPanel("batch")
        words = gr.Markdown("", elem_id="batch-sentence")
        grid = batch_grid("batch-grid")
        with gr.Accordion("Every row of the step as a table", open=False, visible=False, elem_id="batch-fold") as fold:
            rows = gr.Dataframe(headers=HEADERS, interactive=False, max_height=400, label="Rows of the step")

    @user_errors
    def show(values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        yield from all_so_far(steps(values, request))

    def steps(values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        config, requester = form.read(values, "model", "data", "template"), viewer(access)
        config["train"] = {name: values[form[f"train.{name}"]] for name in _SETTINGS}
        has_tokenizer = tokenizers.has(str(config["model"]))
        if not has_tokenizer:
            has_tokenizer, _ = yield from progress.follow(
                request, lambda loading: datasets.start_fetching(requester, config, loading)
            )
        if not has_tokenizer:
            return
        view = estimates.step_view(requester, config, max(1, int(values[step] or 1)))
        yield {
            words: sentence(view),
            grid: gr.HTML(grid_value(view), visible=True),
            fold: gr.Accordion(visible=True, open=len(view.passes) > MAX_PASSES),
            rows: table(view),
        }

    @form.when_complete
    def wire() -> None:
        progress.wire()
        gr.on(
            [button.click, step.submit],
            show,
            form.controls | {step},
            [words, grid, fold, rows, *progress.outputs],
            trigger_mode="always_last",
            **PRIVATE,
        )

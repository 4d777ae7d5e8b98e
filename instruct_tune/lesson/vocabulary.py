"""What a step may name: the page's tabs, the controls that it may set, the places that it may mark.

A path comes from a file that anybody may have written, so it can name these and nothing else. Nothing in this list
starts work, loads a dataset or names a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..config.validation import merge, read_config
from ..errors import SettingsError
from ..inspection.token_view import NO_FAULT, Fault
from ..tokenization.prompt_template import template_from

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs")

SETTINGS = (
    "data.limit",
    "template",
    "lora.r",
    "lora.lora_alpha",
    "lora.use_rslora",
    "lora.lora_dropout",
    "lora.target_modules",
    "train.num_train_epochs",
    "train.max_steps",
    "train.per_device_train_batch_size",
    "train.gradient_accumulation_steps",
    "train.learning_rate",
    "train.lr_scheduler_type",
    "train.warmup_steps",
    "train.weight_decay",
    "train.max_grad_norm",
    "train.optim",
    "train.max_length",
    "train.overlong",
    "train.probe_rows",
    "train.probes",
    "train.general_loss",
    "train.bleu_rows",
    "train.recite_rows",
    "train.seed",
    "evaluation_rows",
    "generation.max_new_tokens",
    "generation.max_length",
    "generation.num_beams",
    "generation.early_stopping",
    "generation.do_sample",
    "generation.temperature",
    "generation.top_p",
    "generation.seed",
)
"""The settings of a run that a step may set, by their names in the configuration.

The dataset and its columns are not among them: another dataset has other columns, so they could not be put back.
"""
SLIDERS: Mapping[str, float] = {"lora.r": 64, "lora.lora_dropout": 0.5}
"""The highest value that the page's slider of a setting shows, where the setting itself may be higher."""


@dataclass(frozen=True)
class Control:
    """A control that is no setting of a run. ``accepts``: whether it can show a value; ``range``: which, in words."""

    tab: str
    words: str
    accepts: Callable[[Any], bool]
    range: str


def _whole(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return accepts, f"a whole number from {low} to {high:,}"


def _choice(*choices: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in choices), f"one of {', '.join(choices)}"


CONTROLS: Mapping[str, Control] = {
    "format-row": Control("Format", "Training row", *_whole(1, 1_000_000)),
    "format-fault": Control("Format", "Fault", *_choice(NO_FAULT, *(fault.value for fault in Fault))),
    "compare-way": Control("Compare", "Decoding", *_choice("greedy", "beams", "sampling")),
    "evaluate-limit": Control("Evaluate", "Held-out rows", *_whole(1, 1_000_000)),
    "evaluate-decoding": Control("Evaluate", "Decoding", *_choice("The run's own", "Greedy", "Five beams")),
}
"""The other controls that a step may set, by their ids on the page."""

PLACES: Mapping[str, Mapping[str, str]] = {
    "Data": {
        "data-source": "Dataset",
        "filters-list": "Filters, each with the rows that it kept and dropped",
        "filters-add-fold": "Add a filter",
        "data-summary": "the sentence about the rows",
        "data-rows": "the table of rows",
    },
    "Format": {
        "format-sentence": "the sentence that counts the tokens",
        "format-broken-row": "the row with the fault, and what a model learns from it",
        "format-tokens": "the row, token by token",
        "format-broken": "Broken on purpose",
        "format-prompt": "the prompt as text",
        "format-answer": "the answer as text",
        "batch-grid": "the passes of one step",
    },
    "Train": {
        "train-preset": "the presets",
        "train-cost": "the line that says what the run costs",
        "train-start": "Start",
        "train-status": "the state of the run",
        "train-chart": "the plot of the losses",
        "train-scrubber": "the slider, with the answers by step",
        "train-findings": "what was found in the run",
    },
    "Compare": {
        "compare-run": "Run",
        "compare-rows": "the choice of the row",
        "compare-ask": "Compare",
        "compare-answers": "the expected answer, base and tuned",
        "compare-search-start": "Search",
        "compare-why-map": "the loss of each token of the answer",
        "compare-search-greedy": "greedy decoding, token by token",
        "compare-search-beams": "five beams as a tree",
        "compare-effect-norms": "the size of the adapter, layer by layer",
    },
    "Evaluate": {
        "evaluate-run": "Run",
        "evaluate-start": "Evaluate",
        "evaluate-sentence": "the result in one sentence",
        "evaluate-plot": "the bars with their intervals",
        "evaluate-verdict": "what the numbers say",
        "evaluate-scores": "the table of measures",
        "evaluate-show": "Show, which chooses rows",
        "evaluate-table": "the answers row by row",
        "why-04-words": "the lesson's numbers taken apart",
        "why-04-table": "the lesson's settings and their scores",
    },
    "Runs": {
        "runs-table": "the table of runs",
        "runs-details": "the chosen run",
    },
}
"""What a step may mark besides controls that it may set: tab → id on the page → what it is called in the panel."""

NOTICES = ("data", "template", "loss", "adapter", "steps", "trained", "answers", "evaluated", "rows")
"""What the panel may notice under a step; ``lesson.sentences`` says it."""


def tab_of(name: str) -> str | None:
    """The tab where the control or place ``name`` is; None if a step may not name it."""
    if name in SETTINGS:
        return "Format" if name == "template" else "Train"
    if name in CONTROLS:
        return CONTROLS[name].tab
    return next((tab for tab, places in PLACES.items() if name in places), None)


def settings_fault(values: Mapping[str, Any]) -> str | None:
    """Why these settings cannot be set together; None if they can."""
    if not isinstance(values.get("template", ""), str):
        return "template must be the name of one"
    for name, most in SLIDERS.items():
        if isinstance(values.get(name), int | float) and values[name] > most:
            return f"{name} must be at most {most:g}"
    overrides: dict[str, Any] = {}
    for name, value in values.items():
        merge(overrides, name, value)
    try:
        read_config(overrides)
        template_from(values.get("template", "lesson"))
    except SettingsError as error:
        return str(error).rstrip(".")
    return None

"""The controls of a training run: a few visible, the rest in named folds, each with a sentence on its effect.

Types, initial values and choices are the configuration's own; a table adds label, help text and looks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ...config.catalog import MODELS
from ...config.presets import PRESETS
from ...config.run_config import OPTIMIZERS, OVERLONG, SCHEDULERS, STRATEGIES
from ...config.text_limits import LONGEST_OWN_PROMPT
from ..first_preset import first_preset
from ..form import OWN_PROMPTS, Form, shown_value
from ..number_box import NumberBox, OpenSlider

FIRST = PRESETS[first_preset()]
"""The initial values of the controls."""


@dataclass(frozen=True)
class Field:
    """The control of one setting.

    ``name``: the setting's dotted name. ``choices``: what a dropdown offers. ``kind``: another component than that of
    the setting's type. ``options``: further arguments of the component.
    """

    name: str
    label: str
    help: str
    choices: Sequence[str] = ()
    kind: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def add_to(self, form: Form, fold: str) -> None:
        """Create the control and register it."""
        types = _types(self.name)
        kind = self.kind or (gr.Dropdown if self.choices else _COMPONENTS[types[0]])
        options = dict(self.options)
        if self.choices:
            options["choices"] = self.choices
        if kind is NumberBox and "int" in types:
            options["precision"] = 0
        if kind is NumberBox and "None" in types:
            options.setdefault("placeholder", "none")
        value = shown_value(FIRST.to_dict(), self.name)
        form.add(self.name, kind(value=value, label=self.label, info=self.help, **options), fold)


_COMPONENTS = {"bool": gr.Checkbox, "int": NumberBox, "float": NumberBox, "str": gr.Textbox}


def _types(name: str) -> list[str]:
    """The types that the setting ``name`` accepts, by their names in the configuration's dataclasses."""
    *sections, last = name.split(".")
    owner: Any = functools.reduce(getattr, sections, FIRST)
    return next(str(each.type).split(" | ") for each in dataclasses.fields(owner) if each.name == last)


FEW = (
    Field("model", "Model", "From the list, any Hub id, or a local folder; a larger one knows more and takes longer",
          [card.id for card in MODELS],
          options={"allow_custom_value": True, "elem_id": "train-model", "scale": 2, "min_width": 320}),
    Field("data.limit", "Training rows", "More rows teach more and take longer; empty: all",
          options={"elem_id": "train-rows", "placeholder": "all"}),
    Field("train.num_train_epochs", "Epochs", "How often the rows are gone through; many times is learning by heart"),
    Field("lora.r", "Rank", "Higher can learn more", kind=OpenSlider,
          options={"minimum": 1, "maximum": 64, "step": 1, "elem_id": "train-rank"}),
    Field("train.learning_rate", "Learning rate",
          "Size of a step. Too high: the loss explodes; too low: nothing changes",
          options={"elem_id": "train-learning-rate"}),
)  # fmt: skip

LORA = (
    Field("lora.lora_alpha", "Alpha", "Higher makes the adapter louder: its output is scaled by alpha / rank"),
    Field("lora.use_rslora", "Rank-stabilised",
          "Scale by alpha / square root of the rank instead, so that high ranks are not muted"),
    Field("lora.lora_dropout", "Dropout",
          "Higher learns less by heart: so much of the adapter's input is left out at random", kind=OpenSlider,
          options={"minimum": 0, "maximum": 0.5, "step": 0.05}),
    Field("lora.target_modules", "Target modules",
          "Where the adapter sits: auto (query and value), all-linear (learns more), names or a pattern"),
)  # fmt: skip

STEPS = (
    Field("train.per_device_train_batch_size", "Batch size",
          "Rows a step, times Accumulation: more is smoother and means fewer steps"),
    Field("train.gradient_accumulation_steps", "Accumulation",
          "Batches summed before a step: a larger batch in the same memory"),
    Field("train.max_steps", "Most steps", "Ends the run early, whatever the epochs say; -1: no limit"),
    Field("train.seed", "Seed", "Another one draws another order of rows and another first adapter"),
)  # fmt: skip

OPTIMIZER = (
    Field("train.lr_scheduler_type", "Schedule",
          "How the learning rate falls from its height to zero, or that it stays", SCHEDULERS),
    Field("train.warmup_steps", "Warm-up steps",
          "Steps in which the rate rises from zero: calms the start of a long run"),
    Field("train.weight_decay", "Weight decay", "Higher pulls the adapter towards zero, against learning by heart"),
    Field("train.max_grad_norm", "Gradient clipping", "Lower tames single bad batches; 0 switches it off"),
    Field("train.optim", "Optimizer",
          "How gradients become steps: AdamW is right for nearly all, sgd needs a far higher rate", OPTIMIZERS),
    Field("train.bf16", "bfloat16",
          "Half the memory, faster on a GPU that has it, slower on most CPUs; auto finds out, also for products alone",
          ["auto", "on", "off"]),
)  # fmt: skip

LONG_ROWS = (
    Field("train.max_length", "Longest row in tokens",
          "Prompt, answer and EOS together: lower saves memory and loses rows"),
    Field("train.overlong", "Longer rows", "Left out, or cut: a cut answer has no EOS and does not learn to end",
          OVERLONG, gr.Radio),
)  # fmt: skip

PROMPTS = (
    Field("train.held_out_prompts", "Held-out prompts", "Rows the training does not see, answered at probes"),
    Field("train.training_prompts", "Training prompts", "Rows it does see: their answers show what it learns by heart"),
    Field("train.sample_every", "Answered every",
          "Probes from one round of answers to the next; 1: at each, which takes longer"),
    Field("train.sample_tokens", "Longest probe answer",
          "In tokens; with several prompts at most 48, and 0 asks none of them"),
)  # fmt: skip

FORGETTING = (
    Field("train.general_loss", "General loss",
          "With the answers, the loss on plain English and code: it rises where the model forgets"),
    Field("train.bleu_rows", "BLEU rows",
          "Held-out rows answered at each evaluation, for BLEU in the plot; slow on a CPU, 0: none"),
)  # fmt: skip

MEASUREMENTS = (
    Field("evaluation_rows", "Evaluation rows",
          "Held-out rows for BLEU and evaluation loss: more is surer and slower; empty: all",
          options={"placeholder": "all"}),
    Field("train.probe_rows", "Probe rows", "Other held-out rows, for the bold line: more is steadier and slower"),
    Field("train.probes", "Probes", "Points on the bold line after step 0; each takes a moment"),
    Field("train.logging_steps", "Log every", "Steps between two lines in the lab's log; the plot has them all"),
)  # fmt: skip

INTERVALS = (
    Field("train.eval_strategy", "Evaluate",
          "When the loss on the evaluation rows is taken; each time costs a look at them all", STRATEGIES),
    Field("train.eval_steps", "Evaluation steps", "Steps between two evaluations, where that choice is steps"),
    Field("train.save_strategy", "Checkpoint", "When the run can be resumed from; no: only by the clock", STRATEGIES),
    Field("train.save_steps", "Checkpoint steps", "Steps between two checkpoints, where that choice is steps"),
    Field("train.save_minutes", "Minutes between",
          "A checkpoint at least this often: what a crash can cost; empty: never",
          options={"placeholder": "never"}),
    Field("train.save_total_limit", "Keep", "The newest checkpoints that stay on disk; empty: all",
          options={"placeholder": "all"}),
)  # fmt: skip

BEST_CHECKPOINT = (
    Field("train.early_stopping_patience", "Patience",
          "Stop after so many evaluations in a row without a lower loss; empty: never",
          options={"placeholder": "never"}),
    Field("train.recite_rows", "By heart", "Training rows that are asked for after the training; 0: none"),
    Field("train.load_best_model_at_end", "Keep the best",
          "The adapter with the lowest evaluation loss, not the last one"),
)  # fmt: skip

ANSWERS = (
    Field("generation.max_new_tokens", "Longest answer",
          "In tokens: where an answer that does not end by itself is cut"),
    Field("generation.max_length", "Prompt and answer",
          "In tokens, instead of the former (the lesson's way: it cuts answers)"),
    Field("generation.num_beams", "Beams",
          "Answers tried side by side: more is slower, often a little better; 1 is greedy, the lesson has 5"),
    Field("generation.early_stopping", "Early stopping", "Beams end as soon as enough answers have ended"),
    Field("generation.do_sample", "Sample", "Draw tokens at random instead of taking the likeliest"),
    Field("generation.temperature", "Temperature", "Where tokens are drawn: higher is wilder"),
    Field("generation.top_p", "Top-p", "Where tokens are drawn: lower leaves unlikely ones out"),
    Field("generation.seed", "Seed", "Where tokens are drawn: the same seed draws the same ones"),
)  # fmt: skip

WHILE_TRAINING = "Asked while it trains"
FOLDS = {
    "LoRA": (LORA,),
    "Optimisation": (STEPS, OPTIMIZER),
    "Long rows": (LONG_ROWS,),
    WHILE_TRAINING: (PROMPTS, FORGETTING),
    "Measuring and checkpoints": (MEASUREMENTS, INTERVALS, BEST_CHECKPOINT),
    "Answers (decoding)": (ANSWERS,),
}
"""The rows of controls in each fold."""


def few_controls(form: Form) -> None:
    """Add the controls that are always visible: model, rows, epochs, rank, learning rate."""
    _row(form, FEW, elem_id="few-controls")


def folds(form: Form) -> None:
    """Add all other controls, in folds."""
    title = "More settings: LoRA, optimisation, long rows, measuring, answers"
    with gr.Accordion(title, open=False, elem_id="more-settings"):
        for title, rows in FOLDS.items():
            with gr.Accordion(title, open=False, elem_id=f"fold-{title.split()[0].lower()}"):
                for fields in rows:
                    _row(form, fields, fold=title)
                if title == WHILE_TRAINING:
                    _own_prompts(form)


def _own_prompts(form: Form) -> None:
    """Add a box for each prompt of a person's own; only they and the host see these and their answers."""
    for place, name in enumerate(OWN_PROMPTS, 1):
        box = gr.Textbox(
            label=f"Your prompt {place}",
            info="Answered at probes; only you and the host of the lab see it" if place == 1 else None,
            lines=2,
            max_length=LONGEST_OWN_PROMPT,
            elem_id=f"train-own-prompt-{place}",
        )
        form.add(name, box)


def _row(form: Form, fields: Sequence[Field], elem_id: str | None = None, fold: str = "") -> None:
    with gr.Row(elem_id=elem_id):
        for each in fields:
            each.add_to(form, fold)

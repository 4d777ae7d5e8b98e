"""The controls of a training run: a few visible, the rest in named folds, each with a sentence on its effect."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...config.catalog import MODELS
from ...config.run_config import OPTIMIZERS, PRESETS, SCHEDULERS
from ..form import Form
from .presets import first_preset

FIRST = PRESETS[first_preset()]
"""The initial values of the controls."""


def few_controls(form: Form) -> None:
    """Add the controls that are always visible: model, rows, epochs, rank, learning rate."""
    with gr.Row(elem_id="few-controls"):
        form.add(
            "model",
            gr.Dropdown(
                [card.id for card in MODELS],
                value=FIRST.model,
                label="Model",
                info="From the list, any Hub id, or a local folder; a larger one knows more and takes longer",
                allow_custom_value=True,
                elem_id="train-model",
                scale=2,
                min_width=320,
            ),
        )
        form.add(
            "data.limit",
            gr.Number(
                FIRST.data.limit,
                label="Training rows",
                info="More rows teach more and take longer; empty: all",
                precision=0,
                elem_id="train-rows",
            ),
        )
        form.add(
            "train.num_train_epochs",
            gr.Number(1, label="Epochs", info="How often the rows are gone through; many times is learning by heart"),
        )
        form.add(
            "lora.r",
            gr.Slider(
                1,
                64,
                16,
                step=1,
                label="Rank",
                info="Higher can learn more",
                elem_id="train-rank",
            ),
        )
        form.add(
            "train.learning_rate",
            gr.Number(
                FIRST.train.learning_rate,
                label="Learning rate",
                info="Size of a step. Too high: the loss explodes; too low: nothing changes",
            ),
        )


def folds(form: Form) -> None:
    """Add all other controls, in folds."""
    with gr.Accordion("More settings: LoRA, optimisation, long rows, measuring, answers", open=False):
        _lora(form)
        _optimisation(form)
        _long_rows(form)
        _measuring(form)
        _answers(form)


def _lora(form: Form) -> None:
    lora = FIRST.lora
    with gr.Accordion("LoRA", open=False), gr.Row():
        _number(
            form,
            "lora.lora_alpha",
            lora.lora_alpha,
            "Alpha",
            "Higher makes the adapter louder: its output is scaled by alpha / rank",
            whole=False,
        )
        form.add(
            "lora.use_rslora",
            gr.Checkbox(
                lora.use_rslora,
                label="Rank-stabilised",
                info="Scale by alpha / square root of the rank instead, so that high ranks are not muted",
            ),
        )
        form.add(
            "lora.lora_dropout",
            gr.Slider(
                0,
                0.5,
                lora.lora_dropout,
                step=0.05,
                label="Dropout",
                info="Higher learns less by heart: so much of the adapter's input is left out at random",
            ),
        )
        form.add(
            "lora.target_modules",
            gr.Textbox(
                "auto",
                label="Target modules",
                info="Where the adapter sits: auto (query and value), all-linear (learns more), names or a pattern",
            ),
        )


def _optimisation(form: Form) -> None:
    with gr.Accordion("Optimisation", open=False):
        with gr.Row():
            _steps(form)
        with gr.Row():
            _optimizer(form)


def _steps(form: Form) -> None:
    train = FIRST.train
    _number(
        form,
        "train.per_device_train_batch_size",
        train.per_device_train_batch_size,
        "Batch size",
        "Rows an optimizer step: more is smoother and means fewer steps",
    )
    _number(
        form,
        "train.gradient_accumulation_steps",
        1,
        "Accumulation",
        "Batches summed before a step: a larger batch in the same memory",
    )
    _number(form, "train.max_steps", -1, "Most steps", "Ends the run early, whatever the epochs say; -1: no limit")
    _number(form, "train.seed", 42, "Seed", "Another one draws another order of rows and another first adapter")


def _optimizer(form: Form) -> None:
    _choice(
        form,
        "train.lr_scheduler_type",
        list(SCHEDULERS),
        "linear",
        "Schedule",
        "How the learning rate falls from its height to zero, or that it stays",
    )
    _number(
        form,
        "train.warmup_steps",
        0,
        "Warm-up steps",
        "Steps in which the rate rises from zero: calms the start of a long run",
    )
    _number(
        form,
        "train.weight_decay",
        0.0,
        "Weight decay",
        "Higher pulls the adapter towards zero, against learning by heart",
        whole=False,
    )
    _number(
        form,
        "train.max_grad_norm",
        1.0,
        "Gradient clipping",
        "Lower tames single bad batches; 0 switches it off",
        whole=False,
    )
    _choice(
        form,
        "train.optim",
        list(OPTIMIZERS),
        "adamw_torch",
        "Optimizer",
        "How gradients become steps: AdamW is right for nearly all, sgd needs a far higher rate",
    )
    _choice(
        form,
        "train.bf16",
        ["auto", "on", "off"],
        "auto",
        "bfloat16",
        "Half the memory, and faster on a GPU that has it (auto finds out); slower on most CPUs",
    )


def _long_rows(form: Form) -> None:
    train = FIRST.train
    with gr.Accordion("Long rows", open=False), gr.Row():
        _number(
            form,
            "train.max_length",
            train.max_length,
            "Longest row in tokens",
            "Prompt, answer and EOS together: lower saves memory and loses rows",
        )
        form.add(
            "train.overlong",
            gr.Radio(
                ["drop", "truncate"],
                value="drop",
                label="Longer rows",
                info="Left out, or cut: a cut answer has no EOS and does not learn to end",
            ),
        )


def _measuring(form: Form) -> None:
    with gr.Accordion("Measuring and checkpoints", open=False):
        with gr.Row():
            _measurements(form)
        with gr.Row():
            _intervals(form)
        with gr.Row():
            _best_checkpoint(form)


def _measurements(form: Form) -> None:
    train = FIRST.train
    _number(
        form,
        "evaluation_rows",
        40,
        "Evaluation rows",
        "Held-out rows for BLEU and evaluation loss: more is surer and slower; empty: all",
    )
    _number(
        form,
        "train.probe_rows",
        train.probe_rows,
        "Probe rows",
        "Other held-out rows, for the bold line: more is steadier and slower",
    )
    _number(
        form,
        "train.probes",
        train.probes,
        "Probes",
        "Points on the bold line after step 0; each takes a moment",
    )
    _number(
        form,
        "train.sample_tokens",
        train.sample_tokens,
        "Probe answer",
        "Longest answer to the fixed prompt at each probe, in tokens; 0: none",
    )
    _number(
        form,
        "train.logging_steps",
        1,
        "Log every",
        "Steps between two lines in the lab's log; the plot has them all",
    )


def _intervals(form: Form) -> None:
    train = FIRST.train
    _choice(
        form,
        "train.eval_strategy",
        ["no", "epoch", "steps"],
        "epoch",
        "Evaluate",
        "When the loss on the evaluation rows is taken; each time costs a look at them all",
    )
    _number(
        form,
        "train.eval_steps",
        None,
        "Evaluation steps",
        "Steps between two evaluations, where that choice is steps",
    )
    _choice(
        form,
        "train.save_strategy",
        ["no", "epoch", "steps"],
        "epoch",
        "Checkpoint",
        "When the run can be resumed from; no: only by the clock",
    )
    _number(
        form,
        "train.save_steps",
        None,
        "Checkpoint steps",
        "Steps between two checkpoints, where that choice is steps",
    )
    _number(
        form,
        "train.save_minutes",
        train.save_minutes,
        "Minutes between",
        "A checkpoint at least this often: what a crash can cost; empty: never",
        whole=False,
    )
    _number(
        form,
        "train.save_total_limit",
        train.save_total_limit,
        "Keep",
        "The newest checkpoints that stay on disk; empty: all",
    )


def _best_checkpoint(form: Form) -> None:
    _number(
        form,
        "train.early_stopping_patience",
        None,
        "Patience",
        "Stop after so many evaluations in a row without a lower loss; empty: never",
    )
    _number(form, "train.recite_rows", 0, "By heart", "Training rows that are asked for after the training; 0: none")
    form.add(
        "train.load_best_model_at_end",
        gr.Checkbox(
            False,
            label="Keep the best",
            info="The adapter with the lowest evaluation loss, not the last one",
        ),
    )


def _answers(form: Form) -> None:
    generation = FIRST.generation
    with gr.Accordion("Answers (decoding)", open=False), gr.Row():
        _number(
            form,
            "generation.max_new_tokens",
            generation.max_new_tokens,
            "Longest answer",
            "In tokens: where an answer that does not end by itself is cut",
        )
        _number(
            form,
            "generation.max_length",
            None,
            "Prompt and answer",
            "In tokens, instead of the former (the lesson's way: it cuts answers)",
        )
        _number(
            form,
            "generation.num_beams",
            1,
            "Beams",
            "Answers tried side by side: more is slower, often a little better; 1 is greedy, the lesson has 5",
        )
        form.add(
            "generation.early_stopping",
            gr.Checkbox(False, label="Early stopping", info="Beams end as soon as enough answers have ended"),
        )
        form.add(
            "generation.do_sample",
            gr.Checkbox(False, label="Sample", info="Draw tokens at random instead of taking the likeliest"),
        )
        _number(
            form, "generation.temperature", 1.0, "Temperature", "Where tokens are drawn: higher is wilder", whole=False
        )
        _number(
            form,
            "generation.top_p",
            1.0,
            "Top-p",
            "Where tokens are drawn: lower leaves unlikely ones out",
            whole=False,
        )
        _number(form, "generation.seed", 42, "Seed", "Where tokens are drawn: the same seed draws the same ones")


def _number(form: Form, name: str, value: Any, label: str, info: str, whole: bool = True) -> None:
    form.add(name, gr.Number(value, label=label, info=info, precision=0 if whole else None))


def _choice(form: Form, name: str, choices: list[str], value: str, label: str, info: str) -> None:
    form.add(name, gr.Dropdown(choices, value=value, label=label, info=info))

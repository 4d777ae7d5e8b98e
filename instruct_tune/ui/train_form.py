"""The controls of a training: a few in sight, the rest in named folds, each with a sentence on what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ..catalog import MODELS
from ..settings import OPTIMIZERS, PRESETS, SCHEDULERS
from .form import Form


def first_preset() -> str:
    """What the page begins with: half a minute of training where there is no GPU."""
    # Asking torch would cost seconds before the page answers; the driver's device file says it too.
    return "quick" if Path("/dev/nvidia0").exists() else "minute"


def few_controls(form: Form) -> None:
    """Model, rows, epochs, rank, learning rate: what a beginner sees."""
    first = PRESETS[first_preset()]
    with gr.Row():
        form.add(
            "model",
            gr.Dropdown(
                [card.id for card in MODELS],
                value=first.model,
                label="Model",
                info="From the list, any Hub id, or a local folder",
                allow_custom_value=True,
                elem_id="train-model",
                scale=2,
                min_width=320,
            ),
        )
        form.add(
            "data.limit",
            gr.Number(first.data.limit, label="Training rows", info="Empty: all", precision=0, elem_id="train-rows"),
        )
        form.add("train.num_train_epochs", gr.Number(1, label="Epochs", info="Passes over the rows"))
        form.add("lora.r", gr.Slider(1, 64, 16, step=1, label="Rank", info="Size of the adapter"))
        form.add(
            "train.learning_rate",
            gr.Number(
                first.train.learning_rate,
                label="Learning rate",
                info="Too high: loss explodes; too low: nothing changes",
            ),
        )


def folds(form: Form) -> None:
    """Everything else, folded away."""

    def number(name: str, value: Any, label: str, info: str, whole: bool = True) -> None:
        form.add(name, gr.Number(value, label=label, info=info, precision=0 if whole else None))

    first = PRESETS[first_preset()]
    train, lora, generation = first.train, first.lora, first.generation
    with gr.Accordion("LoRA", open=False), gr.Row():
        number("lora.lora_alpha", lora.lora_alpha, "Alpha", "The adapter's output is scaled by alpha / rank")
        form.add(
            "lora.lora_dropout",
            gr.Slider(0, 0.5, lora.lora_dropout, step=0.05, label="Dropout", info="Against overfitting"),
        )
        form.add(
            "lora.target_modules",
            gr.Textbox("auto", label="Target modules", info="auto, all-linear, or names with commas"),
        )
    with gr.Accordion("Optimisation", open=False):
        with gr.Row():
            number("train.per_device_train_batch_size", train.per_device_train_batch_size, "Batch size", "Rows a pass")
            number("train.gradient_accumulation_steps", 1, "Accumulation", "Batches an optimizer step")
            number("train.max_steps", -1, "Most steps", "-1: as many as the epochs have")
            number("train.seed", 42, "Seed", "Same seed, same run")
        with gr.Row():
            form.add(
                "train.lr_scheduler_type",
                gr.Dropdown(list(SCHEDULERS), value="linear", label="Schedule", info="How the learning rate falls"),
            )
            number("train.warmup_steps", 0, "Warm-up steps", "Rising learning rate at the start")
            number("train.weight_decay", 0.0, "Weight decay", "Pulls the adapter towards zero", whole=False)
            number("train.max_grad_norm", 1.0, "Gradient clipping", "Longest step; 0 switches it off", whole=False)
            form.add(
                "train.optim",
                gr.Dropdown(
                    list(OPTIMIZERS), value="adamw_torch", label="Optimizer", info="AdamW is right for nearly all"
                ),
            )
            form.add(
                "train.bf16",
                gr.Dropdown(["auto", "on", "off"], value="auto", label="bfloat16", info="auto: where the GPU has it"),
            )
    with gr.Accordion("Long rows", open=False), gr.Row():
        number("train.max_length", train.max_length, "Longest row in tokens", "Prompt, answer and EOS together")
        form.add(
            "train.overlong",
            gr.Radio(["drop", "truncate"], value="drop", label="Longer rows", info="A cut answer has no EOS"),
        )
    with gr.Accordion("Measuring and checkpoints", open=False):
        with gr.Row():
            number("evaluation_rows", 40, "Evaluation rows", "Held-out rows for BLEU and evaluation loss; empty: all")
            number("train.probe_rows", train.probe_rows, "Probe rows", "Other held-out rows, for the bold line")
            number("train.probes", train.probes, "Probes", "Points on the bold line after step 0")
            number("train.sample_tokens", train.sample_tokens, "Probe answer", "Its tokens at each probe; 0: none")
            number("train.logging_steps", 1, "Log every", "Steps between two lines in the log")
        with gr.Row():
            form.add(
                "train.eval_strategy",
                gr.Dropdown(
                    ["no", "epoch", "steps"], value="epoch", label="Evaluate", info="When the evaluation loss is taken"
                ),
            )
            number("train.eval_steps", None, "Evaluation steps", "Where the choice is steps")
            form.add(
                "train.save_strategy",
                gr.Dropdown(
                    ["no", "epoch", "steps"], value="epoch", label="Checkpoint", info="When a checkpoint is written"
                ),
            )
            number("train.save_steps", None, "Checkpoint steps", "Where the choice is steps")
            number("train.save_minutes", train.save_minutes, "Minutes", "A checkpoint at least this often", whole=False)
            number("train.save_total_limit", train.save_total_limit, "Keep", "Checkpoints kept; empty: all")
        with gr.Row():
            number(
                "train.early_stopping_patience",
                None,
                "Patience",
                "Stop after so many evaluations in a row without a lower loss; empty: never",
            )
            number("train.recite_rows", 0, "By heart", "Training rows that are asked for after the training; 0: none")
            form.add(
                "train.load_best_model_at_end",
                gr.Checkbox(
                    False, label="Keep the best", info="The adapter with the lowest evaluation loss, not the last one"
                ),
            )
    with gr.Accordion("Answers (decoding)", open=False), gr.Row():
        number("generation.max_new_tokens", generation.max_new_tokens, "Longest answer", "In tokens")
        number(
            "generation.max_length",
            None,
            "Prompt and answer",
            "In tokens, instead of the former (the lesson's way: it cuts answers)",
        )
        number("generation.num_beams", 1, "Beams", "1 is greedy; the lesson uses 5")
        form.add("generation.early_stopping", gr.Checkbox(False, label="Early stopping", info="For beams"))
        form.add("generation.do_sample", gr.Checkbox(False, label="Sample", info="Draw tokens at random"))
        number("generation.temperature", 1.0, "Temperature", "For sampling", whole=False)
        number("generation.top_p", 1.0, "Top-p", "For sampling", whole=False)
        number("generation.seed", 42, "Seed", "For sampling")

"""Train: a preset, seven controls, Start; then the loss, live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ..catalog import MODELS
from ..lab import Lab
from ..settings import OPTIMIZERS, PRESET_NOTES, PRESETS, SCHEDULERS
from . import view
from .charts import loss_chart, loss_figure
from .edge import said
from .form import Form


class TrainPanel:
    """The part of the tab that follows a run; it is fed by the page's timer and by page load."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.shown_run = gr.State(None)
        self.seen = gr.State(None)
        self.status = gr.Markdown("No run yet: press **Start**.", elem_id="train-status")
        self.bar = gr.HTML(
            {"value": 0, "max": 1},
            html_template='<progress aria-label="Progress" value="${value.value}" max="${value.max}"></progress>',
            elem_id="train-progress",
        )
        self.log_scale = gr.Checkbox(False, label="Logarithmic loss axis", elem_id="train-log")
        self.chart = loss_chart("train-chart")
        gr.Markdown(
            "The bold line is the loss on held-out rows: watch that one. The dots are single batches; on a short run "
            "they may rise while the model learns, because some batches are harder than others."
        )
        self.events = gr.Textbox(label="Events, newest first", lines=6, max_lines=12, interactive=False)

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.status, self.bar, self.chart, self.events]

    def show(self, run_id: str | None, seen: Any, log_scale: bool) -> list[Any]:
        """What changed since ``seen``; nothing at all is sent where nothing did."""
        if run_id is None or not self.lab.store.has(run_id):
            return [gr.skip()] * len(self.outputs)
        told = self.lab.run_status(run_id)
        last = max((metric["seq"] for metric in told["metrics"].values()), default=0)
        events = self.lab.store.events(run_id, last=12)
        now = [run_id, log_scale, last, told["status"], told["phase"], told["step"], events[-1:] and events[-1]["time"]]
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        redraw = seen is None or now[:3] != seen[:3]
        return [
            now,
            view.run_sentence(told),
            {"value": told["step"], "max": max(told["total_steps"], 1)},
            loss_figure(self.lab.run_metrics(run_id), run_id, log_scale) if redraw else gr.skip(),
            view.events_text(events),
        ]


def build(lab: Lab, form: Form) -> tuple[TrainPanel, gr.Button]:
    """The tab's contents; returns the panel that follows a run, and the button to the next tab."""
    gr.Markdown("Start from a preset, change what you like, press Start. The run goes on when you close the page.")
    preset = gr.Radio(list(PRESET_NOTES), value=first_preset(), label="Preset", elem_id="train-preset")
    note = gr.Markdown(PRESET_NOTES[first_preset()], elem_id="preset-note")
    _few_controls(form)
    _folds(form)
    with gr.Row(equal_height=True):
        name = gr.Textbox(
            show_label=False, placeholder="Name of the run (optional)", elem_id="run-name", max_length=200, scale=2
        )
        start = gr.Button("Start", variant="primary", elem_id="train-start", scale=2)
        stop = gr.Button("Stop, keep the adapter", elem_id="train-stop", scale=1)
    panel = TrainPanel(lab)
    following = gr.Button("Next: Compare", elem_id="train-next", size="sm", elem_classes="next")

    def choose(name: str) -> dict[Any, Any]:
        return {**form.fill(PRESETS[name]), note: PRESET_NOTES[name]}

    @said
    def begin(values: dict[Any, Any]) -> str:
        return lab.start_run(form.read(values), values[name] or "")

    @said
    def end(run_id: str | None) -> None:
        if run_id is None:
            gr.Info("Nothing is running.")
        else:
            lab.stop_run(run_id)

    stop.click(end, panel.shown_run, None, api_visibility="private")

    @form.when_complete
    def wire() -> None:
        start.click(begin, form.controls | {name}, panel.shown_run, api_visibility="private")
        outputs = [*form.controls, note]
        # "input", not "change": a preset fills the form when a person picks it, not when the page loads.
        preset.input(choose, preset, outputs, api_visibility="private", show_progress="hidden")

    return panel, following


def first_preset() -> str:
    """What the page begins with: half a minute of training where there is no GPU."""
    # Asking torch would cost seconds before the page answers; the driver's device file says it too.
    return "quick" if Path("/dev/nvidia0").exists() else "minute"


def _few_controls(form: Form) -> None:
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


def _folds(form: Form) -> None:
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

"""Presets: named configurations to start from."""

from __future__ import annotations

import dataclasses

from .run_config import DataSettings, GenerationSettings, LoraSettings, RunConfig, TrainSettings

PRESETS: dict[str, RunConfig] = {}
"""Named starting points, described in ``PRESET_NOTES``."""

PRESETS["quick"] = RunConfig()
PRESETS["minute"] = dataclasses.replace(
    RunConfig(),
    data=DataSettings(limit=48),
    train=TrainSettings(per_device_train_batch_size=4, learning_rate=2e-3, held_out_prompts=1),
)
PRESETS["overfit"] = RunConfig(
    data=DataSettings(limit=8),
    lora=LoraSettings(lora_dropout=0.0),
    train=TrainSettings(
        num_train_epochs=16,
        per_device_train_batch_size=4,
        learning_rate=2e-3,
        eval_strategy="no",
        save_strategy="no",
        recite_rows=8,
        held_out_prompts=1,
    ),
)
PRESETS["lesson"] = RunConfig(
    model="facebook/opt-350m",
    data=DataSettings(source="codealpaca-20k", limit=None),
    train=TrainSettings(
        num_train_epochs=10,
        per_device_train_batch_size=2,
        learning_rate=5e-5,
        overlong="truncate",
    ),
    generation=GenerationSettings(max_new_tokens=None, max_length=50, num_beams=5, early_stopping=True),
    evaluation_rows=None,
)
PRESETS["smoke"] = RunConfig(
    model="tiny-random",
    data=DataSettings(limit=16),
    train=TrainSettings(
        per_device_train_batch_size=4, probe_rows=4, probes=2, sample_tokens=8, sample_every=1, learning_rate=1e-2
    ),
    generation=GenerationSettings(max_new_tokens=8),
    evaluation_rows=4,
)

PRESET_NOTES = {
    "minute": "48 rows: see the effect in one sitting.",
    "quick": "200 rows: real learning in minutes.",
    "overfit": "8 rows learned by heart: does it learn?",
    "lesson": "opt-350m, CodeAlpaca, ten epochs: for a GPU.",
    "smoke": "A tiny random model, to try the page.",
}

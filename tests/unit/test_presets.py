"""Each preset holds its documented values, is valid, and takes what is laid over it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from configurations import flat

from instruct_tune.config.presets import PRESET_NOTES, PRESETS
from instruct_tune.config.run_config import Columns, DataSettings, RunConfig

# The block of the public interface, exactly.
PUBLIC_QUICK = json.loads("""
{
  "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
  "data": {"source": "bundled", "split": "train",
           "columns": {"instruction": "instruction", "input": "input", "output": "output"},
           "filters": [{"step": "without_input"}], "limit": 200, "test_size": 0.2, "seed": 42},
  "template": "lesson",
  "lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": "auto"},
  "train": {"num_train_epochs": 1, "max_steps": -1, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
            "learning_rate": 5e-4, "lr_scheduler_type": "linear", "warmup_steps": 0, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "optim": "adamw_torch", "bf16": "auto", "fp16": "auto", "max_length": 1024,
            "overlong": "drop", "logging_steps": 1, "probe_rows": 16, "probes": 6, "eval_strategy": "epoch",
            "eval_steps": null, "save_strategy": "epoch", "save_steps": null, "save_minutes": 2,
            "save_total_limit": 3, "seed": 42},
  "generation": {"max_new_tokens": 96, "num_beams": 1, "do_sample": false},
  "evaluation_rows": 40
}
""")


def test_quick_is_the_public_block():
    quick = flat(PRESETS["quick"].to_dict())
    public = flat(PUBLIC_QUICK)
    assert {name: quick[name] for name in public} == public
    # Fields that the block omits have no effect until they are set.
    assert {name: value for name, value in quick.items() if name not in public} == {
        # Measurements during training; they change no number of it.
        "train.sample_tokens": 40,
        "train.sample_every": 3,
        "train.held_out_prompts": 3,
        "train.training_prompts": 1,
        "train.own_prompts": [],
        "train.general_loss": True,
        "train.bleu_rows": 0,
        "lora.use_rslora": False,
        "train.early_stopping_patience": None,
        "train.load_best_model_at_end": False,
        "train.recite_rows": 0,
        "generation.max_length": None,
        "generation.early_stopping": False,
        "generation.temperature": 1.0,
        "generation.top_p": 1.0,
        "generation.seed": 42,
    }
    assert RunConfig.from_dict(PUBLIC_QUICK, "lesson").train == PRESETS["quick"].train


def differences(preset: str) -> dict[str, Any]:
    quick = flat(PRESETS["quick"].to_dict())
    return {name: value for name, value in flat(PRESETS[preset].to_dict()).items() if quick[name] != value}


def test_minute_is_quick_with_48_rows_batch_4_and_2e_3():
    assert differences("minute") == {
        "data.limit": 48,
        "train.per_device_train_batch_size": 4,
        "train.learning_rate": 2e-3,
        "train.held_out_prompts": 1,
    }


def test_overfit_is_eight_rows_again_and_again():
    changed = differences("overfit")
    assert changed["data.limit"] == changed["train.recite_rows"] == 8
    assert changed["train.num_train_epochs"] >= 10
    # Dropout would prevent exact recitation, and evaluations every epoch would cost more than the training.
    assert changed["lora.lora_dropout"] == 0
    assert changed["train.eval_strategy"] == "no"


def test_lesson_is_the_lesson_to_the_letter():
    lesson = flat(PRESETS["lesson"].to_dict())
    expected = {
        "model": "facebook/opt-350m",
        "data.source": "codealpaca-20k",
        "data.filters": [{"step": "without_input"}],
        "data.test_size": 0.2,
        "data.seed": 42,
        "data.limit": None,
        "template": "lesson",
        "lora.r": 16,
        "lora.lora_alpha": 32,
        "lora.lora_dropout": 0.1,
        "lora.target_modules": "auto",  # q_proj and v_proj for OPT
        "train.num_train_epochs": 10,
        "train.max_steps": -1,
        "train.per_device_train_batch_size": 2,
        "train.gradient_accumulation_steps": 1,
        "train.learning_rate": 5e-5,
        "train.eval_strategy": "epoch",
        "train.save_strategy": "epoch",
        "train.overlong": "truncate",
        "train.bf16": "auto",
        "train.fp16": "auto",
        "train.max_length": 1024,
        "generation.max_new_tokens": None,
        "generation.max_length": 50,
        "generation.num_beams": 5,
        "generation.early_stopping": True,
        "generation.do_sample": False,
    }
    assert {name: lesson[name] for name in expected} == expected
    assert set(differences("lesson")) - set(expected) == {"evaluation_rows"}


def test_smoke_is_a_tiny_model():
    assert PRESETS["smoke"].model == "tiny-random"
    assert PRESETS["smoke"].data.source == "bundled"


def test_presets_have_notes_and_the_public_names():
    assert set(PRESETS) == set(PRESET_NOTES) == {"minute", "quick", "overfit", "lesson", "smoke"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_round_trips_through_json(preset):
    config = PRESETS[preset]
    as_json = json.loads(json.dumps(config.to_dict()))
    for other in PRESETS:
        assert RunConfig.from_dict(as_json, other) == config
    assert RunConfig.from_dict({}, preset) == config


def test_what_is_given_is_laid_over_the_preset():
    values = {
        "data": {"columns": {"input": None}, "filters": []},
        "lora": {"target_modules": ["q_proj", "k_proj"]},
        "template": {"without_input": "{instruction}", "with_input": "{instruction}{input}"},
    }
    config = RunConfig.from_dict(values, "minute")
    assert config == replace(
        PRESETS["minute"],
        data=DataSettings(columns=Columns(input=None), filters=(), limit=48),
        lora=replace(PRESETS["minute"].lora, target_modules=("q_proj", "k_proj")),
        template={"without_input": "{instruction}", "with_input": "{instruction}{input}"},
    )
    assert RunConfig.from_dict(config.to_dict()) == config

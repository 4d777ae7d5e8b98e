"""The files that the script of a job puts into its repository, with an adapter's shape."""

from __future__ import annotations

import json

from labs import smoke

CONFIG = {"model": "toy/tiny", "data": {"limit": 8}, "evaluation_rows": 4}
ADAPTER = "adapter_model.safetensors"


def result_files(base: str = "toy/tiny", loss: float = 3.25) -> dict[str, bytes]:
    """What one step leaves, with this loss."""
    from safetensors.torch import save
    from torch import ones

    name = "base_model.model.model.layers.0.self_attn.q_proj"
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
    }
    metric = {
        "kind": "train", "step": 1, "epoch": 1.0, "time": 1.7e9, "loss": loss, "learning_rate": 1e-3, "grad_norm": 1.5,
        "tokens": 100, "supervised": 40, "seconds": 2.0, "tokens_per_second": 50.0,
    }  # fmt: skip
    bleu = {"kind": "bleu", "step": 1, "epoch": 1.0, "time": 1.7e9, "bleu": 12.5}
    weights = {f"{name}.lora_A.weight": ones(2, 8), f"{name}.lora_B.weight": ones(8, 2)}
    return {
        ADAPTER: save(weights), "adapter_config.json": json.dumps(config).encode(),
        "facts.json": json.dumps({"base_bleu": 3.5, "bleu_rows": 4}).encode(),
        "run_config.json": json.dumps(smoke(**CONFIG).to_dict()).encode(),
        "metrics.jsonl": (json.dumps(metric) + "\n" + json.dumps(bleu) + "\n").encode(),
    }  # fmt: skip

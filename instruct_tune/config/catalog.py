"""Models and datasets offered by name. Any other Hub id or local folder works too."""

from __future__ import annotations

from dataclasses import dataclass

from .run_config import DEFAULT_MODEL

TINY_MODEL = "tiny-random"
CODEALPACA_REPO = "sahil2801/CodeAlpaca-20k"


@dataclass(frozen=True)
class ModelCard:
    """A model offered by name, with the facts for choosing it. ``parameters`` is in millions.

    ``scripts``: the scripts of the languages it was deliberately trained on, as named by ``scripts.script_of``.
    """

    id: str
    parameters: int
    licence: str
    note: str
    scripts: tuple[str, ...] = ("Latin",)


@dataclass(frozen=True)
class DatasetCard:
    """A dataset offered by name; its licence is shown when it is loaded."""

    source: str
    note: str


# https://qwenlm.github.io/blog/qwen2.5: over 29 languages.
_QWEN = ("Latin", "Chinese", "Japanese", "Korean", "Cyrillic", "Arabic", "Thai")

MODELS = (
    ModelCard(DEFAULT_MODEL, 135, "Apache-2.0", "default; follows simple instructions already, works offline"),
    ModelCard("HuggingFaceTB/SmolLM2-135M", 135, "Apache-2.0", "the same model before its own instruction tuning"),
    ModelCard("HuggingFaceTB/SmolLM2-360M", 362, "Apache-2.0", "larger base model"),
    ModelCard("facebook/opt-125m", 125, "OPT-175B licence (research)", "the lesson's family, smallest"),
    ModelCard("facebook/opt-350m", 331, "OPT-175B licence (research)", "the lesson's model"),
    ModelCard("Qwen/Qwen2.5-0.5B", 494, "Apache-2.0", "strong base model for its size", _QWEN),
    ModelCard("Qwen/Qwen2.5-0.5B-Instruct", 494, "Apache-2.0", "the same, instruction-tuned", _QWEN),
    ModelCard("gpt2", 124, "MIT", "the classic; knows no instructions"),
    ModelCard(TINY_MODEL, 0, "made here", "random weights, seconds, learns nothing: for trying the page", ()),
)

DATASETS = (
    DatasetCard("bundled", "short programming tasks, ships with the lab"),
    DatasetCard("codealpaca-20k", "the lesson's dataset, 20,022 rows, from the Hub"),
)

# LoRA target modules for ``target_modules`` "auto", by ``config.model_type``: the attention's query and value
# projections, as in the lesson and in the LoRA paper (Hu et al. 2021, section 7.1), or the fused projection if the
# architecture has no separate ones.
LORA_TARGETS = {
    "llama": ("q_proj", "v_proj"),
    "opt": ("q_proj", "v_proj"),
    "qwen2": ("q_proj", "v_proj"),
    "qwen3": ("q_proj", "v_proj"),
    "mistral": ("q_proj", "v_proj"),
    "gemma": ("q_proj", "v_proj"),
    "gemma2": ("q_proj", "v_proj"),
    "gemma3_text": ("q_proj", "v_proj"),
    "phi": ("q_proj", "v_proj"),
    "smollm3": ("q_proj", "v_proj"),
    "cohere": ("q_proj", "v_proj"),
    "gpt2": ("c_attn",),
    "gpt_neox": ("query_key_value",),
}

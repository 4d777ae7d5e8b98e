"""A run's adapter as a GGUF LoRA, the format of llama.cpp and of the programs built on it.

llama.cpp adds ``alpha / rank`` · B · A to a weight of the base model's GGUF, by the weight's name. PEFT keeps A as
[rank, inputs] and B as [outputs, rank] for every layer, also for GPT-2's ``Conv1D``, whose own weight is transposed.
That is the layout of a GGUF LoRA, so nothing is transposed here. (``convert_lora_to_gguf.py`` of llama.cpp transposes
both matrices of GPT-2, and takes no notice of rsLoRA.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from .adapter_config import LORA_MATRIX, special_fields

if TYPE_CHECKING:
    import numpy as np

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
}
"""``model_type`` in transformers → the architecture in llama.cpp, for those that the tests compare with llama.cpp."""
INSTEAD = "Export the adapter or the merged model instead."


@dataclass(frozen=True)
class Base:
    """What a GGUF LoRA needs to know of the base model: its architecture in llama.cpp, its layers and its heads."""

    architecture: str
    layers: int
    heads: int
    key_heads: int


def obstacle(adapter: Path, base: Path) -> str | None:
    """Why the adapter in the folder ``adapter`` cannot become a GGUF LoRA for the model in ``base``, in one sentence.

    None if it can. Only configurations and the names of the adapter's matrices are read.
    """
    try:
        fields = _fields(adapter / CONFIG_FILE)
        if special := special_fields(fields):
            return f"A GGUF adapter holds a plain LoRA, and this one has {', '.join(special)}. {INSTEAD}"
        _gguf_names(_base(base), _layer_names(adapter / WEIGHTS_FILE))
    except ModelError as error:
        return str(error)
    return None


def write_gguf(adapter: Path, base: Path, to: Path, about: Mapping[str, str]) -> None:
    """Write ``to`` (a .gguf) from the adapter in the folder ``adapter`` and the configuration in ``base``.

    ``about``: texts for the metadata, by key. Raises ModelError with the sentence of ``obstacle``, and OSError.
    """
    from gguf import GGUFType, GGUFWriter, Keys

    if sentence := obstacle(adapter, base):
        raise ModelError(sentence)
    model, fields = _base(base), _fields(adapter / CONFIG_FILE)
    writer = GGUFWriter(to, model.architecture)
    try:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_base_model_count(1)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, _alpha(fields))
        for key, text in about.items():
            writer.add_string(key, text)
        for name, values in _tensors(adapter / WEIGHTS_FILE, model):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _alpha(fields: Mapping[str, Any]) -> float:
    """The alpha with which llama.cpp's ``alpha / rank`` is the adapter's own scale."""
    alpha, rank = float(fields["lora_alpha"]), int(fields["r"])
    return alpha * math.sqrt(rank) if fields.get("use_rslora") else alpha


def _tensors(weights: Path, base: Base) -> Iterator[tuple[str, np.ndarray]]:
    import torch
    from safetensors import safe_open

    names = _gguf_names(base, _layer_names(weights))
    # numpy has no bfloat16.
    with safe_open(weights, "pt") as stored:
        for layer, name in names.items():
            a, b = (
                stored.get_tensor(f"base_model.model.{layer}.lora_{which}.weight").to(torch.float32).numpy()
                for which in "AB"
            )
            yield f"{name}.weight.lora_a", a
            yield f"{name}.weight.lora_b", _as_llama_cpp_orders(b, name, base)


def _as_llama_cpp_orders(b: np.ndarray, name: str, base: Base) -> np.ndarray:
    """B with its rows, the layer's outputs, in llama.cpp's order.

    Llama's queries and keys are rotated in pairs of neighbours there, and of a head's two halves in transformers, so
    ``convert_hf_to_gguf.py`` interleaves the halves of the base model's rows. The other architectures keep theirs.
    """
    heads = {"attn_q": base.heads, "attn_k": base.key_heads}.get(name.rpartition(".")[2])
    if base.architecture != "llama" or heads is None:
        return b
    rows, rank = b.shape
    if rows % (2 * heads):
        raise ModelError(f"The adapter does not fit its base model: {rows} rows are no {heads} heads. {INSTEAD}")
    return b.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)


def _gguf_names(base: Base, layers: list[str]) -> dict[str, str]:
    """The layers' paths in transformers → their names in llama.cpp. Raises ModelError if it has no such layer."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    known = get_tensor_name_map(
        next(number for number, name in MODEL_ARCH_NAMES.items() if name == base.architecture), base.layers
    )
    names = {layer: known.get_name(layer) for layer in layers}
    if unknown := next((layer for layer, name in names.items() if not name or not name.startswith("blk.")), None):
        raise ModelError(
            f"llama.cpp has no layer for {unknown[:80]} of this adapter in its {base.architecture} models. {INSTEAD}"
        )
    return {layer: str(name) for layer, name in names.items()}


def _layer_names(weights: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as stored:
            matches = {name: LORA_MATRIX.fullmatch(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{WEIGHTS_FILE} is missing or damaged, so the adapter cannot be converted.") from error
    if other := next((name for name, match in matches.items() if not match), None):
        raise ModelError(
            f"A GGUF adapter holds LoRA matrices of linear layers, and this one also has {other[:80]}. {INSTEAD}"
        )
    return sorted({match["path"] for match in matches.values() if match})


def _base(folder: Path) -> Base:
    """Raises ModelError for an architecture that is not in ``ARCHITECTURES``."""
    config = _fields(folder / "config.json")
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"The lab cannot write a GGUF adapter for a model of the architecture {kind[:40]}, only for "
            f"{', '.join(ARCHITECTURES)}. {INSTEAD}"
        )
    try:
        layers, heads = (
            int(config.get(new) or config[old])
            for new, old in (("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"))
        )
        return Base(ARCHITECTURES[kind], layers, heads, int(config.get("num_key_value_heads") or heads))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("The base model's config.json has no number of layers or attention heads.") from error


def _fields(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file.name} is missing or damaged, so the adapter cannot be converted.") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{file.name} is missing or damaged, so the adapter cannot be converted.")
    return fields

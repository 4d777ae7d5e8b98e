"""Convert the default model's GGUF, which has 4-bit weights, to float32 safetensors, a configuration and a tokenizer.

``from_pretrained(gguf_file=...)`` of transformers gives the same weights, but parses the vocabulary several times and
initialises a model, which takes several times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader

CONFIG: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 9.999999747378752e-06,
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "unk_token_id": 0,
    "architectures": ["LlamaForCausalLM"],
    "dtype": "float32",
}
"""The model's ``LlamaConfig``, as the GGUF's metadata give it."""

_MODEL = {"token_embd": "embed_tokens", "output_norm": "norm"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of weights in llama.cpp, and in transformers."""
_HEADS = {"attn_q": CONFIG["num_attention_heads"], "attn_k": CONFIG["num_key_value_heads"]}


def _reader(gguf: Path) -> GGUFReader:
    """The file's reader, on a plain array: numpy runs Python code for each slice of a memory map, and the token list
    has a million of them."""
    import numpy as np
    from gguf import GGUFReader

    class PlainReader(GGUFReader):
        def __setattr__(self, name: str, value: Any) -> None:
            # The view keeps the map open.
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    return PlainReader(gguf)


def convert(gguf: Path, target: Path, report: Callable[[str], None]) -> None:
    """Write the model in the file ``gguf`` into the folder ``target``."""
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

    report("reading the 4-bit weights")
    weights = {}
    stored = _reader(gguf).tensors
    for number, tensor in enumerate(stored):
        if number % (len(stored) // 4) == 0:
            report(f"converting the 4-bit weights, once: {100 * number // len(stored)}%")
        name, values = _as_in_transformers(tensor.name, dequantize(tensor.data, tensor.tensor_type))
        weights[name] = torch.tensor(values)
    report("writing the weights")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = LlamaConfig(**CONFIG)
    config.save_pretrained(target)
    GenerationConfig.from_model_config(config).save_pretrained(target)
    PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def _as_in_transformers(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """A weight's name and values as ``LlamaForCausalLM`` has them."""
    if not (layer := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)):
        return f"model.{_MODEL[name.removesuffix('.weight')]}.weight", values
    number, part = layer.groups()
    if heads := _HEADS.get(part):
        values = _halves_together(values, heads)
    return f"model.layers.{number}.{_LAYER[part]}.weight", values


def _halves_together(values: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of a head's rows for rotary positions: it alternates between a head's two halves.

    As ``convert_hf_to_gguf.py`` of llama.cpp permutes them (``LlamaModel.permute``), the other way round.
    """
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)

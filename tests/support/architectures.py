"""Configurations of many architectures at toy size, from one table of all their names for a size."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from instruct_tune.kernels.attention import attend_by_rows

_SIZES = {
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32, "embedding_size": 32, "lru_width": 32,
    "attention_hidden_size": 32, "intermediate_size": 48, "ffn_dim": 48, "d_ff": 48, "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2,
    "num_layers": 2, "decoder_layers": 2, "encoder_layers": 1, "num_attention_heads": 4, "n_head": 4, "n_heads": 4,
    "attention_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "query_pre_attn_scalar": 8, "rotary_dim": 4, "state_size": 8, "n_groups": 1,
    "max_position_embeddings": 64, "n_positions": 64, "max_seq_len": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "vocab_size": 128,
}  # fmt: skip

FIELDS: dict[str, dict] = {
    "falcon": {"head_dim": None},
    "mamba2": {"num_heads": 8},
    # Two recurrent layers, then one with attention.
    "recurrent_gemma": {"num_hidden_layers": 3},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
}
"""Fields that an architecture needs beside the sizes; None: a field that it does not let one set."""


def architecture(model_type: str, **changed) -> PretrainedConfig:
    """A toy configuration, with the implementation of attention that the lab loads such a model with.

    ``changed`` overrides its fields or adds new ones.
    """
    defaults = AutoConfig.for_model(model_type)
    fields = {name: value for name, value in _SIZES.items() if hasattr(defaults, name)} | FIELDS.get(model_type, {})
    config = AutoConfig.for_model(model_type, **{name: value for name, value in fields.items() if value is not None})
    for name, value in changed.items():
        setattr(config, name, value)
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(config)
    attend_by_rows(shape, "cpu")
    return shape.config

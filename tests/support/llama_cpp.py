"""Real llama.cpp, for the tests of GGUF files: base models written for it, and the tokens that it generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGUFWriter, TokenType, get_tensor_name_map
from transformers import PreTrainedModel

ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3"}
"""``model_type`` → llama.cpp's architecture, where the names differ."""


def write_base(model: PreTrainedModel, to: Path) -> Path:
    """Write a model as a GGUF in float32, as ``convert_hf_to_gguf.py`` of llama.cpp does, without its adapters."""
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type, config.model_type)
    writer = GGUFWriter(to, architecture)
    _sizes(writer, config)
    _vocabulary(writer, config)
    names = get_tensor_name_map(
        next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture), config.num_hidden_layers
    )
    for attached, values in model.state_dict().items():
        path = attached.replace(".base_layer.", ".")
        if ".lora_" in path or (path == "lm_head.weight" and config.tie_word_embeddings):
            continue
        writer.add_tensor(names.get_name(path, (".weight", ".bias")), _values(path, values, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return to


def _sizes(writer: GGUFWriter, config) -> None:
    kind = config.model_type
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if kind == "gpt2":
        writer.add_feed_forward_length(4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(width)
    writer.add_value_length(width)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if kind in ("llama", "mistral"):
        writer.add_rope_dimension_count(width)
        writer.add_vocab_size(config.vocab_size)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if kind in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(config.sliding_window)


def _values(path: str, values: torch.Tensor, config) -> np.ndarray:
    """A weight as llama.cpp has it."""
    kind = config.model_type
    if kind == "gpt2" and path.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        values = values.T
    if kind.startswith("gemma") and path.endswith("norm.weight"):
        values = values + 1
    heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}
    if kind in ("llama", "mistral") and (count := heads.get(path.split(".")[-2])):
        # Row i of a head's first half, then row i of its second half.
        first, second = values.unflatten(0, (count, 2, -1)).unbind(1)
        values = torch.stack((first, second), dim=2).flatten(0, 2)
    return values.detach().to(torch.float32).contiguous().numpy()


def _vocabulary(writer: GGUFWriter, config) -> None:
    """Made-up words: prompts are ids, and llama.cpp leaves out the ids of an answer that are no whole characters."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{index}" for index in range(config.vocab_size)])
    writer.add_token_types([TokenType.NORMAL] * config.vocab_size)
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)


class LlamaCpp:
    """A base model in llama.cpp, with an adapter if one is given, in float32 on one thread."""

    def __init__(self, base: Path, adapter: Path | None = None, context: int = 256):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(base)
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        # Another order of the base's numbers in memory, whose products round otherwise.
        params.no_extra_bufts, params.warmup, params.verbosity = True, False, -1
        if adapter:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        self._server = xllamacpp.Server(params)

    def greedy(self, prompt: Sequence[int], count: int) -> list[tuple[int, float]]:
        """A greedy answer's ids, EOS included, each with the natural logarithm of its probability."""
        request = {"prompt": list(prompt), "max_tokens": count, "temperature": 0.0, "logprobs": 1}
        answer = self._server.handle_completions(request | {"cache_prompt": False})
        return [(token["id"], token["logprob"]) for token in answer["choices"][0]["logprobs"]["content"]]

"""Toy tokenizers of five families, toy models of many architectures and rows of random ids, made in milliseconds
without a network.

The vocabularies are written out, not trained, so that a test can spell a row's ids by hand: special
tokens first, then ``WORDS``, then single characters in the order of their code points, then the
intermediate tokens that BPE needs for the words.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample

# Tokenizers

WORDS = ["###", "ĠInstruction", "ĠInput", "ĠResponse", "ĊĊ"]
"""Longer tokens of the byte-level families: the lesson's markers, and two new lines that merge across a boundary."""

PIECES = ["▁###", "###", "▁Instruction", "▁Input", "▁Response"]
"""The same for the sentencepiece family."""

LLAMA_CHAT = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"


def _bpe(specials: Sequence[str], words: Sequence[str], characters: Sequence[str], **options) -> Tokenizer:
    """BPE that knows ``words`` and single characters; each word is reached letter by letter."""
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    steps = [left + right for left, right in merges]
    vocab = {token: index for index, token in enumerate(dict.fromkeys([*specials, *words, *characters, *steps]))}
    return Tokenizer(models.BPE(vocab=vocab, merges=merges, **options))


def _byte_level(specials: Sequence[str]) -> Tokenizer:
    backend = _bpe(specials, WORDS, sorted(pre_tokenizers.ByteLevel.alphabet()))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


@functools.cache
def smollm2() -> PreTrainedTokenizerFast:
    """One token a byte; BOS is ``<|im_start|>`` (1), EOS and padding ``<|im_end|>`` (2), no token is prepended."""
    return byte_tokenizer()


@functools.cache
def opt() -> PreTrainedTokenizerFast:
    """Byte-level; BOS and EOS are both ``</s>`` (2), padding is ``<pad>`` (1), ``</s>`` is prepended."""
    backend = _byte_level(["<s>", "<pad>", "</s>", "<unk>"])
    backend.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@functools.cache
def llama() -> PreTrainedTokenizerFast:
    """Sentencepiece-like: spaces are ``▁`` and one is put before a text, unknown characters fall back to bytes.

    ``<unk>`` (0) is the padding, ``<s>`` (1) is prepended, ``</s>`` (2) is EOS. Not lossless.
    """
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    printable = [chr(code) for code in range(33, 127)]
    backend = _bpe(
        ["<unk>", "<s>", "</s>"], PIECES, [*in_bytes, "▁", *printable], unk_token="<unk>", byte_fallback=True
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        unk_token="<unk>",
        chat_template=LLAMA_CHAT,
    )


def gpt2(single: str = "$A") -> PreTrainedTokenizerFast:
    """Byte-level; ``<|endoftext|>`` (0) is BOS, EOS and padding; ``single`` is the template around a text."""
    backend = _byte_level(["<|endoftext|>"])
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<|endoftext|>", 0)])
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end, unk_token=end)


@functools.cache
def unigram() -> PreTrainedTokenizerFast:
    """Sentencepiece's unigram model, as T5 and XGLM have it: the likeliest segmentation of a text, not merges.

    ``<unk>`` (0), ``<pad>`` (1), ``</s>`` (2) is EOS; no token is prepended. Unknown characters fall back to bytes.
    Not lossless.
    """
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    pieces = [(piece, -2.0) for piece in PIECES] + [(letter, -5.0) for letter in letters]
    # As in converted vocabularies, special tokens are likelier than their letters: a text that spells one becomes one.
    vocab = [(token, 0.0) for token in ("<unk>", "<pad>", "</s>")] + pieces + [(byte, -9.0) for byte in in_bytes]
    backend = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", bos_token="</s>"
    )


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "smollm2": smollm2,
    "opt": opt,
    "llama": llama,
    "gpt2": functools.cache(gpt2),
    "unigram": unigram,
}
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<pad>", "<unk>")
"""How the special tokens of all families are spelled."""


# Models

VOCABULARY = 128
WINDOW = 6
"""Window of the sliding-window toys in tokens; test rows are longer."""

_LLAMA_LIKE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
_OPT = {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
    "init_std": 0.2,
}
_GPT_2 = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "initializer_range": 0.2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
_GEMMA_3 = {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
_ARCHITECTURES: dict[str, tuple[str, dict]] = {
    "llama": ("llama", _LLAMA_LIKE),
    "qwen2": ("qwen2", _LLAMA_LIKE),
    "cohere": ("cohere", _LLAMA_LIKE),
    "mistral": ("mistral", _LLAMA_LIKE | {"sliding_window": WINDOW}),
    "gemma3": ("gemma3_text", _LLAMA_LIKE | _GEMMA_3),
    "gpt2": ("gpt2", _GPT_2),
    "gpt_neox": ("gpt_neox", {name: value for name, value in _LLAMA_LIKE.items() if name != "num_key_value_heads"}),
    "opt": ("opt", _OPT),
    # opt-350m's shape: embeddings are narrower than the layers, and the norm comes after the sublayer.
    "opt_projected": ("opt", _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    # Recurrent: its state carries over from row to row, whatever the positions and masks.
    "rwkv": ("rwkv", {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}),
}
ARCHITECTURES = tuple(_ARCHITECTURES)


def toy_config(name: str, **changed) -> PretrainedConfig:
    """A configuration of the architecture with large weights and without dropout; ``changed`` overrides its fields."""
    model_type, fields = _ARCHITECTURES[name]
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 1}
    return AutoConfig.for_model(model_type, **{"vocab_size": VOCABULARY} | ends | fields | changed)


def toy_model(name: str) -> PreTrainedModel:
    """Random weights, the same every time. In training mode, which without dropout changes nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(toy_config(name), dtype=torch.float32).train()


# Rows

PAD = 1
"""An id that also occurs in rows: padding is recognised by its position."""


def row(length: int, prompt_length: int, seed: int = 0) -> TokenizedExample:
    """A row of random ids, which may include the padding id."""
    ids = tuple(random.Random(f"{length} {prompt_length} {seed}").choices(range(VOCABULARY), k=length))
    return TokenizedExample(ids, (IGNORE,) * prompt_length + ids[prompt_length:], prompt_length, 0)

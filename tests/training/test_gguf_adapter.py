"""GGUF adapters in real llama.cpp, which answers token for token like the lab; and those that it cannot have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from llama_cpp import LlamaCpp, write_base
from safetensors.torch import load_file, save_file
from tiny_lab import NO_DROPOUT, light, toy  # noqa: F401

from instruct_tune.config.run_config import GenerationSettings, LoraSettings
from instruct_tune.errors import ModelError
from instruct_tune.export.gguf_adapter import ARCHITECTURES, obstacle, write_gguf
from instruct_tune.generation.generate import Request, generate
from instruct_tune.generation.traces import GreedyTrace
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel

TOKENS = 12
PROMPTS = [tuple(3 + (7 * row + 5 * place) % 250 for place in range(2 + row)) for row in range(20)]
ALL_LINEAR = LoraSettings(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear")
ALL_WAYS = [
    *((kind, ALL_LINEAR) for kind in ARCHITECTURES),
    ("llama", NO_DROPOUT),
    ("llama", replace(ALL_LINEAR, use_rslora=True)),
    ("gpt2", replace(NO_DROPOUT, r=3)),
]


def loud_with(kind: str, settings: LoraSettings) -> LoadedModel:
    """A random model of the architecture ``kind`` with a random adapter, both loud."""
    loaded = toy(kind)
    lora.attach(loaded, "run", settings, seed=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for name, parameter in loaded.model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.6)
            elif parameter.dim() > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
    return loaded


def saved(loaded: LoadedModel, folder: Path) -> tuple[Path, Path]:
    """The folders of the adapter and of the base model's configuration."""
    lora.save(loaded, "run", folder / "adapter")
    loaded.base.config.save_pretrained(folder / "base")
    return folder / "adapter", folder / "base"


def ours(loaded: LoadedModel, adapter: str) -> list[GreedyTrace]:
    settings = GenerationSettings(max_new_tokens=TOKENS)
    answers = generate(loaded, [Request(prompt, adapter) for prompt in PROMPTS], settings, trace=True)
    return [answer.trace for answer in answers]


def same_tokens(trace: GreedyTrace, theirs: list[tuple[int, float]], rounding: float) -> bool:
    """Whether llama.cpp's answer has the same tokens; it may end the comparison where two are equally likely.

    A token's logarithmic probability may be off by ``rounding``.
    """
    for (best, second, *_), (token, log_probability) in zip(trace.steps, theirs, strict=True):
        if token != best.token:
            assert best.log_probability - second.log_probability < 2 * rounding
            return False
        assert log_probability == pytest.approx(best.log_probability, abs=rounding)
    return True


@pytest.mark.parametrize(("kind", "settings"), ALL_WAYS)
def test_llama_cpp_answers_token_for_token(kind, settings, tmp_path):
    loaded = loud_with(kind, settings)
    adapter, base = saved(loaded, tmp_path)
    gguf = write_base(loaded.base, tmp_path / "base.gguf")
    assert obstacle(adapter, base) is None
    write_gguf(adapter, base, tmp_path / "adapter.gguf", {})
    # llama.cpp looks GELU up in a table of half precision.
    gelu = kind.startswith(("gemma", "gpt2"))
    answers = []
    for engine, name in ((LlamaCpp(gguf), lora.BASE), (LlamaCpp(gguf, tmp_path / "adapter.gguf"), "run")):
        traces = ours(loaded, name)
        theirs = [engine.greedy(prompt, TOKENS) for prompt in PROMPTS]
        same = [same_tokens(*pair, 1e-2 if gelu else 1e-4) for pair in zip(traces, theirs, strict=True)]
        assert sum(same) >= (18 if gelu else 20)
        answers.append([[token for token, _ in answer] for answer in theirs])
    assert sum(map(list.__ne__, *answers)) >= 15, "the adapter is heard"


@pytest.fixture
def folders(tmp_path):
    return saved(loud_with("llama", NO_DROPOUT), tmp_path)


def changed(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_the_file_says_what_it_is(folders, tmp_path):
    write_gguf(*folders, tmp_path / "a.gguf", {"general.name": 'a "name"\n{{ }}'})
    reader = GGUFReader(tmp_path / "a.gguf")
    keys = {name: field.contents() for name, field in reader.fields.items()}
    assert (keys["general.type"], keys["adapter.type"], keys["general.architecture"]) == ("adapter", "lora", "llama")
    assert (keys["adapter.lora.alpha"], keys["general.name"]) == (8.0, 'a "name"\n{{ }}')
    assert sorted(tensor.name for tensor in reader.tensors)[:2] == [
        "blk.0.attn_q.weight.lora_a",
        "blk.0.attn_q.weight.lora_b",
    ]


def test_a_half_precision_adapter_is_written_in_single_precision(folders, tmp_path):
    weights = folders[0] / lora.WEIGHTS_FILE
    save_file({name: tensor.bfloat16() for name, tensor in load_file(weights).items()}, weights)
    write_gguf(*folders, tmp_path / "a.gguf", {})
    [first] = [each for each in GGUFReader(tmp_path / "a.gguf").tensors if each.name == "blk.1.attn_v.weight.lora_b"]
    [theirs] = [each for name, each in load_file(weights).items() if "1.self_attn.v_proj.lora_B" in name]
    assert torch.equal(torch.tensor(first.data), theirs.float())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"use_dora": True}, "has use_dora"),
        ({"bias": "all"}, "has a bias"),
        ({"modules_to_save": ["embed_tokens"]}, "has modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 2}}, "has alpha_pattern, rank_pattern"),
    ],
)
def test_more_than_a_plain_lora_is_refused_before_anything_is_written(folders, tmp_path, fields, words):
    changed(folders[0] / lora.CONFIG_FILE, **fields)
    assert all(word in obstacle(*folders) for word in words.replace(",", "").split())
    assert obstacle(*folders).endswith("Export the adapter or the merged model instead.")
    with pytest.raises(ModelError):
        write_gguf(*folders, tmp_path / "a.gguf", {})
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize("kind", ["opt", "gpt_neox", "llama\n</script>" * 50])
def test_an_unsupported_architecture_is_refused_in_one_sentence(folders, kind):
    changed(folders[1] / "config.json", model_type=kind)
    assert obstacle(*folders).startswith(
        f"The lab cannot write a GGUF adapter for a model of the architecture {kind[:3]}"
    )
    assert len(obstacle(*folders)) < 300


@pytest.mark.parametrize(
    "name", ["lm_head.lora_A.weight", "model.embed_tokens.lora_embedding_A", "model.layers.0.odd.lora_A.weight"]
)
def test_a_matrix_that_llama_cpp_has_no_place_for_is_named(folders, name):
    weights = folders[0] / lora.WEIGHTS_FILE
    save_file(load_file(weights) | {f"base_model.model.{name}": torch.ones(4, 32)}, weights)
    assert name.split(".lora")[0] in obstacle(*folders)


def test_what_is_missing_or_damaged_is_named(folders):
    adapter, base = folders
    for file in (adapter / lora.WEIGHTS_FILE, adapter / lora.CONFIG_FILE, base / "config.json"):
        whole = file.read_bytes()
        for content in (b"", b"[]", whole[: len(whole) // 2]):
            file.write_bytes(content)
            assert obstacle(adapter, base).startswith(f"{file.name} is missing or damaged")
        file.unlink()
        assert obstacle(adapter, base).startswith(f"{file.name} is missing or damaged")
        file.write_bytes(whole)
    changed(base / "config.json", num_attention_heads=None)
    assert "number of layers or attention heads" in obstacle(adapter, base)

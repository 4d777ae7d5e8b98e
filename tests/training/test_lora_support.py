"""Which layers LoRA can adapt: recommended ones work, impossible ones are refused, and which adapters can share a
batch."""

from __future__ import annotations

import re

import pytest
import torch
from adapters import disturb, logits
from at_night import at_night_after
from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraLayer
from tiny_lab import RUN, go, toy

from instruct_tune.config.catalog import LORA_TARGETS
from instruct_tune.config.run_config import GenerationSettings, LoraSettings
from instruct_tune.errors import ModelError
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.lora import BASE
from instruct_tune.models.lora_targets import adapted_width

EVERYWHERE = LoraSettings(r=2, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear")
SIZES = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "n_groups": 1},
    "falcon_mamba": {"state_size": 8},
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32},
    "rwkv": {"attention_hidden_size": 32},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def made(model_type):
    return toy(model_type, **SIZES.get(model_type, {}))


def idle(loaded) -> set[str]:
    """Last names of adapted layers that get no gradient from a row."""
    loaded.model.train()
    ids = torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(1))
    loaded.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    matrices = [(name, p.grad) for name, p in loaded.model.named_parameters() if "lora_B" in name and p.requires_grad]
    assert matrices
    return {
        re.split(r"\.lora_B", name)[0].rpartition(".")[2] for name, grad in matrices if grad is None or not grad.any()
    }


# Recommended targets work


@pytest.mark.parametrize("model_type", LORA_TARGETS)
def test_auto_trains_every_matrix_it_makes(model_type):
    loaded = made(model_type)
    lora.attach(loaded, RUN, LoraSettings(r=2), seed=1)
    assert idle(loaded) == set()


@pytest.mark.parametrize(
    "model_type",
    [
        "mamba",
        "mamba2",
        "falcon_mamba",
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "recurrent_gemma",
        "rwkv",
        "xglm",
        "bloom",
    ],
)
def test_what_is_recommended_for_an_unlisted_architecture_works(model_type):
    with pytest.raises(ModelError) as caught:
        lora.attach(made(model_type), RUN, LoraSettings(), seed=1)
    advised = re.search(r"set lora.target_modules to (all-linear or to )?some of (.*)\.$", str(caught.value))
    assert advised
    for targets in [tuple(advised[2].split(", ")), *(["all-linear"] if advised[1] else [])]:
        loaded = made(model_type)
        lora.attach(loaded, RUN, LoraSettings(r=2, lora_dropout=0.1, target_modules=targets), seed=1)
        assert idle(loaded) == set()


def test_what_is_recommended_for_mamba_is_what_peft_takes_and_the_model_calls():
    for targets in ("auto", "all-linear"):
        with pytest.raises(ModelError, match=r"set lora.target_modules to some of in_proj, x_proj\.$"):
            lora.attach(made("mamba"), RUN, LoraSettings(target_modules=targets), seed=1)


@pytest.mark.parametrize(("model_type", "targets"), [("mamba", ("out_proj",)), ("mamba2", ("in_proj", "out_proj"))])
def test_a_layer_that_peft_refuses_is_named(model_type, targets):
    loaded = made(model_type)
    with pytest.raises(ModelError, match=f"^LoRA cannot adapt out_proj in this {model_type} model: set lora.target_m"):
        lora.attach(loaded, RUN, LoraSettings(target_modules=targets), seed=1)
    assert untouched(loaded)


def test_a_layer_that_is_never_called_is_refused():
    """Mamba multiplies with the weights of dt_proj itself, past an adapter on it."""
    loaded = made("mamba")
    with pytest.raises(ModelError, match=r"^An adapter on dt_proj would do nothing .* some of in_proj, x_proj\.$"):
        lora.attach(loaded, RUN, LoraSettings(target_modules=("in_proj", "dt_proj")), seed=1)
    assert untouched(loaded)


# Fused experts


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe"])
def test_dropout_on_fused_experts_is_an_error(model_type):
    loaded = made(model_type)
    before = logits(loaded, BASE)
    with pytest.raises(ModelError) as caught:
        lora.attach(loaded, RUN, LoraSettings(target_modules="all-linear", lora_dropout=0.1), seed=1)
    assert str(caught.value) == (
        f"In this {model_type} model all-linear stands for the experts' fused weights too, which take no dropout: "
        "set lora.lora_dropout to 0, or lora.target_modules to some of k_proj, o_proj, q_proj, v_proj."
    )
    assert untouched(loaded)
    assert torch.equal(logits(loaded, BASE), before)
    # The next adapter gets an unchanged model.
    lora.attach(loaded, "next", LoraSettings(target_modules=("q_proj",)), seed=1)
    assert lora.names(loaded) == ["next"]


def untouched(loaded) -> bool:
    return loaded.model is loaded.base and not any(isinstance(module, LoraLayer) for module in loaded.base.modules())


@pytest.mark.parametrize("model_type", at_night_after(1, ["qwen3_moe", "mixtral"]))
def test_experts_train_answer_and_are_measured(tmp_path, model_type):
    loaded = made(model_type)
    width = adapted_width(loaded.base, "all-linear")
    lora.attach(loaded, RUN, EVERYWHERE, seed=1)
    trainable, _ = lora.parameter_counts(loaded)
    assert trainable == 2 * width
    go(loaded, tmp_path / "run")
    assert lora.fault(loaded, RUN) is None
    assert_answers_are_those_alone(loaded)
    added = sum(matrix.norm() ** 2 for matrix in lora.low_ranks(loaded, RUN))
    layers = [module for module in loaded.base.modules() if isinstance(module, LoraLayer)]
    with torch.no_grad():
        expected = sum(float(each.get_delta_weight(RUN).norm()) ** 2 for each in layers)
    assert added == pytest.approx(expected, rel=1e-4)
    lora.save(loaded, RUN, tmp_path / "adapter")
    again = made(model_type)
    lora.load(again, "again", tmp_path / "adapter")
    assert torch.equal(logits(again, "again"), logits(loaded, RUN))


# Several adapters in one batch


def assert_answers_are_those_alone(loaded) -> None:
    settings = GenerationSettings(max_new_tokens=6)
    prompts = [(5, 6, 7, 8, 9), (40, 41, 42), (20, 21, 22, 23)]
    alone = {
        name: [generate(loaded, [Request(prompt, name)], settings)[0] for prompt in prompts] for name in (BASE, RUN)
    }
    mixed = generate(loaded, [Request(prompt, name) for prompt in prompts for name in (BASE, RUN)], settings)
    assert mixed == [alone[name][place] for place in range(3) for name in (BASE, RUN)]


@pytest.mark.parametrize(
    ("model_type", "targets", "mixes"),
    [
        ("llama", "all-linear", True),
        ("opt", ("q_proj", "v_proj"), True),
        ("opt", ("q_proj", "fc1"), False),
        ("qwen2_moe", ("q_proj", "v_proj"), True),
        ("qwen2_moe", ("up_proj",), False),  # of the shared expert, which sees flattened rows
        ("mixtral", ("q_proj",), True),
        ("mixtral", "all-linear", False),
        ("bloom", "all-linear", True),
        ("gpt2", "all-linear", True),
    ],
)
def test_who_can_share_a_batch_depends_on_the_adapted_layers(model_type, targets, mixes):
    loaded = made(model_type)
    assert lora.can_mix(loaded)
    lora.attach(loaded, RUN, LoraSettings(r=2, lora_dropout=0.0, target_modules=targets), seed=1)
    disturb(loaded, RUN)
    assert lora.can_mix(loaded) is mixes
    assert_answers_are_those_alone(loaded)
    # PEFT itself agrees.
    ids = torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(1))
    try:
        with torch.no_grad(), lora.answering_as(loaded, [BASE, RUN]) as routing:
            loaded.model(input_ids=ids, **routing)
        taken = True
    except (ValueError, TypeError):
        taken = False
    assert taken is mixes


def test_dora_shares_no_batch():
    loaded = made("llama")
    config = LoraConfig(r=2, use_dora=True, target_modules=["q_proj"], task_type=TaskType.CAUSAL_LM)
    lora._add(loaded, RUN, config)
    disturb(loaded, RUN)
    assert not lora.can_mix(loaded)
    assert_answers_are_those_alone(loaded)

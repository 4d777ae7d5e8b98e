"""Determine which layers of an architecture LoRA can adapt, by trial on a small model, and advise alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from ..config.run_config import LoraSettings

ANY_DROPOUT = 0.1
"""The dropout of the trials: targets that support it support any."""


def mixes_adapters(base: torch.nn.Module) -> bool:
    """Whether PEFT can compute rows of several adapters in one batch, with the adapters that are attached.

    PEFT selects a row's adapter by the first dimension of each adapted layer's input. So it cannot if a layer gets
    all rows concatenated (OPT's feed-forward layers), nor for parameters without a layer of their own (the fused
    experts of a mixture), nor with DoRA.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import MultiheadAttention, ParamWrapper

    from ..batching.packing_trial import detect_packing

    layers = [(path, module) for path, module in base.named_modules() if isinstance(module, LoraLayer)]
    if not layers:
        return True
    flattening = detect_packing(base.config).flattening
    return flattening is not None and not any(
        isinstance(module, ParamWrapper | MultiheadAttention)
        or any(module.use_dora.values())
        or path.rpartition(".")[2] in flattening
        for path, module in layers
    )


def check_called(base: torch.nn.Module, targets: str | Sequence[str], linear: Sequence[str]) -> None:
    """Raise ModelError if the model uses a target's weight without its layer, so that an adapter there does nothing.

    ``linear``: last name parts of all layers to choose from.
    """
    from ..batching.packing_trial import detect_packing

    called = detect_packing(base.config).called
    if isinstance(targets, str) or called is None:
        return
    if idle := [name for name in targets if name.rpartition(".")[2] not in called]:
        raise ModelError(
            f"An adapter on {', '.join(idle)} would do nothing in this {base.config.model_type} model, which uses the "
            f"weights without the layer: set lora.target_modules to {_working_targets(base.config, linear)}."
        )


def advice(base: torch.nn.Module, linear: Sequence[str]) -> str:
    """Return values of lora.target_modules that work with this architecture, as text for an error message."""
    everything = "" if _attach_error(base.config, "all-linear", ANY_DROPOUT) else "all-linear or to "
    return everything + _working_targets(base.config, linear)


def refusal(base: torch.nn.Module, lora: LoraSettings, linear: Sequence[str], error: ModelError) -> ModelError:
    """Return the error for an adapter that PEFT does not attach: one with a remedy, or ``error`` if none is known."""
    kind, setting = base.config.model_type, lora.target_modules
    targets = list(setting) if isinstance(setting, tuple | list) else setting
    works = _working_targets(base.config, linear)
    if (
        lora.lora_dropout
        and _attach_error(base.config, targets, lora.lora_dropout)
        and not _attach_error(base.config, targets, 0.0)
    ):
        named = setting if isinstance(setting, str) else ", ".join(setting)
        return ModelError(
            f"In this {kind} model {named} stands for the experts' fused weights too, which take no dropout: "
            f"set lora.lora_dropout to 0, or lora.target_modules to {works}."
        )
    refused = [name for name in linear if _attach_error(base.config, [name], 0.0)]
    if refused:
        return ModelError(
            f"LoRA cannot adapt {', '.join(refused)} in this {kind} model: set lora.target_modules to {works}."
        )
    return error


def _working_targets(config: PretrainedConfig, linear: Sequence[str]) -> str:
    from ..batching.packing_trial import detect_packing

    called = detect_packing(config).called
    names = [name for name in linear if called is None or name in called]
    return f"some of {', '.join(name for name in names if not _attach_error(config, [name], ANY_DROPOUT))}"


def _attach_error(config: PretrainedConfig, targets: str | Sequence[str], dropout: float) -> Exception | None:
    """Return PEFT's error on attaching such an adapter to a small model without weights; None if it succeeds."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    from ..batching.packing_trial import small_config
    from ..pretrained.trial import FAULTS

    try:
        with torch.random.fork_rng(), torch.device("meta"):
            small = AutoModelForCausalLM.from_config(small_config(config))
            lora = LoraConfig(r=1, target_modules=targets, lora_dropout=dropout, task_type=TaskType.CAUSAL_LM)
            get_peft_model(small, lora)
    except FAULTS as error:
        return error
    return None


def fused_width(base: torch.nn.Module, targets: str | Sequence[str]) -> int:
    """Return the sum of inputs and outputs of all fused expert weights that ``all-linear`` selects, as LoRA counts."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from peft.tuners.lora.layer import ParamWrapper
    from transformers import AutoModelForCausalLM

    if targets != "all-linear" or all(parameter.dim() < 3 for parameter in base.parameters()):
        return 0
    with torch.random.fork_rng(), torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(base.config)
        get_peft_model(shape, LoraConfig(r=1, target_modules=targets, task_type=TaskType.CAUSAL_LM))
    wrappers = [module for module in shape.modules() if isinstance(module, ParamWrapper)]
    return sum(matrix["default"].weight.numel() for wrapper in wrappers for matrix in (wrapper.lora_A, wrapper.lora_B))


def matrices(module: Any, name: str) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield (A, B, the weight that B · A is added to) of the adapter ``name`` on a layer; one per fused expert."""
    from peft.tuners.lora.layer import ParamWrapper

    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    if not isinstance(module, ParamWrapper):
        yield a, b, module.get_base_layer().weight
    elif module.num_experts == 1:
        yield a, b, module.get_param()
    else:
        # In the layout of ParamWrapper.get_delta_weight.
        experts = module.num_experts
        by_expert = a.reshape(experts, -1, a.shape[1]), b.reshape(b.shape[0], -1, experts)
        for expert, weight in enumerate(module.get_param()):
            yield by_expert[0][expert], by_expert[1][:, :, expert], weight


def take_off(base: torch.nn.Module) -> None:
    """Remove all adapter layers from a model that PEFT began to adapt and did not finish."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(base.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, last = path.rpartition(".")
            # A nested layer is removed with the outer one.
            if last != "base_layer":
                setattr(base.get_submodule(parent), last, module.get_base_layer())

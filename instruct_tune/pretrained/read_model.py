"""Read a base model from its folder: complete float weights only, without any adapter beside them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .model_errors import check_files, model_errors, read_object
from .weight_files import has_safetensors, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

_FLOATS = ("F64", "F32", "F16", "BF16")
"""Allowed weight dtypes, by their names in safetensors."""
MAX_LAYERS = 1000
_QUANTISED = ("quantization_config", "compression_config")
_NO_ADAPTER = {"subfolder": "config.json/none"}
"""transformers loads an adapter found beside the weights; this path, below a file, makes it find none."""


def read_config(name: str, folder: Path) -> PretrainedConfig:
    """The configuration in ``folder`` of the model ``name``. Raises ModelError if it cannot be read or used."""
    from transformers import AutoConfig

    _check_config(name, read_object(name, folder / "config.json"))
    with model_errors(f"The configuration of {name} cannot be used"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # A model without layers has nothing to adapt; building very many layers takes minutes before it fails.
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= MAX_LAYERS:
        raise ModelError(
            f"The configuration of {name} has {str(layers)[:20]} layers, and a model has 1 to {MAX_LAYERS:,}: "
            "download it again, or choose another model."
        )
    return config


def text_part(whole: PretrainedConfig) -> PretrainedConfig:
    """The part of a configuration that reads and writes text, which may be all of it; other parts get one layer."""
    text = whole.get_text_config(decoder=True)
    for name in whole.sub_configs:
        part: Any = getattr(whole, name, None)
        if part is not text and hasattr(part, "num_hidden_layers"):
            part.num_hidden_layers = 1
    return text


def empty_model(name: str, folder: Path) -> PreTrainedModel:
    """The model that the configuration in ``folder`` describes, on the ``meta`` device, without memory for weights.

    Raises ModelError if the configuration cannot be read, or does not describe a causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(name, folder)
    with model_errors(f"The configuration of {name} makes no causal language model"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def read_model(name: str, folder: Path, dtype: torch.dtype | str, safetensors: bool = True) -> PreTrainedModel:
    """The causal language model in ``folder``, on the CPU.

    ``safetensors``: read safetensors, else a ``pytorch_model.bin``. Raises ModelError if the files are damaged or
    quantised, differ in shape from config.json, or lack weights that the model needs.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.peft_utils import find_adapter_config_file

    check_files(name, folder)
    read_config(name, folder)
    if safetensors:
        check_weights(name, folder)
    # The last transformers for Python 3.10 looks for it beside the weights, whatever the path.
    if find_adapter_config_file(str(folder), **_NO_ADAPTER):
        raise ModelError(
            f"{name} has an adapter beside its weights (adapter_config.json), which this release of transformers would "
            "load with them: move it to another folder, or run the lab with a newer Python."
        )
    problem = f"{name} cannot be loaded as a causal language model"
    with model_errors(problem):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=safetensors,
            weights_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # else transformers names none of them; rejected below
            adapter_kwargs=_NO_ADAPTER,
        )
    if info["mismatched_keys"]:
        key, stored, expected = min(info["mismatched_keys"])
        raise ModelError(f"{problem}: {key} has shape {_shape(stored)}, and config.json makes it {_shape(expected)}.")
    if info["missing_keys"]:
        # transformers would initialise them at random, and the run would train on noise.
        raise ModelError(f"{name} lacks weights the model needs: {', '.join(sorted(info['missing_keys'])[:3])}.")
    _check_numbers(name, model)
    return model


def _check_numbers(name: str, model: PreTrainedModel) -> None:
    """Raise ModelError if a weight is NaN or infinite, since no token would have a probability."""
    for key, weight in model.named_parameters():
        if not is_within(weight, sys.float_info.max):
            raise ModelError(
                f"{name} holds weights that are not finite numbers ({key}): its training diverged, or its files are "
                "damaged. Download it again, or choose another model."
            )


def _shape(size: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in size)


def _check_config(name: str, config: dict[str, object]) -> None:
    for key in _QUANTISED:
        if quantised := config.get(key):
            method = quantised.get("quant_method") if isinstance(quantised, dict) else None
            raise ModelError(
                f"{name} is quantised ({str(method or key)[:40]}), and the lab trains on float weights only: "
                "choose the repository of the unquantised model."
            )
    if config.get("transformers_weights"):
        raise ModelError(f"{name} names its own weights file in config.json: save it with save_pretrained instead.")


def check_weights(name: str, folder: Path) -> None:
    """Raise ModelError if weights are missing, damaged or not floats: transformers would cast integers as they are.

    Reads only the headers of safetensors. The contents of a ``.bin`` are checked when it is converted.
    """
    from safetensors import safe_open

    files = weight_files(name, folder)
    if not files:
        raise ModelError(f"{name} holds neither safetensors nor a pytorch_model.bin.")
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(f"{name} lacks {', '.join(missing[:3])}, which its index names: download it again.")
    for file in files if has_safetensors(folder) else ():
        with model_errors(f"{file.name} of {name} is damaged"), safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no dict)
                check_dtype(name, key, tensors.get_slice(key).get_dtype(), _FLOATS)


def loaded_bytes(name: str, folder: Path, itemsize: int) -> int:
    """Memory in bytes for the safetensors in ``folder`` at ``itemsize`` bytes per weight; reads only the headers.

    Raises ModelError if they are damaged.
    """
    from safetensors import safe_open

    weights = 0
    for file in weight_files(name, folder):
        with model_errors(f"{file.name} of {name} is damaged"), safe_open(file, "pt") as tensors:
            weights += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
    return weights * itemsize


def is_within(tensor: torch.Tensor, largest: float) -> bool:
    """Whether all elements are finite and within ±``largest``. Does not copy the tensor."""
    if not tensor.numel():
        return True
    low, high = tensor.aminmax()
    # If one element is NaN, both are, and comparing NaN gives False. A tensor would round ``largest`` to its dtype.
    return -largest <= low.item() and high.item() <= largest


def check_dtype(name: str, key: str, dtype: object, allowed: tuple[object, ...]) -> None:
    """Raise ModelError if the weight ``key`` is stored in a dtype that is not in ``allowed``.

    Buffers, such as GPT-2's attention masks, may be integers.
    """
    if key.endswith(".weight") and dtype not in allowed:
        raise ModelError(
            f"{name} stores {key} as {str(dtype).removeprefix('torch.')}, on which the lab cannot train: choose "
            "the repository of the model with float weights."
        )

"""Validates a PEFT adapter that was trained elsewhere: it must be a plain LoRA.

Every field of ``adapter_config.json`` that changes the function is either kept or refused, even a field of a PEFT
version newer than this lab. The weights decide which modules are adapted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.text_limits import MAX_TARGETS
from ..errors import DataError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..models.lora_targets import ON_HEAD, names_of
from ..pretrained.read_model import is_within

FLOATS = ("F16", "BF16", "F32")
KEPT = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")
"""Fields that become settings of the imported run."""
WITHOUT_EFFECT = (
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "inference_mode",
    "runtime_config", "eva_config", "megatron_core", "qalora_group_size", "fan_in_fan_out",
)  # fmt: skip
"""Fields that do not change a trained adapter. PEFT sets ``fan_in_fan_out`` by the kind of layer."""
ACCEPTED = {
    "bias": ("none",),
    "revision": ("main",),
    # The other initialisations change the base weights, or freeze a matrix.
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
}
"""Values of other fields with which the adapter is still a plain LoRA on the base model."""
HEADS = ("lm_head", "embed_out")
"""Last path components of output layers that are recognised without the base model."""
LARGEST = 65_504
"""The largest float16 number. Products of larger numbers overflow, and then sampling has no probabilities."""
LORA_MATRIX = re.compile(r"base_model\.model\.(?P<path>[\w.-]{1,200})\.lora_(?P<which>[AB])\.weight")
"""The name of a matrix of a LoRA on a linear layer, with the layer's path."""
NEEDED = f"{CONFIG_FILE} must hold r, lora_alpha and target_modules."


def plain_lora(fields: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """The fields of ``KEPT``, from ``fields`` (an adapter's configuration) and its ``weights`` file, which must agree.

    Raises DataError where the adapter is not a plain LoRA.
    """
    _refuse_others(fields)
    r, targets = fields.get("r"), fields.get("target_modules")
    alpha: Any = fields.get("lora_alpha")
    dropout, stabilised = fields.get("lora_dropout") or 0.0, fields.get("use_rslora") or False
    names = [targets] if isinstance(targets, str) else targets
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(NEEDED)
    if not isinstance(r, int) or not 1 <= r <= 1024 or not _number(alpha) or not 0 < alpha <= 8192:
        raise DataError(NEEDED)
    if not _number(dropout) or not 0 <= dropout < 1 or not isinstance(stabilised, bool):
        raise DataError(f"{CONFIG_FILE}: lora_dropout must be from 0 to below 1, use_rslora true or false.")
    ranks = _read_ranks(weights)
    if mismatched := next((path for path, pair in ranks.items() if pair != (r, r)), None):
        raise DataError(
            f"r is {r} in {CONFIG_FILE} and another in the weights of {mismatched}: export the adapter again."
        )
    # A pattern is not evaluated: the module paths in the weights replace it.
    modules = list(ranks) if isinstance(targets, str) else _matching_targets(names, list(ranks))
    return dict(zip(KEPT, (r, alpha, dropout, modules, stabilised), strict=True))


def _refuse_others(fields: Mapping[str, Any]) -> None:
    if fields.get("peft_type") != "LORA" or fields.get("task_type") not in (None, "CAUSAL_LM"):
        raise DataError("Only LoRA adapters of causal language models can be imported.")
    if special := special_fields(fields):
        raise DataError(
            f"Only plain LoRA adapters can be imported; this one has {', '.join(special)}. Merge it into its base "
            "model with PEFT and choose the merged folder as the model instead."
        )


def special_fields(fields: Mapping[str, Any]) -> list[str]:
    """Names, to be shown, of at most five fields with which an adapter is more than a plain LoRA; none if it is one."""
    special = [name for name in fields if _changes_function(name, fields[name])]
    return ["a bias" if name == "bias" else name[:60] if name.isidentifier() else "?" for name in special[:5]]


def _changes_function(name: str, value: Any) -> bool:
    if name in KEPT or name in WITHOUT_EFFECT:
        return False
    # 0 is a value: PEFT's index of the first layer.
    unset = value in (None, "", [], {}) if name == "layers_to_transform" else not value
    return not unset and value not in ACCEPTED.get(name, ())


def _read_ranks(path: Path) -> dict[str, tuple[int, int]]:
    """The ranks of A and B by module path. Whether they fit the base model is checked at first use.

    Raises DataError for anything but the finite matrices of a LoRA on linear layers other than the LM head.
    """
    from safetensors import SafetensorError, safe_open

    ranks: dict[tuple[str, str], int] = {}
    try:
        # numpy has no bfloat16.
        with safe_open(path, "pt") as tensors:
            if len(tensors.keys()) > 2 * MAX_TARGETS:
                raise DataError(f"{WEIGHTS_FILE} adapts more than {MAX_TARGETS:,} modules, the most that are read.")
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                if ".lora_embedding_" in name:
                    raise DataError(ON_HEAD)
                rows = tensors.get_slice(name)
                shape, match = rows.get_shape(), LORA_MATRIX.fullmatch(name)
                if not match or len(shape) != 2 or rows.get_dtype() not in FLOATS:
                    raise DataError(f"{WEIGHTS_FILE} must hold the matrices of a LoRA and nothing else.")
                if not is_within(tensors.get_tensor(name), LARGEST):
                    raise DataError(
                        f"{WEIGHTS_FILE} holds numbers that are not finite, or larger than {LARGEST:,} ({match['path']}"
                        "): the training diverged, or the file is damaged. Export an earlier checkpoint."
                    )
                ranks[match["path"], match["which"]] = shape[0 if match["which"] == "A" else 1]
    except SafetensorError as error:
        raise DataError(f"{WEIGHTS_FILE} is damaged, or no safetensors file.") from error
    paths = dict.fromkeys(path for path, _ in ranks)
    if not paths or len(ranks) != 2 * len(paths):
        raise DataError(f"{WEIGHTS_FILE} must hold the matrices of a LoRA and nothing else: an A and a B for a module.")
    if any(path.rpartition(".")[2] in HEADS for path in paths):
        raise DataError(ON_HEAD)
    return {path: (ranks[path, "A"], ranks[path, "B"]) for path in paths}


def _matching_targets(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Those of ``names`` that match a module in the weights.

    PEFT ignores a name that matches no module; a run's settings may not contain one.
    """
    used = set(names) & {name for path in paths for name in names_of(path)}
    if unnamed := next((path for path in paths if not used.intersection(names_of(path))), None):
        raise DataError(
            f"The weights are on {unnamed}, which target_modules in {CONFIG_FILE} does not name: export it again."
        )
    return sorted(used)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

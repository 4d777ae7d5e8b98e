"""Resolve ``lora.target_modules`` to modules by PEFT's rules (``tuners_utils.check_target_module_exists``).

A name selects each module whose path is the name or ends with ``.`` and the name. A regular expression selects
each module whose whole path it matches; it is expanded once, in a process with a time limit, since it may be hostile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from ..config.catalog import LORA_TARGETS
from ..errors import ModelError
from ..text.regex_search import matching
from .lora_support import advice, fused_width

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

KEYWORDS = ("auto", "all-linear")
ON_HEAD = (
    "The adapter changes the LM head or the embeddings, where base and tuned cannot be kept apart: merge it into its "
    "base model with PEFT and choose the merged folder as the model, or train an adapter on other modules."
)


def resolve_targets(base: torch.nn.Module, targets: str | Sequence[str]) -> str | list[str]:
    """Return the module names (or PEFT's ``all-linear``) that ``lora.target_modules`` selects."""
    if targets == "all-linear":
        return "all-linear"
    if targets == "auto":
        kind = base.config.model_type
        if kind not in LORA_TARGETS:
            raise ModelError(
                f"The lab does not know which modules to adapt in a {kind} model: "
                f"set lora.target_modules to {advice(base, linear_names(base))}."
            )
        return list(LORA_TARGETS[kind])
    names = [targets] if isinstance(targets, str) else list(targets)
    linear = linear_paths(base)
    known = {name for path in linear for name in names_of(path)}
    missing = [name for name in names if name not in known]
    if missing and isinstance(targets, str):
        names = expand_pattern(targets, module_paths(base), linear)
        missing = [] if names else missing
    if missing:
        available = ", ".join(linear_names(base))
        raise ModelError(f"The model has no module named {', '.join(missing)} that LoRA can adapt: it has {available}.")
    return names


def adapted_width(base: torch.nn.Module, targets: str | Sequence[str]) -> int:
    """Return inputs plus outputs of all layers that the targets select; a LoRA of rank r has r times as many weights.

    ``base`` may be without weights (on the meta device).
    """
    # GPT-2's Conv1D is a linear layer with a transposed weight; the sum is the same.
    paths = adapted_paths(base, targets)
    return fused_width(base, resolve_targets(base, targets)) + sum(
        sum(base.get_submodule(path).weight.shape) for path in paths
    )


def adapted_paths(base: torch.nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Return the paths of the modules that the targets select, in the model's order."""
    names = resolve_targets(base, targets)
    return [path for path in linear_paths(base) if names == "all-linear" or not set(names).isdisjoint(names_of(path))]


def _is_linear(module: torch.nn.Module) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (torch.nn.Linear, Conv1D))


def linear_names(base: torch.nn.Module) -> list[str]:
    """Return the last name parts of all linear layers except the LM head."""
    return sorted({path.rpartition(".")[2] for path in linear_paths(base)})


def linear_paths(base: torch.nn.Module) -> list[str]:
    """Return the linear layers' paths in the model's order; not the LM head, whose loss path bypasses adapters."""
    head = base.get_output_embeddings()
    return [
        # With an adapter attached, q_proj's own layer is named q_proj.base_layer.
        path.removesuffix(".base_layer")
        for path, module in base.named_modules()
        if _is_linear(module) and module is not head and "lora_" not in path
    ]


def names_of(path: str) -> Iterator[str]:
    """Yield all names that select the module at ``path``: the path, and each suffix after a dot."""
    while path:
        yield path
        path = path.partition(".")[2]


def expand_pattern(pattern: str, paths: Sequence[str], adaptable: Collection[str]) -> list[str]:
    """Return the ``paths`` that ``pattern`` matches entirely.

    Raises ModelError if it also matches a module that is not ``adaptable``, DataError if it takes too long.
    """
    matches = [paths[place] for place in sorted(matching(pattern, paths, whole=True))]
    if other := next((path for path in matches if path not in adaptable), None):
        raise ModelError(
            f"The pattern {pattern} in lora.target_modules also matches {other}, which LoRA cannot adapt here: "
            "write a pattern that matches linear layers only, and not the LM head."
        )
    return matches


def layer_names(targets: str | Sequence[str], paths: Sequence[str]) -> str | tuple[str, ...]:
    """Return ``targets`` without layer numbers: targets that name single layers become the last parts of ``paths``.

    ``paths``: the adapted modules of the whole model. The result also fits the same model with fewer layers.
    """
    if targets in KEYWORDS or (not isinstance(targets, str) and not any("." in name for name in targets)):
        return targets if isinstance(targets, str) else tuple(targets)
    return tuple(sorted({path.rpartition(".")[2] for path in paths}))


def module_paths(base: torch.nn.Module) -> list[str]:
    """Return paths of all modules of the plain model, without those that adapters add."""
    paths = (path for path, _ in base.named_modules() if path and "lora_" not in path)
    return [path for path in paths if not path.endswith(".base_layer")]


def refuse_on_head(base: PreTrainedModel, name: str) -> None:
    """Raise ModelError if the adapter ``name`` is on the LM head or the embeddings.

    The lab applies the head apart from the body, outside the context that switches adapters.
    """
    ends = (base.get_output_embeddings(), base.get_input_embeddings())
    if any(name in getattr(end, "lora_A", ()) or name in getattr(end, "lora_embedding_A", ()) for end in ends):
        raise ModelError(ON_HEAD)

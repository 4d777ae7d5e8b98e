"""Resolve ``lora.target_modules`` to modules by PEFT's rules (``tuners_utils.check_target_module_exists``).

A name selects each module whose path is the name or ends with ``.`` and the name. A regular expression selects
each module whose whole path it matches; it is expanded once, in a process with a time limit, since it may be hostile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..text.regex_search import matching

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

KEYWORDS = ("auto", "all-linear")
ON_HEAD = (
    "The adapter changes the LM head or the embeddings, where base and tuned cannot be kept apart: merge it into its "
    "base model with PEFT and choose the merged folder as the model, or train an adapter on other modules."
)


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

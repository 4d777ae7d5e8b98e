"""LoRA adapters on shared base weights: attach, load, save, switch off.

Only this module and ``lora_support`` import peft. Nothing here merges an adapter into the shared weights: merging and
unmerging drifts by rounding, and base answers must come from exactly the weights that were loaded.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.run_config import LoraSettings
from ..errors import ModelError
from ..pretrained.read_model import read_model
from ..text.plain_text import first_line
from .lora_support import check_called, matrices, mixes_adapters, refusal, take_off
from .lora_targets import linear_names, refuse_on_head, resolve_targets

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from .base_model import LoadedModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
BASE = "__base__"
"""PEFT's name for "no adapter" in a batch of mixed adapters."""


def attach(loaded: LoadedModel, name: str, lora: LoraSettings, seed: int) -> None:
    """Attach a new adapter to the model and make it the trainable one.

    Its A matrices are drawn from ``seed``, its B matrices are zero, so it changes nothing yet.
    Raises ModelError if the target modules do not exist.
    """
    import torch
    from peft import LoraConfig, TaskType

    from ..kernels.dropout import use_fast_dropout

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=resolve_targets(loaded.base, lora.target_modules),
        use_rslora=lora.use_rslora,
        task_type=TaskType.CAUSAL_LM,
    )
    check_called(loaded.base, config.target_modules, linear_names(loaded.base))
    torch.manual_seed(seed)
    try:
        _add(loaded, name, config)
    except ModelError as error:
        raise refusal(loaded.base, lora, linear_names(loaded.base), error) from error
    loaded.model.set_adapter(name)
    use_fast_dropout(loaded.model)


def load(loaded: LoadedModel, name: str, folder: Path) -> None:
    """Load a saved adapter for inference, unless one of that name is already loaded.

    Raises ModelError and then leaves the model as it was. Never changes the random state.
    """
    import torch

    if name in names(loaded):
        return
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        if not (folder / file).is_file():
            raise ModelError(f"The adapter is gone: {file} is missing in its folder.")
    try:
        # PEFT initialises matrices at random, which must not change the random state of a training run.
        with torch.random.fork_rng():
            _add(loaded, name, _read_config(folder))
        refuse_on_head(loaded.base, name)
        restore(loaded, name, folder)
    except ModelError:
        remove(loaded, name)
        raise


def _read_config(folder: Path) -> LoraConfig:
    from peft import LoraConfig

    try:
        fields = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if fields.get("peft_type") != "LORA":
            raise ModelError(f"The adapter in {folder.name} is no LoRA adapter.")
        config = LoraConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"The adapter in {folder.name} has a damaged configuration.") from error
    config.inference_mode = True
    return config


def _add(loaded: LoadedModel, name: str, config: LoraConfig) -> None:
    from peft import PeftModel, get_peft_model

    try:
        if isinstance(loaded.model, PeftModel):
            loaded.model.add_adapter(name, config)
        else:
            loaded.model = get_peft_model(loaded.base, config, adapter_name=name)
    except (ValueError, TypeError) as error:
        # PEFT registers the configuration, and some layers, before it can fail.
        if isinstance(loaded.model, PeftModel) and name in loaded.model.peft_config:
            loaded.model.delete_adapter(name)
        if loaded.model is loaded.base:
            take_off(loaded.base)
        raise ModelError(f"The adapter does not fit this model: {first_line(error)}.") from error


def restore(loaded: LoadedModel, name: str, folder: Path) -> None:
    """Copy the weights saved in ``folder`` into the attached adapter ``name``. Raises ModelError if they do not fit."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / WEIGHTS_FILE)
        expected = get_peft_model_state_dict(loaded.model, adapter_name=name, save_embedding_layers=False)
        if state.keys() != expected.keys():
            raise ModelError(f"The adapter in {folder.name} was made for another model, or is not whole.")
        if mismatch := next((key for key in expected if state[key].shape != expected[key].shape), None):
            raise ModelError(_shape_mismatch(mismatch, state[mismatch], expected[mismatch]))
        set_peft_model_state_dict(loaded.model, state, adapter_name=name)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(f"The adapter in {folder.name} does not fit this model or is damaged.") from error


def _shape_mismatch(matrix: str, saved: torch.Tensor, expected: torch.Tensor) -> str:
    """Return the error for a shape mismatch: the adapter was trained on a base model with other shapes."""
    needs, has = (" × ".join(map(str, tensor.shape)) for tensor in (expected, saved))
    return (
        f"The adapter does not fit this base model ({matrix.removeprefix('base_model.model.')} is {has}, {needs} is "
        "wanted): use the model that it was trained on, or train the run again."
    )


def merged_copy(base: Path, folder: Path) -> PreTrainedModel:
    """Read a new float32 model from ``base`` and merge the adapter saved in ``folder`` into it.

    It shares nothing with loaded models. Raises ModelError if the adapter does not fit.
    """
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError

    copied = read_model(base.name, base, torch.float32)
    try:
        # PEFT initialises matrices at random, which must not change the random state of a training run.
        with torch.random.fork_rng():
            model = PeftModel.from_pretrained(copied, str(folder), config=_read_config(folder), torch_device="cpu")
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ModelError(f"The adapter in {folder.name} does not fit this model or is damaged.") from error
    return model.merge_and_unload(safe_merge=True)


def save(loaded: LoadedModel, name: str, folder: Path) -> None:
    """Write the adapter in the format of ``PeftModel.from_pretrained``, with the Hub id as its base."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # "auto" would ask the Hub at every save whether the vocabulary was resized.
    state = get_peft_model_state_dict(loaded.model, adapter_name=name, save_embedding_layers=False)
    save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / WEIGHTS_FILE, {"format": "pt"})
    config = copy.deepcopy(loaded.model.peft_config[name])
    config.base_model_name_or_path = loaded.weights.model
    config.inference_mode = True
    config.save_pretrained(folder)


def names(loaded: LoadedModel) -> list[str]:
    """Return the names of the adapters in memory, oldest first."""
    return list(loaded.model.peft_config) if loaded.model is not loaded.base else []


def remove(loaded: LoadedModel, name: str) -> None:
    """Remove an adapter from the model; removing the last one restores the plain model."""
    if name not in names(loaded):
        return
    if len(names(loaded)) == 1:
        loaded.model.unload()
        loaded.model = loaded.base
    else:
        loaded.model.delete_adapter(name)


@dataclass(frozen=True)
class LowRank:
    """One layer's adapter: it adds ``scaling`` · B · A to the layer's ``weight``; A is [r, inputs], B [outputs, r]."""

    path: str
    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    weight: torch.Tensor

    def norm(self) -> float:
        """Return the Frobenius norm of ``scaling`` · B · A.

        Computed from r × r matrices only: |BA|² = tr(Aᵀ Bᵀ B A) = Σ (BᵀB) ∘ (AAᵀ).
        """
        a, b = self.a.detach().double(), self.b.detach().double()
        return self.scaling * float((b.T @ b * (a @ a.T)).sum().clamp(min=0).sqrt())


def low_ranks(loaded: LoadedModel, name: str) -> list[LowRank]:
    """Return the adapter's update of each layer that it adapts, in the model's order."""
    from peft.tuners.lora import LoraLayer

    return [
        LowRank(path, a, b, module.scaling[name], weight)
        for path, module in loaded.base.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
        for a, b, weight in matrices(module, name)
    ]


def is_zero(loaded: LoadedModel, name: str) -> bool:
    """Whether the adapter changes nothing: every B matrix is still zero."""
    matrices = [p for n, p in loaded.model.named_parameters() if "lora_B" in n and f".{name}." in n]
    return all(not matrix.any() for matrix in matrices)


def norm_of_b(loaded: LoadedModel, name: str) -> float:
    """Return the Frobenius norm of all B matrices together: the distance from their initial value, zero."""
    matrices = [p for n, p in loaded.model.named_parameters() if "lora_B" in n and f".{name}." in n]
    return float(sum(float(matrix.detach().float().square().sum()) for matrix in matrices) ** 0.5)


def fault(loaded: LoadedModel, name: str) -> str | None:
    """Return a sentence with a remedy if the adapter cannot be a training result; None if it can."""
    if is_zero(loaded, name):
        return "The adapter is still zero after training: raise train.learning_rate."
    matrices = [p for n, p in loaded.model.named_parameters() if "lora_" in n and f".{name}." in n]
    if not all(matrix.isfinite().all() for matrix in matrices):
        return "The adapter holds numbers that are not finite: lower train.learning_rate."
    return None


def parameter_counts(loaded: LoadedModel) -> tuple[int, int]:
    """Return the numbers of (trainable, all) parameters of the model in its current state."""
    counts = [(p.numel(), p.requires_grad) for p in loaded.model.parameters()]
    return sum(n for n, trains in counts if trains), sum(n for n, _ in counts)


def can_mix(loaded: LoadedModel) -> bool:
    """Whether one batch can hold rows of several adapters."""
    return mixes_adapters(loaded.base)


@contextmanager
def answering_as(loaded: LoadedModel, rows: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """Select the adapter for each row of a batch: ``BASE`` or an adapter's name.

    Yields the keyword arguments that ``generate`` needs for it. The model is in eval mode inside the context and
    restored afterwards. If all rows are ``BASE``, no adapter code runs. Raises ModelError if an adapter is missing.
    """
    if missing := set(rows) - {BASE, *names(loaded)}:
        # Deleted while a request was waiting; PEFT might silently answer with base instead.
        raise ModelError(f"The adapter of run {', '.join(sorted(missing))} is not in memory any more: ask again.")
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        if loaded.model is loaded.base:
            yield {}
        elif set(rows) == {BASE}:
            with loaded.model.disable_adapter():
                yield {}
        elif len(set(rows)) == 1:
            with _activated(loaded, rows[0]):
                yield {}
        else:
            with _clearing_hooks(loaded):
                yield {"adapter_names": list(rows)}
    finally:
        loaded.model.train(was_training)


@contextmanager
def _activated(loaded: LoadedModel, name: str) -> Iterator[None]:
    """Activate one adapter for the whole batch; afterwards restore the previous one and its trainable parameters."""
    before = loaded.model.active_adapter
    trains = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    loaded.model.set_adapter(name, inference_mode=True)
    try:
        yield
    finally:
        loaded.model.set_adapter(before, inference_mode=True)
        for parameter in trains:
            parameter.requires_grad_(True)


@contextmanager
def _clearing_hooks(loaded: LoadedModel) -> Iterator[None]:
    """Remove PEFT's hooks afterwards: it passes adapter names to layers in hooks, which remain if generation fails."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        yield
    finally:
        for module in loaded.model.modules():
            if isinstance(module, BaseTunerLayer):
                module._forward_pre_hooks.clear()
                module._forward_pre_hooks_with_kwargs.clear()


@contextmanager
def at_strength(loaded: LoadedModel, name: str, strength: float) -> Iterator[None]:
    """Inside the context, multiply the update of the adapter ``name`` by ``strength``; 1 is as trained.

    No other adapter changes, and the scaling is restored to the last bit. (PEFT's ``rescale_adapter_scale`` rescales
    every adapter in memory, including one that is training.)
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in loaded.model.modules() if isinstance(module, LoraLayer) and name in module.scaling]
    before = [module.scaling[name] for module in layers]
    try:
        for module, scaling in zip(layers, before, strict=True):
            module.scaling[name] = scaling * strength
        yield
    finally:
        for module, scaling in zip(layers, before, strict=True):
            module.scaling[name] = scaling

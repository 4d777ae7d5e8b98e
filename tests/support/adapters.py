"""Helpers for the tests of adapters: logits, base weights, random adapters, and error messages."""

from __future__ import annotations

import torch

from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel


def logits(loaded: LoadedModel, adapter_name: str) -> torch.Tensor:
    """The logits of ``adapter_name`` on the same forty tokens."""
    ids = torch.randint(3, 250, (1, 40), generator=torch.Generator().manual_seed(5))
    with lora.answering_as(loaded, [adapter_name]) as routing, torch.no_grad():
        return loaded.model(input_ids=ids, **routing).logits


def weights(base: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the base model's own weights, by their plain names."""
    state = {name.replace(".base_layer", ""): value for name, value in base.state_dict().items()}
    return {name: value.clone() for name, value in state.items() if "lora_" not in name}


def disturb(loaded: LoadedModel, name: str, seed: int = 9, scale: float = 1) -> None:
    """Give an adapter random B matrices, as if it were trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, matrix in loaded.model.named_parameters():
            if "lora_B" in path and f".{name}." in path:
                matrix.copy_(torch.randn(matrix.shape, generator=generator) * scale)


def adapted(base: torch.nn.Module, name: str) -> list[str]:
    """The paths of the modules that have the adapter ``name``."""
    return [path for path, module in base.named_modules() if hasattr(module, "lora_A") and name in module.lora_A]


def one_sentence(error: BaseException) -> str:
    """The message, after a check that it is one readable sentence."""
    message = str(error)
    assert message.endswith((".", ")"))
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 400
    return message

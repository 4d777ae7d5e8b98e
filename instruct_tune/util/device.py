"""Which device computes, and what it has units for. torch is imported inside: the command line asks before it does."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping

from ..errors import SettingsError

log = logging.getLogger(__name__)
CHOICE = "LAB_DEVICE"


def check_device_choice(environ: Mapping[str, str] = os.environ) -> None:
    """Raise SettingsError for a value of ``LAB_DEVICE`` that names no device."""
    if (value := environ.get(CHOICE, "")) not in ("", "auto", "cpu"):
        raise SettingsError([f"{CHOICE} must be cpu, or auto for the GPU where there is one, not {value!r}"])


def wants_cpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``LAB_DEVICE`` says that the CPU computes, whatever else there is."""
    return environ.get(CHOICE) == "cpu"


def best_device() -> str:
    """``cuda`` where there is a GPU that computes and ``LAB_DEVICE`` does not choose the CPU, else ``cpu``."""
    import torch

    return "cuda" if not wants_cpu() and torch.cuda.is_available() and gpu_computes() else "cpu"


@functools.cache
def gpu_computes() -> bool:
    """Whether the GPU multiplies two small matrices, tried once; torch's wheel has no kernels for some older ones."""
    import torch

    try:
        matrix = torch.ones(8, 8, device="cuda")
        return (matrix @ matrix).sum().item() == 512
    except torch.OutOfMemoryError:
        # Another program fills it for the moment; it has kernels for it.
        return True
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        log.warning(
            "The CPU computes, for torch cannot use the GPU (%s): %s. A wheel of torch for this GPU changes that; "
            "%s=cpu chooses the CPU without a trial.",
            torch.cuda.get_device_name(),
            reason,
            CHOICE,
        )
        return False


def has_bf16() -> bool:
    """Whether the GPU has units for bfloat16. Before Ampere it is emulated, slower than float16."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)

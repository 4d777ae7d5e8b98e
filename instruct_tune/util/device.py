"""Device choice and its bfloat16 support. torch is imported lazily, as the command line checks the choice first."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping

from ..errors import SettingsError

log = logging.getLogger(__name__)
CHOICE = "LAB_DEVICE"
_in_gpu_worker = False


def check_device_choice(environ: Mapping[str, str] = os.environ) -> None:
    """Raise SettingsError for an invalid value of ``LAB_DEVICE``."""
    if (value := environ.get(CHOICE, "")) not in ("", "auto", "cpu"):
        raise SettingsError([f"{CHOICE} must be cpu, or auto for the GPU where there is one, not {value!r}"])


def wants_cpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``LAB_DEVICE`` forces the CPU."""
    return environ.get(CHOICE) == "cpu"


def on_zerogpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a ZeroGPU Space: its main process has no GPU, forked workers have one for a while."""
    return environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def enter_gpu_worker() -> None:
    """Note that this process is such a worker."""
    global _in_gpu_worker
    _in_gpu_worker = True


def claim_no_gpu() -> None:
    """Let torch tell everybody that this process has no GPU, without a look.

    Libraries that believe there is one ask the driver, and a process whose parent did that cannot use a GPU any more.
    """
    import torch

    torch.cuda.is_available, torch.cuda.device_count = lambda: False, lambda: 0


def best_device() -> str:
    """``cuda`` if this process has a working GPU and ``LAB_DEVICE`` does not force the CPU, else ``cpu``.

    In the main process of a ZeroGPU Space torch reports a GPU that only its workers get, so there it is ``cpu``.
    """
    import torch

    if on_zerogpu() and not _in_gpu_worker:
        return "cpu"
    return "cuda" if not wants_cpu() and torch.cuda.is_available() and gpu_computes() else "cpu"


@functools.cache
def gpu_computes() -> bool:
    """Whether the GPU can multiply two small matrices, tried once. torch's wheel lacks kernels for some older GPUs."""
    import torch

    try:
        matrix = torch.ones(8, 8, device="cuda")
        return (matrix @ matrix).sum().item() == 512
    except torch.OutOfMemoryError:
        # The kernels exist, but another program fills its memory for now.
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
    """Whether the GPU supports bfloat16 natively. Before Ampere it is emulated, and slower than float16."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)

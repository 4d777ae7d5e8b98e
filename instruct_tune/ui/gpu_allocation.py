"""GPUs of a ZeroGPU Space: ask the platform for one, and put its refusals into a sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from pathlib import Path

import gradio as gr

from ..compute import gpu_worker
from ..errors import GpuError, LabError
from ..services.zerogpu import Allocate
from ..util.device import claim_no_gpu

SIGN_IN = "Go on later, sign in with Hugging Face for more time, or continue on this Space's CPU."
_REASONS = {
    "ZeroGPU illegal duration": "One turn on the GPU may not be as long as this work needs.",
    "ZeroGPU pending credits exceeded": "Other work of yours holds all of your GPU time.",
    "ZeroGPU queue timeout": "No GPU is free now.",
    "ZeroGPU worker error": "The GPU was taken back before the work was done.",
}
"""The titles of the platform's errors (``spaces.zero.client``)."""
_LEFT = re.compile(r"\((\d+)s requested vs\. (-?\d+)s left\)")
_AGAIN = re.compile(r"Try again in ([\w:, ]+?)\.")


def zerogpu_allocator() -> Allocate:
    """The function that lends GPUs. Call it before torch is imported: ``spaces`` replaces parts of it."""
    import spaces

    # It lets torch claim a GPU in this process; in the workers it puts torch's own functions back.
    claim_no_gpu()
    # Its requests have the visitor's token in their address.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    lend = spaces.GPU(duration=lambda folder, seconds, data_dir: seconds)(gpu_worker.execute)

    def allocate(folder: Path, seconds: int, data_dir: Path) -> Generator[gpu_worker.News, None, None]:
        try:
            yield from lend(folder, seconds, data_dir)
        except gr.Error as error:
            raise _refusal(error) from error
        except LabError:
            raise
        except Exception as error:
            # Its client raises RuntimeErrors and those of several libraries where the service does not answer.
            raise GpuError(f"The GPU service did not lend one ({type(error).__name__}: {str(error)[:100]}).") from error

    return allocate


def _refusal(error: gr.Error) -> GpuError:
    title, message = str(error.title), str(error.message)
    if reason := _REASONS.get(title):
        return GpuError(reason)
    if "No GPU was available" in message:
        return GpuError("No GPU is free now.")
    if title == "ZeroGPU quota exceeded":
        left, again = _LEFT.search(message), _AGAIN.search(message)
        known = [f"{left[2]} s are left" if left else "", f"more in {again[1]}" if again else ""]
        details = f" ({'; '.join(filter(None, known))})" if any(known) else ""
        return GpuError(f"Your GPU time is used up for now{details}.", SIGN_IN, int(left[2]) if left else None)
    if "token" in message:
        return GpuError("The page has been open too long to ask for a GPU.", "Reload it, then go on.")
    return GpuError(f"No GPU was lent ({message[:100]}).")

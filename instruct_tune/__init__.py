"""Instruction-Tuning Lab: see every token that carries loss, watch it learn, believe the BLEU."""

import os

from .util.supported_platform import require_supported_platform
from .util.wait_policy import set_wait_policy

require_supported_platform()
# The OpenMP runtime reads these when torch is first imported, by any module.
set_wait_policy()
# huggingface_hub reads these when any module first imports it, so they are set here.
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "15")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Else transformers asks an online service to convert repositories that have no safetensors.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

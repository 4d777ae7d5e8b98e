"""Merges a run's adapter into a copy of its base model: one zip that transformers loads without peft.

The copy is read from disk: merging into the shared weights and unmerging would change them by rounding.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..errors import DataError, DiskFullError, MemoryLimitError, ModelError
from ..models.lora import merged_copy
from ..pretrained.locate import Weights
from ..pretrained.read_model import empty_model
from ..pretrained.tokenizers import read_tokenizer
from ..store.run import Run
from ..store.run_store import RunStore
from ..util.memory import free, give_back
from .model_card import model_card

FLOAT32 = 4
ROOM = 1.3
"""Memory for the copy and for one layer's update at a time, as a multiple of the copy's size."""


def merged_zip(store: RunStore, run: Run, weights: Weights, to: Path, report: Callable[[str], None]) -> Path:
    """Write ``to`` (a .zip): float32 safetensors, tokenizer, configuration and card. ``report`` gets progress messages.

    Raises ModelError where the run was trained on other ``weights``; MemoryLimitError or DiskFullError, before any
    work, where memory or disk is too small; DataError where ``to`` cannot be written.
    """
    _check_weights(run, weights)
    size = FLOAT32 * _parameters(run, weights)
    _check_space(size, to)
    try:
        with tempfile.TemporaryDirectory(prefix=".merged-", dir=to.parent) as scratch:
            folder, packed = Path(scratch) / "model", Path(scratch) / "zip"
            report(f"merging into a copy of {run.config['model']} ({size / 1e6:,.0f} MB)")
            _write(store, run, weights, folder)
            report("packing the zip")
            # Stored without compression: weights do not compress, and trying takes minutes.
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(folder.iterdir()):
                    archive.write(file, file.name)
            packed.replace(to)
    except OSError as error:
        raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    finally:
        give_back()
    return to


def _write(store: RunStore, run: Run, weights: Weights, folder: Path) -> None:
    merged_copy(weights.path, store.folder(run.id) / "adapter").save_pretrained(folder)
    tokenizer = read_tokenizer(weights.model, weights.path)
    tokenizer.save_pretrained(folder)
    _end_at(tokenizer.eos_token_id, folder)
    (folder / "run_config.json").write_text(json.dumps(run.config, indent=2), encoding="utf-8")
    card = model_card(run, store.evaluations(run.id), merged=True)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _end_at(token_id: int, folder: Path) -> None:
    """Let the saved model's answers end at the tokenizer's EOS too: the rows taught it, and the lab's answers do.

    The file is changed, not the model's settings: transformers does not save all that it loads once one changes.
    """
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    own = settings.get("eos_token_id")
    ends = own if isinstance(own, list) else [] if own is None else [own]
    if token_id not in ends:
        file.write_text(json.dumps({**settings, "eos_token_id": [*ends, token_id]}, indent=2) + "\n", encoding="utf-8")


def _parameters(run: Run, weights: Weights) -> int:
    """The number of the model's parameters: as recorded, or for an import without it, counted from the shapes."""
    if recorded := run.provenance.get("parameters"):
        return int(recorded)
    return sum(parameter.numel() for parameter in empty_model(weights.model, weights.path).parameters())


def _check_weights(run: Run, weights: Weights) -> None:
    # An adapter from elsewhere does not say what it was trained on.
    trained_on = run.provenance.get("weights_sha256")
    if trained_on not in (None, weights.sha256):
        raise ModelError(
            f"Run {run.name} was trained on other weights of {run.config['model']} (sha256 {str(trained_on)[:12]}) "
            f"than this machine has ({weights.sha256[:12]}): export the adapter instead, and merge it where those are."
        )


def _check_space(size: int, to: Path) -> None:
    import torch

    needed, available = int(ROOM * size), free(torch.device("cpu"))
    if available is not None and available < needed:
        raise MemoryLimitError(
            f"Merging takes a second copy of the model: {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB "
            "are free. Export the adapter instead, or try again when nothing is training."
        )
    # Twice: the model's files, and their zip.
    if to.parent.is_dir() and (left := shutil.disk_usage(to.parent).free) < 2 * size:
        raise DiskFullError(
            f"Merging needs {2 * size / 1e9:.1f} GB of disk for a while, and {left / 1e9:.1f} GB are free "
            "where the zip is written: make room, or export the adapter instead."
        )

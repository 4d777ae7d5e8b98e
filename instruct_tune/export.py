"""What leaves the lab: a zip with the adapter, its card, its configuration and the loss plot."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

from .adapter import CONFIG_FILE, WEIGHTS_FILE
from .errors import DataError, ModelError
from .sharing.card import model_card
from .sharing.figures import loss_plot, subject
from .store import Run, RunStore


def export_zip(store: RunStore, run: Run, to: Path) -> Path:
    """Write ``to`` (a .zip), with the configuration that ``run`` has. ``PeftModel.from_pretrained`` loads the
    unpacked folder.

    Raises ModelError where the run has no adapter, DataError where ``to`` cannot be written.
    """
    adapter = store.folder(run.id) / "adapter"
    if not (adapter / WEIGHTS_FILE).is_file():
        raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")
    metrics = store.metrics(run.id)
    evaluations = store.evaluations(run.id)
    partial = to.with_name(f".{to.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                archive.write(adapter / name, name)
            archive.writestr("README.md", model_card(run, evaluations, metrics))
            archive.writestr("run_config.json", json.dumps(run.config, indent=2))
            archive.writestr("facts.json", json.dumps(_facts_to_share(run), indent=2))
            archive.writestr("metrics.jsonl", "".join(json.dumps(metric) + "\n" for metric in metrics))
            archive.writestr("loss.png", loss_plot(metrics, subject(run.name, run.config, run.facts)))
        partial.replace(to)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise DataError(f"{to} cannot be written: {error.strerror or error}.") from error
    return to


def _facts_to_share(run: Run) -> dict[str, Any]:
    """What the numbers were measured with, without a folder of this machine and without the texts of a row: those
    are the dataset's, and may be private."""
    return {name: value for name, value in run.facts.items() if name not in ("fixed_prompt", "model_path")}

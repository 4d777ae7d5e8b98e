"""The export of a run: a zip with the adapter, its card, its configuration and the loss plot."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

from ..errors import DataError, ModelError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..runs.provenance import STATUS, ended_as
from ..store.run import Run
from ..store.run_store import RunStore
from .figures import loss_plot, subject
from .model_card import model_card


def export_zip(store: RunStore, run: Run, to: Path) -> Path:
    """Write ``to`` (a .zip). ``PeftModel.from_pretrained`` loads the unpacked folder.

    ``run`` is written as it is, so it must be the result of ``machine_paths.shared``.

    Raises ModelError where the run has no adapter, DataError where ``to`` cannot be written.
    """
    partial = to.with_name(f".{to.name}.partial")
    try:
        files = run_files(store, run)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                if isinstance(content, Path):
                    archive.write(content, name)
                else:
                    archive.writestr(name, content)
        partial.replace(to)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    return to


def run_files(store: RunStore, run: Run, *, repo: str = "", beside: str = "") -> dict[str, bytes | Path]:
    """The files of an exported run by name: their content, or where they lie.

    ``run`` as for ``export_zip``, ``repo`` and ``beside`` as for ``model_card``. Raises ModelError where the run has no
    adapter.
    """
    adapter = store.folder(run.id) / "adapter"
    if not (adapter / WEIGHTS_FILE).is_file():
        raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")
    metrics = store.metrics(run.id)
    return {
        WEIGHTS_FILE: adapter / WEIGHTS_FILE,
        CONFIG_FILE: _adapter_config(adapter / CONFIG_FILE, run.config["model"]).encode(),
        "README.md": model_card(run, store.evaluations(run.id), metrics, repo=repo, beside=beside).encode(),
        "run_config.json": json.dumps(run.config, indent=2).encode(),
        "facts.json": json.dumps(_provenance_to_share(run), indent=2).encode(),
        "metrics.jsonl": "".join(json.dumps(metric) + "\n" for metric in metrics).encode(),
        "loss.png": loss_plot(metrics, subject(run)),
    }


def _adapter_config(file: Path, model: str) -> str:
    """PEFT's configuration, with the same name of the base model as in the card."""
    return json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": model}, indent=2)


def _provenance_to_share(run: Run) -> dict[str, Any]:
    """The run's provenance and how it ended, without the texts of rows: they are the dataset's, and may be private."""
    provenance = {name: value for name, value in run.provenance.items() if name not in ("fixed_prompt", "prompts")}
    return {**provenance, STATUS: ended_as(run), "step": run.step, "total_steps": run.total_steps}

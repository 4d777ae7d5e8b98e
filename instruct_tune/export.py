"""What leaves the lab: a zip with the adapter, its card, its configuration and the loss plot."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

from .adapter import CONFIG_FILE, WEIGHTS_FILE
from .errors import DataError, ModelError
from .figures import loss_plot, subject
from .markdown import plain
from .recorded import recorded_on
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
            archive.writestr("README.md", model_card(run, evaluations))
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


def model_card(run: Run, evaluations: list[dict[str, Any]]) -> str:
    """A card in the Hub's format: what it was trained from and on, and the measured numbers."""
    facts, config = run.facts, run.config
    lines = [
        "---",
        # A JSON string is a YAML string, whatever is in it.
        f"base_model: {json.dumps(config['model'])}",
        "library_name: peft",
        "tags: [lora, instruction-tuning]",
        "---",
        "",
        f"# {plain(run.name)}",
        "",
        f"A LoRA adapter for {plain(config['model'])}, trained with Instruction-Tuning Lab on "
        f"{plain(config['data']['source'])} ({facts.get('train_rows')} rows, fingerprint "
        f"`{facts.get('data_fingerprint')}`).",
        "",
        f"Status: {recorded_on(facts) or run.status}, step {run.step} of {run.total_steps}. "
        f"It was trained on the weights from {facts.get('weights_source')}, sha256 "
        f"`{facts.get('weights_sha256')}`; weights of the same name with "
        "another sha256 may answer differently.",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(config['model'])})",
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
        "```",
    ]
    for found in evaluations[:1]:
        lines += [
            "",
            f"On {found['rows']} held-out rows: tuned {found['tuned']['bleu']:.1f} BLEU, "
            f"base {found['base']['bleu']:.1f} (`{found['tuned']['signature']}`, generation "
            f"`{json.dumps(found['generation'])}`).",
        ]
    return "\n".join(lines) + "\n"

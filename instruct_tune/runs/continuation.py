"""A run that goes on from another's adapter, its parent: what it takes over, and the copy that it begins with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.run_config import PRESETS, RunConfig
from ..errors import BusyError, ModelError, SettingsError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..store.run_store import Run
from ..tokenization.prompt_template import markup_facts, template_of_run
from ..util import atomic_write

FOLDER = "parent-adapter"
"""In the child's folder: what it begins with, its own from then on, whatever becomes of the parent."""
SHAPE = ("r", "lora_alpha", "use_rslora", "target_modules")
"""What makes an adapter the same function on the same base; dropout is the child's own."""
PEFT_DEFAULTS = {"r": 8, "lora_alpha": 8, "use_rslora": False}


def config_after(parent: Run, given: Mapping[str, Any], preset: str | None = None) -> RunConfig:
    """The child's configuration: the parent's, or a preset with the parent's model, template and LoRA, and
    ``given`` laid over it. Raises SettingsError."""
    taken = parent.config
    if preset is not None:
        own = ("model", "template", "lora")
        taken = {**PRESETS[preset].to_dict(), **{name: parent.config[name] for name in own}}
    return RunConfig.from_dict(_laid_over(taken, given))


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **below,
        **{
            # A template is one thing: half of another's would be none.
            name: _laid_over(below[name], value)
            if name != "template" and isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
            else value
            for name, value in above.items()
        },
    }


def require_fit(parent: Run, config: RunConfig, adapter: Path) -> None:
    """Raises BusyError, ModelError or SettingsError where a run of that configuration cannot begin with ``adapter``."""
    if parent.live:
        raise BusyError(f"Run {parent.name} is {parent.status}: it can be continued when it has ended.")
    if not all((adapter / name).is_file() for name in (WEIGHTS_FILE, CONFIG_FILE)):
        raise ModelError(f"Run {parent.name} ({parent.status}) has no adapter to go on from: choose another run.")
    if (adapter / atomic_write.MANIFEST).is_file() and (wrong := atomic_write.fault(adapter)):
        raise ModelError(f"The adapter of run {parent.name} is damaged ({wrong}): choose another run to go on from.")
    before = RunConfig.from_dict(parent.config)
    saved = {**dataclasses.asdict(before.lora), **_saved_shape(parent, adapter)}
    pairs = [("model", before.model, config.model)]
    pairs += [(f"lora.{name}", saved[name], getattr(config.lora, name)) for name in SHAPE]
    other = [f"{name} is {now} and not {then}" for name, then, now in pairs if then != now]
    if other:
        raise SettingsError(
            [
                f"this cannot go on from run {parent.name}, whose adapter is another: {'; '.join(other)}"
                "; take that over, or begin from base"
            ]
        )


def inherited_facts(parent: Run, config: RunConfig) -> dict[str, str]:
    """The markup of the parent's chat template, where the child has the same template: its adapter learned with it."""
    before = template_of_run(parent.config["template"], parent.facts)
    return markup_facts(before) if before.asks_like(template_of_run(config.template, {})) else {}


def _saved_shape(parent: Run, adapter: Path) -> dict[str, Any]:
    """Rank and scaling as the adapter itself was saved with; an import may have recorded them rounded."""
    try:
        fields = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The adapter of run {parent.name} is damaged ({CONFIG_FILE}): choose another run.") from error
    return {name: fields.get(name, default) for name, default in PEFT_DEFAULTS.items()}


def copy_adapter(adapter: Path, child: Path) -> None:
    """Copy the parent's adapter into the child's folder. The parent's files are only read."""
    with atomic_write.atomic_folder(child / FOLDER) as folder:
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            shutil.copyfile(adapter / name, folder / name)

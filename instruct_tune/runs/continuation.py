"""A run that continues from another run's adapter (its parent): the inherited settings, and the adapter's copy."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.presets import PRESETS
from ..config.run_config import RunConfig
from ..errors import BusyError, ModelError, SettingsError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..store.run import Run
from ..tokenization.prompt_template import markup_provenance, template_of_run
from ..util import atomic_write
from .provenance import EARLIER_SPLITS, split_of

FOLDER = "parent-adapter"
"""The folder in the child's folder with its copy of the parent's adapter, which does not depend on the parent."""
SHAPE = ("r", "lora_alpha", "use_rslora", "target_modules")
"""The LoRA settings that child and parent must share to have the same function; dropout may differ."""
PEFT_DEFAULTS = {"r": 8, "lora_alpha": 8, "use_rslora": False}


def config_after(parent: Run, overrides: Mapping[str, Any], preset: str | None = None) -> RunConfig:
    """The child's configuration: the parent's, or a preset with the parent's model, template and LoRA, each
    overridden by ``overrides``. Raises SettingsError."""
    inherited = parent.config
    if preset is not None:
        sections = ("model", "template", "lora")
        inherited = {**PRESETS[preset].to_dict(), **{name: parent.config[name] for name in sections}}
    return RunConfig.from_dict(_override(inherited, overrides))


def _override(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **below,
        **{
            # A template is replaced as a whole: parts of two templates do not fit together.
            name: _override(below[name], value)
            if name != "template" and isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
            else value
            for name, value in above.items()
        },
    }


def require_fit(parent: Run, config: RunConfig, adapter: Path) -> None:
    """Raise BusyError, ModelError or SettingsError where a run with that config cannot begin with ``adapter``."""
    if parent.live:
        raise BusyError(f"Run {parent.name} is {parent.status}: it can be continued when it has ended.")
    if not all((adapter / name).is_file() for name in (WEIGHTS_FILE, CONFIG_FILE)):
        raise ModelError(f"Run {parent.name} ({parent.status}) has no adapter to go on from: choose another run.")
    if (adapter / atomic_write.MANIFEST).is_file() and (fault := atomic_write.fault(adapter)):
        raise ModelError(f"The adapter of run {parent.name} is damaged ({fault}): choose another run to go on from.")
    parent_config = RunConfig.from_dict(parent.config)
    parent_lora = {**dataclasses.asdict(parent_config.lora), **_saved_shape(parent, adapter)}
    pairs = [("model", parent_config.model, config.model)]
    pairs += [(f"lora.{name}", parent_lora[name], getattr(config.lora, name)) for name in SHAPE]
    mismatches = [f"{name} is {new} and not {old}" for name, old, new in pairs if old != new]
    if mismatches:
        raise SettingsError(
            [
                f"this cannot go on from run {parent.name}, whose adapter is another: {'; '.join(mismatches)}"
                "; take that over, or begin from base"
            ]
        )


def inherited_provenance(parent: Run, config: RunConfig) -> dict[str, Any]:
    """What the adapter learned until now: the splits of its data, and, where the child has the same template, the
    markup of its chat template."""
    learned = template_of_run(parent.config["template"], parent.provenance)
    markup = markup_provenance(learned) if learned.renders_like(template_of_run(config.template, {})) else {}
    data = RunConfig.from_dict(parent.config).to_dict()["data"]
    earlier = [*parent.provenance.get(EARLIER_SPLITS, []), split_of(data)]
    return {**markup, EARLIER_SPLITS: earlier}


def _saved_shape(parent: Run, adapter: Path) -> dict[str, Any]:
    """Rank and scaling from the adapter's own file; an import may have recorded them rounded."""
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

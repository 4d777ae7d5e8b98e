"""Removes this machine's folders from shared content: a local model or data file has only its last path component.

A local model is identified by the sha256 of its weights, which accompanies the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..config.filters import Length
from ..config.run_config import DataSettings
from ..data.sources import HUB_PREFIX
from ..data.upload_names import uploaded_as
from ..pretrained.locate import LOCAL_FOLDER
from ..store.run import Run
from .provenance import EARLIER_SPLITS
from .scrub import without_own_prompts

# An absolute path with at least two components, which is not part of a URL or of another word.
_PATH = re.compile(r"""(?<![\w:/.~-])~?/(?:[^\s/'"():,;]+/)+([^\s/'"():,;]+)""")


def last_name(path: str) -> str:
    """``/a/b/`` → ``b``."""
    return os.path.basename(os.path.normpath(os.path.expanduser(path)))


def is_path(model: str) -> bool:
    """Whether a model's name can only be a path: a Hub id is NAME or OWNER/NAME."""
    return model.startswith(("/", "~", ".")) or "\\" in model or model.count("/") > 1


def source_to_share(source: str) -> str:
    """A data source without its folder; for an upload, its original file name."""
    if source in ("bundled", "codealpaca-20k") or source.startswith(HUB_PREFIX):
        return source
    return last_name(uploaded_as(source) or source)


def short_paths(text: str) -> str:
    """``text`` with each absolute path reduced to its last component."""
    return _PATH.sub(r"\1", text)


def shared(run: Run) -> Run:
    """The run for an export: configuration, provenance and message without folders of this machine."""
    names, config, data = _names(run), run.config, run.config["data"]
    outgoing = {
        **config,
        "model": names.get(config["model"], config["model"]),
        # A filter that counts tokens contains the model's name, too.
        "data": {**_renamed(data, names), "source": source_to_share(data["source"])},
    }
    provenance = {name: _renamed(value, names) for name, value in run.provenance.items() if name != "model_path"}
    return replace(run, config=outgoing, provenance=provenance, message=message_to_share(run, run.message))


def exported(run: Run) -> Run:
    """The run as it leaves the lab: ``shared``, and without prompts that a person typed."""
    return shared(without_own_prompts(run))


def message_to_share(run: Run, text: str) -> str:
    """A message about ``run`` without folders of this machine."""
    for path, name in _names(run).items():
        text = text.replace(path, name)
    return short_paths(text)


def data_to_share(settings: DataSettings) -> DataSettings:
    """The ``data`` section without folders. A local model in a token filter is removed: the reader's model counts."""
    filters = tuple(
        replace(step, tokenizer=None)
        if isinstance(step, Length) and step.tokenizer and _is_folder(step.tokenizer)
        else step
        for step in settings.filters
    )
    return replace(settings, source=source_to_share(settings.source), filters=filters)


def ledger_to_share(ledger: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A ledger's entries without the folders of models that count tokens."""
    counting = {str(entry.get("parameters", {}).get("tokenizer")) for entry in ledger}
    return _renamed(ledger, {model: last_name(model) for model in counting if _is_folder(model)})


def _is_folder(model: str) -> bool:
    return is_path(model) or os.path.isdir(model)


def _names(run: Run) -> dict[str, str]:
    """Path → last component, for the run's local model and data file."""
    model, source = run.config["model"], run.config["data"]["source"]
    local = run.provenance.get("weights_source") == LOCAL_FOLDER or _is_folder(model)
    names = {model: last_name(model)} if local else {}
    # Of the runs that it continues.
    names |= {split["source"]: source_to_share(split["source"]) for split in run.provenance.get(EARLIER_SPLITS, ())}
    return {path: name for path, name in (names | {source: source_to_share(source)}).items() if name and path != name}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {name: _renamed(each, names) for name, each in value.items()}
    return [_renamed(each, names) for each in value] if isinstance(value, (list, tuple)) else value

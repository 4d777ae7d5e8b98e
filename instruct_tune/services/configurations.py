"""Configurations from outside: validated, and refused where they name what is not the viewer's to use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.catalog import TINY_MODEL
from ..config.filters import Length
from ..config.run_config import DataSettings, RunConfig
from ..config.viewer import Viewer
from ..data.sources import hub_repository, is_on_hub
from ..errors import DataError, LabError, ModelError
from ..pretrained.hub_access import Access as HubAccess
from ..text.plain_text import text_fault
from ..tokenization.prompt_template import template_from
from .access import Access
from .uploads import Uploads, is_inside

Config = RunConfig | Mapping[str, Any]
MAX_TEXT = 1_000_000
"""Characters of a question, an answer or a search: more than any model's context holds."""


class Configurations:
    """Reads the configurations that the page, the command line and the endpoints send.

    Args:
        data_dir: The lab's data folder, which holds other people's runs and uploads.
        uploads: Who owns which upload.
        access: Who owns the machine.
        local_paths: Whether a configuration of theirs may name its files and folders: not on a Space.
    """

    def __init__(self, data_dir: Path, uploads: Uploads, access: Access, local_paths: bool):
        self._data_dir, self._uploads, self._access, self.local_paths = data_dir, uploads, access, local_paths

    def read(self, viewer: Viewer, config: Config) -> RunConfig:
        """The validated configuration; what it leaves out is the ``quick`` preset's.

        Raises SettingsError that names every problem; DataError or ModelError for files that are not ``viewer``'s
        to use.
        """
        parsed = config if isinstance(config, RunConfig) else RunConfig.from_dict(config)
        template_from(parsed.template)
        source = parsed.data.source
        if source != "bundled" and not is_on_hub(source):
            self._check_file(viewer, source)
        for model in (parsed.model, *_counting_models(parsed.data)):
            self._check_model(viewer, model)
        return parsed

    def owner(self, viewer: Viewer, config: RunConfig) -> str | None:
        """Whose a run of this configuration is: who uploaded its rows, or who reads a repository by their own token.

        None for public data and models.
        """
        if uploader := self._uploads.owner(config.data.source):
            return uploader
        models = [] if config.model == TINY_MODEL else [HubAccess("model", config.model)]
        return viewer.id if any(each.is_own() for each in (*models, *repositories(config.data))) else None

    def may_use(self, viewer: Viewer, source: str) -> bool:
        """Whether ``viewer`` may train on a source; another visitor's upload is not theirs to use."""
        try:
            self.read(viewer, {"data": {"source": source}})
        except LabError:
            return False
        return True

    def _check_file(self, viewer: Viewer, source: str) -> None:
        own = self._uploads.owns(viewer, source)
        if not own and not self._may_name_files(viewer):
            raise DataError(
                "This lab is hosted: choose a dataset of the catalog, a Hub id (hub:OWNER/NAME), or upload a file."
            )
        if not own and not viewer.host and is_inside(source, self._data_dir):
            raise DataError("That file of the lab is not yours to use: upload your own.")

    def _check_model(self, viewer: Viewer, model: str) -> None:
        is_there = os.path.exists(os.path.expanduser(model))
        if is_there and not self._may_name_files(viewer):
            raise ModelError("This lab is hosted: choose a model of the catalog or a Hub id.")
        if not viewer.host and is_there and is_inside(model, self._data_dir):
            raise ModelError(
                "A model cannot come from the lab's own data folder: choose one of the catalog or a Hub id."
            )

    def _may_name_files(self, viewer: Viewer) -> bool:
        return self.local_paths and self._access.owns_machine(viewer)


def repositories(settings: DataSettings) -> list[HubAccess]:
    """The repositories of the Hub that the rows are read from and counted with."""
    source = hub_repository(settings.source)
    datasets = [HubAccess("dataset", source)] if source else []
    return datasets + [HubAccess("model", model) for model in _counting_models(settings) if model != TINY_MODEL]


def _counting_models(settings: DataSettings) -> list[str]:
    return [step.tokenizer for step in settings.filters if isinstance(step, Length) and step.tokenizer]


def check_texts(**texts: Any) -> None:
    """Raise DataError for a value that is no text, is too long, or holds half a character, which no tokenizer reads."""
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{name} must be a text.")
        if fault := text_fault(text, MAX_TEXT):
            raise DataError(f"{name} {fault}.")

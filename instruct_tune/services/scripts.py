"""Runs and configurations as plain Python, for each viewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..config.run_config import RunConfig
from ..config.viewer import Viewer
from ..errors import DataError
from ..evaluation import bleu_tokenizers
from ..runs.machine_paths import exported
from ..runs.provenance import ended_as
from ..script.code import TABS, Section
from ..script.hub_job import job_script
from ..script.notebook import notebook
from ..script.record import Record, record_of
from ..script.script import script, tab_sections
from ..store.run_store import RunStore
from .configurations import Config, Configurations
from .runs import Runs

FORMS = {"py": script, "ipynb": notebook}


class Scripts:
    """Writes scripts and notebooks. No one holds rows of an upload or a file, nor a folder of this machine."""

    def __init__(self, store: RunStore, runs: Runs, configs: Configurations):
        self._store, self._runs, self._configs = store, runs, configs

    def of_run(self, viewer: Viewer, run_id: str, form: str) -> str:
        """A stored run, with its numbers, as a script (``py``) or a notebook (``ipynb``)."""
        config, record = self._stored(viewer, run_id)
        return FORMS[checked_form(form)](config, record)

    def of_config(self, viewer: Viewer, config: Config, form: str, tokenize: str | None = None) -> str:
        """A configuration as a script or a notebook. ``tokenize``: how BLEU counts words, which is no setting of a run.

        Raises SettingsError, and DataError for rows of others.
        """
        return FORMS[checked_form(form)](self._configs.read(viewer, config), None, tokenize)

    def of_job(self, viewer: Viewer, run_id: str | None, config: RunConfig, repo: str) -> str:
        """The script of a job on the Hub: a stored run, with its numbers, or a configuration; see ``job_script``."""
        if run_id:
            stored, record = self._stored(viewer, run_id)
            return job_script(stored, repo, record)
        return job_script(self._configs.read(viewer, config), repo)

    def tab(
        self, viewer: Viewer, config: Config, tab: str, tokenize: str = bleu_tokenizers.DEFAULT
    ) -> tuple[Section, ...]:
        """What a tab does with these settings, line by line; each line names the settings that it carries."""
        if tab not in TABS:
            raise DataError(f"tab must be one of {', '.join(TABS)}.")
        return tab_sections(self._configs.read(viewer, config), tab, tokenize)

    def save(self, text: str, to: Path) -> Path:
        """Write ``text`` to a new file. Raises DataError where it exists or cannot be written."""
        try:
            with to.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise DataError(f"{to.name} is there already: give another name, or remove it first.") from error
        except OSError as error:
            raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
        return to

    def _stored(self, viewer: Viewer, run_id: str) -> tuple[RunConfig, Record]:
        run = exported(self._runs.get(viewer, run_id))
        run = replace(run, status=ended_as(run))
        record = record_of(run, self._store.metrics(run_id), self._store.evaluations(run_id))
        return RunConfig.from_dict(run.config), record


def form_of(to: Path) -> str:
    """``py`` or ``ipynb``, by the file's name. Raises DataError for another."""
    form = to.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise DataError(f"{to.name}: a script is saved as .py or .ipynb; give one of these names.")
    return form


def checked_form(form: object) -> str:
    """``form``, if it is one. Raises DataError."""
    if isinstance(form, str) and form in FORMS:
        return form
    raise DataError(f"form must be one of {', '.join(FORMS)}: a script or a notebook.")

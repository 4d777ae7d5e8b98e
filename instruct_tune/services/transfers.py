"""What leaves the lab and comes in: exports, merged models, plots, imports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.viewer import HOST, Viewer
from ..errors import DataError, LabError, ModelError, Stopped
from ..export import import_run
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..pretrained.locate import LOCAL_FOLDER
from ..runs.annotations import read_name
from ..runs.machine_paths import exported, source_to_share
from ..runs.provenance import NOT_IMPORTED, STATUS
from ..store.connection import on_disk
from ..store.disk_usage import folder_bytes
from ..store.run import FINISHED, Run
from ..store.run_store import RunStore
from ..util import atomic_write
from ..util.progress import Loading
from .access import Access
from .configurations import Configurations
from .job_queue import JobQueue
from .quota import EXPIRES
from .runs import Runs
from .slow_imports import SlowImports
from .tokenizers import Tokenizers
from .uploads import Uploads

if TYPE_CHECKING:
    from ..export.figures import Subject


class Transfers:
    """Writes files of runs, and reads runs from files. It has no state of its own."""

    def __init__(
        self,
        store: RunStore,
        runs: Runs,
        access: Access,
        configs: Configurations,
        uploads: Uploads,
        tokenizers: Tokenizers,
        queue: JobQueue,
        imports: SlowImports,
        closing: threading.Event,
    ):
        self._store, self._runs, self._access, self._configs = store, runs, access, configs
        self._uploads, self._tokenizers = uploads, tokenizers
        self._queue, self._imports, self._closing = queue, imports, closing

    # Out

    def export(self, viewer: Viewer, run_id: str, to: Path) -> Path:
        """Write the run's adapter, card, configuration and loss plot as a zip."""
        from ..export.adapter_zip import export_zip

        return export_zip(self._store, exported(self._runs.get(viewer, run_id)), to)

    def export_merged(
        self, viewer: Viewer, run_id: str, to: Path, report: Callable[[str], None] = lambda text: None
    ) -> Path:
        """Write the run's model, its adapter merged into a copy of base, as a zip; ``report`` gets messages.

        It runs between two steps where a run trains. Raises LabErrors as ``merged_model.merged_zip`` does.
        """
        run = self._runs.get(viewer, run_id)
        if not self._runs.has_saved_adapter(viewer, run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")

        def job() -> Path:
            self._imports.wait()
            from ..export.merged_model import merged_zip
            from ..models.base_model import require_memory
            from ..pretrained.locate import locate

            loading = Loading(self._closing.is_set, report)
            weights = locate(run.config["model"], report, loading, require_memory)
            return merged_zip(self._store, exported(run), weights, to, report)

        try:
            return self._queue.submit_short(job).result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None

    def export_gguf(self, viewer: Viewer, run_id: str, to: Path) -> Path:
        """Write the run's adapter for llama.cpp, with an Ollama Modelfile, as a zip.

        Raises ModelError, before anything is written, where llama.cpp does not take such an adapter, and ModelError
        or HubError where the base model's configuration cannot be had.
        """
        run = self._runs.get(viewer, run_id)
        if not self._runs.has_saved_adapter(viewer, run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")
        tokenizer = self._tokenizers.get(run.config["model"])
        base = self._tokenizers.folder(run.config["model"])
        from ..export.gguf_zip import Prompt, gguf_zip

        with self._tokenizers.encoding:
            prompt = Prompt.of(run, tokenizer)
        return gguf_zip(exported(run), self._store.folder(run.id) / "adapter", base, prompt, to)

    def export_trackio(self, viewer: Viewer, run_id: str, project: str) -> int:
        """Write the run's numbers and settings into a project of trackio; returns how many rows. See ``write_run``."""
        from ..export.trackio_sink import write_run

        run = self._runs.get(viewer, run_id)
        evaluation = next(iter(self._store.evaluations(run.id)), None)
        return write_run(exported(run), self._store.metrics(run.id), evaluation, project)

    def plot_losses(self, viewer: Viewer, run_id: str, to: Path) -> Path:
        """Write the run's losses as a plot; ``to`` ends in .png or .svg."""
        from ..export.figures import form_of, loss_plot, save

        run, form = self._runs.get(viewer, run_id), form_of(to)
        return save(to, loss_plot(self._store.metrics(run_id), _subject(run), form))

    def plot_scores(self, viewer: Viewer, run_id: str, to: Path, seq: int | None = None) -> Path:
        """Write the scores of one of the run's evaluations, by its ``seq`` (None: the last one), as a plot."""
        from ..export.figures import form_of, save, score_plot

        run, form = self._runs.get(viewer, run_id), form_of(to)
        for evaluation in self._store.evaluations(run_id):
            if seq in (None, evaluation["seq"]):
                return save(to, score_plot(evaluation, _subject(run), form))
        raise DataError(f"Run {run.name} has no such evaluation: evaluate it first.")

    # In

    def import_run(
        self,
        viewer: Viewer,
        file: Path,
        name: str = "",
        data: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> str:
        """Put an exported run, or a LoRA adapter trained elsewhere, into the history; its id.

        It is finished, however its training ended, and a visitor's alone until they share it. ``data`` (a
        configuration's; the bundled rows, if none) gives the held-out rows of one whose own did not come along;
        ``provenance`` is added to the imported one. Raises DataError, ModelError or SettingsError where the zip is not
        what it should be; then nothing is left of it.
        """
        name = read_name(name)
        if not viewer.host and viewer.id is None:
            raise DataError("The lab does not know whose run that is: reload the page, then import it again.")
        run_id = self._store.new_id()
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self._run_folder(run_id), ignore_errors=True)
            self._import(viewer, run_id, Path(file), name, data or {}, provenance or {})
            undo.pop_all()
        return run_id

    def import_from_hub(
        self, viewer: Viewer, repo: str, name: str = "", report: Callable[[str], object] | None = None
    ) -> str:
        """``import_run`` for a repository (OWNER/NAME) on the Hub. ``report`` hears of the download."""
        with tempfile.TemporaryDirectory(prefix="lab-import-") as folder:
            to = Path(folder) / f"{repo.rpartition('/')[2]}.zip"
            file = import_run.zip_from_hub(repo, to, Loading(self._closing.is_set, report))
            return self.import_run(viewer, file, name)

    def _import(
        self, viewer: Viewer, run_id: str, file: Path, name: str, data: Mapping[str, Any], own: Mapping[str, Any]
    ) -> None:
        # Rows that this visitor may not use are refused before anything is read.
        source = source_to_share(self._configs.read(viewer, {"data": dict(data)}).data.source)
        self._uploads.require_room(viewer, import_run.size_of(file))
        self._imports.wait()
        with (
            on_disk(self._store.data_dir),
            atomic_write.atomic_folder(self._run_folder(run_id) / "adapter") as folder,
        ):
            zipped = import_run.read_zip(file, folder / WEIGHTS_FILE)
            incoming = import_run.with_base(zipped, self._local_models(viewer))
            (folder / CONFIG_FILE).write_text(json.dumps(incoming.adapter_config), encoding="utf-8")
        config, message, missing = import_run.configuration(incoming, data, source)
        message += incoming.ending
        now, owner = time.time(), None if viewer.host else viewer.id
        provenance = (
            {name: value for name, value in incoming.provenance.items() if name != NOT_IMPORTED}
            | {**own, "imported": True, **({NOT_IMPORTED: missing} if missing else {})}
            | ({STATUS: incoming.status} if incoming.status != FINISHED else {})
            | ({EXPIRES: True} if self._access.has_quota(viewer) else {})
        )
        run = Run(
            run_id,
            name or f"Imported: {import_run.name_of(file)}",
            FINISHED,
            None,
            message,
            incoming.step,
            incoming.total_steps,
            now,
            now,
            self._configs.read(HOST, config).to_dict(),
            None,
            provenance,
            owner,
            started_by=viewer.id,
        )
        unpacked = folder_bytes(self._run_folder(run_id)) + len(json.dumps(incoming.metrics))
        with self._uploads.adding(viewer, unpacked):
            self._store.enter(run, metrics=incoming.metrics, events=[{"time": now, "text": message}])

    def _run_folder(self, run_id: str) -> Path:
        return self._store.data_dir / "runs" / run_id

    def _local_models(self, viewer: Viewer) -> dict[str, str]:
        """Folders that runs of this lab were trained on, by the sha256 of their weights."""
        runs = (run for run in self._store.all() if viewer.sees(run.owner))
        trained = ((run.config["model"], run.provenance) for run in runs)
        # An imported run may say where its weights came from, and not what they are.
        local = (
            (model, weights["weights_sha256"])
            for model, weights in trained
            if weights.get("weights_source") == LOCAL_FOLDER and weights.get("weights_sha256")
        )
        return {str(sha256): model for model, sha256 in local if os.path.isdir(model)}


def _subject(run: Run) -> Subject:
    from ..export.figures import subject

    return subject(exported(run))

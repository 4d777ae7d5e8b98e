"""The default model, fetched and loaded while people still look around, so that their first Start begins at once."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from ..config.run_config import DEFAULT_MODEL, RunConfig
from ..errors import BusyError, LabError, Stopped
from ..util.machine import unused_memory
from ..util.progress import Loading, megabytes
from .job_queue import JobQueue
from .model_host import ModelHost
from .slow_imports import SlowImports

log = logging.getLogger(__name__)

MEMORY_TO_PRELOAD = 3 * 2**30
"""Free bytes below which the default model (half a gigabyte, more while it loads) is loaded when it is first used."""
FETCH = "LAB_FETCH_DEFAULT"
"""The environment variable that forbids the download, by the value 0: a host may pay for what it transfers."""


class DefaultModel:
    """Owns the job that gets the default model ready. A run or a comparison that needs the model waits for that job."""

    def __init__(self, models: ModelHost, queue: JobQueue, imports: SlowImports):
        self._models, self._queue, self._imports = models, queue, imports
        self._loading: Loading | None = None
        self._message = ""

    @property
    def progress(self) -> str | None:
        """What is done for the default model now, in words; None where nothing is."""
        loading = self._loading
        if loading is None or loading.stopped:
            return None
        if loading.total:
            return f"{loading.phase}: {megabytes(loading.done, loading.total, loading.speed)}"
        return self._message or loading.phase or "reading its files"

    def get_ready(self) -> None:
        """Import what the first run needs, then submit the job, unless the lab is busy or short of memory.

        Where the model is not on this machine it is downloaded, unless ``LAB_FETCH_DEFAULT`` is 0.
        """
        self._imports.warm_up()
        if self._queue.busy_with or (unused_memory() or 0) < MEMORY_TO_PRELOAD or not self._may_have():
            return
        # A lab that closes while it warms up needs no model any more.
        with suppress(BusyError):
            self._queue.submit_short(self._load)

    def stop(self) -> None:
        """Stop the download; the model is then fetched when it is first used."""
        if self._loading:
            self._loading.stop()

    def _may_have(self) -> bool:
        from ..pretrained.locate import at_hand

        folder = at_hand(DEFAULT_MODEL)
        return os.environ.get(FETCH) != "0" or (folder is not None and any(folder.glob("*.safetensors")))

    def _load(self) -> None:
        # Somebody may have loaded another model meanwhile.
        if not self._models.empty:
            return
        self._loading, self._message = Loading(), ""
        try:
            self._models.base(DEFAULT_MODEL, RunConfig().train.bf16, self._report, self._loading)
        except Stopped:
            log.info("the default model is not fetched in advance: it was stopped")
        except LabError as error:
            # Whoever uses the model gets this error then; nobody has yet.
            log.warning("the default model could not be fetched in advance: %s", error)
        finally:
            self._loading = None

    def _report(self, message: str) -> None:
        self._message = message
        log.info("%s", message)

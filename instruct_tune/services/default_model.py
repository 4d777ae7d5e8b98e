"""The default model, fetched and loaded while people still look around, so that their first Start begins at once."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from ..compute.model_host import ModelHost
from ..config.run_config import DEFAULT_MODEL, RunConfig
from ..errors import BusyError, LabError, Stopped
from ..util.machine import unused_memory
from ..util.progress import Loading, megabytes
from .job_queue import JobQueue
from .slow_imports import SlowImports

log = logging.getLogger(__name__)

MEMORY_TO_PRELOAD = 3 * 2**30
"""Free bytes below which the default model (half a gigabyte, more while it loads) is loaded when it is first used."""

SECONDS_WITHOUT_A_PAGE = 20.0
"""How long the imports, which would hold up the first page by seconds, wait for it."""


class DefaultModel:
    """Owns the job that gets the default model ready.

    The job holds the queue's thread. A download ends where a run or an evaluation waits for that thread: one that needs
    the model downloads it itself, with its own progress. What is downloaded is converted and loaded to the end.

    Args:
        fetch: Whether a model that is not on this machine is downloaded.
    """

    def __init__(self, models: ModelHost, queue: JobQueue, imports: SlowImports, fetch: bool):
        self._models, self._queue, self._imports, self._fetch = models, queue, imports, fetch
        self._stopped, self._page_is_drawn = threading.Event(), threading.Event()
        self._loading: Loading | None = None
        self._message = ""

    @property
    def progress(self) -> str | None:
        """What is done for the default model now, in words; None where nothing is."""
        loading = self._loading
        if loading is None:
            return None
        if loading.total:
            return f"{loading.phase}: {megabytes(loading.done, loading.total, loading.speed)}"
        return loading.phase or self._message or "reading its files"

    @property
    def is_downloading(self) -> bool:
        """Whether there is a download to stop."""
        loading = self._loading
        # Not imported before: the module may not be loaded while the slow imports are under way.
        if loading is None or loading.stopped:
            return False
        from ..pretrained.locate import DOWNLOADING

        return self._message.startswith(DOWNLOADING)

    def page_is_drawn(self) -> None:
        """Somebody sees the page: what ``start`` has begun goes on."""
        self._page_is_drawn.set()

    def start(self) -> None:
        """Get ready on a thread of its own, once somebody sees the page, or after a while without one."""
        self._imports.plan()
        threading.Thread(target=self._get_ready_after_a_page, name="warm-up", daemon=True).start()

    def get_ready(self) -> None:
        """Import what the first run needs, then submit the job, unless the lab is busy or short of memory."""
        self._imports.warm_up()
        if self._queue.busy_with or (unused_memory() or 0) < MEMORY_TO_PRELOAD or not self._may_load():
            return
        # A lab that closes while it warms up needs no model any more.
        with suppress(BusyError):
            self._queue.submit_short(self._load)

    def stop(self) -> None:
        """Stop the download, for good; the model is then fetched when it is first used."""
        self._stopped.set()
        self._page_is_drawn.set()

    def _get_ready_after_a_page(self) -> None:
        self._page_is_drawn.wait(SECONDS_WITHOUT_A_PAGE)
        if not self._stopped.is_set():
            self.get_ready()

    def _may_load(self) -> bool:
        from ..pretrained.locate import at_hand

        folder = at_hand(DEFAULT_MODEL)
        return self._fetch or (folder is not None and any(folder.glob("*.safetensors")))

    def _load(self) -> None:
        # Somebody may have loaded another model meanwhile.
        if self._stopped.is_set() or not self._models.empty:
            return
        self._message = ""
        self._loading = loading = Loading(lambda: self._stopped.is_set() or bool(self._queue.jobs))
        try:
            self._models.base(DEFAULT_MODEL, RunConfig().train.bf16, self._report, loading)
        except Stopped:
            log.info("the default model is not fetched in advance: the download was stopped")
        except LabError as error:
            # No error of a person's: one who uses the model gets it then.
            log.warning("the default model could not be fetched in advance: %s", error)
        finally:
            self._loading = None

    def _report(self, message: str) -> None:
        self._message = message
        log.info("%s", message)

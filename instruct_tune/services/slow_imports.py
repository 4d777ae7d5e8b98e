"""The libraries that take seconds to import, imported once, by one thread at a time."""

from __future__ import annotations

import gc
import threading


class SlowImports:
    """Owns the lock under which torch, transformers and TRL are imported.

    While it is being imported, transformers is another module than the one it ends as, and a second thread would be
    handed that. So who needs it (or datasets, which looks into it) calls ``wait`` first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_planned = self._is_imported = False

    def plan(self) -> None:
        """Say that ``warm_up`` will be called: from now on ``wait`` does it where nobody has yet."""
        self._is_planned = True

    def warm_up(self) -> None:
        """Import what the first run needs; for a background thread, while people are still reading."""
        self._is_planned = True
        with self._lock:
            import instruct_tune.generation.generate
            import instruct_tune.training.train  # noqa: F401

            if not self._is_imported:
                self._is_imported = True
                # Every training run collects garbage, twice: without this each scans all imports, for 0.2 s.
                gc.collect()
                gc.freeze()

    def wait(self) -> None:
        """Return when the warm-up is done, if one is planned: a command imports only what it uses."""
        if self._is_planned:
            self.warm_up()

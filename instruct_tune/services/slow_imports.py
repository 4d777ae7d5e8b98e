"""The libraries that take seconds to import, imported once, on one thread."""

from __future__ import annotations

import threading


class SlowImports:
    """Owns the lock under which torch, transformers and TRL are imported.

    While it is being imported, transformers is another module than the one it ends as, and a second thread would be
    handed that. So who needs it (or datasets, which looks into it) calls ``wait`` first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Import what the first run needs; for a background thread, while people are still reading."""
        with self._lock:
            import instruct_tune.generation.generate
            import instruct_tune.training.train  # noqa: F401

    def wait(self) -> None:
        """Return when no warm-up is under way."""
        with self._lock:
            pass

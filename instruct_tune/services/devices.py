"""The devices of this lab: its own process and, on a ZeroGPU Space, GPUs that are lent by the second."""

from __future__ import annotations

from pathlib import Path

from .device import Device, ThisProcess
from .job_queue import Job, JobQueue
from .slow_imports import SlowImports
from .zerogpu import Allocate, ZeroGpu


class Devices:
    """Chooses where work runs.

    Args:
        own: This process.
        allocate: Lends GPUs; None where there is no such service.
    """

    def __init__(
        self, own: ThisProcess, allocate: Allocate | None, queue: JobQueue, imports: SlowImports, data_dir: Path
    ):
        self.own = own
        self._lent = ZeroGpu(allocate, own, queue, imports, data_dir) if allocate else None

    @property
    def lends_gpus(self) -> bool:
        """Whether people may choose between a lent GPU and this process."""
        return self._lent is not None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All long jobs, those at work first."""
        return self.choose().jobs

    def choose(self, own: bool = False) -> Device:
        """Where work runs: on a lent GPU where there are such, but in this process with ``own``."""
        return self.own if own or not self._lent else self._lent

    def close(self) -> None:
        """Accept no more work outside the queue."""
        if self._lent:
            self._lent.close()

    def join(self, timeout: float) -> None:
        """Wait until the work outside the queue has ended."""
        if self._lent:
            self._lent.join(timeout)

"""Errors that users can cause and fix.

The message of a ``LabError`` is one clear sentence (two at most) with what is wrong and what to do. The page shows it
inline; the command line prints it on stderr and exits with 1. Neither shows a traceback. ``kind`` is stored with a
failed run to classify the failure.
"""

from __future__ import annotations


class LabError(Exception):
    """An error that the user can fix. ``str(error)`` can be shown unchanged."""

    kind = "bug"

    def __init__(self, message: str = ""):
        # A quoted file name or setting may hold lone surrogates, which cannot be sent to a page or terminal.
        super().__init__(message.encode("utf-8", "replace").decode())


class SettingsError(LabError):
    """One or more settings are invalid; one message names every problem."""

    kind = "settings"

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("; ".join(problems) + ".")

    def __reduce__(self) -> tuple[type[SettingsError], tuple[list[str]]]:
        # An exception is pickled with its message, which is not what this constructor takes.
        return type(self), (self.problems,)


class DataError(LabError):
    """A dataset, or other data from outside, cannot be used as it is."""

    kind = "data"


class HubError(LabError):
    """The Hub cannot be reached, or does not have or grant the requested item."""

    kind = "unreachable"


class ModelError(LabError):
    """A model or an adapter cannot be loaded, or lacks something that a run needs."""

    kind = "model"


class DivergedError(LabError):
    """The loss or gradient norm is not finite, or the adapter is still zero."""

    kind = "diverged"


class MemoryLimitError(LabError):
    """The machine does not have enough memory for these settings."""

    kind = "memory"


class BusyError(LabError):
    """Another run or process holds the requested resource."""

    kind = "busy"


class GpuError(LabError):
    """No GPU is lent, or it was taken back: used up minutes, nobody free, a worker that was killed.

    ``reason``: the sentence without what to do. ``seconds_left``: for how long one would be lent, where that is known.
    """

    kind = "gpu"

    def __init__(
        self,
        reason: str,
        remedy: str = "Go on later, or continue on this Space's CPU.",
        seconds_left: int | None = None,
    ):
        self.reason, self.remedy, self.seconds_left = reason, remedy, seconds_left
        super().__init__(f"{reason} {remedy}")

    def __reduce__(self) -> tuple[type[GpuError], tuple[str, str, int | None]]:
        return type(self), (self.reason, self.remedy, self.seconds_left)


class StoreError(LabError):
    """The data folder, or the history in it, cannot be used."""

    kind = "store"


class DiskFullError(StoreError):
    """The disk of the data folder is full."""

    kind = "disk"

    @classmethod
    def of(cls, data_dir: object) -> DiskFullError:
        """The error with its standard message."""
        return cls(
            f"The disk with {data_dir} is full: delete runs that you do not need (Runs shows what each takes) or make "
            "room otherwise, then press Resume."
        )


class NotFoundError(LabError):
    """There is no such run."""

    kind = "not found"

    @classmethod
    def of(cls, run_id: object) -> NotFoundError:
        """The error with its standard message, the same for a missing run and for one that the viewer may not see."""
        if not isinstance(run_id, str):
            return cls("A run's id is a text: see the list of runs for their ids.")
        return cls(f"There is no run {run_id[:80]!r}: see the list of runs for their ids.")


class NotYoursError(LabError):
    """Only the person who started the run or evaluation, and the host, may do this."""

    kind = "not yours"


class Stopped(Exception):
    """Control flow, not a failure: the user stopped a long operation."""

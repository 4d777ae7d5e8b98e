"""Every message a person can cause.

A ``LabError`` is one clear sentence (two at most) that says what is wrong and what to do. The
page shows it inline, the command line prints it on stderr and exits with 1; neither ever shows a
traceback for one. ``kind`` is stored with a failed run, so that a failure can be told apart later.
"""

from __future__ import annotations


class LabError(Exception):
    """Something a person can mend. ``str(error)`` is fit to be shown as it is."""

    kind = "bug"

    def __init__(self, message: str = ""):
        # A quoted file name or setting may hold lone surrogates, which no page and no terminal can be sent.
        super().__init__(message.encode("utf-8", "replace").decode())


class SettingsError(LabError):
    """One or more settings are wrong; every problem is named in one message."""

    kind = "settings"

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("; ".join(problems) + ".")


class DataError(LabError):
    """A dataset cannot be used as it is."""

    kind = "data"


class HubError(LabError):
    """The Hub cannot be reached, or does not have (or give) what was asked for."""

    kind = "unreachable"


class ModelError(LabError):
    """A model or an adapter cannot be loaded, or lacks what a run needs."""

    kind = "model"


class DivergedError(LabError):
    """A loss or gradient norm that is not finite, or an adapter that is still zero."""

    kind = "diverged"


class MemoryLimitError(LabError):
    """The machine has not enough memory for these settings."""

    kind = "memory"


class BusyError(LabError):
    """Another run, or another process, holds what was asked for."""

    kind = "busy"


class StoreError(LabError):
    """The data folder, or the history in it, cannot be used."""

    kind = "store"


class DiskFullError(StoreError):
    """There is no room left where the data folder lies."""

    kind = "disk"

    @classmethod
    def of(cls, data_dir: object) -> DiskFullError:
        """The one sentence for it, wherever it was noticed."""
        return cls(
            f"The disk with {data_dir} is full: delete runs that you do not need (Runs shows what each takes) or make "
            "room otherwise, then press Resume."
        )


class NotFoundError(LabError):
    """There is no run of that name."""

    kind = "not found"

    @classmethod
    def of(cls, run_id: object) -> NotFoundError:
        """The one sentence for a run that is not there, and for one that is not the asker's to see."""
        if not isinstance(run_id, str):
            return cls("A run's id is a text: see the list of runs for their ids.")
        return cls(f"There is no run {run_id[:80]!r}: see the list of runs for their ids.")


class NotYoursError(LabError):
    """Somebody else started it, and only they and the host may do that with it."""

    kind = "not yours"


class Stopped(Exception):
    """Control flow, not a fault: a person asked for a stop while long work was under way."""

"""What services return to the page, the command line and the endpoints: JSON objects with known keys."""

from __future__ import annotations

from typing import Any, TypedDict

from .job_queue import QueuePosition


class Checkpoint(TypedDict):
    """A checkpoint on disk."""

    step: int
    eval_loss: float | None


class BestEvaluation(TypedDict):
    """The lowest evaluation loss; ``saved``: that step's weights are on disk, as a checkpoint or as the adapter."""

    step: int
    eval_loss: float
    saved: bool


class Checkpoints(TypedDict):
    """``best`` is None without an evaluation; ``kept`` is the step whose adapter was kept."""

    last: Checkpoint | None
    best: BestEvaluation | None
    kept: int | None


class RunSummary(TypedDict):
    """A run in a list, without its metrics. Times are seconds since the epoch."""

    id: str
    name: str
    status: str
    phase: str | None
    message: str
    step: int
    total_steps: int
    created: float
    ended: float | None
    model: str
    source: str
    error_kind: str | None
    parent: str | None
    parent_name: str | None
    tags: list[str]
    notes: str
    recorded: str | None
    imported: bool
    private: bool
    yours: bool


class RunState(TypedDict):
    """Where a stored run stands; ``metrics`` holds the last metric of each kind."""

    status: str
    phase: str | None
    step: int
    total_steps: int
    metrics: dict[str, dict[str, Any]]
    findings: list[dict[str, Any]]
    checkpoints: Checkpoints
    message: str
    recorded: str | None
    private: bool


class Part(TypedDict):
    """How much of a phase is done, as of an evaluation within a step."""

    done: int
    total: int


class RunStatus(RunState, QueuePosition):
    """``RunState`` of a run that may be live: its place in the queue, its time left, part of its phase, download."""

    eta_seconds: float | None
    part: Part | None
    download: dict[str, Any] | None


class TrashedRun(TypedDict):
    """A deleted run that can still be restored."""

    id: str
    name: str
    seconds_left: float


class RunResult(TypedDict):
    """A run's outcome in numbers."""

    run_id: str
    status: str
    steps: int
    tokens: int
    train_loss: float | None
    eval_loss: float | None
    tokens_per_second: float | None
    trainable_parameters: int | None
    adapter: str | None
    model_path: str | None

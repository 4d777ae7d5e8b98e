"""One evaluation from the rows to the stored scores, on the thread that a device gives it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..compute.evaluation_work import EvaluationOutcome, EvaluationWork
from ..compute.failures import WorkerFailedError
from ..compute.model_host import ModelSpec
from ..config.run_config import NEAREST_BASELINE, GenerationSettings, RunConfig
from ..config.viewer import HOST
from ..data.splits import examples
from ..errors import GpuError
from ..evaluation import bleu_tokenizers
from ..evaluation.answer_cache import FOLDER as UNFINISHED
from ..runs.provenance import other_rows, other_splits, other_weights
from ..store.connection import on_disk
from ..store.retention import remove_predictions
from ..store.run_store import RunStore
from ..tokenization.prompt_template import template_of_run
from .base_answers import base_answers_folder
from .datasets import Datasets
from .device import Device
from .job_queue import JobQueue
from .training_job import MAX_IDLE_TURNS


class EvaluationJob:
    """Answers the held-out rows of a run, scores them, and writes both into the history.

    It is the ``compute.evaluation_work.EvaluationEvents`` of its work.

    Args:
        report: Gets the progress.
        stopping: Whether a person requested a stop.
    """

    def __init__(
        self,
        store: RunStore,
        datasets: Datasets,
        device: Device,
        queue: JobQueue,
        report: Callable[..., None],
        stopping: Callable[[], bool],
    ):
        self._store, self._datasets, self._device, self._queue = store, datasets, device, queue
        self.report, self.stopping = report, stopping

    # compute.evaluation_work.EvaluationEvents

    def begun(self) -> None:
        """The first batch tells that it has begun."""

    def message(self, text: str) -> None:
        self.report(message=text)

    def yield_to_queue(self) -> None:
        self._queue.yield_once()

    def execute(
        self,
        run_id: str,
        config: RunConfig,
        settings: GenerationSettings,
        chosen: Sequence[str],
        tokenize: str,
    ) -> dict[str, Any]:
        """The evaluation as JSON. Raises LabErrors, and Stopped where ``stopping``."""
        splits = self._datasets.splits(config.data)
        rows = self._datasets.held_out(HOST, config)
        total = (2 + len(set(chosen) - {NEAREST_BASELINE})) * len(rows)
        self.report(done=0, total=total)
        provenance = self._store.get(run_id).provenance
        work = EvaluationWork(
            ModelSpec(config.model, config.train.bf16_weights),
            run_id,
            self._store.folder(run_id),
            template_of_run(config.template, provenance),
            tuple(rows),
            settings,
            tokenize,
            total,
            tuple(chosen),
            tuple(examples(splits.train)) if chosen else (),
            config.data.seed,
            base_answers_folder(self._store, run_id),
        )
        outcome = self._answer(work)
        warnings = [
            *other_rows(provenance, splits.fingerprint),
            *other_splits(provenance, config.to_dict()["data"]),
            *outcome.warnings,
        ]
        stored = self._keep_evaluation(outcome, config.evaluation_rows, splits.fingerprint, warnings)
        outcome.unfinished.done()
        return stored

    def _answer(self, work: EvaluationWork) -> EvaluationOutcome:
        """The outcome, in as many turns as the device gives: each goes on with the answers that are kept."""
        idle = 0
        while True:
            before = _kept_bytes(work.folder)
            try:
                outcome = self._device.run(work, self)
            except (FileNotFoundError, WorkerFailedError):
                # Says so where the run was deleted meanwhile.
                self._store.get(work.run_id)
                raise
            if outcome:
                return outcome
            idle = 0 if _kept_bytes(work.folder) > before else idle + 1
            if idle == MAX_IDLE_TURNS:
                reason = f"{idle} turns on the GPU were too short for one batch of answers."
                raise GpuError(reason, "Evaluate on this Space's CPU, or with fewer tokens an answer.")

    def _keep_evaluation(
        self,
        outcome: EvaluationOutcome,
        requested: int | None,
        fingerprint: str,
        warnings: Sequence[str],
    ) -> dict[str, Any]:
        """Write the evaluation and its rows into the history, where the oldest makes room; its JSON, as it is kept.

        ``requested``: the number of rows in the request, which may be more than are held out; None: all.
        """
        evaluation, weights = outcome.evaluation, outcome.weights
        run_id = evaluation.run_id
        folder = self._store.folder(run_id)
        path = _new_file(folder, "predictions.jsonl")
        with on_disk(self._store.data_dir):
            _write_lines(path, [prediction.to_dict() for prediction in evaluation.predictions])
        references = [prediction.reference for prediction in evaluation.predictions]
        stored = {
            **evaluation.to_dict(),
            "rows_requested": requested,
            "predictions": str(path),
            "data_fingerprint": fingerprint,
            "weights_source": weights.source,
            "weights_sha256": weights.sha256,
            "other_weights": other_weights(self._store.get(run_id).provenance, weights),
            "warnings": [
                *bleu_tokenizers.warnings(references, evaluation.tokenize, weights.model),
                *warnings,
            ],
        }
        self._store.add_evaluation(run_id, stored)
        remove_predictions(folder, {Path(each["predictions"]).name for each in self._store.evaluations(run_id)})
        return stored


def _kept_bytes(folder: Path) -> int:
    """How much of the run's unfinished evaluations is kept: it grows with every batch of answers."""
    return sum(file.stat().st_size for file in (folder / UNFINISHED).glob("*"))


def _new_file(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, or ``name-2``, ``name-3`` …, whichever is not there yet."""
    first = folder / name
    names = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], names) if not path.exists())


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)

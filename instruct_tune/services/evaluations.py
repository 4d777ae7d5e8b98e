"""Evaluations: base and tuned answer all held-out rows, and are scored; in the queue of the runs."""

from __future__ import annotations

import itertools
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import BASELINES, NEAREST_BASELINE, RunConfig
from ..config.viewer import Viewer
from ..errors import BusyError, DataError, LabError, NotYoursError, Stopped
from ..evaluation import bleu_tokenizers
from ..evaluation.interpretation import judge
from ..store.run_store import RunStore
from .access import Access, submitter
from .answerers import Answerers, generation_settings
from .datasets import Datasets
from .devices import Devices
from .job_queue import Job, JobQueue
from .runs import Runs
from .slow_imports import SlowImports

if TYPE_CHECKING:
    from ..evaluation.leaderboard import Entry

NOT_BEGUN = "The evaluation was stopped before its first answer; nothing was scored."
MAX_NEWS = 64
"""The evaluations whose progress is remembered."""
EVALUATION = "evaluation"
"""A job that evaluates is about ``(EVALUATION, run_id)``."""


class Evaluations:
    """Owns the progress of the last evaluations and the requests to stop."""

    def __init__(
        self,
        store: RunStore,
        runs: Runs,
        access: Access,
        answerers: Answerers,
        datasets: Datasets,
        devices: Devices,
        queue: JobQueue,
        imports: SlowImports,
    ):
        self._store, self._runs, self._access, self._answerers = store, runs, access, answerers
        self._datasets, self._devices, self._queue, self._imports = datasets, devices, queue, imports
        self._stops: dict[str, threading.Event] = {}
        self._starting = threading.Lock()
        self._latest: dict[str, dict[str, Any]] = {}

    def start(
        self,
        viewer: Viewer,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        on_progress: Callable[[dict[str, Any]], None] = lambda news: None,
        baselines: Sequence[str] = (),
        tokenize: str = bleu_tokenizers.DEFAULT,
        own_device: bool = False,
    ) -> Job:
        """Enqueue an evaluation; the future of its JSON.

        It continues when nobody watches; ``progress`` says where it is. Answers of an evaluation of the same rows
        with the same settings that was stopped are used again (``unfinished``). ``baselines`` (of
        ``run_config.BASELINES``) answer beside base; ``tokenize`` is one of ``bleu_tokenizers.DESCRIPTIONS``. With
        ``own_device`` this process answers, where a GPU could be lent. Raises
        BusyError where this run's evaluation is queued already, or the queue is full.
        """
        run = self._answerers.get(viewer, run_id)
        config = RunConfig.from_dict({**run.config, "evaluation_rows": limit} if limit is not None else run.config)
        settings = generation_settings(config, generation)
        chosen, words = _checked_baselines(baselines), bleu_tokenizers.checked(tokenize)
        stop, device = threading.Event(), self._devices.choose(own_device)

        def report(**news: Any) -> None:
            beside = len(set(chosen) - {NEAREST_BASELINE})
            self._note(run_id, baselines=beside, **news)
            on_progress(news)

        def work() -> dict[str, Any]:
            # At once: so far the news are those of the run's former evaluation.
            self._note(run_id, message="Getting ready…")
            self._imports.wait()
            from .evaluation_job import EvaluationJob

            job = EvaluationJob(self._store, self._datasets, device, self._queue, report, stop.is_set)
            return self._execute_and_report(
                run_id, report, lambda: job.execute(run_id, config, settings, chosen, words)
            )

        about = (EVALUATION, run_id)
        job = Job(
            f"the evaluation of {run.name}", work, about, submitter(viewer), lambda: self._seconds_left(run_id, job)
        )
        # Of two that start at once the second finds the first in the queue.
        with self._starting:
            if any(each.about == about for each in self._devices.jobs):
                raise BusyError(f"The evaluation of {run.name} is asked for already: wait for it, or stop it.")
            # First: a job in the queue can be stopped.
            self._stops[run_id] = stop
            device.enqueue(job)
        return job

    def _execute_and_report(
        self, run_id: str, report: Callable[..., None], execute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Execute, and report how it ends: those who watch hear of a fault too, which the queue logs."""
        ending: dict[str, Any] = {"error": "It ended by a fault of the lab: its log says which."}
        try:
            evaluation = execute()
            ending = {"finished": True}
            return {**evaluation, "verdict": self._interpret(run_id, evaluation)}
        except LabError as error:
            ending = {"error": str(error)}
            raise
        except Stopped:
            ending = self._ending_of_stop(run_id)
            raise
        finally:
            report(**ending)

    def stream(
        self,
        viewer: Viewer,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        baselines: Sequence[str] = (),
        tokenize: str = bleu_tokenizers.DEFAULT,
    ) -> Iterator[dict[str, Any]]:
        """``start`` as a stream: its progress, then the evaluation's JSON. Closing the iterator stops it."""
        news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        job = self.start(viewer, run_id, limit, generation, news.put, baselines, tokenize)
        job.add_done_callback(lambda _: news.put(None))
        position = self._queue.position((EVALUATION, run_id))
        try:
            if position["place"]:
                yield dict(position)
            while (item := news.get()) is not None:
                yield item
        finally:
            if not job.done():
                self._stop(run_id)
        try:
            evaluation = job.result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None
        # Where it lies on this machine is for the host only.
        yield evaluation if viewer.host else {**evaluation, "predictions": os.path.basename(evaluation["predictions"])}

    def progress(self, viewer: Viewer, run_id: str) -> dict[str, Any] | None:
        """Where the run's evaluation is: its place in the queue, or its latest news; None before any.

        The news: ``run_id``, ``baselines`` (how many answer beside base and tuned), and ``done``, ``total`` |
        ``message`` | ``error`` | ``finished``.
        """
        position = self._queue.position((EVALUATION, self._runs.get(viewer, run_id).id))
        if position["place"]:
            return {"run_id": run_id, **position}
        return self._latest.get(run_id)

    def unfinished(self, viewer: Viewer, run_id: str) -> list[dict[str, Any]]:
        """Evaluations of the run that were stopped, the last one first.

        Each: ``rows``, of them ``answered``, ``generation``, ``time``; ``start`` with the same rows and generation
        continues it.
        """
        from ..evaluation.answer_cache import left_behind

        return left_behind(self._store.folder(self._runs.get(viewer, run_id).id))

    def stop(self, viewer: Viewer, run_id: str) -> None:
        """Ask the run's evaluation to stop within one token, or withdraw it from the queue.

        Does nothing where there is none. Raises NotYoursError where another viewer submitted it.
        """
        for job in self._devices.jobs:
            if job.about != (EVALUATION, run_id) or not self._runs.is_visible(viewer, run_id):
                continue
            if self._access.multi_user and not viewer.host and job.by not in (submitter(viewer), *viewer.ids):
                raise NotYoursError("Somebody else asked for that evaluation: only they and the host can stop it.")
            self._stop(run_id)

    def stop_all(self) -> None:
        """Ask every evaluation to stop, for the end of the process."""
        for job in self._devices.jobs:
            kind, run_id = job.about
            if kind == EVALUATION:
                self._stop(run_id)

    # Results

    def predictions_file(self, viewer: Viewer, run_id: str, seq: int | None = None) -> Path | None:
        """Where the rows of an evaluation of the run lie, by its ``seq`` (None: the last one)."""
        folder = self._store.folder(self._runs.get(viewer, run_id).id)
        for evaluation in self._store.evaluations(run_id):
            if seq in (None, evaluation["seq"]):
                # By its name: the data folder may have moved since.
                file = folder / Path(evaluation["predictions"]).name
                return file if file.is_file() else None
        return None

    def predictions(self, viewer: Viewer, run_id: str, seq: int | None = None) -> list[dict[str, Any]]:
        """The rows of an evaluation of the run, by its ``seq`` (None: the last one); empty where there is none."""
        file = self.predictions_file(viewer, run_id, seq)
        return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line] if file else []

    def recorded_row(self, viewer: Viewer, run_id: str, index: int) -> dict[str, Any] | None:
        """The row at ``index``, from 0, of the run's last evaluation; None where that did not get so far.

        An evaluation takes the first held-out rows in the order of the split, so it is the held-out row at ``index``.
        Reads a file of JSON alone: nothing of the dataset or the model is loaded.
        """
        file = self.predictions_file(viewer, run_id)
        if file is None or index < 0:
            return None
        with file.open(encoding="utf-8", newline="\n") as lines:
            line = next(itertools.islice(lines, index, None), "")
        return json.loads(line) if line.strip() else None

    def leaderboard(self, viewer: Viewer, run_ids: Sequence[str] = ()) -> list[dict[str, Any]]:
        """These runs (none: all) by score, one table for each ``measurement_key``.

        An evaluation whose answers are gone is left out.
        """
        from ..evaluation.leaderboard import leaderboard_tables

        return leaderboard_tables(
            self._entries(viewer, run_ids or [each["id"] for each in self._runs.summaries(viewer)])
        )

    def tied_groups(self, viewer: Viewer, run_ids: Sequence[str]) -> tuple[dict[str, Any] | None, dict[str, int], int]:
        """The leaderboard's table with most of these runs, the tied group of each, and how many runs it lacks.

        A group, from 1 for the best, is the best run that is left and all that the paired test cannot tell from it.
        """
        from ..evaluation.leaderboard import leaderboard_tables, tied_groups

        entries = self._entries(viewer, run_ids)
        tables = leaderboard_tables(entries)
        if not tables:
            return None, {}, 0
        groups = tied_groups(entries, tables[0])
        return tables[0], groups, len({entry.run_id for entry in entries} - groups.keys())

    def _entries(self, viewer: Viewer, run_ids: Sequence[str]) -> list[Entry]:
        from ..evaluation.leaderboard import Entry
        from ..tokenization.prompt_template import markup_provenance, template_of_run

        entries = []
        for run in [self._runs.get(viewer, run_id) for run_id in run_ids]:
            template = run.config["template"]
            markup = markup_provenance(template_of_run(template, run.provenance))
            for evaluation in self._store.evaluations(run.id):
                if rows := self.predictions(viewer, run.id, evaluation["seq"]):
                    entries.append(Entry(run.id, run.name, template, evaluation, rows, markup))
        return entries

    def interpretation(
        self, viewer: Viewer, run_id: str, evaluation: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """What the run's numbers mean: ``kind, sentence, advice, evidence``; None where they say nothing.

        ``evaluation``: one of its evaluations; without one its losses alone are read.
        """
        return self._interpret(self._runs.get(viewer, run_id).id, evaluation)

    def _interpret(self, run_id: str, evaluation: Mapping[str, Any] | None) -> dict[str, Any] | None:
        run = self._store.get(run_id)
        metrics = [metric for metric in self._store.metrics(run_id) if metric["step"] <= run.adapter_step]
        verdict = judge(run.config, metrics, evaluation)
        return verdict.to_dict() if verdict else None

    # Helpers

    def _stop(self, run_id: str) -> None:
        if self._queue.withdraw((EVALUATION, run_id)):
            self._note(run_id, error="Withdrawn before its turn came.")
        else:
            self._stops[run_id].set()

    def _note(self, run_id: str, **news: Any) -> None:
        """Keep the news of the run's evaluation; those of the oldest go first."""
        self._latest.pop(run_id, None)
        self._latest[run_id] = {"run_id": run_id, **news}
        while len(self._latest) > MAX_NEWS:
            self._latest.pop(next(iter(self._latest)))

    def _ending_of_stop(self, run_id: str) -> dict[str, Any]:
        news = self._latest.get(run_id, {})
        if not news.get("total"):
            return {"error": NOT_BEGUN}
        from ..evaluation.answer_cache import left_behind

        message = f"Stopped after {news['done']} of {news['total']} answers; nothing was scored."
        left = left_behind(self._store.folder(run_id))
        if left and left[0]["answered"]:
            message += (
                f" {left[0]['answered']} of {left[0]['rows']} rows are kept: the same evaluation goes on from there."
            )
        return {"error": message, "estimate": news.get("estimate")}

    def _seconds_left(self, run_id: str, job: Job) -> float | None:
        news = self._latest.get(run_id, {})
        if not job.begun or not news.get("done"):
            return None
        return (time.monotonic() - job.begun) / news["done"] * (news["total"] - news["done"])


def _checked_baselines(names: Any) -> list[str]:
    if not isinstance(names, (list, tuple)) or any(name not in BASELINES for name in names):
        raise DataError(f"baselines must be a list of {', '.join(BASELINES)}.")
    return [name for name in BASELINES if name in names]

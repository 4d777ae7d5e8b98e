"""Evaluations: all held-out rows answered by base and tuned, scored, kept; one at a time, in the line with the runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import BASELINES, NEAREST_BASELINE, GenerationSettings, RunConfig
from ..config.viewer import HOST, Viewer
from ..data.splits import examples
from ..errors import BusyError, DataError, LabError, NotYoursError, Stopped
from ..evaluation import bleu_tokenizers
from ..evaluation.interpretation import judge
from ..runs.provenance import other_rows, other_weights
from ..store.connection import on_disk
from ..store.retention import remove_predictions
from ..tokenization.prompt_template import template_of_run
from .answerers import Speakers
from .job_queue import Turn
from .progress_meter import Meter
from .training import asker

if TYPE_CHECKING:
    from ..evaluation.answer_cache import Shelf
    from ..evaluation.evaluate import Evaluation
    from ..evaluation.resume import Unfinished
    from ..models.base_model import LoadedModel

NOT_BEGUN = "The evaluation was stopped before its first answer; nothing was scored."

EVALUATION = "evaluation"
"""A turn that evaluates is about ``(EVALUATION, run_id)``."""


class Evaluations(Speakers):
    """The part of the lab that measures what a run changed."""

    def __init__(self, data_dir: Path | None = None, *, writing: bool = True, local_paths: bool | None = None):
        super().__init__(data_dir, writing=writing, local_paths=local_paths)
        self._stops: dict[str, threading.Event] = {}
        self._starting = threading.Lock()
        self.evaluating: dict[str, Any] | None = None
        """Where the last evaluation is: ``run_id`` and ``done``, ``total`` | ``message`` | ``error`` | ``finished``.
        ``baselines``: how many answer beside base and tuned."""

    def leave(self) -> None:
        """Ask everything at work to leave, evaluations included."""
        self.stop_evaluation()
        super().leave()

    def start_evaluation(
        self,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        on_progress: Callable[[dict[str, Any]], None] = lambda news: None,
        viewer: Viewer = HOST,
        baselines: Sequence[str] = (),
        tokenize: str = bleu_tokenizers.DEFAULT,
    ) -> Future[dict[str, Any]]:
        """Answer the run's held-out rows with base and tuned, and score both, on the engine's thread.

        It begins when its turn comes and goes on whoever watches; ``evaluation_progress`` tells where it
        is. What a former one on the same rows with the same settings had answered when it was stopped is
        not asked again (``unfinished_evaluations``). ``baselines`` (of ``settings.BASELINES``) answer beside
        base; ``tokenize``: how BLEU cuts texts into words (``bleu_words``). Raises BusyError where it is in
        the line already, or too many are.
        """
        run = self.ready_adapter(run_id, viewer)
        config = RunConfig.from_dict({**run.config, "evaluation_rows": limit} if limit is not None else run.config)
        settings = self.generation(config, generation)
        chosen, words = _checked_baselines(baselines), bleu_tokenizers.checked(tokenize)
        stop = threading.Event()

        def tell(**news: Any) -> None:
            beside = len(set(chosen) - {NEAREST_BASELINE})
            self.evaluating = {"run_id": run_id, "baselines": beside, **news}
            on_progress(news)

        def job() -> dict[str, Any]:
            # Whoever watches must not wait for what nobody is at any more; a fault is in the engine's log.
            ending: dict[str, Any] = {"error": "It ended by a fault of the lab: its log says which."}
            try:
                found = self._evaluate(run_id, config, settings, chosen, words, tell, stop.is_set)
                ending = {"finished": True}
                return found
            except LabError as error:
                ending = {"error": str(error)}
                raise
            except Stopped:
                ending = self._told_of_stop(run_id)
                raise
            finally:
                self.bench.evaluating = None
                tell(**ending)

        about = (EVALUATION, run_id)
        # Of two that start at once the second finds the first in the line.
        with self._starting:
            if any(turn.about == about for turn in self.engine.line):
                raise BusyError(f"The evaluation of {run.name} is asked for already: wait for it, or stop it.")
            turn = self.engine.long(f"the evaluation of {run.name}", job, about, asker(viewer))
            self._stops[run_id] = stop
        return turn

    def _told_of_stop(self, run_id: str) -> dict[str, Any]:
        news = self.evaluating or {}
        if not news.get("total"):
            return {"error": NOT_BEGUN}
        told = f"Stopped after {news['done']} of {news['total']} answers; nothing was scored."
        left = self.unfinished_evaluations(run_id)
        if left and left[0]["answered"]:
            told += (
                f" {left[0]['answered']} of {left[0]['rows']} rows are kept: the same evaluation goes on from there."
            )
        return {"error": told, "estimate": news.get("estimate")}

    def unfinished_evaluations(self, run_id: str, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """Evaluations of the run that were left before their end, the last one first.

        Each: ``rows``, of them ``answered``, ``generation``, ``time``: ``start_evaluation`` with the same rows
        and generation goes on with it.
        """
        from ..evaluation.resume import left_behind

        return left_behind(self.store.folder(self.visible_run(run_id, viewer).id))

    def evaluation_progress(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any] | None:
        """Where the run's evaluation is: its ``place`` in the line, or what ``evaluating`` tells; None before any."""
        waiting = self.place(EVALUATION, self.visible_run(run_id, viewer).id)
        if waiting["place"]:
            return {"run_id": run_id, **waiting}
        return self.evaluating if (self.evaluating or {}).get("run_id") == run_id else None

    def _seconds_to_go(self, turn: Turn) -> float | None:
        news = self.evaluating or {}
        if turn.about != (EVALUATION, news.get("run_id")):
            return super()._seconds_to_go(turn)
        if not turn.begun or not news.get("done"):
            return None
        return (time.monotonic() - turn.begun) / news["done"] * (news["total"] - news["done"])

    def _evaluate(
        self,
        run_id: str,
        config: RunConfig,
        settings: GenerationSettings,
        chosen: Sequence[str],
        tokenize: str,
        tell: Callable[..., None],
        stopping: Callable[[], bool],
    ) -> dict[str, Any]:
        self.wait_for_imports()
        from ..evaluation.baselines import baselines
        from ..evaluation.evaluate import evaluate
        from ..evaluation.predict import ROWS_TOGETHER
        from ..evaluation.resume import unfinished
        from ..generation.generate import one_by_one

        splits = self.splits(config.data)
        rows = self.held_out(config)
        total = (2 + len(set(chosen) - {NEAREST_BASELINE})) * len(rows)
        tell(done=0, total=total)
        loaded = self._prepare(run_id, config, lambda text: tell(message=text), stopping)
        self.bench.evaluating = run_id
        longest = settings.max_new_tokens or settings.max_length or loaded.context_length
        alone = one_by_one(loaded)
        meter = Meter(total, longest, 1 if alone else min(ROWS_TOGETHER, len(rows)))
        template = template_of_run(config.template, self.store.get(run_id).facts)
        shelf = self._shelf(run_id, loaded, settings)
        training = examples(splits.train) if chosen else []
        beside = baselines(chosen, loaded, template, rows, training, settings, config.data.seed, shelf)
        about = {"rows": len(rows), "baselines": list(chosen), "tokenize": tokenize}
        estimate: dict[str, Any] = {}
        kept: list[Unfinished] = []

        warnings = [*other_rows(self.store.get(run_id).facts, splits.fingerprint), *([alone] if alone else [])]

        def keep(prompts: Mapping[str, Sequence[Sequence[int]]]) -> Unfinished:
            warnings.extend(_unread(prompts, loaded.context_length))
            kept.append(unfinished(self.store.folder(run_id), loaded, settings, prompts, about))
            meter.resume(sum(len(kept[0].of(side).answers) for side in prompts))
            tell(**meter.told())
            return kept[0]

        def between(done: int, total: int) -> None:
            meter.batch_done(done)
            tell(**meter.told(), **estimate)
            self.engine.breathe()

        def stopped() -> bool:
            if meter.token():
                tell(**meter.told(), **estimate)
            return stopping()

        found = evaluate(
            loaded,
            run_id,
            template,
            rows,
            settings,
            between_batches=between,
            on_estimate=lambda known: estimate.update(estimate=dataclasses.asdict(known)),
            stopping=stopped,
            shelf=shelf,
            beside=beside,
            keep=keep,
            tokenize=tokenize,
        )
        told = self._keep_evaluation(found, splits.fingerprint, loaded, warnings)
        kept[0].done()
        return {**told, "verdict": self.verdict(run_id, told)}

    def _keep_evaluation(
        self, found: Evaluation, fingerprint: str, loaded: LoadedModel, warnings: Sequence[str]
    ) -> dict[str, Any]:
        """Write the evaluation and its rows into the history, where the oldest makes room; its JSON, as it is kept."""
        folder = self.store.folder(found.run_id)
        path = _new_file(folder, "predictions.jsonl")
        with on_disk(self.store.data_dir):
            _write_lines(path, [prediction.to_dict() for prediction in found.predictions])
        references = [prediction.reference for prediction in found.predictions]
        told = {
            **found.to_dict(),
            "predictions": str(path),
            "data_fingerprint": fingerprint,
            "weights_source": loaded.weights.source,
            "weights_sha256": loaded.weights.sha256,
            "other_weights": other_weights(self.store.get(found.run_id).facts, loaded.weights),
            "warnings": [
                *bleu_tokenizers.warnings(references, found.tokenize, loaded.weights.model),
                *warnings,
            ],
        }
        self.store.add_evaluation(found.run_id, told)
        remove_predictions(folder, {Path(each["predictions"]).name for each in self.store.evaluations(found.run_id)})
        return told

    def _shelf(self, run_id: str, loaded: LoadedModel, settings: GenerationSettings) -> Shelf | None:
        """Where base's answers are kept; nowhere for a visitor's private run, whose texts are removed with it."""
        from ..evaluation.answer_cache import BaseAnswers

        if self.store.get(run_id).owner is not None:
            return None
        return BaseAnswers(self.store.data_dir / "base-answers").shelf(loaded, settings)

    def stop_evaluation(self, run_id: str | None = None, viewer: Viewer = HOST) -> None:
        """Ask the run's evaluation to stop within one token, or take it out of the line; without a run, all.

        Does nothing where there is none. Raises NotYoursError where somebody else asked for it.
        """
        for turn in self.engine.line:
            kind, about = turn.about
            if kind != EVALUATION or run_id not in (None, about) or not self.sees_run(about, viewer):
                continue
            if self.strangers and not viewer.host and turn.by != asker(viewer):
                raise NotYoursError("Somebody else asked for that evaluation: only they and the host can stop it.")
            if self.engine.withdraw(turn.about):
                self.evaluating = {"run_id": about, "error": "Withdrawn before its turn came."}
            else:
                self._stops[about].set()

    def evaluate(
        self,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        viewer: Viewer = HOST,
        baselines: Sequence[str] = (),
        tokenize: str = bleu_tokenizers.DEFAULT,
    ) -> Iterator[dict[str, Any]]:
        """``start_evaluation`` as a stream: its progress, then the evaluation's JSON. Closing it stops it."""
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        future = self.start_evaluation(run_id, limit, generation, said.put, viewer, baselines, tokenize)
        future.add_done_callback(lambda _: said.put(None))
        waiting = self.place(EVALUATION, run_id)
        try:
            if waiting["place"]:
                yield waiting
            while (news := said.get()) is not None:
                yield news
        finally:
            if not future.done():
                self.stop_evaluation(run_id)
        found = self._result(future)
        # Where it lies on this machine is the host's alone to know.
        yield found if viewer.host else {**found, "predictions": os.path.basename(found["predictions"])}

    def predictions_file(self, run_id: str, seq: int | None = None, viewer: Viewer = HOST) -> Path | None:
        """Where the rows of an evaluation of the run lie, by its ``seq`` (None: the last one)."""
        folder = self.store.folder(self.visible_run(run_id, viewer).id)
        for found in self.store.evaluations(run_id):
            if seq in (None, found["seq"]):
                # By its name: the data folder may have moved since.
                file = folder / Path(found["predictions"]).name
                return file if file.is_file() else None
        return None

    def predictions(self, run_id: str, seq: int | None = None, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """The rows of an evaluation of the run, by its ``seq`` (None: the last one); empty where there is none."""
        file = self.predictions_file(run_id, seq, viewer)
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line] if file else []
        if rows and "tuned_chrf" not in rows[0]:
            # A former lab scored no single rows.
            from ..evaluation.bleu import sentence_chrf

            for row, who in itertools.product(rows, ("base", "tuned")):
                row[f"{who}_chrf"] = sentence_chrf(row[who], row["reference"])
        return rows

    def standings(self, run_ids: Sequence[str] = (), viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """These runs (none: all) beside each other, a table for all that was measured alike; see ``standings``.

        An evaluation whose answers are gone is left out.
        """
        from ..evaluation.leaderboard import Entry, standings

        runs = [self.visible_run(run_id, viewer) for run_id in run_ids]
        entries = []
        for run in runs or [self.visible_run(told["id"], viewer) for told in self.list_runs(viewer)]:
            for found in self.store.evaluations(run.id):
                if rows := self.predictions(run.id, found["seq"], viewer):
                    entries.append(Entry(run.id, run.name, run.config["template"], found, rows))
        return standings(entries)

    def verdict(
        self, run_id: str, found: Mapping[str, Any] | None = None, viewer: Viewer = HOST
    ) -> dict[str, Any] | None:
        """What the run's numbers say about its result: ``kind, sentence, advice, evidence``; see ``verdict``.

        ``found``: one of its evaluations; without one its losses alone are judged. None where they say nothing.
        """
        run = self.visible_run(run_id, viewer)
        # Of the adapter that was kept, which need not be the last step's.
        last = run.facts.get("kept_step", run.step)
        metrics = [metric for metric in self.store.metrics(run_id) if metric["step"] <= last]
        verdict = judge(run.config, metrics, found)
        return verdict.to_dict() if verdict else None


def _unread(prompts: Mapping[str, Sequence[Sequence[int]]], context_length: int) -> list[str]:
    """That some prompts are longer than the model can read, a sentence a side."""
    counts = {side: sum(len(prompt) >= context_length for prompt in each) for side, each in prompts.items()}
    return [
        f"{count} of {len(prompts[side])} prompts of {side} do not fit into the model's context of {context_length} "
        "tokens: their answers are empty, and scored as that."
        for side, count in counts.items()
        if count
    ]


def _checked_baselines(names: Any) -> list[str]:
    if not isinstance(names, (list, tuple)) or any(name not in BASELINES for name in names):
        raise DataError(f"baselines must be a list of {', '.join(BASELINES)}.")
    return [name for name in BASELINES if name in names]


def _new_file(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, or ``name-2``, ``name-3`` …, whichever is not there yet."""
    first = folder / name
    names = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], names) if not path.exists())


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)

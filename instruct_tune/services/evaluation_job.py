"""One evaluation from the model to the stored scores. For the queue's thread."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.run_config import NEAREST_BASELINE, GenerationSettings, RunConfig
from ..config.viewer import HOST
from ..data.splits import examples
from ..evaluation import bleu_tokenizers
from ..evaluation.answer_cache import Unfinished, unfinished
from ..evaluation.baselines import baselines
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.predict import ROWS_TOGETHER
from ..generation.generate import one_by_one
from ..models.base_model import LoadedModel
from ..runs.provenance import other_rows, other_weights
from ..store.connection import on_disk
from ..store.retention import remove_predictions
from ..store.run_store import RunStore
from ..tokenization.prompt_template import template_of_run
from .answerers import Answerers
from .base_answers import cached_base_answers
from .datasets import Datasets
from .job_queue import JobQueue
from .model_host import ModelHost
from .progress_meter import Meter


class EvaluationJob:
    """Answers the held-out rows of a run, scores them, and writes both into the history."""

    def __init__(self, store: RunStore, datasets: Datasets, answerers: Answerers, models: ModelHost, queue: JobQueue):
        self._store, self._datasets, self._answerers = store, datasets, answerers
        self._models, self._queue = models, queue

    def execute(
        self,
        run_id: str,
        config: RunConfig,
        settings: GenerationSettings,
        chosen: Sequence[str],
        tokenize: str,
        report: Callable[..., None],
        stopping: Callable[[], bool],
    ) -> dict[str, Any]:
        """The evaluation as JSON. ``report`` gets its progress; raises LabErrors, and Stopped where ``stopping``."""
        splits = self._datasets.splits(config.data)
        rows = self._datasets.held_out(HOST, config)
        total = (2 + len(set(chosen) - {NEAREST_BASELINE})) * len(rows)
        report(done=0, total=total)
        loaded = self._answerers.prepare(run_id, config, lambda text: report(message=text), stopping)
        self._models.evaluating = run_id
        longest = settings.max_new_tokens or settings.max_length or loaded.context_length
        alone = one_by_one(loaded)
        meter = Meter(total, longest, 1 if alone else min(ROWS_TOGETHER, len(rows)))
        template = template_of_run(config.template, self._store.get(run_id).facts)
        cached_answers = cached_base_answers(self._store, run_id, loaded, settings)
        training = examples(splits.train) if chosen else []
        beside = baselines(chosen, loaded, template, rows, training, settings, config.data.seed, cached_answers)
        about = {"rows": len(rows), "baselines": list(chosen), "tokenize": tokenize}
        estimate: dict[str, Any] = {}
        kept: list[Unfinished] = []
        warnings = [*other_rows(self._store.get(run_id).facts, splits.fingerprint), *([alone] if alone else [])]

        def keep(prompts: Mapping[str, Sequence[Sequence[int]]]) -> Unfinished:
            warnings.extend(_too_long(prompts, loaded.context_length))
            kept.append(unfinished(self._store.folder(run_id), loaded, settings, prompts, about))
            meter.resume(sum(len(kept[0].of(side).answers) for side in prompts))
            report(**meter.progress())
            return kept[0]

        def between(done: int, total: int) -> None:
            meter.batch_done(done)
            report(**meter.progress(), **estimate)
            self._queue.yield_once()

        def stopped() -> bool:
            if meter.token():
                report(**meter.progress(), **estimate)
            return stopping()

        evaluation = evaluate(
            loaded,
            run_id,
            template,
            rows,
            settings,
            between_batches=between,
            on_estimate=lambda known: estimate.update(estimate=dataclasses.asdict(known)),
            stopping=stopped,
            cached_answers=cached_answers,
            beside=beside,
            keep=keep,
            tokenize=tokenize,
        )
        stored = self._keep_evaluation(evaluation, config.evaluation_rows, splits.fingerprint, loaded, warnings)
        kept[0].done()
        return stored

    def _keep_evaluation(
        self,
        evaluation: Evaluation,
        requested: int | None,
        fingerprint: str,
        loaded: LoadedModel,
        warnings: Sequence[str],
    ) -> dict[str, Any]:
        """Write the evaluation and its rows into the history, where the oldest makes room; its JSON, as it is kept.

        ``requested``: the rows that were asked for, which may be more than are held out; None: all.
        """
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
            "weights_source": loaded.weights.source,
            "weights_sha256": loaded.weights.sha256,
            "other_weights": other_weights(self._store.get(run_id).facts, loaded.weights),
            "warnings": [
                *bleu_tokenizers.warnings(references, evaluation.tokenize, loaded.weights.model),
                *warnings,
            ],
        }
        self._store.add_evaluation(run_id, stored)
        remove_predictions(folder, {Path(each["predictions"]).name for each in self._store.evaluations(run_id)})
        return stored


def _too_long(prompts: Mapping[str, Sequence[Sequence[int]]], context_length: int) -> list[str]:
    """That some prompts are longer than the model can read, a sentence a side."""
    counts = {side: sum(len(prompt) >= context_length for prompt in each) for side, each in prompts.items()}
    return [
        f"{count} of {len(prompts[side])} prompts of {side} do not fit into the model's context of {context_length} "
        "tokens: their answers are empty, and scored as that."
        for side, count in counts.items()
        if count
    ]


def _new_file(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, or ``name-2``, ``name-3`` …, whichever is not there yet."""
    first = folder / name
    names = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], names) if not path.exists())


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)

"""Answers from base, runs, checkpoints and strengths of an adapter, beside each other; and what an adapter does.

A question runs as a short job: between two steps where a run trains, which does not notice.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..compute.answer_work import (
    BASE_RUN,
    Answerer,
    AnswerersWork,
    RunWork,
    beam_search,
    greedy_search,
    measure_effect,
    measure_token_losses,
    stream_answers,
    whole_answers,
)
from ..compute.model_host import ModelSpec
from ..compute.work import Work
from ..config.run_config import GenerationSettings, RunConfig
from ..config.viewer import HOST, Viewer
from ..data.splits import Example
from ..errors import DataError, LabError, Stopped
from ..runs.provenance import other_weights
from ..store.run import Run
from ..tokenization.prompt_template import PromptTemplate, template_of_run
from .answer_stream import BASE_AND_TUNED, AnswerStream, AwaitedAnswer
from .answerers import Answerers, check_strength, generation_settings, read_answerers
from .configurations import Config, Configurations, check_texts
from .datasets import Datasets
from .devices import Devices
from .job_queue import JobQueue
from .questions import MAX_SEARCH_TOKENS, check_question, check_tokens, read_prefix, read_prompt
from .runs import Runs

if TYPE_CHECKING:
    from ..evaluation.adapter_effect import AdapterEffect
    from ..evaluation.token_losses import AnswerLosses
    from ..generation.answer import Answer
    from ..generation.search import BeamTree, GreedyAnswer
    from ..pretrained.locate import Weights

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_INSTRUCTIONS = 50
"""Instructions in one request: half a minute on two cores."""
ROWS_PER_JOB = 8
"""Rows that all answer between two steps of a run that trains: it waits some seconds for them."""
EFFECT_ROWS = 8
"""Held-out rows that show what an adapter does: some seconds on two cores."""
COPY_TOKENS = 48
"""The most tokens of an answer that shows whether a copy of an adapter is the adapter."""
SECONDS_BETWEEN_LOOKS = 0.1
"""How often a stop is looked for while a job waits in the queue."""


@dataclass(frozen=True)
class _Panel:
    """Who answers, each with its own run (None for base) and template.

    ``config`` is the first run's. ``folders``: of the adapters, where they are not the answerers' own.
    """

    answerers: tuple[Answerer, ...]
    runs: tuple[Run | None, ...]
    templates: tuple[PromptTemplate, ...]
    config: RunConfig
    folders: tuple[Path | None, ...] = ()

    def warning(self, weights: Weights) -> str | None:
        """That a run was trained on other weights than these."""
        return next(filter(None, (other_weights(run.provenance, weights) for run in self.runs if run)), None)


@dataclass(frozen=True)
class SearchResult:
    """How base and tuned, in this order, came to their answers. ``beams`` is empty until they are searched.

    ``warning``: that the run was trained on other weights.
    """

    greedy: tuple[GreedyAnswer, ...]
    beams: tuple[BeamTree, ...] = ()
    warning: str | None = None


class Inference:
    """Asks models questions. It has no state of its own."""

    def __init__(
        self,
        answerers: Answerers,
        runs: Runs,
        configs: Configurations,
        datasets: Datasets,
        devices: Devices,
        queue: JobQueue,
    ):
        self._answerers, self._runs, self._configs, self._datasets = answerers, runs, configs, datasets
        self._devices, self._queue = devices, queue

    # Beside each other

    def compare(
        self,
        viewer: Viewer,
        run_id: str,
        instruction: str,
        input: str = "",
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
        strength: float = 1.0,
    ) -> Iterator[dict[str, Any]]:
        """Base and tuned answers to one instruction, as they grow: ``{base, tuned, done}``, see ``AnswerStream``.

        ``strength``: the factor of the adapter's contribution, 0 (base) to 1.5. ``stop`` ends the decoding within
        one token and keeps what is there; closing the iterator ends it too. Raises LabErrors.
        """
        check_question(instruction, input)
        panel = self._base_and_tuned(viewer, run_id, strength)
        stream = AnswerStream(stop, BASE_AND_TUNED, panel.warning)
        yield from self._stream(panel, (instruction, input), generation, stream)

    def compare_many(
        self,
        viewer: Viewer,
        answerers: Any,
        instruction: str,
        input: str = "",
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
        names: Sequence[str] = ("0", "1", "2"),
    ) -> Iterator[dict[str, Any]]:
        """Like ``compare`` for two or three ``answerers`` (objects with the fields of ``Answerer``) of one base model.

        ``names``: what they are called in the stream. Each gets its own run's template, base the first run's, whose
        generation settings hold for all.
        """
        check_question(instruction, input)
        panel = self._panel(viewer, answerers)
        stream = AnswerStream(stop, names[: len(panel.answerers)], panel.warning)
        yield from self._stream(panel, (instruction, input), generation, stream)

    def compare_rows(
        self,
        viewer: Viewer,
        answerers: Any,
        rows: Sequence[tuple[str, str]],
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[list[list[Answer]]]:
        """The answers of all ``answerers`` to (instruction, input) pairs: of the rows so far, an answer of each.

        Some rows at a time, in their order, so that a run that trains continues in between. ``stop`` ends it, and
        what is whole by then stays. Raises as ``compare_many`` does.
        """
        if not 1 <= len(rows) <= MAX_INSTRUCTIONS:
            raise DataError(f"Ask 1 to {MAX_INSTRUCTIONS} instructions at once, not {len(rows)}.")
        for instruction, input_text in rows:
            check_question(instruction, input_text)
        panel = self._panel(viewer, answerers)
        settings = generation_settings(panel.config, generation)
        stop = stop or threading.Event()
        waiting = AwaitedAnswer(stop)

        def answers(pairs: Sequence[tuple[str, str]]) -> list[list[Answer]]:
            each, work = len(panel.answerers), self._work(panel, pairs, partial(whole_answers, settings=settings))
            try:
                flat = self._devices.choose().submit(work, waiting).result()
            except (Stopped, CancelledError):
                return []
            return [flat[at : at + each] for at in range(0, len(flat), each)]

        done: list[list[Answer]] = []
        try:
            for at in range(0, len(rows), ROWS_PER_JOB):
                done += answers(rows[at : at + ROWS_PER_JOB])
                yield list(done)
                if stop.is_set():
                    return
        finally:
            stop.set()

    def comparable(self, viewer: Viewer, run_id: str) -> list[tuple[Run, int | None]]:
        """Who can answer beside base and the run: itself, its kept checkpoints by step, runs of the same model."""
        own = self._answerers.get(viewer, run_id)
        steps = self._answerers.kept_steps(own.id)
        others = [self._runs.get(viewer, run["id"]) for run in self._runs.summaries(viewer) if run["id"] != own.id]
        model = _spec_of(own)
        alike = [run for run in others if self._answerers.has_adapter(viewer, run.id) and _spec_of(run) == model]
        return [(own, None), *((own, step) for step in steps), *((run, None) for run in alike)]

    # How they decode

    def search(
        self,
        viewer: Viewer,
        run_id: str,
        instruction: str,
        input: str = "",
        tokens: int = MAX_SEARCH_TOKENS,
        stop: threading.Event | None = None,
        strength: float = 1.0,
    ) -> Iterator[SearchResult]:
        """How base and tuned decode answers of at most ``tokens``: first greedily, then with beams too.

        ``strength`` and ``stop`` as in ``compare``. Raises LabErrors, also where it was stopped.
        """
        check_question(instruction, input)
        check_tokens(tokens)
        panel, pairs = self._base_and_tuned(viewer, run_id, strength), [(instruction, input)]
        waiting = AwaitedAnswer(stop, panel.warning)
        greedy = self._result(self._work(panel, pairs, partial(greedy_search, tokens=tokens)), waiting)
        result = SearchResult(greedy, warning=waiting.warning)
        yield result
        # Work of its own, so that a run which trains continues in between.
        beams = self._result(self._work(panel, pairs, partial(beam_search, tokens=tokens)), waiting)
        yield dataclasses.replace(result, beams=beams)

    def branch(
        self,
        viewer: Viewer,
        run_id: str,
        instruction: str,
        input: str,
        prefix: Any,
        tokens: int = MAX_SEARCH_TOKENS,
        stop: threading.Event | None = None,
        strength: float = 1.0,
    ) -> tuple[GreedyAnswer, ...]:
        """How base and tuned, in this order, continue an answer that begins with ``prefix``, a list of token ids.

        Otherwise as ``search``.
        """
        check_question(instruction, input)
        check_tokens(tokens)
        ids, panel = read_prefix(prefix), self._base_and_tuned(viewer, run_id, strength)
        work = self._work(panel, [(instruction, input)], partial(greedy_search, tokens=tokens, prefix=ids))
        return self._result(work, AwaitedAnswer(stop))

    # One model

    def generate(
        self,
        viewer: Viewer,
        run_id: str,
        rows: Sequence[Mapping[str, str]],
        config: Config | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """One answer a row (``instruction``, optional ``input``) from a run, or from ``base``.

        ``config`` says what base is; a run has its own. ``generation`` is laid over either's. That a run was trained
        on other weights is logged.
        """
        run = None if run_id == BASE_RUN else self._answerers.get(viewer, run_id)
        settings = RunConfig.from_dict(run.config) if run else self._configs.read(viewer, config or {})
        settings = dataclasses.replace(settings, generation=generation_settings(settings, generation))
        pairs = [read_prompt(row, number) for number, row in enumerate(rows, 1)]
        template = template_of_run(settings.template, run.provenance if run else {})
        panel = _Panel((Answerer(run_id),), (run,), (template,), settings)
        waiting = AwaitedAnswer(warning=panel.warning)
        answers = self._result(self._work(panel, pairs, partial(whole_answers, settings=settings.generation)), waiting)
        if waiting.warning:
            log.warning("%s", waiting.warning)
        return [answer.text for answer in answers]

    def beside_copy(
        self,
        viewer: Viewer,
        run_id: str,
        copy: Path,
        pairs: Sequence[tuple[str, str]],
        stop: threading.Event | None = None,
    ) -> list[tuple[str, str]]:
        """The short greedy answers of the run, and of its adapter as it lies in the folder ``copy``, to each pair."""
        run = self._answerers.get(viewer, run_id)
        answerers = (Answerer(run_id), Answerer(run_id, step=run.step))
        folders = (self._answerers.folder(answerers[0]), copy)
        panel = _Panel(answerers, (run, run), (_template(run),) * 2, RunConfig.from_dict(run.config), folders)
        settings = GenerationSettings(max_new_tokens=COPY_TOKENS, num_beams=1, do_sample=False)
        work = self._work(panel, pairs, partial(whole_answers, settings=settings))
        texts = [answer.text for answer in self._result(work, AwaitedAnswer(stop))]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def token_losses(self, viewer: Viewer, run_id: str, row: Example) -> AnswerLosses:
        """The losses of base and the run on the row's answer, token by token; see ``token_losses``."""
        check_texts(instruction=row.instruction, input=row.input, output=row.output)
        run = self._answerers.get(viewer, run_id)
        return self._measured(run, partial(measure_token_losses, template=_template(run), row=row))

    def adapter_effect(self, viewer: Viewer, run_id: str) -> AdapterEffect:
        """How far the run is from base on the first held-out rows, and what it adds to each layer."""
        run = self._answerers.get(viewer, run_id)
        config = dataclasses.replace(RunConfig.from_dict(run.config), evaluation_rows=EFFECT_ROWS)
        rows = self._datasets.held_out(HOST, config)
        return self._measured(run, partial(measure_effect, template=_template(run), rows=rows))

    # Helpers

    def _stream(
        self, panel: _Panel, question: tuple[str, str], generation: Mapping[str, Any] | None, stream: AnswerStream
    ) -> Iterator[dict[str, Any]]:
        settings = generation_settings(panel.config, generation)
        waits_for = "the pause between two steps" if self._queue.busy_with else "the model"
        stream.message(f"Waiting for {'a GPU' if self._devices.lends_gpus else waits_for}…")
        work = self._work(panel, [question], partial(stream_answers, settings=settings))
        yield from stream.follow(self._devices.choose().submit(work, stream))

    def _work(self, panel: _Panel, pairs: Sequence[tuple[str, str]], decode: Callable[..., T]) -> AnswerersWork[Any, T]:
        folders = panel.folders or tuple(self._answerers.folder(each) for each in panel.answerers)
        return AnswerersWork(_spec(panel.config), panel.answerers, folders, panel.templates, tuple(pairs), decode)

    def _measured(self, run: Run, measure: Callable[..., T]) -> T:
        folder = self._answerers.folder(Answerer(run.id))
        assert folder
        return self._result(RunWork(_spec_of(run), run.id, folder, measure), AwaitedAnswer())

    def _base_and_tuned(self, viewer: Viewer, run_id: str, strength: float) -> _Panel:
        check_strength(strength)
        run = self._answerers.get(viewer, run_id)
        answerers = (Answerer(), Answerer(run_id, strength=strength))
        return _Panel(answerers, (None, run), (_template(run),) * 2, RunConfig.from_dict(run.config))

    def _panel(self, viewer: Viewer, value: Any) -> _Panel:
        answerers = read_answerers(value)
        runs = tuple(self._answerers.get_run(viewer, answerer) for answerer in answerers)
        trained = [run for run in runs if run]
        configs = [RunConfig.from_dict(run.config) for run in trained]
        if any(_spec(each) != _spec(configs[0]) for each in configs):
            raise DataError("Those runs have different base models: only runs of one can answer together.")
        return _Panel(answerers, runs, tuple(_template(run or trained[0]) for run in runs), configs[0])

    def _result(self, work: Work[T, Any], waiting: AwaitedAnswer) -> T:
        """The work's result. A stop takes effect at once until its turn has come."""
        if waiting.stopping():
            raise LabError("Stopped.")
        future: Future[T] = self._devices.choose().submit(work, waiting)
        try:
            while not wait([future], SECONDS_BETWEEN_LOOKS).done:
                # ``wait`` does not return for a future that is cancelled before its turn.
                if waiting.stopping() and future.cancel():
                    break
            return future.result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None


def _spec(config: RunConfig) -> ModelSpec:
    return ModelSpec(config.model, config.train.bf16_weights)


def _spec_of(run: Run) -> ModelSpec:
    return _spec(RunConfig.from_dict(run.config))


def _template(run: Run) -> PromptTemplate:
    return template_of_run(run.config["template"], run.provenance)

"""The lab: everything that the page, the command line and the endpoints may call.

It looks (``views``), trains (``runs``), says what training costs (``costs``), and here it answers:
base and tuned, one instruction or all held-out rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .comparison import STRONGEST, Comparison
from .costs import Costs
from .dataset import Example, examples
from .engine import Turn
from .errors import BusyError, DataError, LabError, ModelError, NotYoursError, Stopped
from .meter import Meter
from .prompt import template_from
from .runs import asker
from .same_weights import other_weights
from .settings import BASELINES, DEFAULT_MODEL, NEAREST_BASELINE, GenerationSettings, RunConfig
from .storage import on_disk
from .store import Run
from .verdict import judge
from .views import Config, check_texts
from .visitors import HOST, Viewer

if TYPE_CHECKING:
    from .base_answers import Shelf
    from .effect import Effect
    from .model import LoadedModel
    from .token_losses import AnswerLosses
    from .unfinished import Unfinished

log = logging.getLogger(__name__)

BASE_RUN = "base"
"""The run id that stands for the base model without any adapter."""
NOT_BEGUN = "The evaluation was stopped before its first answer; nothing was scored."
MEMORY_TO_PRELOAD = 3 * 2**30
"""Free bytes below which the default model (half a gigabyte, more while it loads) waits until it is asked for."""

ROWS_READ = 8
"""Held-out rows that tell what an adapter does: some seconds on two cores, for which a run that trains waits."""

EVALUATION = "evaluation"
"""A turn that evaluates is about ``(EVALUATION, run_id)``."""


class Lab(Costs):
    """One lab on one data folder."""

    def __init__(self, data_dir: Path | None = None, *, writing: bool = True, local_paths: bool | None = None):
        super().__init__(data_dir, writing=writing, local_paths=local_paths)
        self._stops: dict[str, threading.Event] = {}
        self.evaluating: dict[str, Any] | None = None
        """Where the last evaluation is: ``run_id`` and ``done``, ``total`` | ``message`` | ``error`` | ``finished``."""

    def leave(self) -> None:
        """Ask everything at work to leave, evaluations included."""
        self.stop_evaluation()
        super().leave()

    def warm_up(self) -> None:
        """Import what the first run needs; then have the default model at hand for a first Compare or Start."""
        super().warm_up()
        from .weights import at_hand

        folder = at_hand(DEFAULT_MODEL)
        there = folder is not None and any(folder.glob("*.safetensors"))
        if self.engine.busy_with or _free_memory() < MEMORY_TO_PRELOAD or not there:
            return

        def job() -> None:
            # Whoever was faster has loaded what is wanted.
            if self.bench.empty:
                self.bench.model(DEFAULT_MODEL, RunConfig().train.bf16, lambda text: None)

        # A lab that closes while it warms up needs no model any more.
        with suppress(BusyError):
            self.engine.short(job)

    def has_adapter(self, run_id: str, viewer: Viewer = HOST) -> bool:
        """Whether the run can answer: it has a saved adapter, or one that is training."""
        run = self.visible_run(run_id, viewer)
        training = run.live and run.phase in ("training", "evaluating", "saving")
        return training or (self.store.folder(run_id) / "adapter").is_dir()

    def held_out_row_of(self, run_id: str, index: int, viewer: Viewer = HOST) -> Example:
        """A held-out row of the run's data, from 0; whoever sees the run sees its rows."""
        return self.held_out_row(self.run_config(run_id, viewer), index)

    def held_out_count_of(self, run_id: str, viewer: Viewer = HOST) -> int:
        """How many rows of the run's data were held out."""
        return self.held_out_count(self.run_config(run_id, viewer))

    def ready_adapter(self, run_id: str, viewer: Viewer = HOST) -> Run:
        """The run, if it has an adapter to speak with. Raises ModelError where it has none (yet)."""
        run = self.visible_run(run_id, viewer)
        if not self.has_adapter(run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter yet: train it first, or choose another.")
        return run

    def _prepare(self, run_id: str, config: RunConfig, report: Callable[[str], None]) -> LoadedModel:
        """The run's base model with its adapter in place. On the engine's thread."""
        loaded = self.bench.model(config.model, config.train.bf16, report)
        if run_id != BASE_RUN:
            self.bench.with_adapter(loaded, run_id, self.store.folder(run_id) / "adapter")
        return loaded

    def generation(self, config: RunConfig, given: Mapping[str, Any] | None) -> GenerationSettings:
        """The run's generation settings with ``given`` laid over them."""
        if not given:
            return config.generation
        return RunConfig.from_dict({**config.to_dict(), "generation": _laid_over(config, given)}).generation

    def compare(
        self,
        run_id: str,
        instruction: str,
        input: str = "",
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
        viewer: Viewer = HOST,
        strength: float = 1.0,
    ) -> Iterator[dict[str, Any]]:
        """Base and tuned answers to one instruction, as they grow: ``{base, tuned, done}``, see ``Comparison``.

        ``strength``: how many times what the adapter adds counts, 0 (base) to 1.5; 1 is as it was trained.

        Served between training steps where a run is at work. ``stop`` ends the decoding within one
        token and keeps what is there; closing the iterator ends it too.
        """
        check_texts(instruction=instruction, input=input)
        if not instruction.strip():
            raise DataError("Type an instruction first.")
        if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= STRONGEST:
            raise DataError(f"The adapter's strength must be a number from 0 to {STRONGEST}.")
        run = self.ready_adapter(run_id, viewer)
        config = RunConfig.from_dict(run.config)
        settings = self.generation(config, generation)
        asked = Comparison(stop)
        asked.say("Waiting for the pause between two steps…" if self.engine.busy_with else "Waiting for the model…")

        def job() -> None:
            self.wait_for_imports()
            loaded = self._prepare(run_id, config, lambda text: asked.say(f"{text[:1].upper()}{text[1:]}…"))
            asked.warn(other_weights(run.facts, loaded.weights))
            asked.decode(loaded, template_from(config.template), (instruction, input), run_id, settings, strength)

        yield from asked.follow(self.engine.short(job))

    def answer_losses(self, run_id: str, row: Example, viewer: Viewer = HOST) -> AnswerLosses:
        """What base and the run make of the row's answer, token by token; see ``token_losses``.

        Served between training steps where a run is at work, which does not notice.
        """
        check_texts(instruction=row.instruction, input=row.input, output=row.output)
        config = RunConfig.from_dict(self.ready_adapter(run_id, viewer).config)

        def job() -> AnswerLosses:
            self.wait_for_imports()
            from .token_losses import answer_losses

            loaded = self._prepare(run_id, config, lambda text: None)
            return answer_losses(loaded, template_from(config.template), row, run_id)

        return self._result(self.engine.short(job))

    def adapter_effect(self, run_id: str, viewer: Viewer = HOST) -> Effect:
        """How far the run is from base on the first held-out rows, and what it adds to each layer; see ``effect``."""
        config = RunConfig.from_dict(self.ready_adapter(run_id, viewer).config)
        rows = self.held_out(dataclasses.replace(config, evaluation_rows=ROWS_READ))

        def job() -> Effect:
            self.wait_for_imports()
            from .effect import effect

            loaded = self._prepare(run_id, config, lambda text: None)
            return effect(loaded, template_from(config.template), rows, run_id)

        return self._result(self.engine.short(job))

    def generate(
        self,
        run_id: str,
        rows: Sequence[Mapping[str, str]],
        config: Config | None = None,
        generation: Mapping[str, Any] | None = None,
        viewer: Viewer = HOST,
    ) -> list[str]:
        """One answer a row (``instruction``, optional ``input``) from a run, or from ``base``.

        ``config`` says what base is; a run has its own. ``generation`` is laid over either's. A run that was
        trained on other weights is told of in the log.
        """
        run = None if run_id == BASE_RUN else self.ready_adapter(run_id, viewer)
        settings = RunConfig.from_dict(run.config) if run else self.config(config or {}, viewer)
        settings = dataclasses.replace(settings, generation=self.generation(settings, generation))
        pairs = [_prompt_pair(row, number) for number, row in enumerate(rows, 1)]

        def job() -> list[str]:
            self.wait_for_imports()
            from .adapter import BASE
            from .generation import Request, generate
            from .tokenization import encode_prompts

            loaded = self._prepare(run_id, settings, lambda text: None)
            if run and (warning := other_weights(run.facts, loaded.weights)):
                log.warning("%s", warning)
            prompts = encode_prompts(loaded.tokenizer, template_from(settings.template), pairs)
            speaker = BASE if run_id == BASE_RUN else run_id
            requests = [Request(tuple(prompt), speaker) for prompt in prompts]
            return [answer.text for answer in generate(loaded, requests, settings.generation)]

        return self._result(self.engine.short(job))

    def start_evaluation(
        self,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        on_progress: Callable[[dict[str, Any]], None] = lambda news: None,
        viewer: Viewer = HOST,
        baselines: Sequence[str] = (),
    ) -> Future[dict[str, Any]]:
        """Answer the run's held-out rows with base and tuned, and score both, on the engine's thread.

        It begins when its turn comes and goes on whoever watches; ``evaluation_progress`` tells where it
        is. What a former one on the same rows with the same settings had answered when it was stopped is
        not asked again (``unfinished_evaluations``). ``baselines`` (of ``settings.BASELINES``) answer beside
        base. Raises BusyError where it is in the line already, or too many are.
        """
        run = self.ready_adapter(run_id, viewer)
        config = RunConfig.from_dict({**run.config, "evaluation_rows": limit} if limit is not None else run.config)
        settings = self.generation(config, generation)
        chosen = _checked_baselines(baselines)
        stop = threading.Event()

        def tell(**news: Any) -> None:
            self.evaluating = {"run_id": run_id, **news}
            on_progress(news)

        def job() -> dict[str, Any]:
            try:
                return self._evaluate(run_id, config, settings, chosen, tell, stop.is_set)
            except LabError as error:
                tell(error=str(error))
                raise
            except Stopped:
                tell(**self._told_of_stop(run_id))
                raise

        about = (EVALUATION, run_id)
        if any(turn.about == about for turn in self.engine.line):
            raise BusyError(f"The evaluation of {run.name} is asked for already: wait for it, or stop it.")
        self._stops[run_id] = stop
        return self.engine.long(f"the evaluation of {run.name}", job, about, asker(viewer))

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
        from .unfinished import left_behind

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
        tell: Callable[..., None],
        stopping: Callable[[], bool],
    ) -> dict[str, Any]:
        self.wait_for_imports()
        from .answering import ROWS_TOGETHER
        from .baselines import baselines
        from .evaluation import evaluate
        from .unfinished import unfinished

        splits = self.splits(config.data)
        rows = self.held_out(config)
        total = (2 + len(set(chosen) - {NEAREST_BASELINE})) * len(rows)
        tell(done=0, total=total)
        loaded = self._prepare(run_id, config, lambda text: tell(message=text))
        longest = settings.max_new_tokens or settings.max_length or loaded.context_length
        meter = Meter(total, longest, min(ROWS_TOGETHER, len(rows)))
        template, shelf = template_from(config.template), self._shelf(run_id, loaded, settings)
        training = examples(splits.train) if chosen else []
        beside = baselines(chosen, loaded, template, rows, training, settings, config.data.seed, shelf)
        about = {"rows": len(rows), "baselines": list(chosen)}
        estimate: dict[str, Any] = {}
        kept: list[Unfinished] = []

        def keep(prompts: Mapping[str, Sequence[Sequence[int]]]) -> Unfinished:
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
        )
        path = _new_file(self.store.folder(run_id), "predictions.jsonl")
        with on_disk(self.store.data_dir):
            _write_lines(path, [prediction.to_dict() for prediction in found.predictions])
        told = {
            **found.to_dict(),
            "predictions": str(path),
            "data_fingerprint": splits.fingerprint,
            "weights_source": loaded.weights.source,
            "weights_sha256": loaded.weights.sha256,
            "other_weights": other_weights(self.store.get(run_id).facts, loaded.weights),
        }
        self.store.add_evaluation(run_id, told)
        kept[0].done()
        tell(finished=True)
        return {**told, "verdict": self.verdict(run_id, told)}

    def _shelf(self, run_id: str, loaded: LoadedModel, settings: GenerationSettings) -> Shelf | None:
        """Where base's answers are kept; nowhere for a visitor's private run, whose texts are removed with it."""
        from .base_answers import BaseAnswers

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
    ) -> Iterator[dict[str, Any]]:
        """``start_evaluation`` as a stream: its progress, then the evaluation's JSON. Closing it stops it."""
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        future = self.start_evaluation(run_id, limit, generation, said.put, viewer, baselines)
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
            from .bleu import sentence_chrf

            for row, who in itertools.product(rows, ("base", "tuned")):
                row[f"{who}_chrf"] = sentence_chrf(row[who], row["reference"])
        return rows

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

    def export_merged(
        self, run_id: str, to: Path, report: Callable[[str], None] = lambda text: None, viewer: Viewer = HOST
    ) -> Path:
        """Write the run's model, its adapter merged into a copy of base, as a zip; ``report`` hears what is done.

        Served between training steps where a run is at work. Raises LabErrors as ``merged.merged_zip`` does.
        """
        run = self.visible_run(run_id, viewer)
        if not self.has_saved_adapter(run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")
        told = dataclasses.replace(run, config=self._readable(run.config, viewer))

        def job() -> Path:
            self.wait_for_imports()
            from .merged import merged_zip
            from .weights import locate

            return merged_zip(self.store, told, locate(run.config["model"], report), to, report)

        return self._result(self.engine.short(job))

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None


def _free_memory() -> int:
    """Bytes of memory that nobody uses, cautiously: what only caches files does not count. 0 where unknown."""
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return 0
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _laid_over(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("generation must be a JSON object.")
    return {**dataclasses.asdict(config.generation), **given}


def _checked_baselines(names: Any) -> list[str]:
    if not isinstance(names, (list, tuple)) or any(name not in BASELINES for name in names):
        raise DataError(f"baselines must be a list of {', '.join(BASELINES)}.")
    return [name for name in BASELINES if name in names]


def _prompt_pair(row: Any, number: int) -> tuple[str, str]:
    if isinstance(row, Mapping):
        instruction, input_text = row.get("instruction"), row.get("input") or ""
        if isinstance(instruction, str) and isinstance(input_text, str):
            check_texts(instruction=instruction, input=input_text)
            return instruction, input_text
    raise DataError(f"Prompt {number} must be an object with a text in instruction (and in input, if any).")


def _new_file(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, or ``name-2``, ``name-3`` …, whichever is not there yet."""
    first = folder / name
    names = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], names) if not path.exists())


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)

"""Base, runs, checkpoints and strengths of an adapter, asked beside each other: one instruction, or many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.run_config import RunConfig
from ..config.viewer import HOST, Viewer
from ..errors import DataError, Stopped
from ..runs.provenance import other_weights
from ..store.run_store import Run
from ..tokenization.prompt_template import PromptTemplate, template_of_run
from .answer_stream import Comparison
from .answerer import BASE_RUN, Speaker, check_strength, read_speakers
from .datasets import check_texts
from .evaluations import Evaluations

if TYPE_CHECKING:
    from ..generation.answer import Answer
    from ..generation.generate import Request
    from ..models.base_model import LoadedModel

MOST_ASKED = 50
"""Instructions that may be asked at once: half a minute on two cores."""

ASKED_TOGETHER = 8
"""Rows that all answer between two steps of a run that trains: it waits some seconds for them."""


@dataclass(frozen=True)
class _Asked:
    """Who is asked, each with its own run (None for base) and template. ``config`` is the first run's."""

    speakers: tuple[Speaker, ...]
    runs: tuple[Run | None, ...]
    templates: tuple[PromptTemplate, ...]
    config: RunConfig

    def warning(self, loaded: LoadedModel) -> str | None:
        """What is to be known about a run that was trained on other weights than these."""
        return next(filter(None, (other_weights(run.facts, loaded.weights) for run in self.runs if run)), None)

    def requests(self, loaded: LoadedModel, names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[Request]:
        """For each (instruction, input) one request of each who is asked, by the ``names`` they have on the model."""
        from ..generation.generate import Request
        from ..tokenization.encode import encode_prompts

        prompts = [encode_prompts(loaded.tokenizer, template, pairs) for template in self.templates]
        return [
            Request(tuple(said[row]), name)
            for row in range(len(pairs))
            for said, name in zip(prompts, names, strict=True)
        ]


class Comparisons(Evaluations):
    """The part of the lab that asks several at once."""

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
        _check_question(instruction, input)
        check_strength(strength)
        run = self.ready_adapter(run_id, viewer)
        config, template = RunConfig.from_dict(run.config), template_of_run(run.config["template"], run.facts)
        settings = self.generation(config, generation)
        asked = Comparison(stop)
        self._say_waiting(asked)

        def job() -> None:
            self.wait_for_imports()
            from ..generation.generate import Request
            from ..models.lora import BASE, at_strength
            from ..tokenization.encode import encode_prompts

            loaded = self._prepare(run_id, config, _saying(asked), asked.stop.is_set)
            asked.warn(other_weights(run.facts, loaded.weights))
            prompt = encode_prompts(loaded.tokenizer, template, [(instruction, input)])[0]
            requests = [Request(tuple(prompt), who) for who in (BASE, run_id if strength else BASE)]
            with at_strength(loaded, run_id, strength):
                asked.decode(loaded, requests, settings)

        yield from asked.follow(self.engine.short(job))

    def compare_many(
        self,
        speakers: Any,
        instruction: str,
        input: str = "",
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
        viewer: Viewer = HOST,
        names: Sequence[str] = ("0", "1", "2"),
    ) -> Iterator[dict[str, Any]]:
        """Like ``compare`` for two or three ``speakers`` (objects with the fields of ``Speaker``) of one base model.

        ``names``: what they are called in what comes. Each is asked in its own run's template, base in
        the first run's, whose generation settings hold for all.
        """
        _check_question(instruction, input)
        who = self._who(speakers, viewer)
        settings = self.generation(who.config, generation)
        asked = Comparison(stop, names[: len(who.speakers)])
        self._say_waiting(asked)

        def job() -> None:
            self.wait_for_imports()
            loaded = self._prepare(BASE_RUN, who.config, _saying(asked), asked.stop.is_set)
            asked.warn(who.warning(loaded))
            with self._all_speaking(loaded, who.speakers) as speaking:
                asked.decode(loaded, who.requests(loaded, speaking, [(instruction, input)]), settings)

        yield from asked.follow(self.engine.short(job))

    def compare_rows(
        self,
        speakers: Any,
        rows: Sequence[tuple[str, str]],
        generation: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
        viewer: Viewer = HOST,
    ) -> Iterator[list[list[Answer]]]:
        """What all ``speakers`` answer to (instruction, input) pairs: of the rows so far, an answer of each.

        Some rows at a time, in their order, so that a run that trains goes on in between. ``stop`` ends it,
        and what is whole by then stays. Raises as ``compare_many`` does.
        """
        if not 1 <= len(rows) <= MOST_ASKED:
            raise DataError(f"Ask 1 to {MOST_ASKED} instructions at once, not {len(rows)}.")
        for instruction, input_text in rows:
            _check_question(instruction, input_text)
        who = self._who(speakers, viewer)
        settings = self.generation(who.config, generation)
        stop = stop or threading.Event()

        def job(pairs: Sequence[tuple[str, str]]) -> list[list[Answer]]:
            self.wait_for_imports()
            from ..generation.generate import generate

            loaded = self._prepare(BASE_RUN, who.config, lambda text: None, stop.is_set)
            with self._all_speaking(loaded, who.speakers) as speaking:
                requests = who.requests(loaded, speaking, pairs)
                answers = generate(loaded, requests, settings, stopping=stop.is_set)
            each = len(who.speakers)
            return [answers[at : at + each] for at in range(0, len(answers), each)]

        told: list[list[Answer]] = []
        try:
            for at in range(0, len(rows), ASKED_TOGETHER):
                told += self._unless_stopped(job, rows[at : at + ASKED_TOGETHER])
                yield list(told)
                if stop.is_set():
                    return
        finally:
            stop.set()

    def can_join(self, run_id: str, viewer: Viewer = HOST) -> list[tuple[Run, int | None]]:
        """Who else can answer beside base and the run: itself, its kept checkpoints by step, runs of the same model."""
        own = self.ready_adapter(run_id, viewer)
        steps = self.kept_steps(own.id)
        others = [self.visible_run(run["id"], viewer) for run in self.list_runs(viewer) if run["id"] != own.id]
        model = _base_of(own.config)
        joining = [run for run in others if self.has_adapter(run.id, viewer) and _base_of(run.config) == model]
        return [(own, None), *((own, step) for step in steps), *((run, None) for run in joining)]

    def _who(self, speakers: Any, viewer: Viewer) -> _Asked:
        asked = read_speakers(speakers)
        runs = tuple(self.ready_speaker(speaker, viewer) for speaker in asked)
        trained = [run for run in runs if run]
        configs = [RunConfig.from_dict(run.config) for run in trained]
        first = configs[0]
        if any((each.model, each.train.bf16_weights) != (first.model, first.train.bf16_weights) for each in configs):
            raise DataError("Those runs have different base models: only runs of one can answer together.")
        templates = [template_of_run(run.config["template"], run.facts) for run in trained]
        by_run = dict(zip((run.id for run in trained), templates, strict=True))
        return _Asked(asked, runs, tuple(by_run[run.id] if run else templates[0] for run in runs), first)

    def _unless_stopped(self, job: Callable[[Any], list[Any]], pairs: Sequence[tuple[str, str]]) -> list[Any]:
        """What the job gives on the engine's thread; nothing where it was stopped."""
        try:
            return self.engine.short(lambda: job(pairs)).result()
        except (Stopped, CancelledError):
            return []

    def _say_waiting(self, asked: Comparison) -> None:
        asked.say("Waiting for the pause between two steps…" if self.engine.busy_with else "Waiting for the model…")


def _base_of(config: Mapping[str, Any]) -> tuple[str, Any]:
    read = RunConfig.from_dict(config)
    return read.model, read.train.bf16_weights


def _saying(asked: Comparison) -> Callable[[str], None]:
    return lambda text: asked.say(f"{text[:1].upper()}{text[1:]}…")


def _check_question(instruction: Any, input_text: Any) -> None:
    check_texts(instruction=instruction, input=input_text)
    if not instruction.strip():
        raise DataError("Type an instruction first.")

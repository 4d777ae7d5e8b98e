"""Work that asks models: base, runs, checkpoints and strengths of an adapter answer the same instructions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..tokenization.prompt_template import PromptTemplate
from .model_host import ModelSpec
from .work import WorkEvents

if TYPE_CHECKING:
    from ..config.run_config import GenerationSettings
    from ..data.splits import Example
    from ..evaluation.adapter_effect import AdapterEffect
    from ..evaluation.token_losses import AnswerLosses
    from ..generation.answer import Answer
    from ..generation.generate import Request
    from ..generation.search import BeamTree, GreedyAnswer
    from ..models.base_model import LoadedModel
    from ..pretrained.locate import Weights
    from .model_host import ModelHost

BASE_RUN = "base"
"""The run id that stands for the base model without any adapter."""


class AnswerEvents(WorkEvents, Protocol):
    """Receives the events of answers."""

    def loaded(self, weights: Weights) -> None:
        """The base model is in memory; ``weights``: which it is."""

    def warn(self, warning: str | None) -> None:
        """Something that concerns all answers; None for nothing."""

    def grown(self, texts: Sequence[str], seconds: float) -> None:
        """The texts so far, after so many seconds of decoding."""


T = TypeVar("T")
E = TypeVar("E", bound=AnswerEvents)


@dataclass(frozen=True)
class Answerer:
    """``run_id`` or ``BASE_RUN``; ``step``: of a kept checkpoint, None for the run's adapter as it is now.

    ``strength``: the factor of the adapter's contribution, from 0 (base); 1 is as it was trained.
    """

    run_id: str = BASE_RUN
    step: int | None = None
    strength: float = 1.0

    @property
    def is_base(self) -> bool:
        return self.run_id == BASE_RUN or self.strength == 0

    @property
    def adapter(self) -> str:
        """The name of its adapter on the model. What is not the run as it is now needs a copy of its own."""
        if self.step is None and self.strength == 1:
            return self.run_id
        # PEFT takes no dots in a name.
        return f"{self.run_id}@{'' if self.step is None else self.step}x{self.strength!r}".replace(".", "_")


@dataclass(frozen=True)
class AnswerersWork(Generic[E, T]):
    """Requests to several who answer, and what is done with them.

    Args:
        model: Their base model.
        answerers: Who answers.
        folders: The folder of each one's adapter; None for base.
        templates: The prompt template of each.
        pairs: The (instruction, input) pairs that all answer.
        decode: Called with the model, one request of each pair and answerer in this order, and the events. It can
            be pickled: a module's function, or a partial one.
    """

    model: ModelSpec
    answerers: tuple[Answerer, ...]
    folders: tuple[Path | None, ...]
    templates: tuple[PromptTemplate, ...]
    pairs: tuple[tuple[str, str], ...]
    decode: Callable[[LoadedModel, list[Request], E], T]

    def execute(self, models: ModelHost, events: E) -> T:
        """The result of ``decode``."""
        loaded = models.prepare(self.model, events.message, events.stopping)
        events.loaded(loaded.weights)
        with adapters_on(models, loaded, self.answerers, self.folders) as names:
            return self.decode(loaded, self._requests(loaded, names), events)

    def _requests(self, loaded: LoadedModel, names: Sequence[str]) -> list[Request]:
        from ..generation.generate import Request
        from ..tokenization.encode import encode_prompts

        prompts = [encode_prompts(loaded.tokenizer, template, self.pairs) for template in self.templates]
        return [
            Request(tuple(rows[row]), name)
            for row in range(len(self.pairs))
            for rows, name in zip(prompts, names, strict=True)
        ]


@dataclass(frozen=True)
class RunWork(Generic[T]):
    """What is measured on one run's adapter in ``folder``. ``measure`` can be pickled, as ``AnswerersWork.decode``."""

    model: ModelSpec
    run_id: str
    folder: Path
    measure: Callable[[LoadedModel, str], T]

    def execute(self, models: ModelHost, events: WorkEvents) -> T:
        """The result of ``measure`` for the model and the adapter's name."""
        loaded = models.prepare(self.model, events.message, events.stopping)
        models.with_adapter(loaded, self.run_id, self.folder)
        return self.measure(loaded, self.run_id)


@contextmanager
def adapters_on(
    models: ModelHost, loaded: LoadedModel, answerers: Sequence[Answerer], folders: Sequence[Path | None]
) -> Iterator[list[str]]:
    """Inside, the adapters of all are on the model. Gives the name of each one's adapter, in their order."""
    from ..models.lora import BASE, at_strength

    placed = {
        each.adapter: (each, folder)
        for each, folder in zip(answerers, folders, strict=True)
        if folder and not each.is_base
    }
    # In memory an adapter is under its run's id, at whatever strength it answers.
    keep = (*placed, *(each.run_id for each, _ in placed.values()))
    alone = Counter(each.run_id for each, _ in placed.values() if each.step is None)
    names: dict[str, str] = {}
    with ExitStack() as stack:
        for name, (each, folder) in placed.items():
            # The run's own adapter serves, at whatever strength, where no other strength of it is there.
            if each.step is None and (alone[each.run_id] == 1 or name == each.run_id):
                models.with_adapter(loaded, each.run_id, folder, keep=keep)
                names[name] = each.run_id
        for name, (each, folder) in placed.items():
            if name not in names:
                stack.enter_context(models.guest(loaded, name, folder))
                names[name] = name
            if each.strength != 1:
                stack.enter_context(at_strength(loaded, names[name], each.strength))
        yield [BASE if each.is_base else names[each.adapter] for each in answerers]


# What ``AnswerersWork`` may do with its requests


def stream_answers(
    loaded: LoadedModel, requests: Sequence[Request], events: AnswerEvents, settings: GenerationSettings
) -> tuple[list[Answer], float]:
    """The answers, which are reported as they grow, and the seconds of their decoding."""
    from ..generation.generate import generate, one_by_one

    events.warn(one_by_one(loaded))
    began = time.perf_counter()
    beams = settings.num_beams > 1
    events.message("Searching with beams: shown when it is done…" if beams else "Reading the prompt…")
    answers = generate(
        loaded,
        requests,
        settings,
        on_tokens=lambda texts: events.grown(texts, time.perf_counter() - began),
        stopping=events.stopping,
    )
    return answers, time.perf_counter() - began


def whole_answers(
    loaded: LoadedModel, requests: Sequence[Request], events: AnswerEvents, settings: GenerationSettings
) -> list[Answer]:
    """The answers when all are there."""
    from ..generation.generate import generate

    return generate(loaded, requests, settings, stopping=events.stopping)


def greedy_search(
    loaded: LoadedModel, requests: Sequence[Request], events: AnswerEvents, tokens: int, prefix: tuple[int, ...] = ()
) -> tuple[GreedyAnswer, ...]:
    """Greedy answers of at most ``tokens`` after ``prefix`` with the candidates of each place."""
    from ..generation.search import greedy_answers

    return tuple(greedy_answers(loaded, requests, tokens, prefix, events.stopping))


def beam_search(
    loaded: LoadedModel, requests: Sequence[Request], events: AnswerEvents, tokens: int
) -> tuple[BeamTree, ...]:
    """The beam search of answers of at most ``tokens``."""
    from ..generation.search import beam_trees

    return tuple(beam_trees(loaded, requests, tokens, events.stopping))


# What ``RunWork`` may measure


def measure_token_losses(loaded: LoadedModel, run_id: str, template: PromptTemplate, row: Example) -> AnswerLosses:
    """The losses of base and the run on the row's answer, token by token."""
    from ..evaluation.token_losses import answer_losses

    return answer_losses(loaded, template, row, run_id)


def measure_effect(
    loaded: LoadedModel, run_id: str, template: PromptTemplate, rows: Sequence[Example]
) -> AdapterEffect:
    """How far the run is from base on the rows, and what it adds to each layer."""
    from ..evaluation.adapter_effect import measure_adapter_effect

    return measure_adapter_effect(loaded, template, rows, run_id)

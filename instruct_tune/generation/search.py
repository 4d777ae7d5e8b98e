"""Greedy decoding and beam search laid open: the candidates of each place, and all beams as a tree, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..errors import DataError, ModelError
from ..tokenization.token_text import TokenText, token_text
from .generate import Request, decodes_itself, end_tokens, generate
from .traces import BeamTrace, Candidate, GreedyTrace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..models.base_model import LoadedModel

BEAMS = 5
"""The beams of a search that is shown."""


@dataclass(frozen=True)
class Token:
    """A token after those before it. ``ends``: it ends the answer, as EOS does."""

    id: int
    text: TokenText
    ends: bool


@dataclass(frozen=True)
class Choice:
    """A possible next token, and the natural logarithm of its probability."""

    token: Token
    log_probability: float


@dataclass(frozen=True)
class GreedyAnswer:
    """For each place of an answer its likeliest tokens, best first: the first was chosen.

    ``prefix``: tokens that were given, before those places.
    """

    prefix: tuple[Token, ...]
    places: tuple[tuple[Choice, ...], ...]


@dataclass(frozen=True)
class Beam:
    """A beam after one step, see ``traces.Branch``; ``score`` is the sum over its tokens' log-probabilities."""

    parent: int | None
    token: Token
    log_probability: float
    score: float
    ended: bool


@dataclass(frozen=True)
class BeamTree:
    """The beams of each step, best first, those that continue before those that ended.

    ``finished``: the complete answers as (step, index), best first by their score divided by their length, at most
    ``BEAMS``. The first is the search's answer.
    """

    steps: tuple[tuple[Beam, ...], ...]
    finished: tuple[tuple[int, int], ...]

    def path(self, step: int, index: int) -> list[Beam]:
        """The beams from the first step to that one."""
        beams: list[Beam] = []
        place: int | None = index
        for beams_of_step in reversed(self.steps[: step + 1]):
            assert place is not None
            beams.append(beams_of_step[place])
            place = beams[-1].parent
        return beams[::-1]


def greedy_answers(
    loaded: LoadedModel,
    requests: Sequence[Request],
    new_tokens: int,
    prefix: Sequence[int] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> list[GreedyAnswer]:
    """The greedy answer to each request, at most ``new_tokens`` after ``prefix``, the ids that it begins with.

    Nothing follows a prefix that ends the answer. Raises Stopped, DataError where the prefix has ids that are none of
    the model's, ModelError where the lab does not decode the model itself, and as ``generate`` does.
    """
    tokenizer, ends = loaded.tokenizer, end_tokens(loaded)
    if prefix and not 0 <= min(prefix) <= max(prefix) < loaded.vocabulary:
        raise DataError(f"The model's tokens have the ids 0 to {loaded.vocabulary - 1:,}: choose among those.")
    given = _tokens(tokenizer, prefix, ends)
    if set(prefix) & set(ends):
        return [GreedyAnswer(given, ())] * len(requests)
    continued = [Request((*request.prompt, *prefix), request.adapter_name) for request in requests]
    answers = []
    for trace in _traces(loaded, continued, GenerationSettings(max_new_tokens=new_tokens), stopping):
        assert isinstance(trace, GreedyTrace)
        answers.append(GreedyAnswer(given, _places(tokenizer, prefix, trace.steps, ends)))
    return answers


def beam_trees(
    loaded: LoadedModel,
    requests: Sequence[Request],
    new_tokens: int,
    stopping: Callable[[], bool] = lambda: False,
) -> list[BeamTree]:
    """The beam search for each request, with ``BEAMS`` beams of at most ``new_tokens``. Raises as ``greedy_answers``
    does."""
    settings = GenerationSettings(max_new_tokens=new_tokens, num_beams=BEAMS)
    trees = []
    for trace in _traces(loaded, requests, settings, stopping):
        assert isinstance(trace, BeamTrace)
        trees.append(_tree(loaded.tokenizer, trace, end_tokens(loaded)))
    return trees


def _traces(
    loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings, stopping: Callable[[], bool]
) -> list[GreedyTrace | BeamTrace | None]:
    if not decodes_itself(loaded, settings):
        how = "greedy decoding" if settings.num_beams == 1 else "beam search"
        raise ModelError(
            f"Transformers' own {how} answers for this model, and does not tell its candidates: choose another model."
        )
    return [answer.trace for answer in generate(loaded, requests, settings, stopping=stopping, trace=True)]


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ends: Sequence[int]) -> tuple[Token, ...]:
    return tuple(_token(tokenizer, ids[:at], token, ends) for at, token in enumerate(ids))


def _token(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int, ends: Sequence[int]) -> Token:
    return Token(token, token_text(tokenizer, before, token), token in ends)


def _places(
    tokenizer: PreTrainedTokenizerBase,
    prefix: Sequence[int],
    steps: Sequence[tuple[Candidate, ...]],
    ends: Sequence[int],
) -> tuple[tuple[Choice, ...], ...]:
    before, places = list(prefix), []
    for candidates in steps:
        places.append(
            tuple(Choice(_token(tokenizer, before, each.token, ends), each.log_probability) for each in candidates)
        )
        before.append(candidates[0].token)
    return tuple(places)


def _tree(tokenizer: PreTrainedTokenizerBase, trace: BeamTrace, ends: Sequence[int]) -> BeamTree:
    before: list[list[int]] = []
    steps = []
    for branches in trace.steps:
        parents = [[] if branch.parent is None else before[branch.parent] for branch in branches]
        steps.append(
            tuple(
                Beam(
                    branch.parent,
                    _token(tokenizer, parent, branch.token, ends),
                    branch.log_probability,
                    branch.score,
                    branch.ended,
                )
                for parent, branch in zip(parents, branches, strict=True)
            )
        )
        before = [[*parent, branch.token] for parent, branch in zip(parents, branches, strict=True)]
    best = (len(trace.answer) - 1, trace.answer[-1])
    ended = [(step, at) for step, beams in enumerate(steps) for at, beam in enumerate(beams) if beam.ended]
    # The search compares float32 means, so that it decides a tie.
    ended.sort(key=lambda place: (place != best, -steps[place[0]][place[1]].score / (place[0] + 1)))
    return BeamTree(tuple(steps), tuple(ended[:BEAMS]))

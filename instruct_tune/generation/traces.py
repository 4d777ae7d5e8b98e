"""What an answer's search has looked at, step by step: for who wants to see why it says what it says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A token that could come next, and the natural logarithm of its probability."""

    token: int
    log_probability: float


@dataclass(frozen=True)
class GreedyTrace:
    """For each token of an answer, its end included, the most likely candidates, best first: the first was taken."""

    steps: tuple[tuple[Candidate, ...], ...]


@dataclass(frozen=True)
class Branch:
    """A beam after one step: ``parent``, its place in the step before (None in the first), and one ``token`` more.

    ``log_probability`` is the token's own, ``score`` that of the whole beam: the sum along its way.
    ``ended``: it is a whole answer and does not grow; it competes with its score divided by its length.
    """

    parent: int | None
    token: int
    log_probability: float
    score: float
    ended: bool


@dataclass(frozen=True)
class BeamTrace:
    """The beams of each step, best first, those that go on before those that ended.

    ``answer``: the place that the answer's branch has in each step, as far as it goes. ``score``: its
    score divided by its length.
    """

    steps: tuple[tuple[Branch, ...], ...]
    answer: tuple[int, ...]
    score: float

    @property
    def ids(self) -> list[int]:
        """The answer's tokens, its end included."""
        return [step[place].token for step, place in zip(self.steps, self.answer, strict=False)]

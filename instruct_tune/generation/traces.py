"""The candidates of each decoding step, so that a person can see why an answer reads as it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A possible next token, and the natural logarithm of its probability."""

    token: int
    log_probability: float


@dataclass(frozen=True)
class GreedyTrace:
    """For each token of an answer, EOS included, the most likely candidates, best first: the first was chosen."""

    steps: tuple[tuple[Candidate, ...], ...]


@dataclass(frozen=True)
class Branch:
    """A beam after one step: ``parent``, its index in the step before (None in the first), and one more ``token``.

    ``log_probability`` is the token's own, ``score`` the whole beam's: the sum over its tokens.
    ``ended``: it is a complete answer, which competes by its score divided by its length.
    """

    parent: int | None
    token: int
    log_probability: float
    score: float
    ended: bool


@dataclass(frozen=True)
class BeamTrace:
    """The beams of each step, best first, those that continue before those that ended.

    ``answer``: the index of the answer's branch in each of its steps. ``score``: its score divided by its length.
    """

    steps: tuple[tuple[Branch, ...], ...]
    answer: tuple[int, ...]
    score: float

    @property
    def ids(self) -> list[int]:
        """The answer's tokens, EOS included."""
        return [step[place].token for step, place in zip(self.steps, self.answer, strict=False)]

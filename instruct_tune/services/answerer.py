"""Who answers beside whom: base, a run, one of its checkpoints, at a strength of its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

BASE_RUN = "base"
"""The run id that stands for the base model without any adapter."""
STRONGEST = 1.5
"""The most that an adapter may be strengthened to."""
MOST_SPEAKERS = 3


@dataclass(frozen=True)
class Speaker:
    """``run_id`` or ``BASE_RUN``; ``step``: of a kept checkpoint, None for the run's adapter as it is now.

    ``strength``: how many times what the adapter adds counts, 0 (base) to ``STRONGEST``; 1 is as it was trained.
    """

    run_id: str = BASE_RUN
    step: int | None = None
    strength: float = 1.0

    @property
    def is_base(self) -> bool:
        return self.run_id == BASE_RUN or self.strength == 0

    @property
    def adapter(self) -> str:
        """The name of the adapter that speaks. What is not the run as it is now needs a copy of its own."""
        if self.step is None and self.strength == 1:
            return self.run_id
        # PEFT takes no dots in a name.
        return f"{self.run_id}@{'' if self.step is None else self.step}x{self.strength!r}".replace(".", "_")


def check_strength(strength: Any) -> None:
    """Raise DataError where an adapter cannot be that strong."""
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 <= strength <= STRONGEST:
        raise DataError(f"The adapter's strength must be a number from 0 to {STRONGEST}.")


def read_speakers(given: Any) -> tuple[Speaker, ...]:
    """Two or three speakers out of JSON, a run among them. Raises DataError in a sentence."""
    if not isinstance(given, list | tuple) or not 2 <= len(given) <= MOST_SPEAKERS:
        raise DataError(f"Name 2 or {MOST_SPEAKERS} who answer, as a list of objects with a run_id.")
    speakers = tuple(_read(each) for each in given)
    if all(speaker.run_id == BASE_RUN for speaker in speakers):
        raise DataError("Base alone answers the same every time: name a run beside it.")
    return speakers


def _read(given: Any) -> Speaker:
    if not isinstance(given, Mapping) or not isinstance(given.get("run_id"), str) or given.keys() - _NAMES:
        raise DataError(f"Who answers is an object with a run_id (or {BASE_RUN}), and if wanted step and strength.")
    speaker = Speaker(**given)
    check_strength(speaker.strength)
    if speaker.step is not None and (isinstance(speaker.step, bool) or not isinstance(speaker.step, int)):
        raise DataError("The step of a checkpoint is a whole number.")
    if speaker.run_id == BASE_RUN and speaker != Speaker():
        raise DataError("Base has no checkpoints and no adapter to make stronger: give its run_id alone.")
    return speaker


_NAMES = {"run_id", "step", "strength"}

"""What was measured, in sentences that claim no more than the interval shows."""

from __future__ import annotations

import re

from .arms import ARMS, SEEDS
from .paired import Direction, Effect
from .questions import MEASURES, Experiment, Measure

UNEXPLAINED = "Why, these runs do not tell."
NO_DIFFERENCE = "The interval includes 0, so five seeds show no difference. A single run could have shown either."
VERBS = {Direction.HIGHER: "rises", Direction.NONE: "shows no difference", Direction.LOWER: "falls"}


def effect_sentence(experiment: Experiment, effect: Effect) -> str:
    """The effect with its interval; no difference is claimed where that includes 0."""
    measure = MEASURES[experiment.measure]
    size, low, high = (f"{value:+.{measure.digits}f}" for value in (effect.mean, effect.low, effect.high))
    unit = "percentage points" if measure.unit == "%" else measure.unit
    arm, against = ARMS[experiment.arm].label, ARMS[experiment.against].label
    return (
        f"{arm[0].upper()}{arm[1:]}, against {against}: {in_sentence(measure)} {VERBS[effect.direction]}, "
        f"{size} {unit} (95% interval {low} to {high}, {len(SEEDS)} seeds)."
    )


def in_sentence(measure: Measure) -> str:
    """The measure's name inside a sentence."""
    return re.sub(r"^The ", "the ", measure.name)


def because(experiment: Experiment, direction: Direction) -> str:
    """One sentence on the cause; none is claimed for a direction that nobody foresaw."""
    if direction is Direction.NONE:
        return NO_DIFFERENCE
    return experiment.because.get(direction, UNEXPLAINED)

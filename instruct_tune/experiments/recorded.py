"""The recorded results of the experiments, which ``python -m benchmarks.experiments`` measures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..util.assets import asset
from .arms import SEEDS
from .paired import Effect, paired_effect
from .questions import EXPERIMENTS, Experiment

ASSET = asset("experiments.json")


@dataclass(frozen=True)
class Results:
    """What was measured.

    ``arms``: by an arm's name ``measures``, ``curves`` and ``seconds``, each value a list over the seeds; a curve is
    ``{"steps": [...], "losses": [...]}``. ``about``: ``machine``, ``date``, ``model``, ``weights_sha256``, ``data``,
    ``held_out_rows`` and ``versions``.
    """

    about: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]

    def has(self, experiment: Experiment) -> bool:
        """Whether all of its arms are measured with all seeds."""
        return all(len(self._values(experiment, arm)) == len(SEEDS) for arm in experiment.arms)

    def values(self, experiment: Experiment, arm: str) -> list[float]:
        """The experiment's measure of one arm, seed by seed."""
        return list(self._values(experiment, arm))

    def effect(self, experiment: Experiment) -> Effect:
        """The effect of the experiment's change."""
        return paired_effect(self.values(experiment, experiment.arm), self.values(experiment, experiment.against))

    def curves(self, experiment: Experiment, arm: str) -> list[Mapping[str, Any]]:
        """The measure's curves of one arm, seed by seed."""
        return list(self.arms[arm]["curves"][experiment.measure])

    def minutes(self, experiment: Experiment) -> float:
        """The median minutes of a seed, of all its arms: a seed may have waited for what else the machine did."""
        return sum(statistics.median(self.arms[arm]["seconds"]) for arm in experiment.arms) / 60

    def _values(self, experiment: Experiment, arm: str) -> list[float]:
        return self.arms.get(arm, {}).get("measures", {}).get(experiment.measure, [])


def recorded(file: Path = ASSET) -> Results:
    """The asset's results."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return Results(content["about"], content["arms"])


def shown(results: Results) -> list[Experiment]:
    """The experiments that are measured whole: no other is shown."""
    return [experiment for experiment in EXPERIMENTS.values() if results.has(experiment)]

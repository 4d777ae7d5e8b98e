"""Made-up results of the experiments: for tests that must not depend on what is recorded."""

from __future__ import annotations

from instruct_tune.experiments.arms import ARMS, BASELINE, SEEDS
from instruct_tune.experiments.questions import MEASURES
from instruct_tune.experiments.recorded import Results


def made_results(change: float = 0.0) -> Results:
    """Every arm has the seeds' own values, all but the baseline plus ``change``."""
    arms = {}
    for name, arm in ARMS.items():
        values = [1.0 + 0.01 * seed + (0 if name == BASELINE else change) for seed in SEEDS]
        curve = [{"steps": [0, 3, 6, 9, 12], "losses": [2, 1.9, 1.8, 1.7, value]} for value in values]
        curves = {} if arm.answers_only else {"held_out_loss": curve, "general_loss": curve}
        arms[name] = {"seconds": [60] * 5, "measures": dict.fromkeys(MEASURES, values), "curves": curves}
    return Results({"model": "a/b", "date": "2026-01-01", "machine": "m", "held_out_rows": 40}, arms)

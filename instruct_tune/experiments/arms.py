"""The arms of the experiments: the preset minute, and what each of the others changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.run_config import RunConfig

SEEDS = (1, 2, 3, 4, 5)
"""Each arm is trained once with each: a seed draws the adapter's initial weights, the training rows and their order."""
HELD_OUT_ROWS = 40
"""The rows that all arms are measured on."""
LEAKED_ROWS = 20
"""The first held-out rows: the arm ``leaked`` trains on them."""
# 800 training rows are left beside the held-out ones.
SHARED: Mapping[str, Mapping[str, Any]] = {"data": {"test_size": 0.1}}
BASELINE = "baseline"


@dataclass(frozen=True)
class Arm:
    """One way to train or to answer.

    Args:
        label: The name in a plot.
        settings: The sections of the configuration that differ from the baseline's.
        answers_only: The baseline's adapters answer in another way; nothing is trained.
        configurable: Whether ``settings`` say all that differs, so that a run of one's own can be this arm.
    """

    label: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answers_only: bool = False
    configurable: bool = True

    @property
    def config(self) -> RunConfig:
        """The arm's configuration on the bundled rows, without its seed."""
        names = {*SHARED, *self.settings}
        sections = {name: {**SHARED.get(name, {}), **self.settings.get(name, {})} for name in names}
        return RunConfig.from_dict(sections, "minute")


def _trained(label: str, **settings: Mapping[str, Any]) -> Arm:
    return Arm(label, settings)


def _broken(label: str) -> Arm:
    return Arm(label, configurable=False)


def _answered(label: str, configurable: bool = False, **settings: Mapping[str, Any]) -> Arm:
    return Arm(label, settings, answers_only=True, configurable=configurable)


# In the order in which they are measured: what many experiments share first, what takes longest last.
ARMS: dict[str, Arm] = {
    BASELINE: _trained("the preset minute"),
    "no-eos": _broken("rows without EOS"),
    "rate-high": _trained("learning rate 2e-2", train={"learning_rate": 2e-2}),
    "max-length-50": _answered(
        "50 tokens, prompt included", True, generation={"max_new_tokens": None, "max_length": 50}
    ),
    "rate-low": _trained("learning rate 2e-4", train={"learning_rate": 2e-4}),
    "prompt-loss": _broken("loss on the prompt too"),
    "rows-8": _trained("8 rows", data={"limit": 8}),
    "leaked": _broken("20 held-out rows among the training rows"),
    "eos-masked": _broken("EOS masked as padding"),
    "rank-1": _trained("rank 1", lora={"r": 1, "lora_alpha": 2}),
    "rank-64": _trained("rank 64", lora={"r": 64, "lora_alpha": 128}),
    "asked-alpaca": _answered("asked with the template alpaca"),
    "asked-chat": _answered("asked with the chat template"),
    "strength-0": _answered("strength 0"),
    "strength-2": _answered("strength 2"),
    "rows-200": _trained("200 rows", data={"limit": 200}),
    "beams-5": _answered("five beams", True, generation={"num_beams": 5, "early_stopping": True}),
    "ten-epochs": _trained("ten epochs", train={"num_train_epochs": 10}),
    "rows-800": _trained("800 rows", data={"limit": 800}),
}

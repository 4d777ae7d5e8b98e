"""Whether evaluation would be faster with the adapter merged into a copy of the weights, which the lab does not do."""

from __future__ import annotations

from collections.abc import Iterator

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.models import lora

from .compare import speed_row
from .measure import Row, alternating, timed
from .ours import RUN, lab_answers
from .workload import Workload


def merging(work: Workload) -> Iterator[Row]:
    """Base and tuned answers with the adapter beside the weights, against one half after the other, tuned merged

    A merged copy computes exactly as much as base, so base answers in its place; loading and merging are not counted.
    The adapter is untrained and changes no answer.
    """
    subject, settings, prompts = work.subject, work.generation(1), work.prompts
    lora.attach(subject.loaded, RUN, LoraSettings(), seed=42)

    def answered(*adapters: str) -> float:
        return timed(lambda: lab_answers(subject, prompts, settings, adapters))[0]

    seconds_by_way = alternating(
        {
            "beside": lambda: answered(lora.BASE, RUN),
            "merged": lambda: 2 * answered(lora.BASE),
            "tuned": lambda: answered(RUN),
        },
        work.setting.repeat,
    )
    lora.remove(subject.loaded, RUN)
    beside, merged, tuned = seconds_by_way.values()
    amount = len(prompts)
    yield speed_row("base and tuned, greedy, pairs/s (stock: tuned from a merged copy)", amount, beside, merged)
    alone = [seconds / 2 for seconds in merged]
    yield speed_row("tuned only, greedy, answers/s (stock: from a merged copy)", amount, tuned, alone)

"""The time of a whole evaluation of base and tuned, and the time until its first running estimate."""

from __future__ import annotations

import time
from collections.abc import Iterator

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.evaluation.evaluate import evaluate
from instruct_tune.models import lora
from instruct_tune.tokenization.prompt_template import LESSON

from .measure import Row, Spread, timed
from .ours import RUN
from .stock import pipeline_answers
from .workload import Workload


def evaluation(work: Workload) -> Iterator[Row]:
    """Base and tuned on the held-out rows, greedy, scored with intervals, against the lesson's pipeline

    The adapter is untrained and changes nothing: its answers are as long as base's, where those of a trained one end
    sooner. The pipeline answers some of the prompts for base; its time is extrapolated to all prompts and to tuned.
    """
    setting, subject, rows = work.setting, work.subject, work.prompts
    settings, stock_prompts = work.generation(1), work.stock_prompts
    lora.attach(subject.loaded, RUN, LoraSettings(), seed=42)
    first, whole = [], []
    for _ in range(setting.repeat):
        began = time.perf_counter()
        times: list[float] = []
        evaluate(
            subject.loaded, RUN, LESSON, rows, settings,
            on_estimate=lambda _, times=times, began=began: times.append(time.perf_counter() - began),
        )  # fmt: skip
        whole.append(time.perf_counter() - began)
        first.append(times[0] if times else whole[-1])
    lora.remove(subject.loaded, RUN)
    model = subject.plain().eval()
    factor = 2 * len(rows) / len(stock_prompts)
    stock = [
        factor * timed(lambda: pipeline_answers(subject, model, stock_prompts, settings))[0]
        for _ in range(setting.repeat)
    ]
    what = f"evaluation of {len(rows)} rows × 2, {settings.max_new_tokens} new tokens"
    yield Row(
        f"{what} (stock: the lesson's pipeline, from {len(stock_prompts)} of {len(rows)} prompts)",
        Spread.of(whole),
        Spread.of(stock),
        Spread.ratio(stock, whole),
        unit="s",
    )
    yield Row("its first running estimate, with an interval", Spread.of(first), unit="s")

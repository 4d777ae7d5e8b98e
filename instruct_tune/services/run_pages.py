"""Everything that a run's own page shows, and why some of it is missing.

Such a page leaves the lab, so it holds no folder of this machine and no prompt that a person typed; of private rows it
holds texts only where that was chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.catalog import TINY_MODEL
from ..config.run_config import OWN, RunConfig
from ..config.viewer import Viewer
from ..data.splits import Example
from ..errors import LabError
from ..inspection.first_content import recorded_tokens
from ..runs.examples import recorded_on
from ..runs.machine_paths import message_to_share, shared
from ..runs.provenance import not_imported
from ..runs.scrub import Scrub, without_own_prompts
from ..store.run import Run
from .answerers import Answerers
from .datasets import Datasets
from .estimates import Estimates
from .evaluations import Evaluations
from .inference import Inference
from .runs import Runs
from .scripts import Scripts
from .types import RunState

if TYPE_CHECKING:
    from ..evaluation.token_losses import AnswerLosses
    from ..inspection.batch_view import StepView
    from ..inspection.token_view import TokenView

T = TypeVar("T")
XRAY_ROWS = 8
MAX_ANSWERS = 60
"""The most rows of an evaluation whose answers are shown: the first ones, in the order of the split."""
PRIVATE = "The rows of this run are private, so their texts are left out of this page."
NOT_EVALUATED = "This run was not evaluated, so there are no scores and no answers to held-out rows."
NO_ANSWERS = "The answers of the evaluation were removed; its scores are kept."
NO_ADAPTER = "This run kept no adapter, so nothing can be read with it."


@dataclass(frozen=True)
class RunContents:
    """One run, as its page shows it.

    ``has_texts``: whether texts of rows, prompts and answers are in it. ``answers``: rows of the newest evaluation by
    their number from 1. ``tokens``: the first training rows. ``missing``: for each of ``answers, tokens, step,
    losses`` that is empty, one sentence that says why.
    """

    run: Run
    status: RunState
    metrics: list[dict[str, Any]]
    scrub: Scrub
    has_texts: bool
    evaluation: Mapping[str, Any] | None
    verdict: Mapping[str, Any] | None
    answers: tuple[tuple[int, Mapping[str, Any]], ...]
    tokens: tuple[TokenView, ...]
    step: StepView | None
    losses: AnswerLosses | None
    script: str
    missing: Mapping[str, str]


class RunPages:
    """Collects the contents of run pages. It has no state of its own."""

    def __init__(
        self,
        runs: Runs,
        evaluations: Evaluations,
        datasets: Datasets,
        estimates: Estimates,
        answerers: Answerers,
        inference: Inference,
        scripts: Scripts,
    ):
        self._runs, self._evaluations, self._datasets, self._estimates = runs, evaluations, datasets, estimates
        self._answerers, self._inference, self._scripts = answerers, inference, scripts

    def contents(self, viewer: Viewer, run_id: str, with_rows: bool = False, losses: bool = True) -> RunContents:
        """The contents of the run's page.

        ``with_rows`` takes in the texts of private rows. ``losses`` off leaves out what takes the model itself, for a
        caller that has it recorded. Of the model and the rows only what is on this machine is used: nothing is
        downloaded but rows that the run was trained on. Raises NotFoundError.
        """
        run = self._runs.get(viewer, run_id)
        has_texts = with_rows or not self._runs.has_private_rows(run)
        evaluation = next(iter(self._runs.evaluations(viewer, run_id)), None)
        answers = self._answers(viewer, run_id, evaluation) if has_texts else ()
        missing: dict[str, str] = {}
        if not answers:
            missing["answers"] = NO_ANSWERS if has_texts else PRIVATE
        if evaluation is None:
            missing["answers"] = NOT_EVALUATED
        tokens = self._part("tokens", missing, run, lambda: self._tokens(viewer, run), has_texts)
        step = self._part("step", missing, run, lambda: self._step(viewer, run), True)
        read = self._part("losses", missing, run, lambda: self._losses(viewer, run, answers), has_texts and losses)
        status = self._runs.status(viewer, run_id)
        return RunContents(
            run=shared(without_own_prompts(run)),
            status={**status, "message": message_to_share(run, status["message"])},
            metrics=self._runs.metrics(viewer, run_id),
            scrub=_to_share(self._runs.scrub(viewer, run_id), run, has_texts),
            has_texts=has_texts,
            evaluation=_without_path(evaluation) if evaluation else None,
            verdict=self._evaluations.interpretation(viewer, run_id, evaluation),
            answers=answers,
            tokens=tokens or (),
            step=step if has_texts or step is None else _without_tokens(step),
            losses=read,
            script=self._scripts.of_run(viewer, run_id, "py"),
            missing=missing,
        )

    def _part(self, name: str, missing: dict[str, str], run: Run, make: Callable[[], T], may: bool) -> T | None:
        """A part of the page; where it cannot be made, ``missing`` gets the reason."""
        if not may:
            missing[name] = PRIVATE
            return None
        try:
            return make()
        except LabError as error:
            missing[name] = message_to_share(run, str(error))
            return None

    def _answers(
        self, viewer: Viewer, run_id: str, evaluation: Mapping[str, Any] | None
    ) -> tuple[tuple[int, Mapping[str, Any]], ...]:
        rows = self._evaluations.predictions(viewer, run_id, evaluation["seq"]) if evaluation else []
        return tuple(enumerate(rows[:MAX_ANSWERS], 1))

    def _tokens(self, viewer: Viewer, run: Run) -> tuple[TokenView, ...]:
        _require_rows(run)
        config = RunConfig.from_dict(run.config)
        if not self._is_here(config.model):
            first = recorded_tokens(config)
            if first is None:
                raise _not_here(config.model)
            return (first,)
        count = min(XRAY_ROWS, self._datasets.summary(viewer, config)["train_rows"])
        return tuple(
            self._datasets.token_view(viewer, config, index, provenance=run.provenance) for index in range(count)
        )

    def _step(self, viewer: Viewer, run: Run) -> StepView:
        _require_rows(run)
        config = RunConfig.from_dict(run.config)
        if not self._is_here(config.model):
            raise _not_here(config.model)
        return self._estimates.step_view(viewer, config, provenance=run.provenance)

    def _losses(self, viewer: Viewer, run: Run, answers: tuple[tuple[int, Mapping[str, Any]], ...]) -> AnswerLosses:
        if not self._runs.has_saved_adapter(viewer, run.id):
            raise LabError(NO_ADAPTER)
        if not self._is_here(run.config["model"]):
            raise _not_here(run.config["model"])
        if answers:
            _, first = answers[0]
            row = Example(first["instruction"], first["input"], first["reference"])
        else:
            row = self._answerers.held_out_row(viewer, run.id, 0)
        return self._inference.token_losses(viewer, run.id, row)

    @staticmethod
    def _is_here(model: str) -> bool:
        from ..pretrained.locate import at_hand

        return model == TINY_MODEL or at_hand(model) is not None


def _require_rows(run: Run) -> None:
    if not_imported(run.provenance):
        raise LabError("The rows that it was trained on did not come along when it was imported.")


def _not_here(model: str) -> LabError:
    return LabError(f"{model} is not on the machine that wrote this page, and this takes it.")


def _without_path(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evaluation.items() if name != "predictions"}


def _to_share(scrub: Scrub, run: Run, has_texts: bool) -> Scrub:
    """The run's moments without prompts that a person typed; without any where rows are private.

    Those of a recorded run come with the project.
    """
    typed = recorded_on(run.provenance) is None
    prompts = [each for each in scrub["prompts"] if has_texts and not (typed and each["kind"] == OWN)]
    steps = [
        {**step, "answers": [answer for answer in step["answers"] if answer["prompt"] < len(prompts)]}
        for step in scrub["steps"]
    ]
    return {**scrub, "prompts": prompts, "steps": steps}  # type: ignore[typeddict-item]


def _without_tokens(step: StepView) -> StepView:
    """The step without the texts at the borders of its rows."""
    replace = dataclasses.replace
    batches = tuple(
        replace(
            batch,
            passes=tuple(
                replace(one, lanes=tuple(tuple(replace(row, first=(), last=()) for row in lane) for lane in one.lanes))
                for one in batch.passes
            ),
        )
        for batch in step.batches
    )
    return replace(step, batches=batches)

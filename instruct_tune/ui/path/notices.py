"""What the panel notices: sentences with the numbers of what the visitor did, else of the recorded run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.run_config import RunConfig
from ...config.viewer import Viewer
from ...estimate.workload import step_count
from ...inspection.first_content import FirstContent, recorded_rows, recorded_tokens
from ...inspection.token_view import NO_FAULT, TokenView
from ...lesson import sentences
from ...runs.examples import BEST
from ...services.datasets import Datasets
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.tokenizers import Tokenizers
from ...services.types import RunSummary
from ...tokenization.prompt_template import LESSON, template_from

OF_FORM = ("data", "template", "loss", "adapter", "steps")
"""What is noticed about the form; all others are about runs."""


@dataclass(frozen=True)
class Notices:
    """Reads the store, and rows that are in memory. It loads nothing and asks no model."""

    datasets: Datasets
    tokenizers: Tokenizers
    runs: Runs
    evaluations: Evaluations

    def of_form(self, kind: str, viewer: Viewer, config: RunConfig, row: int, fault: str) -> str | None:
        """The sentence of ``OF_FORM``. ``row`` and ``fault``: as chosen on Format. None where it is not known."""
        if kind == "data":
            summary = self._summary(viewer, config)
            return sentences.data(summary) if summary else None
        if kind == "template":
            return self._template(viewer, config)
        if kind == "loss":
            return self._loss(viewer, config, row, fault)
        if kind == "adapter":
            return self._adapter(viewer, config)
        return self._steps(viewer, config)

    def of_runs(self, kind: str, viewer: Viewer) -> tuple[list[Any], Callable[[], str]]:
        """(key, sentence): what the sentence depends on, and a function that makes it."""
        own = self._newest(viewer)
        about = own or self._recorded(viewer)
        if about is None:
            return [kind, None], lambda: _nothing(kind)
        last = self._last_evaluation(viewer, about)
        if own and kind in ("evaluated", "rows") and not last and (recorded := self._recorded(viewer)):
            about, own, last = recorded, None, self._last_evaluation(viewer, recorded)
        key = [kind, about["id"], about["status"], about["step"], last["seq"] if last else None]
        return key, lambda: self._of_run(kind, viewer, about, own is not None, last)

    def _of_run(self, kind: str, viewer: Viewer, run: RunSummary, own: bool, last: Mapping[str, Any] | None) -> str:
        if kind == "trained":
            losses = [m["probe_loss"] for m in self.runs.metrics(viewer, run["id"]) if m["kind"] == "probe"]
            rows = self.runs.get(viewer, run["id"]).provenance.get("train_rows")
            sentence: str | None = sentences.trained(own, rows, losses, run["step"], run["status"])
        elif kind == "answers":
            sentence = sentences.answers(own, self.runs.scrub(viewer, run["id"])["steps"])
        elif not last:
            sentence = None
        elif kind == "evaluated":
            sentence = sentences.evaluated(own, last)
        else:
            sentence = sentences.rows(own, self.evaluations.predictions(viewer, run["id"], last["seq"]))
        return " ".join(filter(None, ("" if own else _nothing(kind), sentence)))

    def _last_evaluation(self, viewer: Viewer, run: RunSummary) -> Mapping[str, Any] | None:
        return next(iter(self.runs.evaluations(viewer, run["id"])), None)

    def _newest(self, viewer: Viewer) -> RunSummary | None:
        """The newest run that the viewer started here; the host's are not those of everybody."""
        runs = self.runs.summaries(dataclasses.replace(viewer, host=False))
        own = (run for run in runs if run["yours"] and not (run["recorded"] or run["imported"]))
        return next(own, None)

    def _recorded(self, viewer: Viewer) -> RunSummary | None:
        return next((run for run in self.runs.summaries(viewer) if run["id"] == BEST), None)

    def _summary(self, viewer: Viewer, config: RunConfig) -> Mapping[str, Any] | None:
        if self.datasets.is_loaded(config.data):
            return self.datasets.summary(viewer, config)
        recorded = recorded_rows(config)
        return recorded.summary if recorded else None

    def _template(self, viewer: Viewer, config: RunConfig) -> str | None:
        template = template_from(config.template)
        recorded: FirstContent | None = recorded_rows(config)
        if template.chat:
            return self._chat_template(viewer, config)
        if self.datasets.is_loaded(config.data):
            row = self.datasets.training_row(viewer, config, 0)
        elif recorded:
            row = recorded.rows.rows[0][1]
        else:
            return None
        texts = [each.render(row.instruction, row.input) for each in (template, LESSON)]
        return sentences.template(template.name, *texts)

    def _chat_template(self, viewer: Viewer, config: RunConfig) -> str | None:
        """In tokens, since the tokenizer makes that prompt."""
        if not (self.tokenizers.has(config.model) and self.datasets.is_loaded(config.data)):
            return None
        usual = dataclasses.replace(config, template=LESSON.name)
        views = [self.datasets.token_view(viewer, each, 0) for each in (config, usual)]
        prompt, other = (view.length - view.supervised for view in views)
        return sentences.chat_template(prompt, other)

    def _loss(self, viewer: Viewer, config: RunConfig, row: int, fault: str) -> str | None:
        here = self.tokenizers.has(config.model) and self.datasets.is_loaded(config.data)
        view: TokenView | None = None
        if here and row > 0:
            view = self.datasets.token_view(viewer, config, row - 1)
        elif row == 1:
            view = recorded_tokens(config)
        if view is None:
            return None
        if not here or fault == NO_FAULT:
            return sentences.loss(row, view.supervised, view.length)
        broken = self.datasets.token_view(viewer, config, row - 1, fault)
        return sentences.loss(row, view.supervised, view.length, fault, broken.supervised, broken.length)

    def _adapter(self, viewer: Viewer, config: RunConfig) -> str | None:
        """From a run of the same model whose adapter sits on the same layers: its size grows with the rank."""
        # The oldest first: with several adapters in memory a run counts the others as parameters of the model.
        for run in reversed(self.runs.summaries(viewer)):
            # An import's numbers are what its files say.
            if run["model"] != config.model or run["imported"]:
                continue
            lora, provenance = self.runs.config(viewer, run["id"]).lora, self.runs.get(viewer, run["id"]).provenance
            if lora.target_modules == config.lora.target_modules and (known := provenance.get("trainable_parameters")):
                trainable = known // lora.r * config.lora.r
                return sentences.adapter(config.lora.r, trainable, provenance["parameters"] - known)
        return None

    def _steps(self, viewer: Viewer, config: RunConfig) -> str | None:
        summary = self._summary(viewer, config)
        if summary is None:
            return None
        train = config.train
        batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
        number, epochs = step_count(summary["train_rows"], train)
        return sentences.steps(summary["train_rows"], batch, epochs, number)


def _nothing(kind: str) -> str:
    return sentences.NOTHING_EVALUATED if kind in ("evaluated", "rows") else sentences.NOTHING_TRAINED

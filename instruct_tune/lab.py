"""The lab: everything that the page, the command line and the endpoints may call.

It looks (``views``), trains (``runs``), says what training costs (``costs``) and what its passes are
(``batches``), measures (``evaluations``), asks several beside each other (``comparisons``), and here it says
what an adapter does, answers prompts, and merges.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.run_config import DEFAULT_MODEL, RunConfig
from .config.viewer import HOST, Viewer
from .data.splits import Example
from .errors import BusyError, DataError, ModelError
from .export.machine_paths import shared
from .runs.provenance import other_weights
from .services.answerer import BASE_RUN
from .services.datasets import Config, check_texts
from .services.inference import Comparisons
from .tokenization.prompt_template import template_of_run
from .util.machine import unused_memory
from .util.progress import Loading

if TYPE_CHECKING:
    from .evaluation.adapter_effect import Effect
    from .evaluation.token_losses import AnswerLosses

log = logging.getLogger(__name__)

MEMORY_TO_PRELOAD = 3 * 2**30
"""Free bytes below which the default model (half a gigabyte, more while it loads) waits until it is asked for."""

ROWS_READ = 8
"""Held-out rows that tell what an adapter does: some seconds on two cores, for which a run that trains waits."""


class Lab(Comparisons):
    """One lab on one data folder."""

    def warm_up(self) -> None:
        """Import what the first run needs; then have the default model at hand for a first Compare or Start."""
        super().warm_up()
        from .pretrained.locate import at_hand

        folder = at_hand(DEFAULT_MODEL)
        there = folder is not None and any(folder.glob("*.safetensors"))
        if self.engine.busy_with or (unused_memory() or 0) < MEMORY_TO_PRELOAD or not there:
            return

        def job() -> None:
            # Whoever was faster has loaded what is wanted.
            if self.bench.empty:
                self.bench.model(DEFAULT_MODEL, RunConfig().train.bf16, lambda text: None)

        # A lab that closes while it warms up needs no model any more.
        with suppress(BusyError):
            self.engine.short(job)

    def answer_losses(self, run_id: str, row: Example, viewer: Viewer = HOST) -> AnswerLosses:
        """What base and the run make of the row's answer, token by token; see ``token_losses``.

        Served between training steps where a run is at work, which does not notice.
        """
        check_texts(instruction=row.instruction, input=row.input, output=row.output)
        run = self.ready_adapter(run_id, viewer)
        config, template = RunConfig.from_dict(run.config), template_of_run(run.config["template"], run.facts)

        def job() -> AnswerLosses:
            self.wait_for_imports()
            from .evaluation.token_losses import answer_losses

            loaded = self._prepare(run_id, config, lambda text: None)
            return answer_losses(loaded, template, row, run_id)

        return self._result(self.engine.short(job))

    def adapter_effect(self, run_id: str, viewer: Viewer = HOST) -> Effect:
        """How far the run is from base on the first held-out rows, and what it adds to each layer; see ``effect``."""
        run = self.ready_adapter(run_id, viewer)
        config, template = RunConfig.from_dict(run.config), template_of_run(run.config["template"], run.facts)
        rows = self.held_out(dataclasses.replace(config, evaluation_rows=ROWS_READ))

        def job() -> Effect:
            self.wait_for_imports()
            from .evaluation.adapter_effect import effect

            loaded = self._prepare(run_id, config, lambda text: None)
            return effect(loaded, template, rows, run_id)

        return self._result(self.engine.short(job))

    def generate(
        self,
        run_id: str,
        rows: Sequence[Mapping[str, str]],
        config: Config | None = None,
        generation: Mapping[str, Any] | None = None,
        viewer: Viewer = HOST,
    ) -> list[str]:
        """One answer a row (``instruction``, optional ``input``) from a run, or from ``base``.

        ``config`` says what base is; a run has its own. ``generation`` is laid over either's. A run that was
        trained on other weights is told of in the log.
        """
        run = None if run_id == BASE_RUN else self.ready_adapter(run_id, viewer)
        settings = RunConfig.from_dict(run.config) if run else self.config(config or {}, viewer)
        settings = dataclasses.replace(settings, generation=self.generation(settings, generation))
        pairs = [_prompt_pair(row, number) for number, row in enumerate(rows, 1)]

        def job() -> list[str]:
            self.wait_for_imports()
            from .generation.generate import Request, generate
            from .models.lora import BASE
            from .tokenization.encode import encode_prompts

            loaded = self._prepare(run_id, settings, lambda text: None)
            if run and (warning := other_weights(run.facts, loaded.weights)):
                log.warning("%s", warning)
            template = template_of_run(settings.template, run.facts if run else {})
            prompts = encode_prompts(loaded.tokenizer, template, pairs)
            speaker = BASE if run_id == BASE_RUN else run_id
            requests = [Request(tuple(prompt), speaker) for prompt in prompts]
            return [answer.text for answer in generate(loaded, requests, settings.generation)]

        return self._result(self.engine.short(job))

    def export_merged(
        self, run_id: str, to: Path, report: Callable[[str], None] = lambda text: None, viewer: Viewer = HOST
    ) -> Path:
        """Write the run's model, its adapter merged into a copy of base, as a zip; ``report`` hears what is done.

        Served between training steps where a run is at work. Raises LabErrors as ``merged.merged_zip`` does.
        """
        run = self.visible_run(run_id, viewer)
        if not self.has_saved_adapter(run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter to export.")

        def job() -> Path:
            self.wait_for_imports()
            from .export.merged_model import merged_zip
            from .models.base_model import require_memory
            from .pretrained.locate import locate

            loading = Loading(self._closing.is_set, report)
            weights = locate(run.config["model"], report, loading, require_memory)
            return merged_zip(self.store, shared(run), weights, to, report)

        return self._result(self.engine.short(job))


def _prompt_pair(row: Any, number: int) -> tuple[str, str]:
    if isinstance(row, Mapping):
        instruction, input_text = row.get("instruction"), row.get("input") or ""
        if isinstance(instruction, str) and isinstance(input_text, str):
            check_texts(instruction=instruction, input=input_text)
            return instruction, input_text
    raise DataError(f"Prompt {number} must be an object with a text in instruction (and in input, if any).")

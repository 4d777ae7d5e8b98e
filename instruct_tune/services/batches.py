"""The part of the lab that shows how a training's rows are put together, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.viewer import HOST, Viewer
from ..data.splits import examples
from ..errors import DataError
from ..estimate.workload import fits, micro_batches, step_count
from ..tokenization.prompt_template import template_from
from .datasets import Config
from .estimates import Costs

if TYPE_CHECKING:
    from ..inspection.batch_view import StepView


class Batches(Costs):
    """Passes of runs that have not begun."""

    def step_view(self, config: Config, step: int = 1, viewer: Viewer = HOST) -> StepView:
        """The passes of a run's optimizer step, from 1 on, as training on ``config`` makes them.

        Rows are numbered as in the training rows of the split. Raises DataError for a step that the run does not have,
        or where no row fits into ``max_length``; ModelError or HubError where there is no such model.
        """
        from ..batching.packing import TOKENS_PER_PASS
        from ..inspection.batch_view import StepView, micro_batch, packing_of
        from ..models.base_model import best_device
        from ..pretrained.context_length import context_in
        from ..tokenization.encode import tokenize_examples

        config = self.config(config, viewer)
        train, tokenizer, template = config.train, self.tokenizer(config.model), template_from(config.template)
        folder = self.tokenizers.folder(config.model)
        rows = self.splits(config.data).train
        lengths = self._row_lengths(config, "train", rows, len(rows))
        context = context_in(folder)
        kept = fits(lengths, train.max_length, train.overlong, context)
        steps, _ = step_count(len(kept), train)
        if not 1 <= step <= steps:
            raise DataError(f"There is no step {step:,}: with these settings a run has steps 1 to {steps:,}.")
        of_an_epoch = micro_batches(kept, train, 0)
        epoch, at = divmod(step - 1, len(of_an_epoch))
        chosen = micro_batches(kept, train, epoch)[at]
        packing, by_rows = self.engine.run(lambda: packing_of(folder))
        budget = TOKENS_PER_PASS[best_device()]
        batches = []
        for numbers in chosen:
            taken = [examples(rows, number, 1)[0] for number in numbers]
            with self.tokenizers.encoding:
                tokenized = tokenize_examples(tokenizer, template, taken, min(train.max_length, context))
                numbered = list(zip(numbers, tokenized, strict=True))
                batches.append(micro_batch(numbered, packing, tokenizer, budget))
        return StepView(step, steps, epoch + 1, packing, by_rows, budget, tuple(batches))

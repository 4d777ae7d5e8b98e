"""From a run's rows and files to the work of its training: the template, token ids, and what is answered on the way."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.run_config import OWN, RunConfig
from ..data.splits import Example, Splits, examples, take_evaluation_rows, take_probe_rows
from ..errors import DataError, ModelError
from ..pretrained.located import LocatedModel
from ..runs.provenance import other_rows, other_splits, other_weights
from ..store.run import Run
from ..store.run_store import RunStore
from ..tokenization.chat_template import check_messages, has_clock, with_markup
from ..tokenization.encode import TokenizedExample, tokenize_rows
from ..tokenization.prompt_template import PromptTemplate, markup_provenance, template_of_run
from ..training import fixed_prompts
from ..training.general_text import general_rows
from ..training.types import TrainingData

if TYPE_CHECKING:
    from datasets import Dataset

TRAINING_ROWS = "Training rows"
VERSIONED = ("torch", "transformers", "trl", "peft", "datasets", "sacrebleu")


@dataclass(frozen=True)
class Prepared:
    """What a run trains on and is measured with; ``bleu_rows`` are answered at each evaluation."""

    template: PromptTemplate
    data: TrainingData
    prompts: tuple[fixed_prompts.FixedPrompt, ...]
    bleu_rows: tuple[Example, ...]


class Preparation:
    """Prepares a run, and stores what its numbers depend on.

    Args:
        run: The run.
        store: Gets its provenance.
        log_event: Adds a sentence to its log.
        check: Raises Stopped where a person requested a stop.
    """

    def __init__(self, run: Run, store: RunStore, log_event: Callable[[str], None], check: Callable[[], None]):
        self._run, self._store, self._log_event, self._check = run, store, log_event, check
        self._config = RunConfig.from_dict(run.config)

    def prepare(self, located: LocatedModel, splits: Splits) -> Prepared:
        """Tokenise the rows and choose the prompts. Raises DataError and ModelError where they do not fit."""
        template = self._keep_template(located, splits)
        data = self._tokenise(located, splits, template)
        self._record_data(located, splits, data)
        prompts = self._choose_prompts(located, splits, template, data)
        return Prepared(template, data, prompts, self._choose_bleu_rows(splits))

    def require_same(self, located: LocatedModel, splits: Splits) -> None:
        """A resumed run needs its original rows and weights, because its adapter and its metrics belong to those.

        Raises DataError or ModelError where they have changed.
        """
        run = self._store.get(self._run.id)
        if not run.step:
            return
        if other_rows(run.provenance, splits.fingerprint):
            raise DataError(
                "The rows have changed since this run began: put the file back as it was and resume, or start a new "
                "run on the rows as they are now."
            )
        if warning := other_weights(run.provenance, located.weights):
            raise ModelError(f"{warning} Start a new run on these, or train this one further.")

    def _keep_template(self, located: LocatedModel, splits: Splits) -> PromptTemplate:
        """The run's template; the markup of a chat template is stored when the run begins, and used from then on.

        Raises ModelError where the chat template changes a row's question.
        """
        template = template_of_run(self._config.template, self._run.provenance)
        if not template.chat or template.markup:
            return template
        rendered = with_markup(located.tokenizer, template)
        rows = (*examples(splits.train), *examples(take_evaluation_rows(splits.test, self._config.evaluation_rows)))
        check_messages(located.tokenizer, (template.user_message(row.instruction, row.input) for row in rows))
        self._record(markup_provenance(rendered))
        if has_clock(located.tokenizer):
            self._log_event("The chat template writes the date: this run keeps the prompt's text as it is now.")
        return rendered

    def _tokenise(self, located: LocatedModel, splits: Splits, template: PromptTemplate) -> TrainingData:
        settings = self._config.train
        longest = min(settings.max_length, located.context_length)
        limit = "train.max_length" if longest == settings.max_length else "the model's context of"

        def tokenise(rows: list[Example], what: str) -> tuple[TokenizedExample, ...]:
            self._check()
            if not rows:
                return ()
            try:
                done = tokenize_rows(
                    located.tokenizer,
                    template,
                    rows,
                    settings.max_length,
                    settings.overlong,
                    located.context_length,
                    located.vocabulary,
                )
            except DataError:
                if what == TRAINING_ROWS:
                    raise
                self._log_event(f"{what}: none fits into {longest} tokens, so this run has none.")
                return ()
            if what == TRAINING_ROWS:
                lost = {"rows_dropped": done.dropped, "rows_truncated": done.truncated}
                self._store.update(self._run.id, provenance={"rows_given": len(rows), "max_length": longest, **lost})
            if done.dropped or done.truncated:
                self._log_event(f"{what}: {done.dropped} rows dropped and {done.truncated} cut at {limit} {longest}.")
            if done.changed:
                self._log_event(
                    f"{what}: this tokenizer cannot hold {len(done.changed)} of {len(rows)} rows as they are (the "
                    f"first is row {done.changed[0]}): it changes characters or white space, as Format shows."
                )
            return done.rows

        held_out, evaluation_rows = splits.test, self._config.evaluation_rows
        data = TrainingData(
            train=tokenise(examples(splits.train), TRAINING_ROWS),
            evaluation=tokenise(examples(take_evaluation_rows(held_out, evaluation_rows)), "Evaluation rows"),
            probe=tokenise(examples(take_probe_rows(held_out, evaluation_rows, settings.probe_rows)), "Probe rows"),
            general=general_rows(located) if settings.general_loss and settings.probes else (),
        )
        if not data.probe and settings.probe_rows and settings.probes:
            evaluated = data.evaluation and settings.eval_strategy != "no"
            meanwhile = "it is measured at the evaluations alone" if evaluated else "there is none while training"
            self._log_event(f"No held-out rows are left for the probes of the held-out loss: {meanwhile}.")
        return data

    def _record_data(self, located: LocatedModel, splits: Splits, data: TrainingData) -> None:
        """Store data and weights, which this run's numbers depend on."""
        weights = located.weights
        provenance = {
            "model_path": str(weights.path),
            "weights_source": weights.source,
            "weights_sha256": weights.sha256,
            "data_fingerprint": splits.fingerprint,
            "data_licence": splits.licence,
            "rows_loaded": splits.rows_loaded,
            "ledger": [entry.to_dict() for entry in splits.ledger],
            "train_rows": len(data.train),
            "evaluation_rows": len(data.evaluation),
            "probe_rows": len(data.probe),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        }
        self._record(provenance)
        for sentence in other_splits(self._run.provenance, self._config.to_dict()["data"]):
            self._log_event(sentence)

    def _choose_prompts(
        self, located: LocatedModel, splits: Splits, template: PromptTemplate, data: TrainingData
    ) -> tuple[fixed_prompts.FixedPrompt, ...]:
        """Choose what is answered at the probes: held-out rows, training rows, and prompts that a person typed.

        Held-out rows are the first probe rows, and evaluation rows where there are too few.
        """
        settings, evaluation_rows = self._config.train, self._config.evaluation_rows
        probe = take_probe_rows(splits.test, evaluation_rows, settings.probe_rows)
        held_out = _each(probe, take_evaluation_rows(splits.test, evaluation_rows))
        prompts = fixed_prompts.choose_all(located, template, settings, held_out, _each(splits.train), data.train)
        if prompts:
            self._record(fixed_prompts.provenance_of(prompts, settings))
        answered = sum(prompt.kind == OWN for prompt in prompts)
        if settings.sample_tokens and settings.probes and answered < len(settings.own_prompts):
            self._log_event("An own prompt does not fit into the model's context, so it is not answered: shorten it.")
        return prompts

    def _choose_bleu_rows(self, splits: Splits) -> tuple[Example, ...]:
        """The held-out rows whose BLEU is measured at each evaluation."""
        rows = examples(take_evaluation_rows(splits.test, self._config.train.bleu_rows))
        if rows:
            self._record({"bleu_rows": len(rows)})
        return tuple(rows)

    def _record(self, provenance: dict[str, Any]) -> None:
        self._store.update(self._run.id, provenance=provenance)


def _each(*parts: Dataset) -> Iterator[Example]:
    """The rows of the datasets in order, each read when it is needed."""
    return (examples(part, number, 1)[0] for part in parts for number in range(len(part)))

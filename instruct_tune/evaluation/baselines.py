"""Baselines that answer the held-out rows without training, against which a run's gain is compared.

``chat``: base with its own chat template. ``examples``: base with three training rows in the prompt (few-shot).
``nearest``: no model, but the answer of the training row with the most similar question.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config.run_config import CHAT_BASELINE, EXAMPLES_BASELINE, NEAREST_BASELINE, GenerationSettings
from ..data.near_duplicates import nearest
from ..data.splits import Example
from ..errors import DataError
from ..generation.answer import Answer
from ..models.lora import BASE
from ..tokenization.continuation import count_continuation_tokens
from ..tokenization.encode import encode_prompt_texts, encode_prompts
from ..tokenization.prompt_template import CHAT, LESSON, PromptTemplate
from .answer_cache import CachedAnswers, KeptAnswers
from .predict import AnswererPrompts

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

SHOWN = 3
"""The number of training rows in a few-shot prompt."""
SHORT = 32
"""They are drawn from this many of the shortest rows: a long prompt leaves little context and takes long."""


@dataclass(frozen=True)
class Baselines:
    """The baselines of one evaluation.

    ``answerers``: baselines that decode. ``given``: finished answers by baseline name, one a row. ``mark``: the text
    that begins a template. Base continues a few-shot prompt with another example after its answer; as usual with
    such prompts, the answer ends at a line that begins with the mark. ``count``: the number of a text's tokens.
    """

    answerers: tuple[AnswererPrompts, ...] = ()
    given: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    mark: str = ""
    count: Callable[[str], int] = len

    def answers(self, decoded: Mapping[str, KeptAnswers]) -> dict[str, list[Answer]]:
        """Each baseline's answers, row by row. ``decoded``: the answers of the baselines that decode."""
        by_name = {
            one.name: [decoded[one.name].answers[row] for row in range(len(one.prompts))] for one in self.answerers
        } | {name: list(answers) for name, answers in self.given.items()}
        if self.mark and EXAMPLES_BASELINE in by_name:
            by_name[EXAMPLES_BASELINE] = [self._up_to_mark(answer) for answer in by_name[EXAMPLES_BASELINE]]
        return by_name

    def _up_to_mark(self, answer: Answer) -> Answer:
        if (found := re.search(rf"^{re.escape(self.mark)}", answer.text, re.MULTILINE)) is None:
            return answer
        text = answer.text[: found.start()].rstrip()
        return dataclasses.replace(answer, text=text, tokens=self.count(text), ended=True)


def baselines(
    names: Sequence[str],
    loaded: LoadedModel,
    template: PromptTemplate,
    rows: Sequence[Example],
    training: Sequence[Example],
    settings: GenerationSettings,
    seed: int,
    cached_answers: CachedAnswers | None = None,
) -> Baselines:
    """The baselines ``names`` for the held-out ``rows`` of a run with this ``template`` and these ``training`` rows.

    Raises DataError where a baseline does not apply to the run, ModelError where base has no chat template.
    """
    decoding, finished, mark = [], {}, ""
    if CHAT_BASELINE in names:
        if template.chat:
            raise DataError("The run uses the chat template itself: leave out the baseline with the chat template.")
        prompts = encode_prompts(loaded.tokenizer, CHAT, [(row.instruction, row.input) for row in rows])
        decoding.append(AnswererPrompts(CHAT_BASELINE, BASE, prompts, cached_answers))
    if EXAMPLES_BASELINE in names:
        if settings.max_length is not None:
            raise DataError(
                "max_length counts the prompt, and examples fill it: say how long the longest answer may be instead, "
                "or leave out the baseline with examples."
            )
        prompts, mark = _with_examples(loaded, template, rows, examples_of(training, seed))
        if not mark:
            raise DataError(
                "The template begins with the row's own text, so nothing tells where an answer ends and base's next "
                "example begins: leave out the baseline with examples."
            )
        decoding.append(AnswererPrompts(EXAMPLES_BASELINE, BASE, prompts, cached_answers))
    if NEAREST_BASELINE in names:
        indices = nearest([_question(row) for row in rows], [_question(row) for row in training])
        finished[NEAREST_BASELINE] = [Answer(training[index].output, 0, True) for index in indices]
    return Baselines(
        tuple(decoding), finished, mark, lambda text: count_continuation_tokens(loaded.tokenizer, [text])[0]
    )


def examples_of(training: Sequence[Example], seed: int) -> list[Example]:
    """``SHOWN`` of the shortest training rows, drawn by ``seed``. Raises DataError where there are fewer."""
    answered = [row for row in training if row.output.strip()]
    if len(answered) < SHOWN:
        raise DataError(f"The baseline with examples needs {SHOWN} training rows that have an answer.")
    by_length = sorted(answered, key=lambda row: len(_question(row)) + len(row.output))
    return random.Random(seed).sample(by_length[:SHORT], SHOWN)


def _with_examples(
    loaded: LoadedModel, template: PromptTemplate, rows: Sequence[Example], shown: Sequence[Example]
) -> tuple[list[list[int]], str]:
    # In a chat template the examples would be turns; here they are part of the one message, in the lesson's format.
    words = LESSON if template.chat else template
    before = "".join(f"{words.render(row.instruction, row.input)}{row.output.strip()}\n\n" for row in shown)
    texts = [before + words.render(row.instruction, row.input) for row in rows]
    mark = words.without_input.partition("{")[0].strip()
    if template.chat:
        return encode_prompts(loaded.tokenizer, template, [(text, "") for text in texts]), mark
    return encode_prompt_texts(loaded.tokenizer, texts), mark


def _question(row: Example) -> str:
    return f"{row.instruction}\n{row.input}"

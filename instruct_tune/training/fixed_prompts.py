"""The fixed prompts that a run answers at its probes, so that a person can read its progress."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.run_config import HELD_OUT, OWN, TRAINING, GenerationSettings, TrainSettings
from ..data.splits import Example
from ..generation.answer import Answer
from ..generation.generate import Request, generate
from ..tokenization.encode import TokenizedExample, encode_answers, encode_prompts
from ..tokenization.prompt_template import PromptTemplate

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel
    from ..pretrained.located import LocatedModel

MAX_CHARACTERS = 2000
"""How many characters of each text are stored with the run; a row may be a megabyte."""
MOST_TOKENS_OF_SEVERAL = 48
"""The most tokens of an answer where several prompts are answered: the longest answer keeps the others waiting."""


@dataclass(frozen=True)
class FixedPrompt:
    """A row of one of the ``PROMPT_KINDS``, the token ids of its prompt, and the tokens of its answer with EOS.

    An own prompt has no expected answer.
    """

    kind: str
    example: Example
    prompt: tuple[int, ...]
    answer_tokens: int = 0

    def to_dict(self) -> dict[str, str]:
        """The kind and the row's texts, shortened, for the page."""
        texts = {"instruction": self.example.instruction, "input": self.example.input, "output": self.example.output}
        return {"kind": self.kind, **{name: shortened(text) for name, text in texts.items()}}


def shortened(text: str) -> str:
    """At most ``MAX_CHARACTERS`` of a text, with an ellipsis where it is cut."""
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"


def choose(
    located: LocatedModel,
    template: PromptTemplate,
    kind: str,
    rows: Iterable[Example],
    most: int,
    among: Collection[tuple[int, ...]] | None = None,
) -> tuple[FixedPrompt, ...]:
    """The first ``most`` rows whose prompt leaves context for an answer; fewer where there are fewer.

    ``among``: the ids of the prompts that may be chosen; None for any.
    """
    chosen: list[FixedPrompt] = []
    for example in rows:
        if len(chosen) == most:
            break
        prompt = tuple(encode_prompts(located.tokenizer, template, [(example.instruction, example.input)])[0])
        if 0 < len(prompt) < located.context_length and (among is None or prompt in among):
            [answer] = encode_answers(located.tokenizer, [example.output])
            chosen.append(FixedPrompt(kind, example, prompt, len(answer) + 1))
    return tuple(chosen)


def choose_all(
    located: LocatedModel,
    template: PromptTemplate,
    settings: TrainSettings,
    held_out: Iterable[Example],
    training: Iterable[Example],
    trained: Iterable[TokenizedExample],
) -> tuple[FixedPrompt, ...]:
    """The prompts of a run, in the order of ``PROMPT_KINDS``; none where ``settings`` have no tokens or no probes.

    ``trained``: the rows of ``training`` that the run trains on, since some may have been left out for their length.
    """
    if not settings.sample_tokens or not settings.probes:
        return ()
    prompts = {tuple(row.input_ids[: row.prompt_length]) for row in trained}
    typed = [Example(text, "", "") for text in settings.own_prompts]
    return (
        *choose(located, template, HELD_OUT, held_out, settings.held_out_prompts),
        *choose(located, template, TRAINING, training, settings.training_prompts, prompts),
        *choose(located, template, OWN, typed, len(typed)),
    )


def provenance_of(prompts: Sequence[FixedPrompt], settings: TrainSettings) -> dict[str, Any]:
    """What is stored with the run: the ``prompts``, the most tokens of an answer, and the first row's texts.

    The latter, ``fixed_prompt``, is what a run with one prompt has; ``answer_tokens`` counts its answer.
    """
    texts = [prompt.to_dict() for prompt in prompts]
    provenance: dict[str, Any] = {"prompts": texts, "sample_tokens": answer_limit(prompts, settings.sample_tokens)}
    if prompts[0].kind != OWN:
        provenance["answer_tokens"] = prompts[0].answer_tokens
        provenance["fixed_prompt"] = {name: texts[0][name] for name in ("instruction", "input", "output")}
    return provenance


def answer_limit(prompts: Sequence[FixedPrompt], sample_tokens: int) -> int:
    """The most tokens of each answer; for several prompts at most ``MOST_TOKENS_OF_SEVERAL``."""
    return sample_tokens if len(prompts) == 1 else min(sample_tokens, MOST_TOKENS_OF_SEVERAL)


def answer(
    loaded: LoadedModel,
    adapter_name: str,
    prompts: Sequence[FixedPrompt],
    most_tokens: int,
    stopping: Callable[[], bool],
) -> list[Answer]:
    """The current greedy answers of an adapter, or of ``lora.BASE``, at most ``most_tokens`` tokens long.

    They are decoded as one batch. A training run that continues afterwards is not affected. Raises Stopped at most
    one token after ``stopping()`` is true.
    """
    settings = GenerationSettings(max_new_tokens=most_tokens)
    return generate(loaded, [Request(each.prompt, adapter_name) for each in prompts], settings, stopping=stopping)

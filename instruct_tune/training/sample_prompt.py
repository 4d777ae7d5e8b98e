"""One held-out row that a run answers again and again while it trains: learning one can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..data.splits import Example
from ..generation.answer import Answer
from ..generation.generate import Request, generate
from ..tokenization.encode import encode_prompts
from ..tokenization.prompt_template import PromptTemplate

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

MAX_CHARACTERS = 2000
"""How much of each text is kept beside the run; a row may be a megabyte."""


@dataclass(frozen=True)
class FixedPrompt:
    """The row, and the ids of its prompt."""

    example: Example
    prompt: tuple[int, ...]

    def to_dict(self) -> dict[str, str]:
        """What people see of it."""
        texts = {"instruction": self.example.instruction, "input": self.example.input, "output": self.example.output}
        return {name: shortened(text) for name, text in texts.items()}


def shortened(text: str) -> str:
    """At most ``MAX_CHARACTERS`` of a text, with dots where it goes on."""
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"


def choose(loaded: LoadedModel, template: PromptTemplate, held_out: Iterable[Example]) -> FixedPrompt | None:
    """The first row whose prompt leaves room for an answer; None where there is none."""
    for example in held_out:
        prompt = encode_prompts(loaded.tokenizer, template, [(example.instruction, example.input)])[0]
        if 0 < len(prompt) < loaded.context_length:
            return FixedPrompt(example, tuple(prompt))
    return None


def answer(
    loaded: LoadedModel, speaker: str, fixed: FixedPrompt, most_tokens: int, stopping: Callable[[], bool]
) -> Answer:
    """What ``speaker`` (an adapter, or ``adapter.BASE``) answers now, greedily, in at most ``most_tokens`` tokens.

    A training that goes on afterwards does not notice. Raises Stopped within a token of ``stopping``.
    """
    settings = GenerationSettings(max_new_tokens=most_tokens)
    return generate(loaded, [Request(fixed.prompt, speaker)], settings, stopping=stopping)[0]
